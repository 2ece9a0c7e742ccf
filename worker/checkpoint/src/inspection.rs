//! The answer: verdict, problems, findings, weight, hints. Serialized as the JSON that web, worker and command line show.

use assay_contest::{Problem, Text};
use serde::{Deserialize, Serialize};

/// Whether a submission can be graded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// no problem was found
    Accepted,
    /// at least one was
    Rejected,
}

/// What was found in a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// rejected iff `problems` is not empty
    pub verdict: Verdict,
    /// storage format: `dense`, `pack-quantized`, …; `unknown` when it cannot be told
    pub format: String,
    /// a short description of the quantization, such as `W4A16 g128 sym`; empty when it cannot be told
    pub scheme: String,
    /// what rejects it, in the order found
    pub problems: Vec<Problem>,
    /// what is worth knowing but rejects nothing
    pub findings: Vec<Problem>,
    /// lengths of the safetensors files, exactly
    pub bytes: Weight,
    /// how to make it smaller, most bytes first
    pub hints: Vec<Hint>,
    /// how its weights relate to the base's; none where they were not compared
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<crate::lineage::Lineage>,
    /// how many weights there are; none where config.json could not be read
    #[serde(default)]
    pub parameters: Option<Parameters>,
    /// memory it takes to run; none where it cannot be told how it is stored
    #[serde(default)]
    pub memory: Option<Memory>,
}

impl Inspection {
    /// True when it can be graded.
    pub fn accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }
}

/// The weight of a submission: the sum of the lengths of its `*.safetensors` files, and what it consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// bytes
    pub total: u64,
    /// in a fixed order, empty groups left out; they add up to `total`
    pub groups: Vec<Group>,
}

impl Weight {
    /// Bytes of a group; 0 when there is none of that name.
    pub fn group(&self, name: &str) -> u64 {
        self.groups.iter().find(|g| g.name == name).map_or(0, |g| g.bytes)
    }
}

/// A part of the weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `embedding`, `head`, `attention`, `mlp`, `norms`, `scales`, `zero_points`, `indices`, `shapes`, `header`, `other`
    pub name: String,
    /// bytes
    pub bytes: u64,
}

/// A way to make the submission smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// stable kebab-case code
    pub code: String,
    /// bytes by which the safetensors files get shorter, headers included
    pub saves: u64,
    /// what to do
    pub message: Text,
}

/// How many weights a model has; a tied head counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// of the whole model
    pub total: u64,
    /// of the matrices of its layers
    pub linear: u64,
    /// bytes of those matrices' tensors: codes, scales, zero points, indices, shapes
    pub linear_bytes: u64,
}

impl Parameters {
    /// Bits the submission spends on a parameter; `bytes` is its whole weight.
    pub fn bits(&self, bytes: u64) -> f64 {
        8.0 * bytes as f64 / self.total.max(1) as f64
    }

    /// Bits a parameter of the layers' matrices takes.
    pub fn linear_bits(&self) -> f64 {
        8.0 * self.linear_bytes as f64 / self.linear.max(1) as f64
    }
}

/// Memory a device needs to run the submission for one conversation: a prediction from configuration and tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// tokens of the conversation: the contest's, or 4096; never more than the model's `max_position_embeddings`
    pub context: u64,
    /// bytes of weights
    pub weights: u64,
    /// bytes of the KV cache at that context
    pub kv: u64,
    /// bytes of activations
    pub working: u64,
    /// the three together
    pub total: u64,
    /// the contest's devices in its order
    pub devices: Vec<Fit>,
}

/// Whether a device can run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// the device's name
    pub name: Text,
    /// its memory, bytes
    pub memory_bytes: u64,
    /// what renting it costs, if it is rented
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_hour: Option<f64>,
    /// the total is at most nine tenths of its memory
    pub fits: bool,
    /// tokens of the longest conversation that fits, at most the model's `max_position_embeddings`
    pub longest_context: u64,
}
