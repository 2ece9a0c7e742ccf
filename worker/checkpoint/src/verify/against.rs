//! The contest's rules and the base model.

use std::collections::BTreeMap;

use assay_contest::{CheckpointRules, RecipeRule};
use serde_json::Value;

use crate::base::BaseModel;
use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::{Linear, Module};
use crate::problem::{Problems, problem, quoted};
use crate::quant::Storage;

/// The fields whose change is worth a finding when the contest leaves them free.
const NOTED: [&str; 9] = [
    "num_hidden_layers",
    "num_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "tie_word_embeddings",
    "eos_token_id",
];

/// Format and modules against what the contest allows.
pub(super) fn formats(
    format: &str,
    storage: Option<&BTreeMap<Module, Storage>>,
    rules: &CheckpointRules,
    problems: &mut Problems,
) {
    if format != "unknown" && !rules.formats.iter().any(|f| f == format) {
        let allowed = rules.formats.join(", ");
        problems.push(problem(
            "format-not-allowed",
            format,
            (
                format!("{format} is not allowed in this contest; allowed: {allowed}"),
                format!("이 대회에서는 {format} 형식을 쓸 수 없습니다. 가능: {allowed}"),
            ),
            (
                "Compress into one of the allowed formats.",
                "허용된 형식으로 압축하세요.",
            ),
        ));
    }
    for (module, how) in storage.into_iter().flatten() {
        let kind = match module {
            Module::Embedding => "embed_tokens",
            Module::Head => "lm_head",
            Module::Layer(..) => "Linear",
        };
        if matches!(how, Storage::Packed(_)) && !rules.modules.iter().any(|m| m == kind) {
            let allowed = rules.modules.join(", ");
            problems.push(problem(
                "module-not-allowed",
                format!("{module:?}"),
                (
                    format!("{kind} is quantized; this contest allows that for: {allowed}"),
                    format!("{kind}이(가) 양자화되어 있습니다. 이 대회에서 양자화할 수 있는 것: {allowed}"),
                ),
                (
                    format!("Add {kind} to ignore and quantize again."),
                    format!("{kind}을(를) ignore에 넣고 다시 양자화하세요."),
                ),
            ));
            // one sentence a kind is enough for the seven matrices of thirty layers
            if kind == "Linear" {
                break;
            }
        }
    }
}

/// A recipe where the contest wants one.
pub(super) fn recipe_presence(
    listing: &Listing,
    quantized: bool,
    rules: Option<&CheckpointRules>,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    if listing.file("recipe.yaml").is_some() {
        return;
    }
    if rules.is_some_and(|r| r.recipe == RecipeRule::Required) {
        problems.push(problem(
            "recipe-missing",
            "recipe.yaml",
            (
                "this contest wants recipe.yaml and there is none",
                "이 대회는 recipe.yaml이 필요한데 없습니다",
            ),
            (
                "Upload the recipe.yaml that llm-compressor wrote beside the model.",
                "llm-compressor가 모델 옆에 쓴 recipe.yaml을 올려 주세요.",
            ),
        ));
    } else if quantized {
        findings.push(problem(
            "recipe-absent",
            "recipe.yaml",
            (
                "there is no recipe.yaml, so nothing says how the model was compressed",
                "recipe.yaml이 없어 어떻게 압축했는지 알 수 없습니다",
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
}

/// config.json against the base's: locked fields must agree, other changes are noted.
pub(super) fn base(
    config: &Value,
    model: Option<&ModelConfig>,
    base: &BaseModel,
    rules: Option<&CheckpointRules>,
    listing: &Listing,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let theirs = ModelConfig::parse(&base.config).ok();
    let locked: Vec<&str> = rules
        .map(|r| r.locked.iter().map(String::as_str).collect())
        .unwrap_or_default();
    let pair = |field: &str| {
        (
            meaning(config, model, field),
            meaning(&base.config, theirs.as_ref(), field),
        )
    };
    for field in &locked {
        let (ours, wanted) = pair(field);
        if ours != wanted {
            let (ours, wanted) = (quoted(&ours.to_string()), quoted(&wanted.to_string()));
            problems.push(problem(
                "config-locked-field",
                format!("config.json: {}", quoted(field)),
                (
                    format!("{field} is {ours}; this contest requires the base model's value, {wanted}"),
                    format!("{field} 값이 {ours}입니다. 이 대회에서는 기준 모델의 값 {wanted}이어야 합니다"),
                ),
                (
                    format!("Set {field} back to {wanted}."),
                    format!("{field}을(를) {wanted}(으)로 되돌려 주세요."),
                ),
            ));
        }
    }
    for field in NOTED.iter().filter(|f| !locked.contains(f)) {
        let (ours, wanted) = pair(field);
        if model.is_some() && ours != wanted {
            let (ours, wanted) = (quoted(&ours.to_string()), quoted(&wanted.to_string()));
            findings.push(problem(
                "config-differs-from-base",
                format!("config.json: {field}"),
                (
                    format!("{field} is {ours}, the base model's is {wanted}"),
                    format!("{field} 값이 {ours}입니다. 기준 모델은 {wanted}입니다"),
                ),
                (
                    "Nothing has to be done if that is intended.",
                    "의도한 것이라면 할 일은 없습니다.",
                ),
            ));
        }
    }
    if let (Some(ours), Some(theirs)) = (model, &theirs)
        && (ours.family != theirs.family || ours.vocab < theirs.vocab)
    {
        problems.push(problem(
            "vocabulary-too-small",
            "config.json: vocab_size",
            (
                format!(
                    "the model has {} embeddings ({:?}), the contest's tokenizer needs {} ({:?})",
                    ours.vocab, ours.family, theirs.vocab, theirs.family
                ),
                format!(
                    "모델의 임베딩은 {}개({:?})인데 대회의 토크나이저에는 {}개({:?})가 필요합니다",
                    ours.vocab, ours.family, theirs.vocab, theirs.family
                ),
            ),
            (
                "Submit a compressed version of the contest's base model with its vocabulary.",
                "대회의 기준 모델을 어휘를 유지한 채 압축해 제출하세요.",
            ),
        ));
    }
    if let (Some(bytes), Some(wanted)) = (listing.text("generation_config.json"), &base.generation_config) {
        let ours = crate::config::read_json(bytes).unwrap_or_default();
        if ours.get("eos_token_id") != wanted.get("eos_token_id") {
            findings.push(problem(
                "generation-config-ignored",
                "generation_config.json: eos_token_id",
                (
                    "eos_token_id differs from the base model's; the contest's is used",
                    "eos_token_id가 기준 모델과 다릅니다. 대회의 값을 씁니다",
                ),
                ("Nothing has to be done.", "할 일은 없습니다."),
            ));
        }
    }
}

/// A field's meaning, so that the spellings of transformers 4 and 5 compare equal, and a default equals its written value.
fn meaning(config: &Value, model: Option<&ModelConfig>, field: &str) -> Value {
    let Some(m) = model else {
        return config.get(field).cloned().unwrap_or_default();
    };
    let json = |v: Result<Value, serde_json::Error>| v.unwrap_or_default();
    match field {
        "rope_theta" => m.rope.theta.into(),
        "rope_scaling" | "rope_parameters" => json(serde_json::to_value(m.rope)),
        "dtype" | "torch_dtype" => json(serde_json::to_value(m.dtype)),
        "num_hidden_layers" | "num_layers" => m.layers.into(),
        "head_dim" => m.head_dim.into(),
        "layer_types" => json(serde_json::to_value(&m.layer_types)),
        "sliding_window" => m.sliding_window.into(),
        "sliding_window_pattern" => json(serde_json::to_value(&m.layer_types)),
        "tie_word_embeddings" => m.tie.into(),
        "eos_token_id" => m.eos.clone().into(),
        "rms_norm_eps" | "layer_norm_epsilon" => m.rms_eps.into(),
        _ => config.get(field).cloned().unwrap_or_default(),
    }
}

/// What runs here and would not load in vLLM: worth knowing, no reason to reject.
pub(super) fn elsewhere(storage: &BTreeMap<Module, Storage>, model: &ModelConfig, findings: &mut Problems) {
    let at = |module: Module| storage.get(&module).copied().unwrap_or(Storage::Dense);
    let mut tell = |place: String, en: &str, ko: &str| {
        findings.push(problem(
            "vllm-would-refuse",
            place,
            (
                format!("{en}: it is graded here, vLLM would refuse to load it"),
                format!("{ko}: 여기서는 채점하지만 vLLM은 읽지 못합니다"),
            ),
            (
                "Nothing has to be done for this contest.",
                "이 대회에서는 할 일이 없습니다.",
            ),
        ));
    };
    for (module, en, ko) in [
        (
            Module::Embedding,
            "the embedding is quantized",
            "임베딩이 양자화되어 있습니다",
        ),
        (Module::Head, "the head is quantized", "헤드가 양자화되어 있습니다"),
    ] {
        if matches!(at(module), Storage::Packed(_)) {
            tell(module.name(model.family), en, ko);
        }
    }
    for layer in 0..model.layers {
        let same = |set: &[Linear]| {
            set.windows(2)
                .all(|w| at(Module::Layer(layer, w[0])) == at(Module::Layer(layer, w[1])))
        };
        if !same(&[Linear::Q, Linear::K, Linear::V]) {
            tell(
                format!("layer {layer}: q, k, v"),
                "q, k and v are quantized differently",
                "q, k, v의 양자화가 서로 다릅니다",
            );
        }
        if !same(&[Linear::Gate, Linear::Up]) {
            tell(
                format!("layer {layer}: gate, up"),
                "gate and up are quantized differently",
                "gate와 up의 양자화가 서로 다릅니다",
            );
        }
    }
}
