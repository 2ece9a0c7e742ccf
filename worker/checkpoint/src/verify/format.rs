//! Which storage format the submission has, from its configuration, and what that means for each matrix.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::Module;
use crate::problem::{Problems, problem, quoted};
use crate::quant::config::{Group, QuantConfig};
use crate::quant::{InputRule, Quantized, Refusal, Storage, formats, quantized};
use crate::safetensors::TensorInfo;

/// What was decided.
pub(super) struct Decision {
    /// by its name in a contest's rules; `unknown` when it cannot be told
    pub format: String,
    /// formats of the groups that quantize something
    pub parts: BTreeSet<&'static str>,
    /// short description; empty when it cannot be told
    pub scheme: String,
    /// compressed-tensors' configuration
    pub quant: Option<QuantConfig>,
    /// how each matrix is stored; `None` when the format is not one we run, or the configuration is broken
    pub storage: Option<BTreeMap<Module, Storage>>,
}

impl Decision {
    fn unknown() -> Decision {
        Decision {
            format: "unknown".to_owned(),
            parts: BTreeSet::new(),
            scheme: String::new(),
            quant: None,
            storage: None,
        }
    }

    fn named(format: &str, scheme: String) -> Decision {
        Decision {
            format: format.to_owned(),
            parts: BTreeSet::new(),
            scheme,
            quant: None,
            storage: None,
        }
    }
}

pub(super) type Tensors<'a> = BTreeMap<&'a str, &'a TensorInfo>;

/// Decides. `config` is config.json, `model` what was read from it (nothing if it is broken).
pub(super) fn decide(
    config: &Value,
    model: Option<&ModelConfig>,
    listing: &Listing,
    tensors: &Tensors,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Decision {
    let block = ["quantization_config", "compression_config"]
        .iter()
        .filter_map(|name| config.get(*name))
        .find(|v| !v.is_null() && v.as_object().is_none_or(|o| !o.is_empty()));
    let looks = formats::fingerprint(tensors.iter().map(|(name, info)| (*name, *info)));
    let Some(block) = block else {
        return unconfigured(looks, model, listing, tensors, problems);
    };
    let Some(map) = block.as_object() else {
        problems.push(invalid("not an object"));
        return Decision::unknown();
    };
    let Some(method) = map.get("quant_method").and_then(Value::as_str) else {
        problems.push(invalid("quant_method is missing"));
        return Decision::named(looks.unwrap_or("unknown"), String::new());
    };
    if method != "compressed-tensors" {
        let lower = method.to_ascii_lowercase();
        let scheme = formats::scheme_of_other(map);
        let Some(format) = formats::of_method(&lower) else {
            let shown = quoted(method);
            problems.push(problem(
                "format-unknown",
                "config.json: quantization_config.quant_method",
                (
                    format!("quant_method \"{shown}\" is not a known format"),
                    format!("quant_method \"{shown}\"은(는) 알려진 형식이 아닙니다"),
                ),
                USE_SUPPORTED,
            ));
            return Decision::unknown();
        };
        problems.push(not_supported(format, (format.to_owned(), format.to_owned())));
        return Decision::named(format, scheme);
    }
    match QuantConfig::parse(map) {
        Ok(quant) => compressed(quant, model, tensors, looks, problems, findings),
        Err(why) => {
            problems.push(invalid(&why));
            Decision::named(looks.unwrap_or("unknown"), String::new())
        }
    }
}

const USE_SUPPORTED: (&str, &str) = (
    "Submit dense weights or one of llm-compressor's schemes W4A16, W4A16_ASYM, W8A16, W8A8, W4A8, FP8, FP8_DYNAMIC.",
    "dense 또는 llm-compressor의 W4A16, W4A16_ASYM, W8A16, W8A8, W4A8, FP8, FP8_DYNAMIC 가운데 하나로 제출하세요.",
);

fn not_supported(format: &str, what: (String, String)) -> assay_contest::Problem {
    let message = (
        format!("{} is recognised but not supported yet", what.0),
        format!("{} 형식은 알지만 아직 지원하지 않습니다", what.1),
    );
    problem("format-not-supported-yet", format, message, USE_SUPPORTED)
}

fn invalid(why: &str) -> assay_contest::Problem {
    problem(
        "quantization-config-invalid",
        "config.json: quantization_config",
        (
            format!("the quantization configuration cannot be read: {why}"),
            format!("양자화 설정을 읽을 수 없습니다: {why}"),
        ),
        (
            "Upload the config.json that the compression tool wrote, unchanged.",
            "압축 도구가 쓴 config.json을 그대로 올려 주세요.",
        ),
    )
}

/// No quantization configuration: dense, another tool's side file, or a lost configuration.
fn unconfigured(
    looks: Option<&'static str>,
    model: Option<&ModelConfig>,
    listing: &Listing,
    tensors: &Tensors,
    problems: &mut Problems,
) -> Decision {
    if listing.file("hf_quant_config.json").is_some() {
        problems.push(not_supported(
            "modelopt",
            ("modelopt".to_owned(), "modelopt".to_owned()),
        ));
        return Decision::named("modelopt", String::new());
    }
    if let Some(format) = looks {
        problems.push(problem(
            "quantization-config-missing",
            "config.json: quantization_config",
            (
                format!("the tensors look like {format}, but config.json has no quantization_config"),
                format!("텐서는 {format}처럼 보이는데 config.json에 quantization_config가 없습니다"),
            ),
            (
                "Upload the config.json that the compression tool wrote; the base model's has overwritten it.",
                "압축 도구가 쓴 config.json을 올려 주세요. 기준 모델의 것으로 덮어쓴 것 같습니다.",
            ),
        ));
        return Decision::named(format, String::new());
    }
    let storage = model.map(|m| {
        Module::all(m)
            .into_iter()
            .map(|module| (module, Storage::Dense))
            .collect()
    });
    Decision {
        format: "dense".to_owned(),
        parts: BTreeSet::new(),
        scheme: dense_scheme(tensors),
        quant: None,
        storage,
    }
}

/// `BF16`, or `BF16+F32` where both occur.
fn dense_scheme(tensors: &Tensors) -> String {
    let names: std::collections::BTreeSet<&str> = tensors.values().map(|t| t.dtype.name()).collect();
    names.into_iter().collect::<Vec<_>>().join("+")
}

fn compressed(
    quant: QuantConfig,
    model: Option<&ModelConfig>,
    tensors: &Tensors,
    looks: Option<&'static str>,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Decision {
    report_unknown(&quant, findings);
    let mut decision = Decision::unknown();
    decision.scheme = quant.groups.iter().map(formats::scheme).collect::<Vec<_>>().join(" + ");
    let looks_dense = looks.is_none() && !tensors.is_empty();
    if let Some(schemes) = schemes(&quant, looks_dense, &mut decision, problems, findings) {
        decision.storage = model.and_then(|m| assign(&quant, &schemes, m, problems, findings));
    }
    decision.quant = Some(quant);
    decision
}

/// What each group means for its matrices, with the decision's format and parts; `None` if one of them is not run.
fn schemes(
    quant: &QuantConfig,
    looks_dense: bool,
    decision: &mut Decision,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Option<Vec<Option<Quantized>>> {
    if let Some(name) = &quant.sparse {
        decision.format = formats::compressed(name).unwrap_or("unknown").to_owned();
        let what = (format!("sparse storage ({name})"), format!("희소 저장({name})"));
        problems.push(not_supported(&decision.format, what));
        return None;
    }
    let mut per_group = Vec::new();
    for group in &quant.groups {
        let (format, inferred) = formats::of_group(quant, group);
        let Some(format) = format else {
            problems.push(unknown_format(quant, group));
            return None;
        };
        if group.weights.is_some() {
            if inferred {
                findings.push(inferred_format(&group.name, format));
            }
            decision.parts.insert(format);
        }
        per_group.push(format);
    }
    decision.format = match decision.parts.len() {
        0 => "dense",
        1 => decision.parts.first().copied().unwrap_or_default(),
        _ => "mixed-precision",
    }
    .to_owned();
    // saved without compression: the configuration announces what the tensors do not have
    if !decision.parts.is_empty() && (looks_dense || decision.format == "dense") {
        problems.push(not_compressed(
            &decision.scheme,
            quant.status.as_deref().unwrap_or_default(),
        ));
        return None;
    }
    if quant.transforms {
        let what = (
            "online transforms (transform_config)".to_owned(),
            "실행 중 변환(transform_config)".to_owned(),
        );
        problems.push(not_supported("transform_config", what));
        return None;
    }
    let mut schemes = Vec::new();
    for (group, format) in quant.groups.iter().zip(per_group) {
        match quantized(format, group) {
            Ok(scheme) => schemes.push(scheme),
            Err(refusal) => {
                problems.push(refused(refusal, format, &group.name));
                return None;
            }
        }
    }
    Some(schemes)
}

fn unknown_format(quant: &QuantConfig, group: &Group) -> assay_contest::Problem {
    let shown = group.format.as_deref().or(quant.format.as_deref()).unwrap_or_default();
    problem(
        "format-unknown",
        format!("config.json: quantization_config.config_groups.{}", quoted(&group.name)),
        (
            format!("\"{shown}\" is not a known format"),
            format!("\"{shown}\"은(는) 알려진 형식이 아닙니다"),
        ),
        USE_SUPPORTED,
    )
}

fn not_compressed(scheme: &str, status: &str) -> assay_contest::Problem {
    problem(
        "not-compressed",
        "config.json: quantization_config",
        (
            format!("config.json announces {scheme}, but every weight is stored dense (quantization_status: {status})"),
            format!(
                "config.json에는 {scheme}라고 되어 있는데 가중치가 모두 dense로 저장되어 있습니다 (quantization_status: {status})"
            ),
        ),
        (
            "Save with save_pretrained(..., save_compressed=True).",
            "save_pretrained(..., save_compressed=True)로 저장하세요.",
        ),
    )
}

fn refused(refusal: Refusal, format: &str, group: &str) -> assay_contest::Problem {
    match refusal {
        Refusal::NotYet(en, ko) => not_supported(format, (en, ko)),
        Refusal::BatchDependent => problem(
            "activations-batch-dependent",
            format!("config.json: quantization_config.config_groups.{}", quoted(group)),
            (
                "the input scale is computed over a whole batch (strategy: tensor, dynamic): what a prompt gives would depend on the prompts run beside it",
                "입력 scale을 배치 전체에서 계산합니다(strategy: tensor, dynamic). 함께 실행되는 다른 입력에 따라 결과가 달라집니다",
            ),
            (
                "Quantize activations per token (strategy: token, dynamic: true) or with a stored scale (strategy: tensor, dynamic: false).",
                "활성값을 토큰별(strategy: token, dynamic: true)이나 저장된 scale(strategy: tensor, dynamic: false)로 양자화하세요.",
            ),
        ),
    }
}

fn inferred_format(group: &str, format: &str) -> assay_contest::Problem {
    let group = quoted(group);
    problem(
        "format-inferred",
        format!("config.json: quantization_config.config_groups.{group}"),
        (
            format!("no format is written; {format} follows from the scheme"),
            format!("format이 적혀 있지 않아 {format}로 보았습니다"),
        ),
        (
            format!("Write \"format\": \"{format}\"."),
            format!("\"format\": \"{format}\"을 적어 주세요."),
        ),
    )
}

fn report_unknown(quant: &QuantConfig, findings: &mut Problems) {
    if quant.unknown.is_empty() {
        return;
    }
    let keys = quant.unknown.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    findings.push(problem(
        "quantization-config-unknown-keys",
        "config.json: quantization_config",
        (format!("unknown keys: {keys}"), format!("모르는 항목: {keys}")),
        (
            "They are ignored; other loaders may refuse them.",
            "무시했습니다. 다른 로더는 거부할 수 있습니다.",
        ),
    ));
}

/// Every module to its group's storage. Groups that mean nothing are a finding, patterns that cannot be matched a problem.
fn assign(
    quant: &QuantConfig,
    schemes: &[Option<Quantized>],
    model: &ModelConfig,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Option<BTreeMap<Module, Storage>> {
    let mut used = vec![false; quant.groups.len()];
    let mut storage = BTreeMap::new();
    for module in Module::all(model) {
        let group = match quant.group_of(module, &module.name(model.family)) {
            Ok(group) => group,
            Err(why) => {
                problems.push(invalid(&format!("targets or ignore: {why}")));
                return None;
            }
        };
        let scheme = group.and_then(|index| {
            used[index] = true;
            schemes[index]
        });
        if module == Module::Embedding && scheme.is_some_and(|s| s.inputs != InputRule::Plain) {
            // token ids are its input: there is nothing to quantize
            let what = (
                "an embedding with quantized activations".to_owned(),
                "활성값도 양자화한 임베딩".to_owned(),
            );
            problems.push(not_supported("embed_tokens", what));
            return None;
        }
        storage.insert(module, scheme.map_or(Storage::Dense, Storage::Quantized));
    }
    for (group, used) in quant.groups.iter().zip(used) {
        if !used {
            let name = quoted(&group.name);
            findings.push(problem(
                "group-matches-nothing",
                format!("config.json: quantization_config.config_groups.{name}"),
                (
                    format!("no module belongs to {name}"),
                    format!("{name}에 속하는 모듈이 없습니다"),
                ),
                ("Check its targets.", "targets를 확인하세요."),
            ));
        }
    }
    Some(storage)
}
