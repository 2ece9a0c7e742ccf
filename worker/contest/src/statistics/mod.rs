//! What outcomes on a limited number of documents say about the models, and what they do not.
//!
//! All submissions answer the same documents, so they are compared document by document: [`compare`] for two of them,
//! [`Resampler`] and [`bands`] for a board, [`resolution`] for what a set of documents can tell apart at all. The formulas,
//! with figures, are in `docs/statistics.md`. Everything is a pure function of stored outcomes and rules: resampling draws
//! from a fixed generator.

mod bands;
mod binomial;
mod compare;
mod interval;
mod normal;
mod random;
mod resample;
mod resolution;

pub use bands::{Band, bands};
pub use binomial::sign_test;
pub use compare::{Comparison, Table, compare};
pub use interval::interval;
pub use normal::normal_quantile;
pub use resample::{Draws, Pooled, Resampler};
pub use resolution::{Resolution, resolution, score_resolution};

/// The value below which a share `q` of `sorted` lies, between two of them by straight line. NaN for no values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    // Within 0 and `last`.
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}
