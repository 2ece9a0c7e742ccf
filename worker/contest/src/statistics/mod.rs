//! What outcomes on a limited number of documents say about the models, and what they do not.

mod interval;
mod normal;

pub use interval::lower_bound;
pub use normal::normal_quantile;
