//! One `QuantizationArgs` of compressed-tensors: bits, type, strategy. Read from config.json and, turned into JSON, from recipe.yaml.

use serde_json::{Map, Value};

use crate::problem::quoted;

/// Integers or floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
}

/// Who shares a scale, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Tensor,
    Channel,
    Group,
    TensorGroup,
    Block,
    Token,
    AttnHead,
}

/// When a scale is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dynamic {
    /// stored
    No,
    /// at run time
    Yes,
    /// a stored global one and run-time local ones
    Local,
}

/// Order in which GPTQ treated the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActOrder {
    /// as they come
    None,
    /// by importance, groups unchanged: leaves no trace
    Static,
    /// by importance, groups follow: needs `weight_g_idx`
    Group,
}

/// How one tensor is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub bits: u8,
    pub kind: Kind,
    pub symmetric: bool,
    pub sharing: Sharing,
    /// columns of a group; only with `Group` and `TensorGroup`
    pub group: Option<u64>,
    pub dynamic: Dynamic,
    pub actorder: ActOrder,
    /// what a scale is stored as
    pub scales: ScaleType,
    /// rows and columns of a block; only with `Block`
    pub block: Option<(u64, u64)>,
}

/// What a scale is stored as (`scale_dtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleType {
    /// BF16, F16 or F32, or not said: versions before 0.13 never say it
    Plain,
    /// float8 e4m3fn: NVFP4
    E4m3,
    /// an exponent of two in a byte: the MX formats
    E8m0,
    /// anything else
    Other,
}

/// Keys that compressed-tensors 0.9 to 0.20 knows.
const KNOWN: [&str; 12] = [
    "num_bits",
    "type",
    "symmetric",
    "strategy",
    "group_size",
    "block_structure",
    "dynamic",
    "actorder",
    "scale_dtype",
    "zp_dtype",
    "observer",
    "observer_kwargs",
];

impl Args {
    /// Reads an object; the error names the field. Unknown keys are appended to `unknown`.
    pub fn parse(map: &Map<String, Value>, unknown: &mut Vec<String>) -> Result<Args, String> {
        unknown.extend(map.keys().filter(|k| !KNOWN.contains(&k.as_str())).map(|k| quoted(k)));
        let wrong = |name: &str| {
            format!(
                "{name}: {}",
                quoted(&map.get(name).cloned().unwrap_or_default().to_string())
            )
        };
        let field = |name: &str| map.get(name).filter(|v| !v.is_null());
        let bits = match field("num_bits") {
            None => 8,
            Some(v) => v
                .as_u64()
                .filter(|b| (1..=16).contains(b))
                .ok_or_else(|| wrong("num_bits"))? as u8,
        };
        let kind = match field("type").map(|v| v.as_str()) {
            None | Some(Some("int")) => Kind::Int,
            Some(Some("float")) => Kind::Float,
            _ => return Err(wrong("type")),
        };
        let symmetric = match field("symmetric") {
            None => true,
            Some(v) => v.as_bool().ok_or_else(|| wrong("symmetric"))?,
        };
        let size = match field("group_size") {
            None => None,
            Some(v) => Some(
                v.as_i64()
                    .filter(|g| *g == -1 || (1..=1 << 20).contains(g))
                    .ok_or_else(|| wrong("group_size"))?,
            ),
        };
        let sharing = match field("strategy").map(|v| v.as_str()) {
            None => match size {
                None => Sharing::Tensor,
                Some(-1) => Sharing::Channel,
                Some(_) => Sharing::Group,
            },
            Some(Some("tensor")) => Sharing::Tensor,
            Some(Some("channel")) => Sharing::Channel,
            Some(Some("group")) => Sharing::Group,
            Some(Some("tensor_group")) => Sharing::TensorGroup,
            Some(Some("block")) => Sharing::Block,
            Some(Some("token")) => Sharing::Token,
            Some(Some("attn_head")) => Sharing::AttnHead,
            _ => return Err(wrong("strategy")),
        };
        let group = match (sharing, size) {
            (Sharing::Group | Sharing::TensorGroup, Some(g)) if g > 0 => Some(g as u64),
            (Sharing::Group, Some(-1)) => None,
            (Sharing::Group | Sharing::TensorGroup, _) => return Err(wrong("group_size")),
            _ => None,
        };
        // A group as wide as the row is a channel.
        let sharing = if sharing == Sharing::Group && group.is_none() {
            Sharing::Channel
        } else {
            sharing
        };
        let block = match (sharing, field("block_structure")) {
            (Sharing::Block, value) => Some(block_structure(value).ok_or_else(|| wrong("block_structure"))?),
            _ => None,
        };
        let dynamic = match field("dynamic") {
            None | Some(Value::Bool(false)) => Dynamic::No,
            Some(Value::Bool(true)) => Dynamic::Yes,
            Some(v) if v == "local" => Dynamic::Local,
            _ => return Err(wrong("dynamic")),
        };
        let actorder = Self::actorder(field("actorder")).ok_or_else(|| wrong("actorder"))?;
        Ok(Args {
            bits,
            kind,
            symmetric,
            sharing,
            group,
            dynamic,
            actorder,
            scales: scale_type(field("scale_dtype")),
            block,
        })
    }

    /// Scales are BF16, F16 or F32, as far as is said.
    pub fn plain_scales(&self) -> bool {
        self.scales == ScaleType::Plain
    }

    /// What scales are stored as where `scale_dtype` may be left out: small floats have scales of their own kind.
    pub fn stored_scales(&self) -> ScaleType {
        match (self.scales, self.kind, self.bits, self.group) {
            (ScaleType::Plain, Kind::Float, 4, Some(16)) => ScaleType::E4m3,
            (ScaleType::Plain, Kind::Float, 4 | 6, Some(_)) => ScaleType::E8m0,
            (said, ..) => said,
        }
    }

    /// Also used for the recipe's own `actorder`.
    pub fn actorder(value: Option<&Value>) -> Option<ActOrder> {
        Some(match value {
            None | Some(Value::Null | Value::Bool(false)) => ActOrder::None,
            Some(Value::Bool(true)) => ActOrder::Group,
            Some(v) => match v.as_str()? {
                "static" | "weight" => ActOrder::Static,
                "group" | "dynamic" => ActOrder::Group,
                _ => return None,
            },
        })
    }

    /// Equal in what is stored and computed; the order of treatment is left out.
    pub fn same(&self, other: &Args) -> bool {
        (
            self.bits,
            self.kind,
            self.symmetric,
            self.sharing,
            self.group,
            self.dynamic,
            self.block,
            self.stored_scales(),
        ) == (
            other.bits,
            other.kind,
            other.symmetric,
            other.sharing,
            other.group,
            other.dynamic,
            other.block,
            other.stored_scales(),
        )
    }

    /// `4-bit int g128 sym`.
    pub fn describe(&self) -> String {
        let kind = if self.kind == Kind::Int { "int" } else { "float" };
        format!("{}-bit {kind} {}", self.bits, self.sharing_text())
    }

    /// `g128 sym`, `channel asym`, `tensor sym`, …
    pub fn sharing_text(&self) -> String {
        let sharing = match (self.sharing, self.group) {
            (_, Some(g)) => format!("g{g}"),
            (Sharing::Tensor, _) => "tensor".to_owned(),
            (Sharing::Channel, _) => "channel".to_owned(),
            (Sharing::Group | Sharing::TensorGroup, None) => "group".to_owned(),
            (Sharing::Block, _) => match self.block {
                None | Some((128, 128)) => "block".to_owned(),
                Some((rows, cols)) => format!("block {rows}x{cols}"),
            },
            (Sharing::Token, _) => "token".to_owned(),
            (Sharing::AttnHead, _) => "head".to_owned(),
        };
        format!("{sharing} {}", if self.symmetric { "sym" } else { "asym" })
    }
}

fn scale_type(value: Option<&Value>) -> ScaleType {
    match value.map(|v| v.as_str().map(|name| name.strip_prefix("torch.").unwrap_or(name))) {
        None | Some(Some("bfloat16" | "float16" | "float32")) => ScaleType::Plain,
        Some(Some("float8_e4m3fn")) => ScaleType::E4m3,
        Some(Some("uint8" | "float8_e8m0fnu")) => ScaleType::E8m0,
        Some(_) => ScaleType::Other,
    }
}

/// `[128, 128]` or `"128x128"`.
fn block_structure(value: Option<&Value>) -> Option<(u64, u64)> {
    let sides: Vec<u64> = match value? {
        Value::Array(sides) => sides.iter().map(Value::as_u64).collect::<Option<_>>()?,
        Value::String(text) => text
            .split('x')
            .map(|side| side.trim().parse().ok())
            .collect::<Option<_>>()?,
        _ => return None,
    };
    match sides[..] {
        [rows, cols] if (1..=1 << 20).contains(&rows) && (1..=1 << 20).contains(&cols) => Some((rows, cols)),
        _ => None,
    }
}
