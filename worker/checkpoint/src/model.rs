//! What a model consists of: its matrices and norms, their names on disk and their shapes.

use crate::config::{Family, ModelConfig};

/// The seven matrices of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Linear {
    /// queries: [heads · head_dim, hidden]
    Q,
    /// keys: [kv_heads · head_dim, hidden]
    K,
    /// values: [kv_heads · head_dim, hidden]
    V,
    /// attention output: [hidden, heads · head_dim]
    O,
    /// gate of the MLP: [intermediate, hidden]
    Gate,
    /// up projection: [intermediate, hidden]
    Up,
    /// down projection: [hidden, intermediate]
    Down,
}

impl Linear {
    /// All seven, in the order of the forward pass.
    pub const ALL: [Linear; 7] = [
        Linear::Q,
        Linear::K,
        Linear::V,
        Linear::O,
        Linear::Gate,
        Linear::Up,
        Linear::Down,
    ];

    /// True for the attention's four.
    pub const fn is_attention(self) -> bool {
        matches!(self, Linear::Q | Linear::K | Linear::V | Linear::O)
    }
}

/// The norms, with the layer they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Norm {
    /// EXAONE 4: each query head, [head_dim]
    Q(usize),
    /// EXAONE 4: each key head, [head_dim]
    K(usize),
    /// EXAONE 4: the attention's output, [hidden]
    PostAttention(usize),
    /// EXAONE 4: the MLP's output, [hidden]
    PostFeedforward(usize),
    /// EXAONE 3.5: the attention's input, [hidden]
    InputPre(usize),
    /// EXAONE 3.5: the MLP's input, [hidden]
    MlpPre(usize),
    /// after the last layer, [hidden]
    Final,
}

/// A matrix that a tool may quantize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// [vocab, hidden]
    Embedding,
    /// one of a layer's seven
    Layer(usize, Linear),
    /// [vocab, hidden], unless tied to the embedding
    Head,
}

impl Module {
    /// The class transformers gives it, which `targets` may name.
    pub const fn class(self) -> &'static str {
        match self {
            Module::Embedding => "Embedding",
            _ => "Linear",
        }
    }

    /// Its name in transformers, to which `.weight` and its like are appended.
    pub fn name(self, family: Family) -> String {
        match (family, self) {
            (_, Module::Head) => "lm_head".to_owned(),
            (Family::Exaone4, Module::Embedding) => "model.embed_tokens".to_owned(),
            (Family::Exaone, Module::Embedding) => "transformer.wte".to_owned(),
            (Family::Exaone4, Module::Layer(i, which)) => {
                let (part, name) = match which {
                    Linear::Q => ("self_attn", "q_proj"),
                    Linear::K => ("self_attn", "k_proj"),
                    Linear::V => ("self_attn", "v_proj"),
                    Linear::O => ("self_attn", "o_proj"),
                    Linear::Gate => ("mlp", "gate_proj"),
                    Linear::Up => ("mlp", "up_proj"),
                    Linear::Down => ("mlp", "down_proj"),
                };
                format!("model.layers.{i}.{part}.{name}")
            }
            (Family::Exaone, Module::Layer(i, which)) => {
                let (part, name) = match which {
                    Linear::Q => ("attn.attention", "q_proj"),
                    Linear::K => ("attn.attention", "k_proj"),
                    Linear::V => ("attn.attention", "v_proj"),
                    Linear::O => ("attn.attention", "out_proj"),
                    Linear::Gate => ("mlp", "c_fc_0"),
                    Linear::Up => ("mlp", "c_fc_1"),
                    Linear::Down => ("mlp", "c_proj"),
                };
                format!("transformer.h.{i}.{part}.{name}")
            }
        }
    }

    /// (out, in): rows and columns of its weight.
    pub fn shape(self, config: &ModelConfig) -> (usize, usize) {
        match self {
            Module::Embedding | Module::Head => (config.vocab, config.hidden),
            Module::Layer(_, which) => match which {
                Linear::Q => (config.q_dim(), config.hidden),
                Linear::K | Linear::V => (config.kv_dim(), config.hidden),
                Linear::O => (config.hidden, config.q_dim()),
                Linear::Gate | Linear::Up => (config.intermediate, config.hidden),
                Linear::Down => (config.hidden, config.intermediate),
            },
        }
    }

    /// Every matrix of a model, the head included (it exists as a module even when tied).
    pub fn all(config: &ModelConfig) -> Vec<Module> {
        let layers = (0..config.layers).flat_map(|i| Linear::ALL.map(|which| Module::Layer(i, which)));
        [Module::Embedding]
            .into_iter()
            .chain(layers)
            .chain([Module::Head])
            .collect()
    }
}

impl Norm {
    /// The tensor that holds its weight; `None` where the family has no such norm.
    pub fn tensor(self, family: Family) -> Option<String> {
        let name = match (family, self) {
            (Family::Exaone4, Norm::Q(i)) => format!("model.layers.{i}.self_attn.q_norm.weight"),
            (Family::Exaone4, Norm::K(i)) => format!("model.layers.{i}.self_attn.k_norm.weight"),
            (Family::Exaone4, Norm::PostAttention(i)) => format!("model.layers.{i}.post_attention_layernorm.weight"),
            (Family::Exaone4, Norm::PostFeedforward(i)) => {
                format!("model.layers.{i}.post_feedforward_layernorm.weight")
            }
            (Family::Exaone4, Norm::Final) => "model.norm.weight".to_owned(),
            (Family::Exaone, Norm::InputPre(i)) => format!("transformer.h.{i}.ln_1.weight"),
            (Family::Exaone, Norm::MlpPre(i)) => format!("transformer.h.{i}.ln_2.weight"),
            (Family::Exaone, Norm::Final) => "transformer.ln_f.weight".to_owned(),
            _ => return None,
        };
        Some(name)
    }

    /// The layer it belongs to.
    pub const fn layer(self) -> Option<usize> {
        match self {
            Norm::Q(i) | Norm::K(i) | Norm::PostAttention(i) | Norm::PostFeedforward(i) => Some(i),
            Norm::InputPre(i) | Norm::MlpPre(i) => Some(i),
            Norm::Final => None,
        }
    }

    /// The same norm of another layer.
    pub const fn at(self, layer: usize) -> Norm {
        match self {
            Norm::Q(_) => Norm::Q(layer),
            Norm::K(_) => Norm::K(layer),
            Norm::PostAttention(_) => Norm::PostAttention(layer),
            Norm::PostFeedforward(_) => Norm::PostFeedforward(layer),
            Norm::InputPre(_) => Norm::InputPre(layer),
            Norm::MlpPre(_) => Norm::MlpPre(layer),
            Norm::Final => Norm::Final,
        }
    }

    /// Length of its weight.
    pub fn width(self, config: &ModelConfig) -> usize {
        match self {
            Norm::Q(_) | Norm::K(_) => config.head_dim,
            _ => config.hidden,
        }
    }

    /// Every norm of a model.
    pub fn all(config: &ModelConfig) -> Vec<Norm> {
        let of_layer = |i: usize| match config.family {
            Family::Exaone4 => vec![Norm::Q(i), Norm::K(i), Norm::PostAttention(i), Norm::PostFeedforward(i)],
            Family::Exaone => vec![Norm::InputPre(i), Norm::MlpPre(i)],
        };
        (0..config.layers).flat_map(of_layer).chain([Norm::Final]).collect()
    }
}

/// What precedes a layer's number in its tensors' names.
pub(crate) const fn layer_prefix(family: Family) -> &'static str {
    match family {
        Family::Exaone4 => "model.layers.",
        Family::Exaone => "transformer.h.",
    }
}
