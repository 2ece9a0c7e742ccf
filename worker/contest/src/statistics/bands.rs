//! Rank bands: the ranks that the documents do not rule out.

use serde::{Deserialize, Serialize};

use super::resample::Draws;
use crate::rank::{Row, Standing};
use crate::rules::{Contest, Order};

/// The ranks a row may have, as far as the documents tell: "2–4".
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Band {
    /// One more than the number of rows that are surely better.
    pub best: u32,
    /// The number of ranked rows less those that are surely worse and those that are always equal.
    pub worst: u32,
}

/// The band of each row of a board, in its order. `draws` are the rows' own; a row that does not rank, or whose items are
/// not known, has no band, and the latter is neither surely better nor surely worse than any.
///
/// A row is surely better than another when its score is, and when the other is as good or better in fewer resamples
/// than half of what the contest's confidence leaves: when the two-sided interval of their difference lies above zero.
/// Rows are compared pair by pair, each at that confidence; with many rows a few of all pairs will be told apart by
/// chance. Rows that are equal in every resample share a place, so that scores without accuracies have their plain ranks.
pub fn bands(contest: &Contest, rows: &[Row], draws: &[Option<&Draws>]) -> Vec<Option<Band>> {
    let ranked: Vec<(usize, f64, &[f64])> = rows
        .iter()
        .enumerate()
        .filter_map(|(row, Row { standing, .. })| match standing {
            Standing::Ranked { score, .. } => {
                let own = draws.get(row).copied().flatten();
                Some((row, *score, own.map_or(&[][..], Draws::scores)))
            }
            _ => None,
        })
        .collect();
    let order = contest.score.order;
    let allowed = allowed(contest);
    let mut above = vec![0u32; ranked.len()];
    // Rows surely worse, or always equal.
    let mut not_above = vec![0u32; ranked.len()];
    // Ranked rows stand in order of their scores: only the upper can be surely better.
    for (upper, (_, upper_score, upper_draws)) in ranked.iter().enumerate() {
        for (lower, (_, lower_score, lower_draws)) in ranked.iter().enumerate().skip(upper + 1) {
            if upper_draws.is_empty() || upper_draws.len() != lower_draws.len() {
                continue;
            }
            if upper_score != lower_score {
                let surely = match order {
                    Order::Descending => is_surely_more(upper_draws, lower_draws, allowed),
                    Order::Ascending => is_surely_more(lower_draws, upper_draws, allowed),
                };
                if surely {
                    above[lower] += 1;
                    not_above[upper] += 1;
                }
            } else if upper_draws == lower_draws {
                not_above[upper] += 1;
                not_above[lower] += 1;
            }
        }
    }
    let mut bands = vec![None; rows.len()];
    let all = u32::try_from(ranked.len()).unwrap_or(u32::MAX);
    for (place, (row, _, own)) in ranked.iter().enumerate() {
        bands[*row] = (!own.is_empty()).then(|| Band {
            best: 1 + above[place],
            worst: all - not_above[place],
        });
    }
    bands
}

/// In how many resamples the worse may be as good: fewer than this.
fn allowed(contest: &Contest) -> usize {
    let tail = f64::from(contest.score.resamples) * (1.0 - contest.score.confidence) / 2.0;
    // 2000 · 0.05 / 2 is 50, whatever 1 − 0.95 is in binary.
    (tail + 1e-9) as usize
}

/// Whether `more` is more than `less` in all resamples but fewer than `allowed`. Where either has no score, it is not.
///
/// Most of a board's time goes here. A plain loop over neighbours in memory becomes vector instructions; pairs that
/// overlap, as most do, are left early.
fn is_surely_more(more: &[f64], less: &[f64], allowed: usize) -> bool {
    let mut not = 0;
    for (more, less) in more.chunks(128).zip(less.chunks(128)) {
        not += more.len() - more.iter().zip(less).filter(|(more, less)| more > less).count();
        if not >= allowed {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
