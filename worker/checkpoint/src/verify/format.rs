//! Which storage format the submission has, from its configuration, and what that means for each matrix.

mod tell;

pub(crate) use tell::invalid;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::ModelConfig;
use crate::foreign::{self, USE_SUPPORTED};
use crate::listing::Listing;
use crate::model::{Linear, Module};
use crate::problem::{Problems, problem, quoted};
use crate::quant::config::QuantConfig;
use crate::quant::transform::Assigned;
use crate::quant::{InputRule, Kept, Layout, Mask, Micro, Quantized, Storage, Values, formats, quantized};
use crate::safetensors::TensorInfo;

use tell::{
    disagrees, inferred_format, not_compressed, not_sparse, not_supported, quartered, refused, report_unknown,
    stored_dense, transform_refused, unknown_format, unknown_name,
};

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
    /// matrices stored dense with what quantizing them computed beside them
    pub leftovers: BTreeMap<Module, Quantized>,
    /// what is applied to inputs and outputs of matrices
    pub transforms: Assigned,
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
            leftovers: BTreeMap::new(),
            transforms: Assigned::default(),
            storage: None,
        }
    }

    fn named(format: &str, scheme: String) -> Decision {
        Decision {
            format: format.to_owned(),
            parts: BTreeSet::new(),
            scheme,
            quant: None,
            leftovers: BTreeMap::new(),
            transforms: Assigned::default(),
            storage: None,
        }
    }
}

pub(crate) type Tensors<'a> = BTreeMap<&'a str, &'a TensorInfo>;

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
    let side = if block.is_none() { side_file(listing) } else { None };
    let Some(block) = block.or(side.as_ref()) else {
        return unconfigured(looks, model, tensors, problems);
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
        if format == "auto-round" && foreign::is_compressed(map) {
            return match foreign::as_compressed(map) {
                Ok(said) => compressed(&said, model, tensors, looks, problems, findings),
                Err(problem) => {
                    problems.push(*problem);
                    Decision::named(format, scheme)
                }
            };
        }
        let scheme = Decision::named(format, scheme);
        return other_tool(format, map, scheme, model, looks, tensors, problems, findings);
    }
    compressed(map, model, tensors, looks, problems, findings)
}

/// The configuration that older tools keep in a file of its own, as a block of config.json.
fn side_file(listing: &Listing) -> Option<Value> {
    for (name, method) in [
        ("quantize_config.json", "gptq"),
        ("quantization_config.json", "auto-round"),
        ("quant_config.json", "awq"),
        ("hf_quant_config.json", "modelopt"),
    ] {
        let read = listing.text(name).and_then(|text| crate::config::read_json(text).ok());
        if let Some(Value::Object(mut map)) = read {
            map.entry("quant_method").or_insert_with(|| method.into());
            return Some(Value::Object(map));
        }
    }
    None
}

/// Another tool's configuration, read if we run its format.
#[allow(clippy::too_many_arguments)]
fn other_tool(
    format: &'static str,
    map: &serde_json::Map<String, Value>,
    mut decision: Decision,
    model: Option<&ModelConfig>,
    looks: Option<&'static str>,
    tensors: &Tensors,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Decision {
    if !foreign::is_read(format) {
        problems.push(foreign::refused(format));
        return decision;
    }
    let Some(model) = model else {
        return decision;
    };
    if looks.is_none() && !tensors.is_empty() {
        problems.push(not_compressed(format, ""));
        return decision;
    }
    if let Some(looks) = looks.filter(|looks| !formats::agrees(format, looks)) {
        problems.push(disagrees(format, looks));
        return decision;
    }
    match foreign::plan(format, &foreign::Look { map, model, tensors }, findings) {
        Ok(plan) => {
            decision.scheme = plan.scheme;
            decision.storage = Some(plan.storage);
        }
        Err(problem) => problems.push(*problem),
    }
    decision
}

/// No quantization configuration: dense, another tool's side file, or a lost configuration.
fn unconfigured(
    looks: Option<&'static str>,
    model: Option<&ModelConfig>,
    tensors: &Tensors,
    problems: &mut Problems,
) -> Decision {
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
        leftovers: BTreeMap::new(),
        transforms: Assigned::default(),
        storage,
    }
}

/// `BF16`, or `BF16+F32` where both occur.
fn dense_scheme(tensors: &Tensors) -> String {
    let names: std::collections::BTreeSet<&str> = tensors.values().map(|t| t.dtype.name()).collect();
    names.into_iter().collect::<Vec<_>>().join("+")
}

/// A configuration of compressed-tensors.
fn compressed(
    map: &serde_json::Map<String, Value>,
    model: Option<&ModelConfig>,
    tensors: &Tensors,
    looks: Option<&'static str>,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Decision {
    let quant = match QuantConfig::parse(map) {
        Ok(quant) => quant,
        Err(why) => {
            problems.push(invalid(&why));
            return Decision::named(looks.unwrap_or("unknown"), String::new());
        }
    };
    report_unknown(&quant, findings);
    let mut decision = Decision::unknown();
    decision.scheme = quant.groups.iter().map(formats::scheme).collect::<Vec<_>>().join(" + ");
    let looks_dense = looks.is_none() && !tensors.is_empty();
    if let Some(schemes) = schemes(&quant, looks_dense, tensors, &mut decision, problems, findings) {
        decision.storage = model.and_then(|m| assign(&quant, &schemes, m, tensors, problems, findings));
        // never compressed: announced as quantized, stored as floats
        if let Some(storage) = decision.storage.as_mut().filter(|_| looks_dense) {
            for (module, how) in storage {
                if let Storage::Quantized(scheme) = how {
                    decision.leftovers.insert(*module, *scheme);
                    *how = Storage::Dense;
                }
            }
        }
    }
    if quant.groups.is_empty() && quant.sparse.is_none() {
        decision.scheme = dense_scheme(tensors);
    }
    if let Some(model) = model.filter(|_| !quant.transforms.is_empty()) {
        match quant.transforms.assign(model) {
            Ok(assigned) => decision.transforms = assigned,
            Err(reason) => {
                problems.push(transform_refused(reason));
                decision.storage = None;
            }
        }
    }
    decision.quant = Some(quant);
    decision
}

/// What each group means for its matrices, with the decision's format and parts; `None` if one of them is not run.
fn schemes(
    quant: &QuantConfig,
    looks_dense: bool,
    tensors: &Tensors,
    decision: &mut Decision,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Option<Vec<Option<Quantized>>> {
    if let Some(name) = quant.sparse.as_deref().filter(|name| Kept::of_format(name).is_none()) {
        problems.push(unknown_name("config.json: quantization_config.sparsity_config", name));
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
    let masks = tensors.keys().any(|name| name.ends_with(".bitmask"));
    if let Some(name) = quant.sparse.as_ref().filter(|_| !masks) {
        findings.push(not_sparse(name));
    } else if let Some(name) = &quant.sparse {
        decision.format = name.clone();
        let sparse = if name == "sparse-bitmask" {
            "sparse"
        } else {
            "2:4 sparse"
        };
        decision.scheme = match decision.scheme.as_str() {
            "" => format!("BF16 {sparse}"),
            scheme => format!("{scheme} {sparse}"),
        };
    }
    // saved without compression: the configuration announces what the tensors do not have
    let status = quant.status.as_deref().unwrap_or_default();
    let scales = looks_dense && tensors.keys().any(|name| name.ends_with(".weight_scale"));
    if !decision.parts.is_empty() && scales && status != "compressed" {
        findings.push(stored_dense(&decision.scheme, status));
        decision.scheme = format!("{} stored dense", decision.scheme);
        decision.format = "dense".to_owned();
        decision.parts.clear();
    } else if !decision.parts.is_empty() && (looks_dense || decision.format == "dense") {
        problems.push(not_compressed(&decision.scheme, status));
        return None;
    }
    let mut schemes = Vec::new();
    for (group, format) in quant.groups.iter().zip(per_group) {
        match quantized(format, group, quant.version) {
            Ok(scheme) => schemes.push(scheme),
            Err(refusal) => {
                problems.push(refused(refusal, format, &group.name));
                return None;
            }
        }
    }
    let mxfp4 = |scheme: &Option<Quantized>| scheme.is_some_and(|q| q.layout == Layout::Micro(Micro::Mxfp4));
    if quant.version == Some((0, 13)) && schemes.iter().any(mxfp4) {
        findings.push(quartered());
    }
    Some(schemes)
}

/// The same with zeros left out, where the configuration says that some are and the tensors show where.
fn masked(quant: &QuantConfig, how: Storage, name: &str, tensors: &Tensors) -> Storage {
    let Some(kept) = quant.sparse.as_deref().and_then(Kept::of_format) else {
        return how;
    };
    let Some((found, _)) = Mask::of(name, tensors) else {
        return how;
    };
    let mask = Mask { kept, ..found };
    match how {
        Storage::Quantized(q) => match q.layout {
            Layout::Bytes => Storage::Quantized(Quantized {
                layout: Layout::Sparse(mask, Values::Bytes),
                ..q
            }),
            Layout::Float8 => Storage::Quantized(Quantized {
                layout: Layout::Sparse(mask, Values::Float8),
                ..q
            }),
            _ => how,
        },
        _ => Storage::Sparse(mask),
    }
}

/// Every module to its group's storage. Groups that mean nothing are a finding, patterns that cannot be matched a problem.
fn assign(
    quant: &QuantConfig,
    schemes: &[Option<Quantized>],
    model: &ModelConfig,
    tensors: &Tensors,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Option<BTreeMap<Module, Storage>> {
    let mut used = vec![false; quant.groups.len()];
    let mut storage = BTreeMap::new();
    for module in Module::all(model) {
        let name = module.name(model.family);
        let group = match quant.group_of(module, &name) {
            Ok(group) => group,
            Err(why) => {
                problems.push(invalid(&format!("targets or ignore: {why}")));
                return None;
            }
        };
        let outputs = group.is_some_and(|index| quant.groups[index].output.is_some())
            || quant.output_targets.iter().any(|targets| {
                let matched = targets.matches(&module.name(model.family), module.class());
                matches!(matched, Ok(Some(_)))
            });
        if outputs && !matches!(module, Module::Layer(_, Linear::K | Linear::V)) {
            // those of keys and values are an old way to write a scheme of the cache
            let what = (
                "quantized outputs of layers other than k_proj and v_proj".to_owned(),
                "k_proj, v_proj 밖의 출력 양자화".to_owned(),
            );
            problems.push(not_supported("output_activations", what));
            return None;
        }
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
        let fitted = scheme.map(|scheme| {
            let shape = |suffix: &str| tensors.get(format!("{name}.{suffix}").as_str()).map(|t| &t.shape[..]);
            scheme.fitted(module.shape(model), shape("weight_packed"), shape("weight_zero_point"))
        });
        let how = fitted.map_or(Storage::Dense, Storage::Quantized);
        storage.insert(module, masked(quant, how, &name, tensors));
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
