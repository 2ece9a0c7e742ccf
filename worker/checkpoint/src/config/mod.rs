//! config.json: what the model is. Every dimension is a variable, and bounded before anything is multiplied.
//!
//! Submissions drop layers, prune heads and shrink the context, so no architectural number is assumed. What loaders disagree
//! about (a window without sliding layers, two spellings of RoPE with different values) is refused instead of guessed.

mod fields;
mod layers;
mod parse;
mod rope;

use serde::{Deserialize, Serialize};

pub use fields::bounds;
pub use parse::MAX_CONFIG_BYTES;
pub(crate) use parse::read_json;
pub use rope::{Llama3, Rope};

/// Which plan the model follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// EXAONE 4.0: norms on the branch outputs, QK norm, hybrid attention (`model_type: exaone4`).
    Exaone4,
    /// EXAONE 3.0, 3.5 and Deep: pre-norm, no QK norm, RoPE everywhere (`model_type: exaone`).
    Exaone,
}

/// What a layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerType {
    /// every earlier position
    Full,
    /// the last `sliding_window` positions
    Sliding,
}

/// The `dtype` (older: `torch_dtype`) that config.json asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// bfloat16, also when nothing is said
    Bf16,
    /// float16
    F16,
    /// float32
    F32,
}

/// A model's architecture, checked: products of any of these dimensions fit in a u64 and every division is exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// naming and plan
    pub family: Family,
    /// rows of the embedding
    pub vocab: usize,
    /// width of the residual stream
    pub hidden: usize,
    /// width of the MLP
    pub intermediate: usize,
    /// decoder layers
    pub layers: usize,
    /// query heads
    pub heads: usize,
    /// key and value heads; divides `heads`
    pub kv_heads: usize,
    /// width of a head; even
    pub head_dim: usize,
    /// added to the mean square in every RMSNorm
    pub rms_eps: f64,
    /// rotary embedding
    pub rope: Rope,
    /// how many positions a sliding layer sees (itself included); `Some` iff a layer is sliding
    pub sliding_window: Option<usize>,
    /// one entry a layer
    pub layer_types: Vec<LayerType>,
    /// the head is the embedding
    pub tie: bool,
    /// longest position the model declares
    pub max_positions: usize,
    /// end-of-sequence ids, possibly several
    pub eos: Vec<u32>,
    /// begin-of-sequence id
    pub bos: Option<u32>,
    /// padding id
    pub pad: Option<u32>,
    /// declared arithmetic type; storage is what the tensors say
    pub dtype: ComputeDtype,
}

impl ModelConfig {
    /// Whether layer `layer` rotates its queries and keys: always, except in the full-attention layers of a hybrid EXAONE 4.
    pub fn uses_rope(&self, layer: usize) -> bool {
        self.sliding_window.is_none() || self.layer_types.get(layer) == Some(&LayerType::Sliding)
    }

    /// The window of layer `layer`, if it has one.
    pub fn window(&self, layer: usize) -> Option<usize> {
        match self.layer_types.get(layer) {
            Some(LayerType::Sliding) => self.sliding_window,
            _ => None,
        }
    }

    /// Width of the queries, `heads · head_dim`.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the keys and of the values, `kv_heads · head_dim`.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
