//! A declared key/value cache scheme: its tensors, and what becomes of it.

use std::collections::BTreeMap;

use crate::config::ModelConfig;
use crate::problem::{Problems, problem};
use crate::quant::args::Args;
use crate::quant::cache::{CacheScheme, attention, scale_names, zero_name};
use crate::safetensors::Dtype;

use super::format::Tensors;
use super::modules::{Expect, FLOATS};

const PLACE: &str = "config.json: quantization_config.kv_cache_scheme";

/// Scales are allowed where the configuration declares a scheme, never needed. `apply`: the contest has it applied.
pub(super) fn expect(
    model: &ModelConfig,
    scheme: &Args,
    apply: bool,
    tensors: &Tensors,
    expected: &mut BTreeMap<String, Expect>,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let mut stored = 0;
    for layer in 0..model.layers {
        let queries = [format!("{}.q_scale", attention(model, layer))];
        let sides = [
            (queries.to_vec(), model.heads),
            (scale_names(model, layer, 'k').to_vec(), model.kv_heads),
            (scale_names(model, layer, 'v').to_vec(), model.kv_heads),
        ];
        for (names, heads) in sides {
            for scale in names {
                stored += usize::from(tensors.contains_key(scale.as_str()));
                let zeros: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::I8, Dtype::F8_E4M3];
                for (name, dtypes) in [(zero_name(&scale), zeros), (scale, FLOATS)] {
                    let shapes = vec![vec![1], vec![], vec![heads as u64, 1, 1]];
                    let expect = Expect {
                        shapes,
                        dtypes,
                        required: false,
                    };
                    expected.insert(name, expect);
                }
            }
        }
    }
    if !apply {
        findings.push(not_applied(stored == 0));
        return;
    }
    match CacheScheme::of(scheme) {
        Ok(_) => findings.push(applied(stored == 0)),
        Err((en, ko)) => problems.push(problem(
            "kv-cache-scheme-unknown",
            PLACE,
            (
                format!("this contest applies a declared KV cache scheme, and {en} are none that a cache can hold"),
                format!("이 대회는 선언된 KV 캐시 양자화를 적용하는데, {ko}은(는) 캐시에 적용할 수 없습니다"),
            ),
            (
                "Use fp8 or int8 with one stored scale a layer or head (strategy: tensor or attn_head), or leave kv_cache_scheme out.",
                "층이나 헤드마다 저장된 scale 하나를 쓰는 fp8이나 int8(strategy: tensor 또는 attn_head)로 하거나 kv_cache_scheme을 빼세요.",
            ),
        )),
    }
}

fn not_applied(without_scales: bool) -> assay_contest::Problem {
    let without = if without_scales {
        (" and stores no scales", " scale도 저장되어 있지 않습니다.")
    } else {
        ("", "")
    };
    problem(
        "kv-cache-scheme-not-applied",
        PLACE,
        (
            format!(
                "the submission asks for a quantized KV cache{}; it is graded with a bfloat16 cache",
                without.0
            ),
            format!(
                "KV 캐시 양자화가 선언되어 있지만 bfloat16 캐시로 채점합니다.{}",
                without.1
            ),
        ),
        ("Nothing has to be done.", "할 일은 없습니다."),
    )
}

fn applied(without_scales: bool) -> assay_contest::Problem {
    let scales = if without_scales {
        (
            "; no scales are stored, so they are 1",
            " 저장된 scale이 없어 1로 봅니다.",
        )
    } else {
        ("", "")
    };
    problem(
        "kv-cache-scheme-applied",
        PLACE,
        (
            format!(
                "keys and values are quantized on their way into the cache, as declared{}",
                scales.0
            ),
            format!("선언된 대로 키와 값을 양자화해 캐시에 넣습니다.{}", scales.1),
        ),
        (
            "Nothing has to be done; leave kv_cache_scheme out to be graded without it.",
            "할 일은 없습니다. 적용하지 않으려면 kv_cache_scheme을 빼세요.",
        ),
    )
}
