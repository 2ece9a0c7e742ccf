//! Tasks against what lm-evaluation-harness 0.4.13 itself wrote.
#![allow(clippy::unwrap_used)]

mod files;
mod golden;
mod hostile;
mod items;
mod profiles;
mod vectors;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The repository's test fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A JSON fixture.
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = fixtures().join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The five mini tasks.
pub const MINI: [&str; 5] = ["mini_gsm", "mini_komath", "mini_arc", "mini_boolq", "mini_wino"];
