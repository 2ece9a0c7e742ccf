//! config.json against the contest's base model.

use assay_contest::CheckpointRules;
use serde_json::Value;

use crate::base::BaseModel;
use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::problem::{Problems, problem, quoted};

/// The fields whose change is worth a finding when the contest leaves them free: the shape, which shows in the weights too.
const NOTED: [&str; 7] = [
    "num_hidden_layers",
    "num_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "tie_word_embeddings",
];

/// Side doors: fields that change what the model does and leave the weights as they are. What each changes, in English and Korean.
const SIDE_DOORS: [(&str, &str, &str); 8] = [
    (
        "max_position_embeddings",
        "how long a prompt may be, and with it the memory that runtimes reserve",
        "입력의 최대 길이와 런타임이 잡아 두는 메모리",
    ),
    ("eos_token_id", "where an answer ends", "답이 끝나는 위치"),
    ("bos_token_id", "what a text begins with", "텍스트의 시작 토큰"),
    ("pad_token_id", "what a batch is filled up with", "배치를 채우는 토큰"),
    ("rope_parameters", "how positions are encoded", "위치 인코딩"),
    ("rms_norm_eps", "every norm", "모든 norm"),
    (
        "sliding_window",
        "how far attention looks back",
        "어텐션이 돌아보는 거리",
    ),
    (
        "layer_types",
        "which layers look back only so far",
        "어느 층이 가까운 곳만 보는지",
    ),
];

/// Entries of generation_config.json that steer or cut what is written; sampling is the contest's in any case.
const GENERATION: [&str; 11] = [
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "repetition_penalty",
    "max_length",
    "max_new_tokens",
    "stop_strings",
];

/// config.json against the base's: locked fields must agree, other changes are noted.
pub(super) fn check(
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
    // a config.json that cannot be read as a model has its own problems already
    let Some(ours) = model else { return };
    let pair = |field: &str| match &theirs {
        Some(theirs) => (meaning(config, ours, field), meaning(&base.config, theirs, field)),
        None => (written(config, field), written(&base.config, field)),
    };
    for field in &locked {
        let (ours, wanted) = pair(field);
        if !equal(&ours, &wanted) {
            let (ours, wanted) = (quoted(&ours.to_string()), quoted(&wanted.to_string()));
            problems.push(problem(
                "config-locked-field",
                format!("config.json: {}", quoted(field)),
                (
                    format!("{field} is {ours}; this contest requires the base model's value, {wanted}"),
                    format!("{field} 값이 {ours}입니다. 이 대회에서는 기준 모델의 값 {wanted}(이)어야 합니다"),
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
        if !equal(&ours, &wanted) {
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
    for (field, en, ko) in SIDE_DOORS.iter().filter(|(f, ..)| !locked.contains(f)) {
        // the list of layers follows their number, which has a finding of its own
        if *field == "layer_types" && theirs.as_ref().is_some_and(|theirs| theirs.layers != ours.layers) {
            continue;
        }
        let (ours, wanted) = pair(field);
        if !equal(&ours, &wanted) {
            let (ours, wanted) = (quoted(&ours.to_string()), quoted(&wanted.to_string()));
            findings.push(problem(
                "config-side-door",
                format!("config.json: {field}"),
                (
                    format!("{field} is {ours}, the base model's is {wanted}: it changes {en}, not the weights"),
                    format!(
                        "{field} 값이 {ours}입니다. 기준 모델은 {wanted}입니다. 가중치가 아니라 다음을 바꿉니다: {ko}"
                    ),
                ),
                (
                    "Nothing has to be done if that is intended; the contest can lock the field.",
                    "의도한 것이라면 할 일은 없습니다. 대회가 이 항목을 고정할 수 있습니다.",
                ),
            ));
        }
    }
    if let Some(theirs) = &theirs {
        same_model(ours, theirs, problems);
    }
    if let (Some(bytes), Some(wanted)) = (listing.text("generation_config.json"), &base.generation_config) {
        let ours = crate::config::read_json(bytes).unwrap_or_default();
        for field in GENERATION.iter().filter(|f| ours.get(**f) != wanted.get(**f)) {
            findings.push(problem(
                "generation-config-ignored",
                format!("generation_config.json: {field}"),
                (
                    format!("{field} differs from the base model's; the contest's is used"),
                    format!("{field}이(가) 기준 모델과 다릅니다. 대회의 값을 씁니다"),
                ),
                ("Nothing has to be done.", "할 일은 없습니다."),
            ));
        }
    }
}

/// The same family, and an embedding for every id that the contest's tokenizer can produce.
fn same_model(ours: &ModelConfig, theirs: &ModelConfig, problems: &mut Problems) {
    let fix = (
        "Submit a compressed version of the contest's base model, with its vocabulary.",
        "대회의 기준 모델을 어휘를 유지한 채 압축해 제출하세요.",
    );
    if ours.family != theirs.family {
        problems.push(problem(
            "model-family",
            "config.json: model_type",
            (
                format!("the base model is {:?}, this is {:?}", theirs.family, ours.family),
                format!("기준 모델은 {:?}인데 이 모델은 {:?}입니다", theirs.family, ours.family),
            ),
            fix,
        ));
    }
    if ours.vocab < theirs.vocab {
        problems.push(problem(
            "vocabulary-too-small",
            "config.json: vocab_size",
            (
                format!(
                    "the model has {} embeddings, the contest's tokenizer needs {}",
                    ours.vocab, theirs.vocab
                ),
                format!(
                    "모델의 임베딩은 {}개인데 대회의 토크나이저에는 {}개가 필요합니다",
                    ours.vocab, theirs.vocab
                ),
            ),
            fix,
        ));
    }
}

fn written(config: &Value, field: &str) -> Value {
    config.get(field).cloned().unwrap_or_default()
}

/// A field's meaning, so that the spellings of transformers 4 and 5 compare equal, and a default equals its written value.
fn meaning(config: &Value, model: &ModelConfig, field: &str) -> Value {
    let json = |v: Result<Value, serde_json::Error>| v.unwrap_or_default();
    match field {
        "rope_theta" => model.rope.theta.into(),
        "rope_scaling" | "rope_parameters" => json(serde_json::to_value(model.rope)),
        "dtype" | "torch_dtype" => json(serde_json::to_value(model.dtype)),
        "num_hidden_layers" | "num_layers" => model.layers.into(),
        "head_dim" => model.head_dim.into(),
        "layer_types" | "sliding_window_pattern" => json(serde_json::to_value(&model.layer_types)),
        "sliding_window" => model.sliding_window.into(),
        "tie_word_embeddings" => model.tie.into(),
        "bos_token_id" => model.bos.into(),
        "eos_token_id" => model.eos.clone().into(),
        "pad_token_id" => model.pad.into(),
        "rms_norm_eps" | "layer_norm_epsilon" => model.rms_eps.into(),
        // nothing else is accepted
        "hidden_act" | "activation_function" => "silu".into(),
        _ => written(config, field),
    }
}

/// 1 and 1.0 are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
