//! The contest's rules, and what other runtimes would say.

use std::collections::{BTreeMap, BTreeSet};

use assay_contest::{CheckpointRules, RecipeRule};

use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::{Linear, Module};
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Micro, Quantized, Storage, Strategy};

/// Format and modules against what the contest allows. `parts` are the formats of the groups: each has to be allowed as well.
pub(super) fn formats(
    format: &str,
    parts: &BTreeSet<&'static str>,
    model: Option<&ModelConfig>,
    storage: Option<&BTreeMap<Module, Storage>>,
    rules: &CheckpointRules,
    problems: &mut Problems,
) {
    let allows = |format: &str| rules.formats.iter().any(|f| f == format);
    let parts = parts.iter().copied();

    let refused = [format].into_iter().chain(parts).find(|f| !allows(f));
    if let Some(format) = refused.filter(|f| *f != "unknown") {
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
    // one sentence a kind is enough for the seven matrices of thirty layers
    let mut told = BTreeSet::new();
    for (module, how) in storage.into_iter().flatten() {
        let kind = match module {
            Module::Embedding => "embed_tokens",
            Module::Head => "lm_head",
            Module::Layer(..) => "Linear",
        };
        if matches!(how, Storage::Quantized(_)) && !rules.modules.iter().any(|m| m == kind) && told.insert(kind) {
            let allowed = rules.modules.join(", ");
            problems.push(problem(
                "module-not-allowed",
                model.map_or_else(|| kind.to_owned(), |m| module.name(m.family)),
                (
                    format!("{kind} is quantized; this contest allows that for: {allowed}"),
                    format!("{kind}이(가) 양자화되어 있습니다. 이 대회에서 양자화할 수 있는 것: {allowed}"),
                ),
                (
                    format!("Add {kind} to ignore and quantize again."),
                    format!("{kind}을(를) ignore에 넣고 다시 양자화하세요."),
                ),
            ));
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

/// Why vLLM 0.14 on a card without native float4 (an L4) would not load a matrix that is stored so.
fn refused_by_vllm(how: Storage, (rows, cols): (usize, usize)) -> Option<(&'static str, &'static str)> {
    let Storage::Quantized(q) = how else {
        return matches!(how, Storage::Sparse(_)).then_some(SPARSE);
    };
    match q {
        Quantized {
            layout: Layout::Packed(_),
            inputs,
            ..
        } if inputs != InputRule::Plain => Some((
            "weights are packed and inputs are quantized",
            "가중치를 묶고(pack-quantized) 입력도 양자화했습니다",
        )),
        Quantized {
            layout: Layout::Packed(_),
            bits,
            ..
        } if bits != 4 && bits != 8 => Some((
            "packed integers have neither four nor eight bits",
            "묶인 정수가 4비트도 8비트도 아닙니다",
        )),
        Quantized {
            layout: Layout::Packed(_),
            bits: 8,
            symmetric: false,
            ..
        } => Some((
            "packed eight-bit integers have zero points",
            "묶인 8비트 정수에 zero point가 있습니다",
        )),
        Quantized {
            layout: Layout::Packed(_),
            strategy,
            ..
        } if !marlin_groups(strategy) || rows % 64 != 0 || cols % 128 != 0 => Some((
            "packed integers come in groups or shapes its kernels do not have",
            "그룹 크기나 행렬 모양을 커널이 지원하지 않습니다",
        )),
        Quantized {
            layout: Layout::Bytes,
            symmetric: false,
            ..
        } => Some((
            "integers of one byte have zero points",
            "한 바이트짜리 정수에 zero point가 있습니다",
        )),
        Quantized {
            layout: Layout::Bytes,
            strategy: Strategy::Group(_) | Strategy::Block { .. },
            ..
        } => Some((
            "integers of one byte have scales in groups",
            "한 바이트짜리 정수의 scale이 그룹별입니다",
        )),
        Quantized {
            layout: Layout::Float8,
            strategy: Strategy::Group(_),
            ..
        } => Some((
            "float8 weights have scales in groups",
            "float8 가중치의 scale이 그룹별입니다",
        )),
        Quantized {
            layout: Layout::Micro(Micro::Mxfp6 | Micro::Mxfp8),
            ..
        } => Some(("the weights are MXFP6 or MXFP8", "가중치가 MXFP6이나 MXFP8입니다")),
        Quantized {
            layout: Layout::Sparse(..),
            ..
        } => Some(SPARSE),
        _ => None,
    }
}

const SPARSE: (&str, &str) = ("zeros are left out of the file", "0인 값을 빼고 저장했습니다");

fn marlin_groups(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Channel | Strategy::Group(32 | 64 | 128))
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
        if matches!(at(module), Storage::Quantized(_)) {
            tell(module.name(model.family), en, ko);
        }
    }
    // each reason once, at the first matrix that has it
    let mut told = BTreeSet::new();
    for (module, how) in storage {
        if matches!(module, Module::Layer(..))
            && let Some((en, ko)) = refused_by_vllm(*how, module.shape(model))
            && told.insert(en)
        {
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
