//! auto-round's own exports: GPTQ's, AWQ's, float8's or compressed-tensors' tensors under its own configuration.

mod compressed;

use std::collections::BTreeMap;

use assay_contest::Problem;

use super::float8::Float8;
use super::gptq::{Gptq, Settings, ZeroPoints};
use super::keys::Keys;
use super::refuse::because;
use super::{Look, awq, float8, skip};
use crate::load::Codes;
use crate::model::Module;
use crate::problem::quoted;
use crate::quant::matching::{Budget, Patterns};
use crate::quant::{GroupRule, InputRule, Quantized, Storage, Strategy};
use crate::verify::invalid;

pub(crate) use compressed::{as_compressed, is_compressed};

/// What `packing_format` says.
#[derive(Clone, Copy)]
enum Packing {
    Gptq(ZeroPoints),
    Awq,
    Float8,
}

const EXPORT_AGAIN: (&str, &str) = (
    "Export with format auto_round, auto_gptq, auto_awq or llm_compressor.",
    "auto_round, auto_gptq, auto_awq, llm_compressor 가운데 하나로 내보내세요.",
);

/// `packing_format` or what older versions call it, without auto-round's own name in front.
fn said_packing(keys: Keys) -> Result<String, Box<Problem>> {
    let said = match keys.text("packing_format")? {
        Some(format) => format,
        None => keys.text("backend")?.unwrap_or_else(|| "auto".to_owned()),
    };
    Ok(said.strip_prefix("auto_round:").map(str::to_owned).unwrap_or(said))
}

fn packing(keys: Keys) -> Result<Packing, Box<Problem>> {
    match said_packing(keys)?.as_str() {
        // weights in float8 whose inputs stay as they are have no packing of their own
        "auto" if keys.text("data_type")?.is_some_and(|kind| kind.starts_with("fp")) => Ok(Packing::Float8),
        "auto" | "auto_gptq" | "gptq" => Ok(Packing::Gptq(ZeroPoints::LessOne)),
        "auto_round" | "gptqmodel" => Ok(Packing::Gptq(ZeroPoints::Plain)),
        // kernels, of the same plain zero points
        "exllamav2" | "tritonv2" | "torch" => Ok(Packing::Gptq(ZeroPoints::Plain)),
        "auto_awq" | "awq" => Ok(Packing::Awq),
        "fp8" | "fp8_static" => Ok(Packing::Float8),
        other => {
            let shown = quoted(other);
            Err(Box::new(because(
                "auto-round",
                (
                    format!(
                        "packing_format \"{shown}\" is simulated, belongs to another machine, or has scales of its own"
                    ),
                    format!(
                        "packing_format \"{shown}\"은(는) 모의 저장이거나 다른 기기용이거나 표준이 아닌 scale을 씁니다"
                    ),
                ),
                EXPORT_AGAIN,
            )))
        }
    }
}

/// One entry of `extra_config`.
struct Extra<'a> {
    name: &'a str,
    /// the name as a pattern, where it is one
    pattern: Option<Patterns>,
    keys: Keys<'a>,
}

impl Extra<'_> {
    fn means(&self, name: &str) -> Result<bool, Box<Problem>> {
        Ok(self.name == name
            || match &self.pattern {
                Some(pattern) => skip::matches(pattern, name)?,
                None => false,
            })
    }
}

pub(super) fn plan(look: &Look) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let packing = packing(keys)?;
    let whole = Settings {
        bits: keys.bits("bits")?.ok_or_else(|| Box::new(invalid("bits is missing")))?,
        group: group(keys)?.unwrap_or(128),
        symmetric: keys.flag("sym", true)?,
        ordered: false,
    };
    let head = quantizes_head(keys)?;
    let blocks = blocks(keys)?;
    let extras = extras(keys)?;
    let fp8 = match packing {
        Packing::Float8 => Some(float8_scheme(keys)?),
        _ => None,
    };
    super::assign(look, |module, name| {
        let extra = {
            let mut found = None;
            for extra in &extras {
                if extra.means(name)? {
                    found = Some(extra.keys);
                    break;
                }
            }
            found
        };
        let inside = |block: &&str| name.strip_prefix(*block).is_some_and(|rest| rest.starts_with('.'));
        let listed = match module {
            Module::Head => head || extra.is_some(),
            _ => extra.is_some() || blocks.as_ref().is_none_or(|list| list.iter().any(inside)),
        };
        if !listed {
            return Ok(None);
        }
        let settings = match extra {
            Some(keys) => Settings {
                group: group(keys)?.unwrap_or(whole.group),
                ..whole.overridden(Keys(&without_group(keys)))?
            },
            None => whole,
        };
        if settings.bits >= 16 {
            return Ok(None);
        }
        let cols = module.shape(look.model).1;
        match packing {
            Packing::Gptq(zeros) => {
                let layout = Gptq { zeros, planar: false };
                settings.quantized(look, name, cols, layout).map(Some)
            }
            Packing::Awq => awq::quantized(settings.bits, settings.group, settings.symmetric).map(Some),
            Packing::Float8 => Ok(fp8),
        }
    })
}

fn quantizes_head(keys: Keys) -> Result<bool, Box<Problem>> {
    Ok(keys.flag("lm_head", false)? || keys.flag("quant_lm_head", false)?)
}

/// The parts of the model whose matrices are quantized; all where it is not said.
fn blocks(keys: Keys<'_>) -> Result<Option<Vec<&str>>, Box<Problem>> {
    let blocks = match keys.get("block_name_to_quantize") {
        Some(_) => keys.strings("block_name_to_quantize")?,
        None => keys.strings("to_quant_block_names")?,
    };
    Ok(blocks.map(|list| list.into_iter().flat_map(|b| b.split(',')).map(str::trim).collect()))
}

/// The settings without `group_size`, which may be a pair here.
fn without_group(keys: Keys) -> serde_json::Map<String, serde_json::Value> {
    let kept = keys.0.iter().filter(|(name, _)| *name != "group_size");
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A number of columns; 0 is the whole matrix and two numbers a block, which only float8 has.
fn group(keys: Keys) -> Result<Option<i64>, Box<Problem>> {
    match keys.get("group_size") {
        Some(v) if v == 0 || v.is_array() => Ok(Some(-1)),
        _ => keys.group("group_size"),
    }
}

fn extras(keys: Keys<'_>) -> Result<Vec<Extra<'_>>, Box<Problem>> {
    let Some(entries) = keys.object("extra_config")? else {
        return Ok(Vec::new());
    };
    let mut budget = Budget::default();
    let mut list = Vec::new();
    for (name, value) in entries.0 {
        let Some(keys) = value.as_object().map(Keys) else {
            return Err(Box::new(invalid(&format!(
                "extra_config.{}: not an object",
                quoted(name)
            ))));
        };
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
        let pattern = if plain {
            None
        } else {
            Some(skip::regex(name, &mut budget)?)
        };
        list.push(Extra { name, pattern, keys });
    }
    Ok(list)
}

fn float8_scheme(keys: Keys) -> Result<Quantized, Box<Problem>> {
    let pair = keys.get("group_size").and_then(serde_json::Value::as_array);
    let side = |v: &serde_json::Value| v.as_u64().filter(|n| (1..=1 << 20).contains(n)).map(|n| n as u32);
    let block = match pair.map(Vec::as_slice) {
        Some([r, c]) => side(r).zip(side(c)),
        _ => None,
    };
    let scale = if block.is_some() {
        "weight_scale_inv"
    } else {
        "weight_scale"
    };
    let f = Float8 {
        scale,
        input: "input_scale",
        block,
    };
    let strategy = match keys.get("group_size").and_then(serde_json::Value::as_i64) {
        Some(0) => Strategy::Tensor,
        _ => Strategy::Channel,
    };
    let acts = keys.bits("act_bits")?.unwrap_or(16);
    let codes = Codes::Float8;
    let inputs = match (acts, keys.flag("act_dynamic", true)?) {
        (16.., _) => InputRule::Plain,
        (_, true) if block.is_none() => InputRule::Row { codes, symmetric: true },
        (_, false) if block.is_none() => InputRule::Fixed { codes, symmetric: true },
        _ => match block {
            Some((_, cols)) => InputRule::Group {
                codes,
                cols,
                rule: GroupRule::Float { symmetric: true },
            },
            None => InputRule::Plain,
        },
    };
    Ok(float8::quantized(f, strategy, inputs))
}
