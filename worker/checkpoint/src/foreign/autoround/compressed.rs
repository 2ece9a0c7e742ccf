//! auto-round's `auto_round:llm_compressor`: the tensors of compressed-tensors (MXFP4, MXFP8, NVFP4 and what else it packs so) under
//! auto-round's own keys. They are said again in compressed-tensors' words, so that everything that knows those knows these.
//!
//! Groups of inputs get their scales as compressed-tensors and vLLM compute them; auto-round's own simulation rounds the shared
//! exponent of microscaled inputs down where compressed-tensors rounds it to the nearest.

use assay_contest::Problem;
use serde_json::{Map, Value, json};

use super::super::keys::Keys;
use super::super::refuse::because;
use super::{EXPORT_AGAIN, blocks, extras, quantizes_head, said_packing};
use crate::problem::quoted;
use crate::verify::invalid;

/// Means a configuration of auto-round stands over compressed-tensors' tensors.
pub(crate) fn is_compressed(map: &Map<String, Value>) -> bool {
    let keys = Keys(map);
    // microscaled floats have no other packing, whatever a version calls it
    let micro = |kind: String| kind.starts_with("mx_") || kind.starts_with("nv_");
    keys.text("data_type").is_ok_and(|kind| kind.is_some_and(micro))
        || said_packing(keys).is_ok_and(|said| said == "llm_compressor")
}

/// The same configuration as compressed-tensors writes it.
pub(crate) fn as_compressed(map: &Map<String, Value>) -> Result<Map<String, Value>, Box<Problem>> {
    let keys = Keys(map);
    let whole = Scheme::default().overridden(keys)?;
    let extras = extras(keys)?;
    let mut ignore = Vec::new();
    // An entry a module is usual where bits are given out by sensitivity, so that entries of one scheme are one group. A name means
    // more than a pattern wherever it stands; of patterns the first that means a module decides, and they stay in their order.
    let mut exceptions: Vec<(bool, Scheme, Vec<String>)> = Vec::new();
    for extra in &extras {
        let named = extra.pattern.is_none();
        let target = match named {
            true => extra.name.to_owned(),
            false => format!("re:{}", extra.name),
        };
        let scheme = whole.overridden(extra.keys)?;
        if scheme.bits >= 16 {
            ignore.push(target);
            continue;
        }
        let full = exceptions.len() == MAX_SCHEMES;
        let reach = if named { exceptions.len() } else { 1 };
        let mut alike = exceptions.iter_mut().rev().filter(|of| of.0 == named).take(reach);
        match alike.find(|of| of.1 == scheme) {
            Some((_, _, targets)) => targets.push(target),
            None if full => {
                let why = format!("extra_config: more than {MAX_SCHEMES} schemes");
                return Err(Box::new(invalid(&why)));
            }
            None => exceptions.push((named, scheme, vec![target])),
        }
    }
    if !quantizes_head(keys)? && !extras.iter().any(|extra| extra.name == "lm_head") {
        ignore.push("lm_head".to_owned());
    }
    let mut groups = Map::new();
    for (at, (_, scheme, targets)) in exceptions.into_iter().enumerate() {
        groups.insert(format!("extra_{at:02}"), scheme.group(&targets)?);
    }
    if whole.bits < 16 {
        let inside = |block: &&str| format!("re:^{}\\..*", block.replace('.', "\\."));
        let targets = match blocks(keys)? {
            Some(list) => list.iter().map(inside).collect(),
            None => vec!["Linear".to_owned()],
        };
        groups.insert("group_0".to_owned(), whole.group(&targets)?);
    }
    Ok(object([
        ("quant_method", json!("compressed-tensors")),
        ("config_groups", Value::Object(groups)),
        ("ignore", json!(ignore)),
        ("quantization_status", json!("compressed")),
    ]))
}

/// Most schemes beside the one of the whole: compressed-tensors' configuration has at most 64.
const MAX_SCHEMES: usize = 63;

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What numbers are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `mx_fp`, `mx_fp_rceil`
    Mx,
    /// `nv_fp`, `nv_fp4_with_static_gs`
    Nv,
    /// `fp`, `fp8_e4m3`
    Float,
    Int,
}

/// How auto-round's words for them begin.
const KINDS: [(&str, Kind); 5] = [
    ("mx_fp", Kind::Mx),
    ("nv_fp", Kind::Nv),
    ("fp", Kind::Float),
    ("float", Kind::Float),
    ("int", Kind::Int),
];

/// Who shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// so many columns; a row is −1, the whole 0
    Columns(i64),
    /// rows and columns
    Block(u64, u64),
}

/// The keys of a scheme; 16 bits are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheme {
    bits: i64,
    kind: Kind,
    size: Size,
    symmetric: bool,
    act_bits: i64,
    act_kind: Option<Kind>,
    act_size: Size,
    act_symmetric: bool,
    act_dynamic: bool,
}

impl Default for Scheme {
    fn default() -> Scheme {
        Scheme {
            bits: 0,
            kind: Kind::Int,
            size: Size::Columns(128),
            symmetric: true,
            act_bits: 16,
            act_kind: None,
            act_size: Size::Columns(-1),
            act_symmetric: true,
            act_dynamic: true,
        }
    }
}

impl Scheme {
    /// The same but for what `keys` say.
    fn overridden(self, keys: Keys) -> Result<Scheme, Box<Problem>> {
        let scheme = Scheme {
            bits: keys.bits("bits")?.unwrap_or(self.bits),
            kind: kind(keys, "data_type")?.unwrap_or(self.kind),
            size: size(keys, "group_size")?.unwrap_or(self.size),
            symmetric: keys.flag("sym", self.symmetric)?,
            act_bits: keys.bits("act_bits")?.unwrap_or(self.act_bits),
            act_kind: kind(keys, "act_data_type")?.or(self.act_kind),
            act_size: size(keys, "act_group_size")?.unwrap_or(self.act_size),
            act_symmetric: keys.flag("act_sym", self.act_symmetric)?,
            act_dynamic: keys.flag("act_dynamic", self.act_dynamic)?,
        };
        match scheme.bits {
            0 => Err(Box::new(invalid("bits is missing"))),
            _ => Ok(scheme),
        }
    }

    /// A group of compressed-tensors' configuration.
    fn group(self, targets: &[String]) -> Result<Value, Box<Problem>> {
        let plain = self.act_bits >= 16;
        let format = match (self.kind, self.bits) {
            (Kind::Mx, 4) => "mxfp4-pack-quantized",
            (Kind::Mx, 6) => "mxfp6-pack-quantized",
            (Kind::Mx, 8) => "mxfp8-quantized",
            (Kind::Nv, 4) => "nvfp4-pack-quantized",
            (Kind::Float, 8) => "float-quantized",
            (Kind::Int, 8) if !plain => "int-quantized",
            (Kind::Int, _) => "pack-quantized",
            _ => {
                let known = KINDS.into_iter().find(|(_, kind)| *kind == self.kind);
                let name = known.map_or("", |(name, _)| name);
                return Err(unknown(&format!("{name}, {} bits", self.bits)));
            }
        };
        let inputs = match plain {
            true => Value::Null,
            false => args(
                self.act_kind.unwrap_or(self.kind),
                self.act_bits,
                self.act_size,
                self.act_symmetric,
                self.act_dynamic,
            ),
        };
        Ok(json!({
            "targets": targets,
            "weights": args(self.kind, self.bits, self.size, self.symmetric, false),
            "input_activations": inputs,
            "format": format,
        }))
    }
}

fn kind(keys: Keys, name: &str) -> Result<Option<Kind>, Box<Problem>> {
    let Some(said) = keys.text(name)? else {
        return Ok(None);
    };
    match KINDS.into_iter().find(|(start, _)| said.starts_with(start)) {
        Some((_, kind)) => Ok(Some(kind)),
        None => Err(unknown(&quoted(&said))),
    }
}

fn size(keys: Keys, name: &str) -> Result<Option<Size>, Box<Problem>> {
    let Some(value) = keys.get(name) else {
        return Ok(None);
    };
    let size = match (value.as_i64(), value.as_array().map(Vec::as_slice)) {
        (Some(columns), _) => Some(Size::Columns(columns)),
        (_, Some([rows, cols])) => rows.as_u64().zip(cols.as_u64()).map(|(r, c)| Size::Block(r, c)),
        _ => None,
    };
    let wrong = || Box::new(invalid(&format!("{name}: a number of columns or a block is needed")));
    size.map(Some).ok_or_else(wrong)
}

/// A quantization of weights, or of inputs where `dynamic` says that their scales are computed as it runs.
fn args(kind: Kind, bits: i64, size: Size, symmetric: bool, dynamic: bool) -> Value {
    let name = match kind {
        Kind::Int => "int",
        _ => "float",
    };
    let (strategy, columns, block) = match (kind, size) {
        (Kind::Nv, Size::Columns(n)) => ("tensor_group", Some(n), None),
        (Kind::Mx, Size::Columns(n)) => ("group", Some(n), None),
        (_, Size::Columns(0)) => ("tensor", None, None),
        (_, Size::Columns(-1)) if dynamic => ("token", None, None),
        (_, Size::Columns(-1)) => ("channel", None, None),
        (_, Size::Columns(n)) => ("group", Some(n), None),
        (_, Size::Block(rows, cols)) => ("block", None, Some([rows, cols])),
    };
    let scales = match kind {
        Kind::Mx => Some("torch.uint8"),
        Kind::Nv => Some("torch.float8_e4m3fn"),
        _ => None,
    };
    // of NVFP4's inputs the scales of groups are computed, the one of the matrix is stored
    let dynamic = match kind {
        Kind::Nv if dynamic => json!("local"),
        _ => json!(dynamic),
    };
    json!({
        "num_bits": bits, "type": name, "symmetric": symmetric, "strategy": strategy, "group_size": columns,
        "block_structure": block, "dynamic": dynamic, "scale_dtype": scales,
    })
}

fn unknown(kind: &str) -> Box<Problem> {
    Box::new(because(
        "auto-round",
        (
            format!("data_type \"{kind}\" is none of compressed-tensors'"),
            format!("data_type \"{kind}\"은(는) compressed-tensors에 없는 방식입니다"),
        ),
        EXPORT_AGAIN,
    ))
}
