//! From an open checkpoint to its weights, and whose fault it is where there are none.

use assay_checkpoint::Checkpoint;
use assay_contest::CacheRule;
use assay_engine::{LoadError, Model};

use crate::grounds::Rules;
use crate::halt::{Halt, broken, open_failed};

/// Reads a submission's weights, with its key/value cache scheme where the contest applies it.
pub fn load(checkpoint: &Checkpoint, rules: Option<&Rules>) -> Result<Model, Halt> {
    let model = Model::load(checkpoint);
    let model = match rules.map(|rules| rules.contest.checkpoint.kv_cache) {
        Some(CacheRule::Declared) => model.and_then(|model| model.with_cache_scheme(checkpoint)),
        Some(CacheRule::Bfloat16) | None => model,
    };
    model.map_err(|error| match error {
        LoadError::Open(error) => open_failed(error),
        error @ (LoadError::Plan(_) | LoadError::Shape { .. }) => broken("cannot-load", &error.to_string()),
    })
}
