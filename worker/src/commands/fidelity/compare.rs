//! Logits and greedy continuations against the golden files.

use std::path::Path;

use anyhow::ensure;
use assay_checkpoint::{Inspection, Listing};
use assay_engine::{Device, Options};

use crate::commands::logits::{Tensors, open_with};

/// Golden files that were computed with RoPE's inverse frequencies rounded to bfloat16: the script that made these random
/// models casts the whole module, its buffers included. The engine keeps them in float32, as every runtime that loads a
/// checkpoint does, and rounds them here only, to be comparable.
const BF16_FREQUENCIES: [&str; 2] = ["exaone35", "hybrid"];

/// The inspection's finding about a declared key/value cache scheme.
const CACHE_SCHEME: &str = "kv-cache-scheme-not-applied";

/// What sets a checkpoint's golden files apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// See [`BF16_FREQUENCIES`].
    Bf16Frequencies,
    /// The checkpoint declares an fp8 key/value cache. The reference applies it, the engine does not.
    CacheScheme,
}

impl Note {
    /// Its footnote mark.
    pub fn mark(self) -> &'static str {
        match self {
            Note::Bf16Frequencies => "¹",
            Note::CacheScheme => "²",
        }
    }

    /// The note of a checkpoint.
    pub fn of(name: &str, found: &Inspection) -> Option<Note> {
        if BF16_FREQUENCIES.contains(&name) {
            return Some(Note::Bf16Frequencies);
        }
        found
            .findings
            .iter()
            .any(|finding| finding.code == CACHE_SCHEME)
            .then_some(Note::CacheScheme)
    }
}

/// One checkpoint on one executor.
pub struct LogitRow {
    pub checkpoint: String,
    /// Format and scheme, as the inspection names them.
    pub scheme: String,
    pub device: Device,
    /// The executor's own description.
    pub executor: String,
    pub positions: usize,
    /// Largest difference of any logit.
    pub largest: f64,
    /// Positions with the same most likely token.
    pub same_top: usize,
    pub prompts: usize,
    /// Prompts with the same greedy continuation.
    pub same_greedy: usize,
    pub note: Option<Note>,
}

impl LogitRow {
    /// What this executor is held to; the reason when it is missed.
    pub fn failure(&self) -> Option<String> {
        let what = format!("{} on {}", self.checkpoint, self.device);
        if self.same_top * 1000 < self.positions * 995 {
            return Some(format!(
                "{what}: {} of {} positions agree on the top token",
                self.same_top, self.positions
            ));
        }
        // What is not computed cannot be equal.
        if self.device == Device::Reference && self.note != Some(Note::CacheScheme) {
            if self.largest > 2e-3 {
                return Some(format!(
                    "{what}: a logit differs by {:.2e}, more than 2e-3",
                    self.largest
                ));
            }
            if self.same_greedy != self.prompts {
                return Some(format!(
                    "{what}: {} of {} greedy continuations agree",
                    self.same_greedy, self.prompts
                ));
            }
        }
        None
    }
}

/// Compares the checkpoint `name` of `fixtures` with its golden file.
pub fn logits(fixtures: &Path, name: &str, options: &Options) -> anyhow::Result<LogitRow> {
    let golden = Tensors::read(&fixtures.join(format!("golden/{name}.safetensors")))?;
    let dir = fixtures.join("checkpoints").join(name);
    let found = assay_checkpoint::verify(&Listing::read_dir(&dir)?, None, None);
    let note = Note::of(name, &found);
    let mut model = open_with(&dir, options, |model| match note {
        Some(Note::Bf16Frequencies) => model.with_bf16_frequencies(),
        _ => model,
    })?;
    let mut row = LogitRow {
        checkpoint: name.to_string(),
        scheme: [found.format, found.scheme]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
        device: options.device.clone(),
        executor: model.engine.device(),
        positions: 0,
        largest: 0.0,
        same_top: 0,
        prompts: 0,
        same_greedy: 0,
        note,
    };
    while golden.names().any(|found| found == format!("prompt.{}", row.prompts)) {
        let index = row.prompts;
        let ids = golden.ids(&format!("prompt.{index}"))?;
        let (expected, _) = golden.floats(&format!("logits.{index}"))?;
        let found = model.engine.logits(&ids)?;
        ensure!(
            found.len() == expected.len() && found.len() == ids.len() * model.vocab,
            "prompt {index}: other shape"
        );
        for (found, expected) in found.chunks_exact(model.vocab).zip(expected.chunks_exact(model.vocab)) {
            let largest = found
                .iter()
                .zip(expected)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
            row.largest = largest.fold(row.largest, f64::max);
            row.same_top += usize::from(top(found) == top(expected));
        }
        let expected = golden.ids(&format!("greedy.{index}"))?;
        // A golden continuation ends where it was cut or with the end-of-sequence token; both engines may stop there only.
        let found = model.engine.greedy(&ids, expected.len(), &model.eos)?;
        row.same_greedy += usize::from(found == expected);
        row.positions += ids.len();
        row.prompts += 1;
    }
    ensure!(row.prompts > 0, "the golden file has no prompts");
    Ok(row)
}

/// Index of the largest; the first among equals.
pub fn top(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
