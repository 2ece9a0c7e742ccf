//! GPTQ as AutoGPTQ, GPTQModel and auto-round write it: `qweight` [in · bits / 32, out] packed along the inputs, `qzeros`
//! [groups, out · bits / 32] packed along the outputs, `scales` [groups, out], and `g_idx` [in] where columns were reordered.

mod data;

use std::collections::BTreeMap;

use assay_contest::Problem;

pub(super) use data::{check, expect, load};

use super::keys::Keys;
use super::refuse::{because, refused};
use super::{Foreign, Look, skip};
use crate::model::Module;
use crate::problem::{Problems, problem, quoted};
use crate::quant::matching::{Budget, Patterns};
use crate::quant::{InputRule, Layout, Quantized, Storage};
use crate::verify::invalid;

/// How the words are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gptq {
    /// what a stored zero point means, unless the words themselves tell
    pub zeros: ZeroPoints,
    /// 3, 5, 6 and 7 bits as bit planes (`gptq_p`) rather than as a stream
    pub planar: bool,
}

/// What a stored zero point means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZeroPoints {
    /// version 1: one less than the zero point, subtracted from whole words
    LessOne,
    /// version 2: the zero point
    Plain,
}

/// Bits, group and order of one module.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub bits: i64,
    pub group: i64,
    pub symmetric: bool,
    /// columns were reordered: `g_idx` is needed
    pub ordered: bool,
}

impl Settings {
    /// Those of `keys`, else these.
    pub fn overridden(self, keys: Keys) -> Result<Settings, Box<Problem>> {
        Ok(Settings {
            bits: keys.bits("bits")?.unwrap_or(self.bits),
            group: keys.group("group_size")?.unwrap_or(self.group),
            symmetric: keys.flag("sym", self.symmetric)?,
            ordered: keys.flag("desc_act", self.ordered)?,
        })
    }

    /// As storage, once the tensors agree about the bits.
    pub fn quantized(self, look: &Look, name: &str, cols: usize, layout: Gptq) -> Result<Quantized, Box<Problem>> {
        let stored = look
            .tensors
            .get(format!("{name}.qweight").as_str())
            .and_then(|t| t.shape.first())
            .map(|rows| rows.saturating_mul(32) / cols as u64);
        if let Some(stored) = stored.filter(|b| *b as i64 != self.bits && (2..=8).contains(b)) {
            let said = self.bits;
            return Err(Box::new(problem(
                "module-bits",
                format!("{name}.qweight"),
                (
                    format!("{name} is stored in {stored} bits; by quantization_config it has {said}"),
                    format!("{name}은(는) {stored}비트로 저장되었는데 quantization_config로는 {said}비트입니다"),
                ),
                (
                    "Check dynamic (extra_config): its patterns are matched against whole module names, from the start.",
                    "dynamic(extra_config)을 확인하세요. 패턴은 모듈의 전체 이름과 처음부터 맞춰 봅니다.",
                ),
            )));
        }
        let bits = u8::try_from(self.bits).ok().filter(|b| match b {
            2..=4 | 8 => true,
            5..=7 => layout.planar || layout.zeros == ZeroPoints::Plain,
            _ => false,
        });
        let (Some(bits), Some(strategy)) = (bits, super::strategy(self.group)) else {
            let bits = self.bits;
            return Err(Box::new(because(
                "gptq",
                (
                    format!("{bits}-bit weights are not read"),
                    format!("{bits}비트 가중치는 읽지 않습니다"),
                ),
                ("Use 2 to 8 bits.", "2~8비트를 쓰세요."),
            )));
        };
        Ok(Quantized {
            layout: Layout::Foreign(Foreign::Gptq(layout)),
            bits,
            strategy,
            symmetric: self.symmetric,
            indexed: self.ordered,
            inputs: InputRule::Plain,
        })
    }
}

/// One entry of `dynamic`.
struct Override<'a> {
    source: &'a str,
    pattern: Patterns,
    /// nothing: the module is not quantized
    keys: Option<Keys<'a>>,
    used: bool,
}

pub(super) fn plan(look: &Look, findings: &mut Problems) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let layout = layout(keys)?;
    let Some(bits) = keys.bits("bits")? else {
        return Err(Box::new(invalid("bits is missing")));
    };
    let whole = Settings {
        bits,
        group: keys.group("group_size")?.unwrap_or(128),
        symmetric: keys.flag("sym", true)?,
        ordered: keys.flag("desc_act", false)?,
    };
    if !whole.symmetric && layout.zeros == ZeroPoints::LessOne {
        trust(keys, findings);
    }
    let head = keys.flag("lm_head", false)?;
    let blocks = blocks(keys)?;
    let mut dynamic = dynamic(keys)?;
    let storage = super::assign(look, |module, name| {
        let listed = match module {
            Module::Head => head,
            _ => blocks
                .as_ref()
                .is_none_or(|list| list.iter().any(|suffix| name.ends_with(*suffix))),
        };
        if !listed {
            return Ok(None);
        }
        let mut settings = whole;
        for entry in &mut dynamic {
            if skip::matches(&entry.pattern, name)? {
                entry.used = true;
                let Some(keys) = entry.keys else { return Ok(None) };
                settings = whole.overridden(keys)?;
                break;
            }
        }
        let cols = module.shape(look.model).1;
        settings.quantized(look, name, cols, layout).map(Some)
    })?;
    for entry in dynamic.iter().filter(|entry| !entry.used) {
        findings.push(matches_nothing(entry.source));
    }
    Ok(storage)
}

fn layout(keys: Keys) -> Result<Gptq, Box<Problem>> {
    let format = match keys.text("checkpoint_format")? {
        Some(format) => format,
        None => keys.text("format")?.unwrap_or_else(|| "gptq".to_owned()),
    };
    let words = keys.text("pack_dtype")?.unwrap_or_else(|| "int32".to_owned());
    if words.trim_start_matches("torch.") != "int32" {
        return Err(Box::new(because(
            "gptq",
            (
                format!("codes packed into {} are not read", quoted(&words)),
                format!("{} 단위로 묶은 코드는 읽지 않습니다", quoted(&words)),
            ),
            ("Save with pack_dtype int32.", "pack_dtype을 int32로 저장하세요."),
        )));
    }
    if keys.flag("is_marlin_format", false)? {
        return Err(Box::new(refused("marlin")));
    }
    match format.as_str() {
        "gptq" => Ok(Gptq {
            zeros: ZeroPoints::LessOne,
            planar: false,
        }),
        "gptq_v2" => Ok(Gptq {
            zeros: ZeroPoints::Plain,
            planar: false,
        }),
        "gptq_p" => Ok(Gptq {
            zeros: ZeroPoints::Plain,
            planar: true,
        }),
        other if other.starts_with("marlin") || other.starts_with("bitblas") => Err(Box::new(refused("marlin"))),
        other => Err(Box::new(invalid(&format!("checkpoint_format: \"{}\"", quoted(other))))),
    }
}

/// Version 1 cannot write a zero point of 0 without borrowing from its neighbour. GPTQModel undoes that; older tools lost it.
fn trust(keys: Keys, findings: &mut Problems) {
    let maker = keys.object("meta").ok().flatten().and_then(|m| m.get("quantizer"));
    let known = maker.is_some_and(|m| m.to_string().contains("gptqmodel")) || keys.get("autoround_version").is_some();
    if known {
        return;
    }
    findings.push(problem(
        "gptq-zeros-untrusted",
        "config.json: quantization_config.checkpoint_format",
        (
            "asymmetric weights in version 1, and nothing says that GPTQModel wrote them: a zero point of 0 would have spoilt its neighbours",
            "비대칭 가중치가 버전 1로 저장되었는데 GPTQModel이 썼다는 표시가 없습니다. 영점이 0이면 옆의 값이 깨졌을 수 있습니다",
        ),
        (
            "It is read as GPTQModel reads it. Save as gptq_v2 to be sure.",
            "GPTQModel과 같은 방법으로 읽습니다. 확실히 하려면 gptq_v2로 저장하세요.",
        ),
    ));
}

/// `modules_in_block_to_quantize`: a list of suffixes, or of lists of them.
fn blocks(keys: Keys<'_>) -> Result<Option<Vec<&str>>, Box<Problem>> {
    let name = "modules_in_block_to_quantize";
    let Some(value) = keys.get(name) else {
        return Ok(None);
    };
    let wrong = || Box::new(invalid(&format!("{name}: lists of names are needed")));
    let mut suffixes = Vec::new();
    for entry in value.as_array().ok_or_else(wrong)? {
        match entry.as_array() {
            Some(list) => {
                for name in list {
                    suffixes.push(name.as_str().ok_or_else(wrong)?);
                }
            }
            None => suffixes.push(entry.as_str().ok_or_else(wrong)?),
        }
    }
    Ok(Some(suffixes))
}

fn dynamic(keys: Keys<'_>) -> Result<Vec<Override<'_>>, Box<Problem>> {
    let Some(entries) = keys.object("dynamic")? else {
        return Ok(Vec::new());
    };
    let mut budget = Budget::default();
    let mut list = Vec::new();
    for (source, value) in entries.0 {
        let skipped = source.starts_with("-:");
        let pattern = source
            .strip_prefix("-:")
            .or(source.strip_prefix("+:"))
            .unwrap_or(source);
        let keys = match value.as_object() {
            Some(keys) if !skipped => Some(Keys(keys)),
            _ if skipped => None,
            _ => return Err(Box::new(invalid(&format!("dynamic.{}: not an object", quoted(source))))),
        };
        list.push(Override {
            source,
            pattern: skip::regex(pattern, &mut budget)?,
            keys,
            used: false,
        });
    }
    Ok(list)
}

fn matches_nothing(source: &str) -> Problem {
    let source = quoted(source);
    problem(
        "dynamic-matches-nothing",
        "config.json: quantization_config.dynamic",
        (
            format!("\"{source}\" matches no module: whole names are matched, from the start"),
            format!("\"{source}\"에 맞는 모듈이 없습니다. 전체 이름과 처음부터 맞춰 봅니다"),
        ),
        (
            "If it was meant to change bits, it did not: begin the pattern with .* and quantize again.",
            "비트를 바꾸려던 것이라면 적용되지 않았습니다. 패턴 앞에 .*를 붙여 다시 양자화하세요.",
        ),
    )
}
