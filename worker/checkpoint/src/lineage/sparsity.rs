//! Zeros among the weights, against what the recipe says was pruned. Needs no base.

use super::claims::Claims;
use super::rows::Rows;
use crate::load::{Checkpoint, OpenError};
use crate::model::{Linear, Module};
use crate::problem::{Problems, problem};

/// Rows of each matrix that are counted: their share is known to a percent.
const SAMPLE: usize = 32;
/// What may be missing of the claimed share.
const SLACK: f64 = 0.02;

pub(super) fn check(checkpoint: &Checkpoint, claims: &Claims, problems: &mut Problems) -> Result<(), OpenError> {
    let Some(claim) = &claims.sparsity else {
        return Ok(());
    };
    let (mut zeros, mut weights, mut runs, mut halves) = (0u64, 0u64, 0u64, 0u64);
    let mut values = Vec::new();
    for layer in 0..checkpoint.config().layers {
        for which in Linear::ALL {
            let rows = Rows::open(checkpoint, Module::Layer(layer, which))?;
            let cols = rows.cols();
            // spread over the matrix
            let step = rows.rows().div_ceil(SAMPLE).max(1);
            for row in (0..rows.rows()).step_by(step) {
                rows.read(row, 1, &mut values)?;
                zeros += values.iter().filter(|v| **v == 0.0).count() as u64;
                weights += cols as u64;
                let fours = values.as_chunks::<4>().0;
                runs += fours.len() as u64;
                halves += fours
                    .iter()
                    .filter(|four| four.iter().filter(|v| **v == 0.0).count() >= 2)
                    .count() as u64;
            }
        }
    }
    let share = zeros as f64 / weights.max(1) as f64;
    let place = || format!("recipe.yaml: {}", claim.path);
    let fix = (
        "Upload the recipe.yaml of the run that made these weights.",
        "이 가중치를 만든 실행의 recipe.yaml을 올려 주세요.",
    );
    if share + SLACK < claim.share {
        let (said, found) = (100.0 * claim.share, 100.0 * share);
        problems.push(problem(
            "recipe-sparsity-differs",
            place(),
            (
                format!("the recipe sets {said:.0}% of the weights to zero; {found:.1}% are"),
                format!("레시피는 가중치의 {said:.0}%를 0으로 만든다는데 실제로는 {found:.1}%입니다"),
            ),
            fix,
        ));
    } else if claim.two_of_four && (halves as f64) < 0.99 * runs as f64 {
        let found = 100.0 * halves as f64 / runs.max(1) as f64;
        problems.push(problem(
            "recipe-mask-differs",
            place(),
            (
                format!("the recipe prunes 2 of 4; {found:.1}% of the runs of four weights have two zeros"),
                format!("레시피는 2:4 희소인데 네 개씩 묶어 0이 두 개 이상인 묶음이 {found:.1}%입니다"),
            ),
            fix,
        ));
    }
    Ok(())
}
