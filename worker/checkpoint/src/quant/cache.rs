//! Key/value cache schemes: what they mean, and the tensors their scales are looked for in.

use super::args::{Args, Dynamic, Kind, Sharing};
use crate::config::{Family, ModelConfig};
use crate::load::Codes;
use crate::model::layer_prefix;

/// A scheme that can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheScheme {
    pub codes: Codes,
    /// no zero points
    pub symmetric: bool,
    /// scales are stored; else they are 1
    pub stored: bool,
}

impl CacheScheme {
    /// What a scheme means; for one that cannot be applied, what it is in English and Korean.
    ///
    /// A dynamic scheme has no stored scales and is applied with the scale 1, as vLLM does it: a scale of its own for each token
    /// is more than a cache of that runtime holds.
    pub fn of(args: &Args) -> Result<CacheScheme, (String, String)> {
        let codes = match (args.kind, args.bits) {
            (Kind::Float, 8) if args.symmetric => Some(Codes::Float8),
            (Kind::Int, bits @ 2..=8) => Some(Codes::Int { bits }),
            _ => None,
        };
        let shared = matches!(args.sharing, Sharing::Tensor | Sharing::AttnHead);
        match (codes, args.dynamic) {
            (Some(codes), Dynamic::No) if shared => Ok(CacheScheme {
                codes,
                symmetric: args.symmetric,
                stored: true,
            }),
            (Some(codes), Dynamic::Yes) if args.symmetric => Ok(CacheScheme {
                codes,
                symmetric: true,
                stored: false,
            }),
            _ => {
                let what = args.describe();
                Err((format!("{what} keys and values"), format!("{what} 키와 값")))
            }
        }
    }
}

/// `model.layers.3.self_attn`.
pub(crate) fn attention(model: &ModelConfig, layer: usize) -> String {
    let attention = match model.family {
        Family::Exaone4 => "self_attn",
        Family::Exaone => "attn.attention",
    };
    format!("{}{layer}.{attention}", layer_prefix(model.family))
}

/// Where the scale of a layer's keys (`k`) or values (`v`) may be, the first that is there counts: as compressed-tensors writes it, as
/// vLLM's own checkpoints share it, as old versions of compressed-tensors wrote it, as ModelOpt does.
pub(crate) fn scale_names(model: &ModelConfig, layer: usize, which: char) -> [String; 4] {
    let at = attention(model, layer);
    [
        format!("{at}.{which}_scale"),
        format!("{at}.kv_scale"),
        format!("{at}.{which}_proj.output_scale"),
        format!("{at}.{which}_proj.{which}_scale"),
    ]
}

/// The zero point beside a scale.
pub(crate) fn zero_name(scale: &str) -> String {
    scale.strip_suffix("scale").unwrap_or(scale).to_owned() + "zero_point"
}
