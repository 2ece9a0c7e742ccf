//! Completeness: every tensor the model needs, with its exact shape and type, and not one more.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ModelConfig;
use crate::model::{Module, Norm, layer_prefix};
use crate::problem::{Problems, problem};
use crate::quant::config::QuantConfig;
use crate::quant::transform::Assigned;
use crate::quant::{Quantized, Storage};
use crate::safetensors::TensorInfo;

use super::declared::Deviations;
use super::format::Tensors;
use super::modules::{self, Expect, FLOATS, Stored};
use super::{cache, transforms};

/// Checks; `storage` covers every module of the model. `apply_cache`: a declared key/value cache scheme is to be applied.
#[allow(clippy::too_many_arguments)]
pub(super) fn check(
    model: &ModelConfig,
    storage: &BTreeMap<Module, Storage>,
    leftovers: &BTreeMap<Module, Quantized>,
    quant: Option<&QuantConfig>,
    transforms: &Assigned,
    apply_cache: bool,
    tensors: &Tensors,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let absent_layers = layer_numbers(model, tensors, problems);
    let mut expected: BTreeMap<String, Expect> = BTreeMap::new();
    let mut deviations = Deviations::default();
    for (module, how) in storage {
        let name = module.name(model.family);
        // tied to a quantized embedding, the head is that embedding
        let own = if model.tie && Some(how) == storage.get(&Module::Embedding) {
            Storage::Dense
        } else {
            *how
        };
        if *module == Module::Head && !head_is_expected(model, own, tensors, problems, findings) {
            continue;
        }
        if *module == Module::Embedding && embedding_is_lost(model, &name, tensors, problems) {
            continue;
        }
        if modules::told_apart(&name, *how, tensors, problems)
            && deviations.none(&name, module.shape(model), *how, tensors, problems)
        {
            modules::expect(&name, module.shape(model), *how, &mut expected, problems, findings);
            if let Some(scheme) = leftovers.get(module) {
                modules::expect_leftovers(&name, module.shape(model), *scheme, &mut expected);
            }
        } else {
            // one clear sentence instead of three missing and one unexpected tensor
            modules::expect_anything(&name, &mut expected);
        }
    }
    for norm in Norm::all(model) {
        if let Some(name) = norm.tensor(model.family) {
            expected.insert(name, Expect::one(&[norm.width(model)], FLOATS));
        }
    }
    let scheme = quant.and_then(|q| q.kv_cache.as_ref());
    let cache = apply_cache && scheme.is_some();
    transforms::expect(model, transforms, cache, tensors, &mut expected, problems, findings);
    if let Some(scheme) = scheme {
        cache::expect(model, scheme, apply_cache, tensors, &mut expected, problems, findings);
    }
    for (name, expect) in &expected {
        if of_layer(name, model).is_some_and(|layer| absent_layers.contains(&layer)) {
            continue;
        }
        compare(name, expect, tensors.get(name.as_str()).copied(), problems);
    }
    for (name, info) in tensors {
        let extra_layer = of_layer(name, model).is_some_and(|layer| layer >= model.layers as u64);
        if !expected.contains_key(*name) && !extra_layer {
            unexpected(name, info, model, problems, findings);
        }
    }
}

/// The number in `model.layers.7.…`, if the name has one.
fn of_layer(name: &str, model: &ModelConfig) -> Option<u64> {
    let rest = name.strip_prefix(layer_prefix(model.family))?;
    let digits = rest.split('.').next()?;
    let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if plain { digits.parse().ok() } else { None }
}

/// Layers must be numbered 0 to n − 1. Returns the ones that are absent altogether, already reported.
fn layer_numbers(model: &ModelConfig, tensors: &Tensors, problems: &mut Problems) -> BTreeSet<u64> {
    let present: BTreeSet<u64> = tensors.keys().filter_map(|name| of_layer(name, model)).collect();
    let wanted: BTreeSet<u64> = (0..model.layers as u64).collect();
    let absent: BTreeSet<u64> = wanted.difference(&present).copied().collect();
    let extra: Vec<u64> = present.difference(&wanted).copied().collect();
    let list =
        |numbers: &mut dyn Iterator<Item = &u64>| numbers.take(8).map(u64::to_string).collect::<Vec<_>>().join(", ");
    let (gone, more) = (list(&mut absent.iter()), list(&mut extra.iter()));
    let n = model.layers;
    let prefix = layer_prefix(model.family);
    if !absent.is_empty() && present.len() == n {
        problems.push(problem(
            "layer-gap",
            format!("{prefix}{gone}"),
            (
                format!("the layers are numbered with gaps: {gone} is missing, {more} is there"),
                format!("층 번호가 이어지지 않습니다: {gone}이(가) 없고 {more}이(가) 있습니다"),
            ),
            (
                format!("Renumber the layers 0 to {}.", n - 1),
                format!("층 번호를 0부터 {}까지로 다시 매겨 주세요.", n - 1),
            ),
        ));
    } else {
        if !absent.is_empty() {
            problems.push(problem(
                "layer-missing",
                format!("{prefix}{gone}"),
                (
                    format!("config.json has {n} layers; no tensor of layer {gone} is there"),
                    format!("config.json에는 층이 {n}개인데 {gone}번 층의 텐서가 없습니다"),
                ),
                (
                    "Set num_hidden_layers (and layer_types) to the layers that are there, or upload the missing ones.",
                    "num_hidden_layers(와 layer_types)를 실제 층 수에 맞추거나 빠진 층을 올려 주세요.",
                ),
            ));
        }
        if !extra.is_empty() {
            problems.push(problem(
                "layer-extra",
                format!("{prefix}{more}"),
                (
                    format!("config.json has {n} layers; there are tensors of layer {more}"),
                    format!("config.json에는 층이 {n}개인데 {more}번 층의 텐서가 있습니다"),
                ),
                (
                    "Remove those tensors, or correct num_hidden_layers.",
                    "그 텐서를 지우거나 num_hidden_layers를 고쳐 주세요.",
                ),
            ));
        }
    }
    absent
}

/// The head's tensors: needed when untied; a plain copy is allowed when tied.
fn head_is_expected(
    model: &ModelConfig,
    how: Storage,
    tensors: &Tensors,
    problems: &mut Problems,
    findings: &mut Problems,
) -> bool {
    let stored = Stored::of("lm_head", tensors);
    match (model.tie, stored) {
        (true, None) => {
            if matches!(how, Storage::Quantized(_)) {
                problems.push(problem(
                    "head-not-ignored",
                    "config.json: quantization_config.ignore",
                    (
                        "the configuration quantizes lm_head, but the head is tied and nothing of it is stored",
                        "설정은 lm_head를 양자화한다고 하는데, 헤드는 임베딩에 묶여 있고 저장된 것이 없습니다",
                    ),
                    ("Add \"lm_head\" to ignore.", "ignore에 \"lm_head\"를 넣어 주세요."),
                ));
            }
            false
        }
        (true, Some(stored @ (Stored::Codes(_) | Stored::Foreign(_)))) => {
            problems.push(problem(
                "head-ambiguous",
                format!("lm_head.{}", stored.suffix()),
                (
                    "tie_word_embeddings is true, yet a quantized lm_head of its own is stored; loaders would ignore it",
                    "tie_word_embeddings가 true인데 별도로 양자화된 lm_head가 있습니다. 로더는 이것을 무시합니다",
                ),
                ("Set tie_word_embeddings to false, or remove lm_head's tensors.", "tie_word_embeddings를 false로 하거나 lm_head의 텐서를 지워 주세요."),
            ));
            true
        }
        (true, Some(Stored::Floats | Stored::Sparse(_))) => {
            findings.push(problem(
                "tied-copy",
                "lm_head.weight",
                (
                    "the head is tied to the embedding, and a copy of it is stored as well; the copy is not used",
                    "헤드가 임베딩에 묶여 있는데 사본도 저장되어 있습니다. 사본은 쓰이지 않습니다",
                ),
                (
                    "Remove lm_head.weight: nothing changes but the size.",
                    "lm_head.weight를 지우면 크기만 줄고 결과는 같습니다.",
                ),
            ));
            true
        }
        (false, None) => {
            problems.push(problem(
                "head-missing",
                "lm_head.weight",
                (
                    "tie_word_embeddings is false (or missing), and there is no lm_head.weight: loaders would invent a random head",
                    "tie_word_embeddings가 false이거나 없는데 lm_head.weight가 없습니다. 로더는 헤드를 임의로 채웁니다",
                ),
                ("Write \"tie_word_embeddings\": true if the head is the embedding.", "헤드가 임베딩과 같다면 \"tie_word_embeddings\": true로 적어 주세요."),
            ));
            false
        }
        (false, ..) => true,
    }
}

fn embedding_is_lost(model: &ModelConfig, name: &str, tensors: &Tensors, problems: &mut Problems) -> bool {
    let stored = tensors
        .keys()
        .any(|t| t.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    if stored || !model.tie || !tensors.contains_key("lm_head.weight") {
        return false;
    }
    problems.push(problem(
        "embedding-missing",
        format!("{name}.weight"),
        (
            format!("only lm_head.weight is stored; with tied weights loaders look for {name}.weight and leave it uninitialised"),
            format!("lm_head.weight만 있습니다. 묶인 모델에서 로더는 {name}.weight를 찾고, 없으면 초기화하지 않은 채로 둡니다"),
        ),
        (format!("Store the matrix as {name}.weight."), format!("그 행렬을 {name}.weight로 저장하세요.")),
    ));
    true
}

fn compare(name: &str, expect: &Expect, info: Option<&TensorInfo>, problems: &mut Problems) {
    let resave = (
        "Save the model again with the tool that compressed it, and upload config.json and safetensors of the same save.",
        "압축한 도구로 모델을 다시 저장하고, 같은 저장의 config.json과 safetensors를 올려 주세요.",
    );
    let Some(info) = info else {
        if expect.required {
            problems.push(problem(
                "tensor-missing",
                name,
                (format!("{name} is missing"), format!("{name}이(가) 없습니다")),
                resave,
            ));
        }
        return;
    };
    if !expect.shapes.is_empty() && !expect.shapes.contains(&info.shape) {
        let (have, need) = (&info.shape, &expect.shapes[0]);
        problems.push(problem(
            "tensor-shape",
            name,
            (
                format!("{name} has shape {have:?}; by config.json it is {need:?}"),
                format!("{name}의 모양이 {have:?}입니다. config.json으로는 {need:?}여야 합니다"),
            ),
            resave,
        ));
    }
    if !expect.dtypes.is_empty() && !expect.dtypes.contains(&info.dtype) {
        let have = info.dtype;
        let need = expect.dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(" | ");
        problems.push(problem(
            "tensor-dtype",
            name,
            (
                format!("{name} is {have}; {need} belongs there"),
                format!("{name}의 자료형이 {have}입니다. {need}여야 합니다"),
            ),
            resave,
        ));
    }
}

fn unexpected(name: &str, info: &TensorInfo, model: &ModelConfig, problems: &mut Problems, findings: &mut Problems) {
    let elements = info.shape.iter().product::<u64>();
    if name.ends_with("rotary_emb.inv_freq") && elements <= model.head_dim as u64 {
        findings.push(problem(
            "tensor-unused",
            name,
            (
                format!("{name} is not used: frequencies come from config.json"),
                format!("{name}은(는) 쓰이지 않습니다. 주파수는 config.json에서 계산합니다"),
            ),
            ("It can be removed.", "지워도 됩니다."),
        ));
        return;
    }
    let bytes = info.bytes();
    problems.push(problem(
        "tensor-unexpected",
        name,
        (
            format!(
                "{name} ({} {:?}, {bytes} bytes) belongs to no part of this model",
                info.dtype, info.shape
            ),
            format!(
                "{name}({} {:?}, {bytes}바이트)은(는) 이 모델의 어느 부분도 아닙니다",
                info.dtype, info.shape
            ),
        ),
        (
            "Remove the tensor, or correct quantization_config and config.json if it should be there.",
            "텐서를 지우거나, 필요한 것이라면 quantization_config와 config.json을 고쳐 주세요.",
        ),
    ));
}
