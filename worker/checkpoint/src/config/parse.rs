//! From JSON to [`ModelConfig`], or to every problem at once.

use assay_contest::Problem;
use serde_json::Value;

use super::fields::{Fields, bounds};
use super::{ComputeDtype, Family, LayerType, ModelConfig, layers, rope};
use crate::problem::{Problems, problem, quoted};
use crate::strict_json::{self, Limits};

/// Longest config.json read. A real one has 1 to 60 KB (older tools list every ignored module).
pub const MAX_CONFIG_BYTES: u64 = 2 << 20;
const LIMITS: Limits = Limits {
    bytes: MAX_CONFIG_BYTES as usize,
    depth: 16,
    values: 100_000,
};

/// Most end-of-sequence ids.
const MAX_EOS: usize = 64;

impl ModelConfig {
    /// Reads config.json's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        Self::parse(&read_json(bytes).map_err(|p| vec![*p])?)
    }

    /// Reads a parsed config.json. All problems are reported, not only the first.
    pub fn parse(config: &Value) -> Result<Self, Vec<Problem>> {
        let Some(map) = config.as_object() else {
            return Err(vec![not_json("the file is not a JSON object", "JSON 객체가 아닙니다")]);
        };
        let mut fields = Fields {
            map,
            problems: Problems::default(),
        };
        let model = match family(&mut fields) {
            Some(family) => read(&mut fields, family),
            None => None,
        };
        let problems = fields.problems.finish();
        match model {
            Some(model) if problems.is_empty() => Ok(model),
            _ => Err(problems),
        }
    }
}

/// config.json as strict JSON.
pub(crate) fn read_json(bytes: &[u8]) -> Result<Value, Box<Problem>> {
    strict_json::parse(bytes, LIMITS).map_err(|e| {
        let why = quoted(&e.to_string());
        Box::new(not_json(
            &format!("it cannot be read: {why}"),
            &format!("읽을 수 없습니다: {why}"),
        ))
    })
}

fn not_json(en: &str, ko: &str) -> Problem {
    problem(
        "config-unreadable",
        "config.json",
        (format!("config.json: {en}"), format!("config.json: {ko}")),
        (
            "Save the model again with save_pretrained and upload its config.json.",
            "save_pretrained로 모델을 다시 저장하고 그 config.json을 올려 주세요.",
        ),
    )
}

fn family(fields: &mut Fields) -> Option<Family> {
    let kind = fields.map.get("model_type").cloned().unwrap_or_default();
    let family = match kind.as_str() {
        Some("exaone4") => Family::Exaone4,
        Some("exaone") => Family::Exaone,
        _ => {
            let shown = quoted(&kind.to_string());
            fields.reject(
                "config-architecture",
                "model_type",
                (
                    format!("model_type is {shown}; exaone4 and exaone can be graded"),
                    format!("model_type이 {shown}입니다. exaone4와 exaone만 채점합니다"),
                ),
                (
                    "Submit a compressed version of the contest's base model.",
                    "대회의 기준 모델을 압축한 것을 제출하세요.",
                ),
            );
            return None;
        }
    };
    let class = match family {
        Family::Exaone4 => "Exaone4ForCausalLM",
        Family::Exaone => "ExaoneForCausalLM",
    };
    let architectures = fields.map.get("architectures").cloned().unwrap_or_default();
    if !architectures
        .as_array()
        .is_some_and(|list| list.len() == 1 && list[0] == class)
    {
        let shown = quoted(&architectures.to_string());
        fields.reject(
            "config-architecture",
            "architectures",
            (
                format!("architectures is {shown}, [\"{class}\"] belongs there"),
                format!("architectures가 {shown}입니다. [\"{class}\"]여야 합니다"),
            ),
            (
                "Copy model_type and architectures from the base model's config.json.",
                "기준 모델의 config.json에서 model_type과 architectures를 가져오세요.",
            ),
        );
    }
    Some(family)
}

fn read(fields: &mut Fields, family: Family) -> Option<ModelConfig> {
    let older = family == Family::Exaone;
    let pick = |new: &'static [&'static str], old: &'static [&'static str]| if older { old } else { new };
    let layer_names = pick(&["num_hidden_layers"], &["num_layers", "num_hidden_layers"]);
    let eps_names = pick(&["rms_norm_eps"], &["layer_norm_epsilon"]);
    let act_names = pick(&["hidden_act"], &["activation_function"]);

    fields.agree(layer_names);
    fields.agree(&["dtype", "torch_dtype"]);
    refuse_what_loaders_read_differently(fields, act_names);

    let vocab = fields.count(&["vocab_size"], 1, bounds::VOCAB);
    let hidden = fields.count(&["hidden_size"], 1, bounds::HIDDEN);
    let intermediate = fields.count(&["intermediate_size"], 1, bounds::INTERMEDIATE);
    let layers = fields.count(layer_names, 1, bounds::LAYERS);
    let heads = fields.count(&["num_attention_heads"], 1, bounds::HEADS);
    let kv_heads = fields.count(&["num_key_value_heads"], 1, bounds::HEADS);
    let max_positions = fields.count(&["max_position_embeddings"], 1, bounds::POSITIONS);
    let rms_eps = fields
        .optional_number(eps_names, 1e-12, 1e-1)
        .or_else(|| fields.get(eps_names).is_none().then_some(1e-5));
    let head_dim = head_dim(fields, hidden, heads);
    if let (Some(heads), Some(kv)) = (heads, kv_heads)
        && heads % kv != 0
    {
        fields.out_of_range(
            "num_key_value_heads",
            &Value::from(kv),
            format!("a divisor of {heads} (num_attention_heads)"),
        );
    }
    let rope = rope::read(fields);
    let tie = match (fields.optional_flag("tie_word_embeddings"), older) {
        (Some(tie), _) => Some(tie),
        (None, false) => Some(false),
        // Loaders disagree about the default of the older family.
        (None, true) => {
            if fields.get(&["tie_word_embeddings"]).is_none() {
                fields.missing("tie_word_embeddings");
            }
            None
        }
    };
    let (sliding_window, layer_types) = match family {
        Family::Exaone4 => layers::read(fields, layers?)?,
        Family::Exaone => (None, vec![LayerType::Full; layers?]),
    };
    let bos = fields.optional_token("bos_token_id", vocab);
    let pad = fields.optional_token("pad_token_id", vocab);
    let eos = eos(fields, vocab);
    let dtype = dtype(fields);
    Some(ModelConfig {
        family,
        vocab: vocab?,
        hidden: hidden?,
        intermediate: intermediate?,
        layers: layers?,
        heads: heads?,
        kv_heads: kv_heads?,
        head_dim: head_dim?,
        rms_eps: rms_eps?,
        rope: rope?,
        sliding_window,
        layer_types,
        tie: tie?,
        max_positions: max_positions?,
        eos,
        bos,
        pad,
        dtype: dtype?,
    })
}

fn head_dim(fields: &mut Fields, hidden: Option<usize>, heads: Option<usize>) -> Option<usize> {
    if fields.get(&["head_dim"]).is_some() {
        let dim = fields.optional_count(&["head_dim"], 2, bounds::HEAD_DIM)?;
        if !dim.is_multiple_of(2) {
            fields.out_of_range("head_dim", &Value::from(dim), "an even number".to_owned());
        }
        return Some(dim);
    }
    let (hidden, heads) = (hidden?, heads?);
    let dim = hidden / heads;
    if !hidden.is_multiple_of(heads) || !dim.is_multiple_of(2) || !(2..=bounds::HEAD_DIM as usize).contains(&dim) {
        fields.reject(
            "config-head-dim-missing",
            "head_dim",
            (
                format!("head_dim is missing and {hidden} (hidden_size) / {heads} (num_attention_heads) gives no usable width"),
                format!("head_dim이 없고 {hidden}(hidden_size) / {heads}(num_attention_heads)로는 쓸 수 있는 너비가 나오지 않습니다"),
            ),
            ("After pruning heads, write head_dim explicitly (64 for EXAONE 4.0 1.2B).", "헤드를 줄였다면 head_dim을 명시하세요 (EXAONE 4.0 1.2B는 64)."),
        );
        return None;
    }
    Some(dim)
}

fn refuse_what_loaders_read_differently(fields: &mut Fields, act_names: &[&'static str]) {
    if let Some((name, value)) = fields.get(act_names)
        && value != "silu"
    {
        fields.out_of_range(name, value, "\"silu\"".to_owned());
    }
    for name in ["attention_bias", "bias", "mlp_bias"] {
        if fields.get(&[name]).is_some_and(|(_, v)| v != false) {
            fields.reject(
                "config-bias",
                name,
                (
                    format!("{name} is set; EXAONE has no biases"),
                    format!("{name}이(가) 켜져 있습니다. EXAONE에는 bias가 없습니다"),
                ),
                (
                    "Remove the field (or set it to false).",
                    "이 항목을 지우거나 false로 두세요.",
                ),
            );
        }
    }
    if let Some((_, value)) = fields.get(&["logit_scale"])
        && value.as_f64() != Some(1.0)
    {
        fields.reject(
            "config-logit-scale",
            "logit_scale",
            (
                "logit_scale is not 1: vLLM multiplies the logits by it, transformers ignores it".to_owned(),
                "logit_scale이 1이 아닙니다. vLLM은 로짓에 곱하고 transformers는 무시합니다".to_owned(),
            ),
            ("Remove logit_scale.", "logit_scale을 지워 주세요."),
        );
    }
}

fn eos(fields: &mut Fields, vocab: Option<usize>) -> Vec<u32> {
    let Some((name, value)) = fields.get(&["eos_token_id"]) else {
        return Vec::new();
    };
    let limit = vocab.map_or(bounds::VOCAB, |v| v as u64);
    let ids: Option<Vec<u32>> = match value {
        Value::Array(list) if list.len() <= MAX_EOS => list.iter().map(|v| token(v, limit)).collect(),
        Value::Array(_) => None,
        single => token(single, limit).map(|id| vec![id]),
    };
    ids.unwrap_or_else(|| {
        fields.out_of_range(name, value, format!("token ids below {limit}"));
        Vec::new()
    })
}

fn token(value: &Value, limit: u64) -> Option<u32> {
    value
        .as_u64()
        .filter(|id| *id < limit)
        .and_then(|id| u32::try_from(id).ok())
}

fn dtype(fields: &mut Fields) -> Option<ComputeDtype> {
    let Some((name, value)) = fields.get(&["dtype", "torch_dtype"]) else {
        return Some(ComputeDtype::Bf16);
    };
    match value.as_str().map(|s| s.strip_prefix("torch.").unwrap_or(s)) {
        Some("bfloat16") => Some(ComputeDtype::Bf16),
        Some("float16") => Some(ComputeDtype::F16),
        Some("float32") => Some(ComputeDtype::F32),
        _ => {
            fields.out_of_range(name, value, "\"bfloat16\" | \"float16\" | \"float32\"".to_owned());
            None
        }
    }
}
