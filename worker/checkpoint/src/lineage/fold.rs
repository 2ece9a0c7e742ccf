//! Scaled rows or columns: what AWQ and SmoothQuant do before quantizing. W′ = diag(α)·W or W·diag(β), each α and β unknown.

use crate::load::OpenError;

use super::rows::Rows;
use super::subset::Subset;

/// Rows read at a time.
const CHUNK: usize = 64;

/// Relative error that is left when every row, or every column, of the base may be scaled: the smaller of the two.
pub(super) fn residual(mine: &Rows<'_>, theirs: &Rows<'_>, subset: &Subset) -> Result<f64, OpenError> {
    let cols = mine.cols();
    let rows = mine.rows().min(subset.rows(theirs.rows()));
    let mut by_column = vec![[0f64; 3]; cols];
    let (mut left, mut total) = (0f64, 0f64);
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for at in (0..rows).step_by(CHUNK) {
        let count = CHUNK.min(rows - at);
        subset.read(theirs, at, count, &mut base)?;
        mine.read(at, count, &mut ours)?;
        for (d, w) in ours.chunks(cols.max(1)).zip(base.chunks(cols.max(1))) {
            let mut row = [0f64; 3];
            for ((d, w), column) in d.iter().zip(w).zip(&mut by_column) {
                let (d, w) = (f64::from(*d), f64::from(*w));
                for sums in [&mut row, column] {
                    sums[0] += d * d;
                    sums[1] += d * w;
                    sums[2] += w * w;
                }
            }
            left += unexplained(row);
            total += row[0];
        }
    }
    let by_columns: f64 = by_column.into_iter().map(unexplained).sum();
    Ok(if total > 0.0 {
        (left.min(by_columns) / total).sqrt()
    } else {
        0.0
    })
}

/// ‖d − α·w‖² for the best α.
fn unexplained([dd, dw, ww]: [f64; 3]) -> f64 {
    if ww > 0.0 { (dd - dw * dw / ww).max(0.0) } else { dd }
}
