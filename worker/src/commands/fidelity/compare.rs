//! Logits and greedy continuations against the golden files.

use std::path::Path;

use anyhow::ensure;
use assay_checkpoint::Listing;
use assay_engine::{Device, Model, Options};

use crate::commands::logits::{Tensors, open_with};

/// Golden files that were computed with RoPE's inverse frequencies rounded to bfloat16: the script that made these random
/// models casts the whole module, its buffers included. The engine keeps them in float32, as every runtime that loads a
/// checkpoint does, and rounds them here only, to be comparable.
const BF16_FREQUENCIES: [&str; 2] = ["exaone35", "hybrid"];

/// Whether a fixture is one of the two models with random weights.
pub fn is_random(name: &str) -> bool {
    BF16_FREQUENCIES.contains(&name)
}

/// What sets a checkpoint's golden files apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// See [`BF16_FREQUENCIES`].
    Bf16Frequencies,
    /// Keys and values are quantized on their way into the cache, as the checkpoint declares: a code at the border of two falls either
    /// way here too.
    CacheScheme,
    /// Layers quantize their inputs: a code at the border of two falls either way with the last bit of a sum.
    QuantizedInputs,
}

/// With quantized inputs two correct implementations differ by as much as a few codes move a logit. What they disagree about has to
/// be closer than this: in logits for a token, in log-probability for a choice.
pub const CODE_TIE: f64 = 0.3;

/// With a quantized cache, the most a logit may differ: a few codes of keys and values that fall the other way.
const CACHE_BOUND: f64 = 0.03;

impl Note {
    /// Its footnote mark.
    pub fn mark(self) -> &'static str {
        match self {
            Note::Bf16Frequencies => "¹",
            Note::CacheScheme => "²",
            Note::QuantizedInputs => "³",
        }
    }

    /// The note of a checkpoint and its model.
    pub fn of(name: &str, model: &Model) -> Option<Note> {
        if is_random(name) {
            return Some(Note::Bf16Frequencies);
        }
        if model.quantizes_inputs() {
            return Some(Note::QuantizedInputs);
        }
        model.quantizes_cache().then_some(Note::CacheScheme)
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
    /// The same against the golden file computed in float64 throughout, where there is one.
    pub largest64: Option<f64>,
    /// Where the most likely tokens differ: the largest lead of theirs over ours, by their logits.
    pub lead: f64,
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
        if self.device == Device::Fast {
            return None; // it promises no accuracy: the page says what it costs
        }
        let what = format!("{} on {}", self.checkpoint, self.device);
        if let Some(largest) = self.largest64.filter(|largest| *largest > 5e-5) {
            return Some(format!(
                "{what}: a logit differs by {largest:.2e} from the one in float64"
            ));
        }
        if self.note == Some(Note::QuantizedInputs) {
            return (self.lead > CODE_TIE)
                .then(|| format!("{what}: a top token differs that leads by {:.2} logits", self.lead));
        }
        if self.same_top * 1000 < self.positions * 995 {
            return Some(format!(
                "{what}: {} of {} positions agree on the top token",
                self.same_top, self.positions
            ));
        }
        if self.device == Device::Reference {
            let bound = match self.note {
                Some(Note::CacheScheme) => CACHE_BOUND,
                _ => 2e-3,
            };
            if self.largest > bound {
                return Some(format!(
                    "{what}: a logit differs by {:.2e}, more than {bound:.0e}",
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

/// A device's logits of all prompts of a checkpoint.
pub struct Logits {
    vocab: usize,
    prompts: Vec<Vec<f32>>, // each (positions, vocab)
}

impl Logits {
    /// The logits of every position of every prompt.
    pub fn positions(&self) -> impl Iterator<Item = &[f32]> {
        self.prompts.iter().flat_map(|prompt| prompt.chunks_exact(self.vocab))
    }
}

/// Compares the checkpoint `name` of `fixtures` with its golden file; also the logits that were compared.
pub fn logits(fixtures: &Path, name: &str, options: &Options) -> anyhow::Result<(LogitRow, Logits)> {
    let golden = Tensors::read(&fixtures.join(format!("golden/{name}.safetensors")))?;
    let dir = fixtures.join("checkpoints").join(name);
    let found = assay_checkpoint::verify(&Listing::read_dir(&dir)?, None, None);
    let mut note = None;
    let mut model = open_with(&dir, options, true, |model| {
        note = Note::of(name, &model);
        match note {
            Some(Note::Bf16Frequencies) => model.with_bf16_frequencies(),
            _ => model,
        }
    })?;
    let in_float64 = fixtures.join(format!("golden64/{name}.safetensors"));
    let in_float64 = match options.device {
        Device::Reference if in_float64.is_file() => Some(Tensors::read(&in_float64)?),
        _ => None,
    };
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
        largest64: None,
        lead: 0.0,
        same_top: 0,
        prompts: 0,
        same_greedy: 0,
        note,
    };
    let mut logits = Logits {
        vocab: model.vocab,
        prompts: Vec::new(),
    };
    while golden.names().any(|found| found == format!("prompt.{}", row.prompts)) {
        let index = row.prompts;
        let ids = golden.ids(&format!("prompt.{index}"))?;
        let (expected, _) = golden.floats(&format!("logits.{index}"))?;
        let computed = model.engine.logits(&ids)?;
        ensure!(
            computed.len() == expected.len() && computed.len() == ids.len() * model.vocab,
            "prompt {index}: other shape"
        );
        for (found, expected) in computed
            .chunks_exact(model.vocab)
            .zip(expected.chunks_exact(model.vocab))
        {
            row.largest = apart(found, expected).max(row.largest);
            let (ours, theirs) = (top(found), top(expected));
            row.same_top += usize::from(ours == theirs);
            row.lead = row.lead.max(f64::from(expected[theirs]) - f64::from(expected[ours]));
        }
        let name = format!("logits.{index}");
        if let Some(exact) = in_float64
            .as_ref()
            .filter(|file| file.names().any(|found| found == name))
        {
            let (expected, _) = exact.floats(&name)?;
            ensure!(
                computed.len() == expected.len(),
                "prompt {index}: other shape in float64"
            );
            row.largest64 = Some(apart(&computed, &expected).max(row.largest64.unwrap_or_default()));
        }
        let expected = golden.ids(&format!("greedy.{index}"))?;
        // A golden continuation ends where it was cut or with the end-of-sequence token; both engines may stop there only.
        let found = model.engine.greedy(&ids, expected.len(), &model.eos)?;
        row.same_greedy += usize::from(found == expected);
        row.positions += ids.len();
        row.prompts += 1;
        logits.prompts.push(computed);
    }
    ensure!(row.prompts > 0, "the golden file has no prompts");
    Ok((row, logits))
}

/// The largest difference.
fn apart(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        .fold(0.0, f64::max)
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
