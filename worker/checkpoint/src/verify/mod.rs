//! The verdict: everything that is checked, in the order in which it is told.

mod against;
mod base;
mod cache;
pub(crate) mod data;
mod declared;
mod files;
mod format;
mod modules;
mod recipe;
mod shards;
mod tensors;
mod transforms;

use std::collections::BTreeMap;

use assay_contest::{CacheRule, CheckpointRules, Problem};
use serde_json::Value;

use crate::base::BaseModel;
use crate::config::{self, ModelConfig};
use crate::inspection::{Inspection, Verdict};
use crate::listing::{Content, ListedFile, Listing};
use crate::model::Module;
use crate::problem::{Problems, problem, quoted};
use crate::quant::Storage;
use crate::quant::cache::CacheScheme;
use crate::quant::transform::Assigned;
use crate::safetensors::{Dtype, Header};
use crate::weigh::{Saving, hints, memory, parameters, weigh};

pub(crate) use data::stream as pieces;
pub(crate) use data::unreadable;
pub use data::verify_data;
pub(crate) use format::{Tensors, invalid};
pub(crate) use modules::Expect;

/// Looks at a folder's listing: names, lengths, headers, small texts. No tensor data, no clock, no network; a few milliseconds.
///
/// `base` and `rules` are the contest's; without them everything that depends on them is left out.
pub fn verify(listing: &Listing, base: Option<&BaseModel>, rules: Option<&CheckpointRules>) -> Inspection {
    let analysis = analyse(listing, base, rules);
    let tensors = tensor_map(&analysis.headers);
    let hints = match (&analysis.model, &analysis.storage) {
        (Some(model), Some(storage)) => {
            let base_ties = base
                .and_then(|b| b.config.get("tie_word_embeddings"))
                .and_then(Value::as_bool);
            hints(&Saving {
                model,
                storage,
                tensors: &tensors,
                headers: &analysis.headers,
                rules,
                base_ties,
            })
        }
        _ => Vec::new(),
    };
    let memory = match (&analysis.model, &analysis.storage) {
        (Some(model), Some(storage)) => Some(memory(model, storage, &tensors, analysis.cache, rules)),
        _ => None,
    };
    let parameters = analysis.model.as_ref().map(|model| parameters(model, &tensors));
    let bytes = weigh(listing, &analysis.headers);
    let verdict = if analysis.problems.is_empty() {
        Verdict::Accepted
    } else {
        Verdict::Rejected
    };
    Inspection {
        verdict,
        format: analysis.format,
        scheme: analysis.scheme,
        problems: analysis.problems.finish(),
        findings: analysis.findings.finish(),
        bytes,
        hints,
        lineage: None,
        parameters,
        memory,
    }
}

/// What the engine needs of a folder.
pub(crate) struct Loadable {
    pub model: ModelConfig,
    pub storage: BTreeMap<Module, Storage>,
    pub headers: Vec<(String, Header)>,
    /// a declared key/value cache scheme that can be applied
    pub cache: Option<CacheScheme>,
    /// what is applied to inputs and outputs of matrices
    pub transforms: Assigned,
}

/// A folder the engine can load, or all reasons why not.
pub(crate) fn loadable(listing: &Listing) -> Result<Loadable, Vec<Problem>> {
    let analysis = analyse(listing, None, None);
    match (analysis.model, analysis.storage) {
        (Some(model), Some(storage)) if analysis.problems.is_empty() => Ok(Loadable {
            model,
            storage,
            headers: analysis.headers,
            cache: analysis.cache,
            transforms: analysis.transforms,
        }),
        _ => Err(analysis.problems.finish()),
    }
}

/// Everything known about a folder.
struct Analysis {
    problems: Problems,
    findings: Problems,
    format: String,
    scheme: String,
    model: Option<ModelConfig>,
    headers: Vec<(String, Header)>,
    storage: Option<BTreeMap<Module, Storage>>,
    cache: Option<CacheScheme>,
    transforms: Assigned,
}

fn analyse(listing: &Listing, base: Option<&BaseModel>, rules: Option<&CheckpointRules>) -> Analysis {
    let (mut problems, mut findings) = (Problems::default(), Problems::default());
    files::check(listing, rules, &mut problems, &mut findings);
    let config = read_config(listing, &mut problems);
    let model = config.as_ref().and_then(|c| match ModelConfig::parse(c) {
        Ok(model) => Some(model),
        Err(list) => {
            problems.extend(list);
            None
        }
    });
    let read = shards::read(listing, &mut problems);
    let tensors = tensor_map(&read.headers);
    let nothing = Value::Null;
    let config = config.as_ref();
    let decision = format::decide(
        config.unwrap_or(&nothing),
        model.as_ref(),
        listing,
        &tensors,
        &mut problems,
        &mut findings,
    );
    if let (Some(model), Some(storage), true) = (&model, &decision.storage, read.complete) {
        tensors::check(
            model,
            storage,
            &decision.leftovers,
            decision.quant.as_ref(),
            &decision.transforms,
            rules.is_some_and(|r| r.kv_cache == CacheRule::Declared),
            &tensors,
            &mut problems,
            &mut findings,
        );
        against::elsewhere(storage, model, &mut findings);
    }
    if let Some(config) = config {
        code_in_config(config, &mut findings);
        let quantized = decision.format != "dense";
        recipe::check(
            listing,
            model.as_ref(),
            decision.quant.as_ref(),
            quantized,
            &mut problems,
            &mut findings,
        );
        against::recipe_presence(listing, quantized, rules, &mut problems, &mut findings);
        if let Some(rules) = rules {
            against::formats(
                &decision.format,
                &decision.parts,
                model.as_ref(),
                decision.storage.as_ref(),
                rules,
                &mut problems,
            );
        }
        if let Some(base) = base {
            base::check(
                config,
                model.as_ref(),
                base,
                rules,
                listing,
                &mut problems,
                &mut findings,
            );
        }
    }
    note_metadata(&read.headers, &mut findings);
    note_rounding(&tensors, &mut findings);
    crate::tokenizer::check(listing, base, &mut problems, &mut findings);
    drop(tensors);
    let scheme = decision.quant.as_ref().and_then(|q| q.kv_cache.as_ref());
    let cache = scheme.and_then(|args| CacheScheme::of(args).ok());
    Analysis {
        problems,
        findings,
        format: decision.format,
        scheme: decision.scheme,
        model,
        headers: read.headers,
        storage: decision.storage,
        cache,
        transforms: decision.transforms,
    }
}

fn tensor_map(headers: &[(String, Header)]) -> format::Tensors<'_> {
    headers
        .iter()
        .flat_map(|(_, header)| &header.tensors)
        .map(|(name, info)| (name.as_str(), info))
        .collect()
}

fn read_config(listing: &Listing, problems: &mut Problems) -> Option<Value> {
    match listing.file("config.json") {
        Some(ListedFile {
            content: Content::Text(bytes),
            ..
        }) => match config::read_json(bytes) {
            Ok(config) => Some(config),
            Err(p) => {
                problems.push(*p);
                None
            }
        },
        _ => {
            problems.push(problem(
                "config-missing",
                "config.json",
                (
                    "there is no readable config.json",
                    "읽을 수 있는 config.json이 없습니다",
                ),
                (
                    "Upload the config.json that was saved with the model.",
                    "모델과 함께 저장된 config.json을 올려 주세요.",
                ),
            ));
            None
        }
    }
}

/// Names of code to be downloaded and run, as public EXAONE 3.x repositories have them. Never followed.
fn code_in_config(config: &Value, findings: &mut Problems) {
    for field in ["auto_map", "custom_pipelines"] {
        if config.get(field).is_some_and(|v| !v.is_null()) {
            findings.push(problem(
                "auto-map-ignored",
                format!("config.json: {field}"),
                (
                    format!("{field} names Python code; it is never executed, the built-in model is used"),
                    format!("{field}에 Python 코드가 적혀 있습니다. 절대 실행하지 않으며 내장된 모델을 씁니다"),
                ),
                (
                    format!("{field} can be removed."),
                    format!("{field}은(는) 지워도 됩니다."),
                ),
            ));
        }
    }
}

/// `{"format": "pt"}` is what every tool writes; anything else is somebody's message.
fn note_metadata(headers: &[(String, Header)], findings: &mut Problems) {
    for (file, header) in headers {
        // torchao describes its tensors there
        let described = header.metadata.contains_key("tensor_names");
        for key in header.metadata.keys().filter(|k| *k != "format" && !described) {
            let key = quoted(key);
            findings.push(problem(
                "metadata-extra",
                format!("{file}: __metadata__"),
                (
                    format!("the metadata entry \"{key}\" is not read"),
                    format!("메타데이터 \"{key}\"은(는) 읽지 않습니다"),
                ),
                ("It can be removed.", "지워도 됩니다."),
            ));
        }
    }
}

fn note_rounding(tensors: &format::Tensors, findings: &mut Problems) {
    let wide = |name: &str| name.ends_with(".weight");
    for dtype in [Dtype::F16, Dtype::F32] {
        if let Some((name, _)) = tensors.iter().find(|(name, info)| wide(name) && info.dtype == dtype) {
            findings.push(problem(
                "rounded-to-bfloat16",
                *name,
                (
                    format!("{dtype} weights are rounded to bfloat16, as every bfloat16 runtime does"),
                    format!(
                        "{dtype} 가중치는 bfloat16으로 반올림해서 씁니다 (bfloat16으로 돌리는 런타임은 모두 같습니다)"
                    ),
                ),
                ("Nothing has to be done.", "할 일은 없습니다."),
            ));
        }
    }
}
