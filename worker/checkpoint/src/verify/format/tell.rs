//! What is said of a format that is not known, not run, or not what the configuration says.

use crate::foreign::USE_SUPPORTED;
use crate::problem::{Problems, problem, quoted};
use crate::quant::Refusal;
use crate::quant::config::{Group, QuantConfig};

pub(super) fn not_supported(format: &str, what: (String, String)) -> assay_contest::Problem {
    let message = (
        format!("{} is recognised but not supported yet", what.0),
        format!("{} 형식은 알지만 아직 지원하지 않습니다", what.1),
    );
    problem("format-not-supported-yet", format, message, USE_SUPPORTED)
}

pub(crate) fn invalid(why: &str) -> assay_contest::Problem {
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

pub(super) fn disagrees(format: &str, looks: &str) -> assay_contest::Problem {
    problem(
        "format-disagrees",
        "config.json: quantization_config.quant_method",
        (
            format!("config.json says {format}, the tensors look like {looks}"),
            format!("config.json에는 {format}라고 되어 있는데 텐서는 {looks}처럼 보입니다"),
        ),
        (
            "Upload config.json and safetensors of the same save.",
            "같은 저장에서 나온 config.json과 safetensors를 올려 주세요.",
        ),
    )
}

pub(super) fn transform_refused((en, ko): (String, String)) -> assay_contest::Problem {
    problem(
        "transform-changes-model",
        "config.json: quantization_config.transform_config",
        (en, ko),
        (
            "Use rotations that leave the function of the model as it was: SpinQuant's R2, R3 and R4, QuIP's U and V.",
            "모델의 함수를 그대로 두는 회전만 쓰세요: SpinQuant의 R2, R3, R4, QuIP의 U, V.",
        ),
    )
}

pub(super) fn unknown_format(quant: &QuantConfig, group: &Group) -> assay_contest::Problem {
    let shown = group.format.as_deref().or(quant.format.as_deref()).unwrap_or_default();
    let place = format!("config.json: quantization_config.config_groups.{}", quoted(&group.name));
    unknown_name(&place, shown)
}

pub(super) fn unknown_name(place: &str, shown: &str) -> assay_contest::Problem {
    problem(
        "format-unknown",
        place,
        (
            format!("\"{shown}\" is not a known format"),
            format!("\"{shown}\"은(는) 알려진 형식이 아닙니다"),
        ),
        USE_SUPPORTED,
    )
}

pub(super) fn not_compressed(scheme: &str, status: &str) -> assay_contest::Problem {
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

pub(super) fn stored_dense(scheme: &str, status: &str) -> assay_contest::Problem {
    problem(
        "stored-dense",
        "config.json: quantization_config",
        (
            format!(
                "{scheme} was computed but not applied to the file (quantization_status: {status}): weights are dense, with their scales beside them, and are graded as they are"
            ),
            format!(
                "{scheme}을(를) 계산했지만 파일에는 적용하지 않았습니다(quantization_status: {status}). 가중치가 dense로 저장되어 있고 저장된 그대로 채점합니다"
            ),
        ),
        (
            "Save with save_pretrained(..., save_compressed=True); the file becomes much smaller.",
            "save_pretrained(..., save_compressed=True)로 저장하면 파일이 훨씬 작아집니다.",
        ),
    )
}

pub(super) fn not_sparse(name: &str) -> assay_contest::Problem {
    problem(
        "sparsity-not-stored",
        "config.json: quantization_config.sparsity_config",
        (
            format!("{name} is declared and no tensor is stored so"),
            format!("{name}로 선언되어 있는데 그렇게 저장된 텐서가 없습니다"),
        ),
        (
            "It is graded as stored; other loaders may refuse it.",
            "저장된 대로 채점합니다. 다른 로더는 거부할 수 있습니다.",
        ),
    )
}

pub(super) fn quartered() -> assay_contest::Problem {
    problem(
        "mxfp4-exponent-bug",
        "config.json: quantization_config.version",
        (
            "compressed-tensors 0.13 stored MXFP4 exponents two too small: every weight is a quarter of what it should be, and is computed as stored",
            "compressed-tensors 0.13은 MXFP4 지수를 2만큼 작게 저장합니다. 모든 가중치가 원래의 1/4이며 저장된 대로 계산합니다",
        ),
        (
            "Compress again with compressed-tensors 0.14 or later.",
            "compressed-tensors 0.14 이후 버전으로 다시 압축하세요.",
        ),
    )
}

pub(super) fn refused(refusal: Refusal, format: &str, group: &str) -> assay_contest::Problem {
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

pub(super) fn inferred_format(group: &str, format: &str) -> assay_contest::Problem {
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

pub(super) fn report_unknown(quant: &QuantConfig, findings: &mut Problems) {
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
