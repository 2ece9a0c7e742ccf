//! The weights of a model, checked against its plan.

use assay_checkpoint::config::{Family, ModelConfig};
use assay_checkpoint::{CacheCodes, Checkpoint, Inputs, Linear, Matrix, Norm, OpenError};

use crate::numerics::Precision;
use crate::plan::{NormPlace, Plan, PlanError};

/// One layer's weights.
#[derive(Debug)]
pub struct LayerParts {
    /// queries (heads · head_dim, hidden)
    pub q: Matrix,
    /// keys (kv_heads · head_dim, hidden)
    pub k: Matrix,
    /// values (kv_heads · head_dim, hidden)
    pub v: Matrix,
    /// attention output (hidden, heads · head_dim)
    pub o: Matrix,
    /// MLP gate (intermediate, hidden)
    pub gate: Matrix,
    /// MLP up (intermediate, hidden)
    pub up: Matrix,
    /// MLP down (hidden, intermediate)
    pub down: Matrix,
    /// weights of the query and key norms (head_dim each), in models that have them
    pub qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    /// the norm of the attention block (hidden): after it in EXAONE 4, before it in EXAONE 3.5
    pub attention_norm: Vec<f32>,
    /// the norm of the MLP block (hidden): after it in EXAONE 4, before it in EXAONE 3.5
    pub mlp_norm: Vec<f32>,
    /// how keys and values are quantized on their way into the cache
    pub cache: Option<CacheCodes>,
}

/// Everything a model is made of.
#[derive(Debug)]
pub struct Parts {
    /// layer by layer
    pub layers: Vec<LayerParts>,
    /// token embedding (vocab, hidden)
    pub embedding: Matrix,
    /// output head (vocab, hidden); `None` when it is the embedding
    pub head: Option<Matrix>,
    /// the last norm (hidden)
    pub final_norm: Vec<f32>,
}

/// A model ready to be handed to an executor.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    plan: Plan,
    parts: Parts,
}

/// Why a checkpoint cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// the checkpoint's own problems
    #[error(transparent)]
    Open(#[from] OpenError),
    /// a configuration that cannot be run
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// a tensor whose shape differs from what the configuration says
    #[error("{what} has shape {found:?} where the configuration says {expected:?}")]
    Shape {
        /// which tensor
        what: String,
        /// (rows, columns), or (length, 1) of a norm
        found: (usize, usize),
        /// the same from the configuration
        expected: (usize, usize),
    },
}

impl Model {
    /// Reads all weights of a checkpoint.
    pub fn load(checkpoint: &Checkpoint) -> Result<Model, LoadError> {
        let config = checkpoint.config().clone();
        let exaone4 = config.family == Family::Exaone4;
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            let linear = |which| checkpoint.linear(l, which);
            layers.push(LayerParts {
                q: linear(Linear::Q)?,
                k: linear(Linear::K)?,
                v: linear(Linear::V)?,
                o: linear(Linear::O)?,
                gate: linear(Linear::Gate)?,
                up: linear(Linear::Up)?,
                down: linear(Linear::Down)?,
                qk_norm: match exaone4 {
                    true => Some((checkpoint.norm(Norm::Q(l))?, checkpoint.norm(Norm::K(l))?)),
                    false => None,
                },
                attention_norm: checkpoint.norm(if exaone4 {
                    Norm::PostAttention(l)
                } else {
                    Norm::InputPre(l)
                })?,
                mlp_norm: checkpoint.norm(if exaone4 {
                    Norm::PostFeedforward(l)
                } else {
                    Norm::MlpPre(l)
                })?,
                cache: None,
            });
        }
        let parts = Parts {
            layers,
            embedding: checkpoint.embedding()?,
            head: checkpoint.head()?,
            final_norm: checkpoint.norm(Norm::Final)?,
        };
        Model::assemble(config, parts)
    }

    /// A model from weights already in memory. Every shape is checked here, so executors need not.
    pub fn assemble(config: ModelConfig, parts: Parts) -> Result<Model, LoadError> {
        let plan = Plan::new(&config)?;
        check(&plan, &parts)?;
        Ok(Model { config, plan, parts })
    }

    /// The same model with RoPE's inverse frequencies rounded to bf16, as a framework holds them after casting a whole model to bf16.
    /// Loading a checkpoint does not do that; some reference outputs were made with it and can be matched only so.
    pub fn with_bf16_frequencies(mut self) -> Model {
        self.plan
            .inverse_frequencies
            .iter_mut()
            .for_each(|f| *f = Precision::Bf16.round(*f));
        self
    }

    /// The same model with the key/value cache scheme that its checkpoint declares, if it declares one. Loading leaves it out: a contest
    /// decides whether it is applied.
    pub fn with_cache_scheme(mut self, checkpoint: &Checkpoint) -> Result<Model, LoadError> {
        for (l, layer) in self.parts.layers.iter_mut().enumerate() {
            layer.cache = checkpoint.cache(l)?;
        }
        check(&self.plan, &self.parts)?;
        Ok(self)
    }

    /// Whether any layer rotates its inputs or outputs.
    pub fn turns(&self) -> bool {
        let of_layers = self.parts.layers.iter();
        of_layers
            .flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down])
            .chain(&self.parts.head)
            .any(|m| !m.transforms.is_empty())
    }

    /// Whether keys and values are quantized on their way into the cache.
    pub fn quantizes_cache(&self) -> bool {
        self.parts.layers.iter().any(|l| l.cache.is_some())
    }

    /// The configuration it was loaded with.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its sizes and rules.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its weights.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether any layer quantizes what it is given. Then a value at the border of two codes falls either way with the last bit of a
    /// sum, and logits of two correct implementations differ by as much as quantization moves them.
    pub fn quantizes_inputs(&self) -> bool {
        let of_layers = self.parts.layers.iter();
        of_layers
            .flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down])
            .chain(&self.parts.head)
            .any(|m| m.inputs != Inputs::Plain)
    }

    /// The matrix that makes logits.
    pub fn head(&self) -> &Matrix {
        self.parts.head.as_ref().unwrap_or(&self.parts.embedding)
    }
}

fn check(plan: &Plan, parts: &Parts) -> Result<(), LoadError> {
    let shape = |what: String, found: (usize, usize), expected: (usize, usize)| match found == expected {
        true => Ok(()),
        false => Err(LoadError::Shape { what, found, expected }),
    };
    let (hidden, inter, q, kv) = (plan.hidden, plan.intermediate, plan.q_width(), plan.kv_width());
    shape(
        "the list of layers".into(),
        (parts.layers.len(), 1),
        (plan.layers.len(), 1),
    )?;
    for (i, l) in parts.layers.iter().enumerate() {
        let matrices = [
            ("q", &l.q, (q, hidden)),
            ("k", &l.k, (kv, hidden)),
            ("v", &l.v, (kv, hidden)),
            ("o", &l.o, (hidden, q)),
            ("gate", &l.gate, (inter, hidden)),
            ("up", &l.up, (inter, hidden)),
            ("down", &l.down, (hidden, inter)),
        ];
        for (name, m, expected) in matrices {
            shape(format!("layer {i}'s {name} projection"), (m.rows, m.cols), expected)?;
        }
        shape(
            format!("layer {i}'s attention norm"),
            (l.attention_norm.len(), 1),
            (hidden, 1),
        )?;
        shape(format!("layer {i}'s MLP norm"), (l.mlp_norm.len(), 1), (hidden, 1))?;
        shape(
            format!("layer {i}'s pair of head norms"),
            (usize::from(l.qk_norm.is_some()), 1),
            (plan.qk_norm.into(), 1),
        )?;
        for norm in l.qk_norm.iter().flat_map(|(q, k)| [q, k]) {
            shape(format!("layer {i}'s head norm"), (norm.len(), 1), (plan.head_dim, 1))?;
        }
        for scales in l.cache.iter().flat_map(|cache| [&cache.keys, &cache.values]) {
            let what = format!("layer {i}'s list of cache scales");
            shape(what, (scales.len(), 1), (plan.kv_heads, 1))?;
        }
    }
    let table = (plan.vocab, hidden);
    shape(
        "the embedding".into(),
        (parts.embedding.rows, parts.embedding.cols),
        table,
    )?;
    if let Some(head) = &parts.head {
        shape("the output head".into(), (head.rows, head.cols), table)?;
    }
    shape("the last norm".into(), (parts.final_norm.len(), 1), (hidden, 1))?;
    debug_assert!(plan.norms == NormPlace::Output || !plan.qk_norm);
    Ok(())
}
