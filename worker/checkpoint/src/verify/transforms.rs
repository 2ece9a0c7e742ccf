//! The tensors of online rotations, and what becomes of them.

use std::collections::BTreeMap;

use crate::config::ModelConfig;
use crate::problem::{Problems, problem};
use crate::quant::cache::attention;
use crate::quant::transform::Assigned;
use crate::safetensors::Dtype;

use super::format::Tensors;
use super::modules::Expect;

/// Matrices of rotations may be kept in double precision.
pub(super) const FLOATS: &[Dtype] = &[Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::F64];
const PLACE: &str = "config.json: quantization_config.transform_config";

/// A matrix is stored with one of the modules it is shared by, or with none where it is known. `cache`: keys are quantized.
pub(super) fn expect(
    model: &ModelConfig,
    transforms: &Assigned,
    cache: bool,
    tensors: &Tensors,
    expected: &mut BTreeMap<String, Expect>,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    for (turn, names) in transforms.stored(model) {
        let size = turn.size as u64;
        let stored = |suffix: &str| {
            names
                .iter()
                .any(|n| tensors.contains_key(format!("{n}.{suffix}").as_str()))
        };
        if !(turn.is_known() || stored("weight") && (stored("perm") || !turn.permuted)) {
            let name = &names[0];
            problems.push(problem(
                "transform-missing",
                format!("{name}.weight"),
                (
                    format!(
                        "the matrix of the rotation {} ({size} × {size}) is stored with none of its modules",
                        turn.group
                    ),
                    format!(
                        "회전 {}의 행렬({size} × {size})이 어느 모듈에도 저장되어 있지 않습니다",
                        turn.group
                    ),
                ),
                (
                    "Save the model again with the tool that rotated it.",
                    "회전한 도구로 모델을 다시 저장하세요.",
                ),
            ));
        }
        for name in &names {
            expected.insert(format!("{name}.weight"), optional(vec![size, size], FLOATS));
            if turn.permuted {
                let perm = optional(vec![size], &[Dtype::I64, Dtype::I32]);
                expected.insert(format!("{name}.perm"), perm);
            }
        }
    }
    let head = model.head_dim as u64;
    for group in &transforms.attention_groups {
        for layer in 0..model.layers {
            for place in ["q_attn", "k_cache"] {
                let name = format!("{}.{group}_{place}", attention(model, layer));
                expected.insert(format!("{name}.weight"), optional(vec![head, head], FLOATS));
                expected.insert(format!("{name}.perm"), optional(vec![head], &[Dtype::I64, Dtype::I32]));
            }
        }
    }
    told(transforms, cache, problems, findings);
}

fn optional(shape: Vec<u64>, dtypes: &'static [Dtype]) -> Expect {
    Expect {
        shapes: vec![shape],
        dtypes,
        required: false,
    }
}

fn told(transforms: &Assigned, cache: bool, problems: &mut Problems, findings: &mut Problems) {
    let modules = transforms.modules.len();
    if modules > 0 {
        findings.push(problem(
            "transforms-applied",
            PLACE,
            (
                format!("inputs or outputs of {modules} matrices are rotated when the model runs, as declared"),
                format!("선언된 대로 행렬 {modules}개의 입력이나 출력을 실행 중에 회전합니다"),
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
    if transforms.attention && cache {
        problems.push(problem(
            "transform-changes-model",
            PLACE,
            (
                "queries and keys are rotated (R3) under a quantized KV cache, where the rotation does not cancel; this is not computed",
                "양자화한 KV 캐시와 함께 쿼리와 키를 회전했습니다(R3). 이때는 회전이 상쇄되지 않으며 계산하지 않습니다",
            ),
            (
                "Leave kv_cache_scheme or the rotation of queries and keys out.",
                "kv_cache_scheme이나 쿼리와 키의 회전을 빼세요.",
            ),
        ));
    } else if transforms.attention {
        findings.push(problem(
            "transform-cancels",
            PLACE,
            (
                "queries and keys are rotated alike (R3): it cancels in attention, whose cache is not quantized here, and is left out",
                "쿼리와 키를 같은 행렬로 회전합니다(R3). 캐시를 양자화하지 않으면 attention에서 상쇄되므로 생략합니다",
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
}
