//! The model as an executor needs it: sizes, and what each layer does besides its matrices.

use assay_checkpoint::config::{Family, ModelConfig};

use crate::numerics::{self, MAX_HEAD_DIM, Stretch};

/// Where a layer's two RMSNorms sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// before attention and MLP (EXAONE 3.5): `h + attn(norm(h))`
    Input,
    /// on their results (EXAONE 4): `h + norm(attn(h))`; linears read the residual stream as it is
    Output,
}

/// What differs between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// whether queries and keys are rotated by position
    pub rope: bool,
    /// a query at position i sees keys j with `i − window < j ≤ i`
    pub window: Option<usize>,
}

/// Sizes and rules of one model. All sizes in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// token ids
    pub vocab: usize,
    /// width of the residual stream
    pub hidden: usize,
    /// width of the MLP
    pub intermediate: usize,
    /// query heads
    pub heads: usize,
    /// key/value heads; query head j reads key/value head `j / group()`
    pub kv_heads: usize,
    /// width of a head
    pub head_dim: usize,
    /// RMSNorm's epsilon
    pub eps: f32,
    /// where the layers' norms sit
    pub norms: NormPlace,
    /// whether every query and key head is normalised before RoPE
    pub qk_norm: bool,
    /// layer by layer
    pub layers: Vec<LayerPlan>,
    /// RoPE's inverse frequencies (head_dim / 2)
    pub inverse_frequencies: Vec<f32>,
    /// highest position + 1
    pub positions: usize,
}

/// A configuration no executor can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// sizes that do not fit each other
    #[error("{0}")]
    Sizes(String),
}

impl Plan {
    /// The plan of a configuration.
    pub fn new(config: &ModelConfig) -> Result<Plan, PlanError> {
        let sizes = |holds: bool, what: String| if holds { Ok(()) } else { Err(PlanError::Sizes(what)) };
        let (heads, kv_heads, head_dim) = (config.heads, config.kv_heads, config.head_dim);
        sizes(
            config.vocab > 0 && config.hidden > 0 && config.intermediate > 0,
            "a width is zero".into(),
        )?;
        sizes(config.layers > 0, "the model has no layers".into())?;
        sizes(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            format!("{heads} query heads cannot be shared by {kv_heads} key/value heads"),
        )?;
        sizes(
            head_dim > 0 && head_dim.is_multiple_of(2) && head_dim <= MAX_HEAD_DIM,
            format!("head dimension {head_dim} is not an even number up to {MAX_HEAD_DIM}"),
        )?;
        let layers = (0..config.layers)
            .map(|layer| LayerPlan {
                rope: config.uses_rope(layer),
                window: config.window(layer),
            })
            .collect();
        let stretch = config.rope.scaling.as_ref().map(|s| Stretch {
            factor: s.factor,
            low: s.low,
            high: s.high,
            original: s.original,
        });
        Ok(Plan {
            vocab: config.vocab,
            hidden: config.hidden,
            intermediate: config.intermediate,
            heads,
            kv_heads,
            head_dim,
            eps: config.rms_eps as f32,
            norms: match config.family {
                Family::Exaone4 => NormPlace::Output,
                Family::Exaone => NormPlace::Input,
            },
            qk_norm: config.family == Family::Exaone4,
            layers,
            inverse_frequencies: numerics::inverse_frequencies(head_dim, config.rope.theta, stretch),
            positions: config.max_positions,
        })
    }

    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
