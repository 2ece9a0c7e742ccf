//! Which storage format the submission has, from its configuration, and what that means for each matrix.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::Module;
use crate::problem::{Problems, problem, quoted};
use crate::quant::config::QuantConfig;
use crate::quant::{Packed, Storage, formats};
use crate::safetensors::TensorInfo;

/// What was decided.
pub(super) struct Decision {
    /// by its name in a contest's rules; `unknown` when it cannot be told
    pub format: String,
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
            scheme: String::new(),
            quant: None,
            storage: None,
        }
    }

    fn named(format: &str, scheme: String) -> Decision {
        Decision {
            format: format.to_owned(),
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
    "Submit dense weights or compressed-tensors pack-quantized with 4 or 8 bits (llm-compressor schemes W4A16, W4A16_ASYM, W8A16).",
    "dense 또는 compressed-tensors pack-quantized 4·8비트(llm-compressor의 W4A16, W4A16_ASYM, W8A16)로 제출하세요.",
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
    let scheme = quant.groups.iter().map(formats::scheme).collect::<Vec<_>>().join(" + ");
    report_unknown(&quant, findings);
    if let Some(name) = &quant.sparse {
        let format = formats::compressed(name).unwrap_or("unknown").to_owned();
        problems.push(not_supported(
            &format,
            (format!("sparse storage ({name})"), format!("희소 저장({name})")),
        ));
        return Decision {
            format,
            scheme,
            quant: Some(quant),
            storage: None,
        };
    }
    let mut per_group = Vec::new();
    for group in quant.groups.iter().filter(|g| g.weights.is_some()) {
        match formats::of_group(&quant, group) {
            (Some(format), inferred) => {
                if inferred {
                    findings.push(inferred_format(&group.name, format));
                }
                per_group.push(format);
            }
            (None, _) => {
                let shown = group
                    .format
                    .as_deref()
                    .or(quant.format.as_deref())
                    .unwrap_or_default()
                    .to_owned();
                problems.push(problem(
                    "format-unknown",
                    format!("config.json: quantization_config.config_groups.{}", quoted(&group.name)),
                    (
                        format!("\"{shown}\" is not a known format"),
                        format!("\"{shown}\"은(는) 알려진 형식이 아닙니다"),
                    ),
                    USE_SUPPORTED,
                ));
                return Decision {
                    format: "unknown".to_owned(),
                    scheme,
                    quant: Some(quant),
                    storage: None,
                };
            }
        }
    }
    let format = match &per_group[..] {
        [] => "dense",
        [first, rest @ ..] if rest.iter().all(|f| f == first) => first,
        _ => "mixed-precision",
    }
    .to_owned();
    let stop = |quant, format: String, scheme| Decision {
        format,
        scheme,
        quant: Some(quant),
        storage: None,
    };

    // saved without compression: the configuration announces what the tensors do not have
    let quantizes = !per_group.is_empty();
    let uncompressed = looks.is_none() && !tensors.is_empty();
    if quantizes && (uncompressed || format == "dense") {
        let status = quant.status.clone().unwrap_or_default();
        problems.push(problem(
            "not-compressed",
            "config.json: quantization_config",
            (
                format!("config.json announces {scheme}, but every weight is stored dense (quantization_status: {status})"),
                format!("config.json에는 {scheme}라고 되어 있는데 가중치가 모두 dense로 저장되어 있습니다 (quantization_status: {status})"),
            ),
            ("Save with save_pretrained(..., save_compressed=True).", "save_pretrained(..., save_compressed=True)로 저장하세요."),
        ));
        return stop(quant, format, scheme);
    }
    if quant.transforms {
        let what = (
            "online transforms (transform_config)".to_owned(),
            "실행 중 변환(transform_config)".to_owned(),
        );
        problems.push(not_supported("transform_config", what));
        return stop(quant, format, scheme);
    }
    let unsupported = if !quantizes {
        None
    } else if format == "pack-quantized" {
        quant.groups.iter().find_map(formats::unsupported_pack)
    } else {
        Some((format.clone(), format.clone()))
    };
    if let Some(what) = unsupported {
        problems.push(not_supported(&format, what));
        return stop(quant, format, scheme);
    }
    let storage = model.and_then(|m| assign(&quant, m, problems, findings));
    Decision {
        format,
        scheme,
        quant: Some(quant),
        storage,
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
        let weights = group.and_then(|index| {
            used[index] = true;
            quant.groups[index].weights
        });
        storage.insert(
            module,
            weights.map_or(Storage::Dense, |w| Storage::Packed(Packed::of(&w))),
        );
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
