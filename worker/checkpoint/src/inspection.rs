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
    /// `embedding`, `head`, `attention`, `mlp`, `norms`, `scales`, `zero_points`, `shapes`, `header`, `other`
    pub name: String,
    /// bytes
    pub bytes: u64,
}

/// A way to make the submission smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// stable kebab-case code
    pub code: String,
    /// bytes of tensor data saved
    pub saves: u64,
    /// what to do
    pub message: Text,
}
