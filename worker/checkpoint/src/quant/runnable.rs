//! Which schemes of compressed-tensors the engine runs, and what each means for the tensors.

use super::args::{ActOrder, Args, Dynamic, Kind, ScaleType, Sharing};
use super::config::Group;
use super::{GroupRule, InputRule, Layout, Micro, Packing, Quantized, Strategy};
use crate::load::Codes;

/// Why a group is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// not written yet: what, in English and Korean
    NotYet(String, String),
    /// one input scale for a whole batch, computed when it runs: a row would depend on its neighbours
    BatchDependent,
}

fn not_yet<T>(en: impl Into<String>, ko: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::NotYet(en.into(), ko.into()))
}

/// A group of weights in a storage format, as a version of compressed-tensors packs them; `None` for a group that quantizes no weights.
pub(crate) fn quantized(
    format: &'static str,
    group: &Group,
    version: Option<(u32, u32)>,
) -> Result<Option<Quantized>, Refusal> {
    let Some(weights) = group.weights else {
        return Ok(None);
    };
    let layout = match (format, weights.kind, weights.bits) {
        ("pack-quantized", Kind::Int, 2..=8) => Layout::Packed(Packing::of_version(version)),
        // the three store whatever the weights are, in the narrowest type that holds them
        ("int-quantized" | "float-quantized" | "naive-quantized", Kind::Int, 2..=8) => Layout::Bytes,
        ("int-quantized" | "float-quantized" | "naive-quantized", Kind::Float, 8) => Layout::Float8,
        ("marlin-24", Kind::Int, 4 | 8) if weights.symmetric => Layout::Marlin24,
        ("nvfp4-pack-quantized", Kind::Float, 4) => Layout::Micro(Micro::Nvfp4),
        ("mxfp4-pack-quantized", Kind::Float, 4) => Layout::Micro(Micro::Mxfp4),
        ("mxfp6-pack-quantized", Kind::Float, 6) => Layout::Micro(Micro::Mxfp6),
        ("mxfp8-quantized", Kind::Float, 8) => Layout::Micro(Micro::Mxfp8),
        _ => {
            let what = weights.describe();
            return not_yet(
                format!("{format} with {what} weights"),
                format!("{what} 가중치의 {format}"),
            );
        }
    };
    let strategy = match (weights.sharing, weights.group) {
        _ if weights.dynamic != Dynamic::No => None,
        (Sharing::Group | Sharing::TensorGroup, Some(size)) if matches!(layout, Layout::Micro(_)) => {
            Some(Strategy::Group(size))
        }
        _ if matches!(layout, Layout::Micro(_)) => None,
        (Sharing::Tensor | Sharing::Block, _) if layout == Layout::Marlin24 => None,
        (Sharing::Tensor, _) => Some(Strategy::Tensor),
        (Sharing::Channel, _) => Some(Strategy::Channel),
        (Sharing::Group, Some(size)) => Some(Strategy::Group(size)),
        (Sharing::Block, _) => weights.block.map(|(rows, cols)| Strategy::Block { rows, cols }),
        _ => None,
    };
    let asymmetric_float = weights.kind == Kind::Float && !weights.symmetric;
    let Some(strategy) = strategy.filter(|_| !asymmetric_float) else {
        let what = weights.describe();
        return not_yet(
            format!("{format} with {what} weights"),
            format!("{what} 가중치의 {format}"),
        );
    };
    let scales_fit = match layout {
        Layout::Micro(micro) => weights.plain_scales() || weights.scales == micro.scales(),
        _ => weights.scales == ScaleType::Plain,
    };
    if !scales_fit {
        return not_yet(
            format!("{format} with scales of another type (scale_dtype)"),
            format!("scale_dtype이 다른 {format}"),
        );
    }
    let indexed = weights.actorder == ActOrder::Group;
    let groupless = !matches!(strategy, Strategy::Group(_)) || matches!(layout, Layout::Micro(_) | Layout::Marlin24);
    if indexed && groupless {
        return not_yet(
            format!("{format} with actorder group (weight_g_idx)"),
            format!("actorder group(weight_g_idx)의 {format}"),
        );
    }
    Ok(Some(Quantized {
        layout,
        bits: weights.bits,
        strategy,
        symmetric: weights.symmetric,
        indexed,
        inputs: group.input.map_or(Ok(InputRule::Plain), |args| inputs(format, &args))?,
    }))
}

fn inputs(format: &str, args: &Args) -> Result<InputRule, Refusal> {
    let codes = match (args.kind, args.bits) {
        (Kind::Int, bits @ 2..=8) => Some(Codes::Int { bits }),
        (Kind::Float, 8) if args.symmetric => Some(Codes::Float8),
        (Kind::Float, 6) if args.symmetric => Some(Codes::Float6),
        (Kind::Float, 4) if args.symmetric => Some(Codes::Float4),
        _ => None,
    };
    let symmetric = args.symmetric;
    let cols = args.group.and_then(|g| u32::try_from(g).ok());
    match (codes, args.sharing, args.dynamic, cols) {
        (_, Sharing::Tensor, Dynamic::Yes, _) => Err(Refusal::BatchDependent),
        (Some(codes), Sharing::Token, Dynamic::Yes, _) => Ok(InputRule::Row { codes, symmetric }),
        (Some(codes), Sharing::Tensor, Dynamic::No, _) if args.plain_scales() => {
            Ok(InputRule::Fixed { codes, symmetric })
        }
        (Some(codes), Sharing::Group, Dynamic::Yes, Some(cols)) if args.plain_scales() => Ok(InputRule::Group {
            codes,
            cols,
            rule: GroupRule::Float { symmetric },
        }),
        // compressed-tensors makes power-of-two scales for groups of 32 floats and no others
        (Some(codes), Sharing::Group, Dynamic::Yes, Some(32)) if args.kind == Kind::Float => Ok(InputRule::Group {
            codes,
            cols: 32,
            rule: GroupRule::PowerOfTwo,
        }),
        (Some(codes @ Codes::Float4), Sharing::TensorGroup, Dynamic::Local, Some(cols)) => Ok(InputRule::Group {
            codes,
            cols,
            rule: GroupRule::Local,
        }),
        _ => {
            let what = args.describe();
            not_yet(
                format!("{format} with {what} activations"),
                format!("활성값이 {what}인 {format}"),
            )
        }
    }
}
