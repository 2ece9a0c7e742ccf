//! The smallest difference a set of documents can tell from chance.

use serde::{Deserialize, Serialize};

use super::binomial::sign_test;
use super::normal::normal_quantile;
use super::resample::Draws;
use crate::rank::{Row, Standing};
use crate::rules::Contest;

/// What right-or-wrong answers to `items` documents can tell apart.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub struct Resolution {
    /// Documents.
    pub items: usize,
    /// Documents on which exactly one of two models is right.
    pub discordant: usize,
    /// The smallest difference of two accuracies that is more than chance with so many discordant documents. `None` when
    /// they are too few for any.
    pub difference: Option<f64>,
    /// The smallest that could be at all: when every discordant document speaks for the same model.
    pub least: f64,
}

/// What `items` documents, of which `discordant` speak for one model alone, can tell apart by McNemar's exact test: the
/// smallest `|b − c| / n` with `b + c = discordant` whose p-value is at most `1 − confidence`. `None` without documents.
pub fn resolution(items: usize, discordant: usize, confidence: f64) -> Option<Resolution> {
    let chance = 1.0 - confidence;
    let significant = |few: usize, many: usize| sign_test(few, many) <= chance;
    if items == 0 {
        return None;
    }
    // 2 · 2^−m ≤ chance: six documents at a confidence of 0.95.
    let least = (1..=1100).find(|m| significant(0, *m))?;
    // The smaller side shrinks until the test says so: p falls with it, so the largest that passes is found by halving.
    let (mut passes, mut fails) = (None, discordant / 2 + 1);
    let mut low = 0;
    while low < fails {
        let middle = low + (fails - low) / 2;
        if significant(middle, discordant - middle) {
            passes = Some(middle);
            low = middle + 1;
        } else {
            fails = middle;
        }
    }
    Some(Resolution {
        items,
        discordant,
        difference: passes.map(|few| (discordant - 2 * few) as f64 / items as f64),
        least: least as f64 / items as f64,
    })
}

/// The smallest difference of two scores that the contest's documents can tell apart, in units of the score: the half
/// width of the interval of the difference, `z · sd` over the resamples, in the median over neighbours on the board. 0
/// where scores are exact; `None` with fewer than two ranked rows whose resamples are known.
pub fn score_resolution(contest: &Contest, rows: &[Row], draws: &[Option<&Draws>]) -> Option<f64> {
    let ranked: Vec<&[f64]> = rows
        .iter()
        .zip(draws)
        .filter(|(row, _)| matches!(row.standing, Standing::Ranked { .. }))
        .filter_map(|(_, draws)| draws.map(Draws::scores))
        .collect();
    let mut deviations: Vec<f64> = ranked
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a.len() == b.len() => deviation(a, b),
            _ => None,
        })
        .collect();
    deviations.sort_unstable_by(f64::total_cmp);
    let median = *deviations.get(deviations.len() / 2)?;
    Some(normal_quantile(0.5 + contest.score.confidence / 2.0) * median)
}

/// The standard deviation of `a − b` over the resamples in which both have a score.
fn deviation(a: &[f64], b: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).filter(|d| d.is_finite()).collect();
    if differences.len() < 2 {
        return None;
    }
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
    Some((squares / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_documents_are_the_least_at_95_percent() {
        let found = resolution(400, 6, 0.95).unwrap();
        assert_eq!((found.difference, found.least), (Some(6.0 / 400.0), 6.0 / 400.0));
        assert_eq!(resolution(400, 5, 0.95).unwrap().difference, None);
        assert_eq!(resolution(100, 0, 0.99).unwrap().least, 8.0 / 100.0);
        assert_eq!(resolution(0, 0, 0.95), None);
    }

    #[test]
    fn it_is_the_edge_of_the_test() {
        for discordant in [6, 7, 12, 29, 70, 1000, 4001] {
            for confidence in [0.8, 0.95, 0.999] {
                let found = resolution(10_000, discordant, confidence).unwrap();
                let by_search = (0..=discordant / 2)
                    .rev()
                    .find(|few| sign_test(*few, discordant - few) <= 1.0 - confidence)
                    .map(|few| (discordant - 2 * few) as f64 / 10_000.0);
                assert_eq!(found.difference, by_search, "{discordant} {confidence}");
            }
        }
        // About z·√m / n for many.
        let many = resolution(100_000, 10_000, 0.95).unwrap().difference.unwrap();
        assert!((many / (1.96 * 100.0 / 100_000.0) - 1.0).abs() < 0.02, "{many}");
    }
}
