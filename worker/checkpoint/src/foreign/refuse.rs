//! Formats that are known and not run: each by name, with the reason and what to do instead.

use assay_contest::Problem;

use crate::problem::problem;

/// What is run.
pub(crate) const USE_SUPPORTED: (&str, &str) = (
    "Submit dense weights, one of llm-compressor's schemes (compressed-tensors), GPTQ, AWQ (GEMM), auto-round, float8 (fp8, fbgemm_fp8), bitsandbytes, torchao, HQQ or ModelOpt FP8 or NVFP4.",
    "dense, llm-compressor의 방식(compressed-tensors), GPTQ, AWQ(GEMM), auto-round, float8(fp8, fbgemm_fp8), bitsandbytes, torchao, HQQ, ModelOpt FP8·NVFP4 가운데 하나로 제출하세요.",
);

/// Why a format is not run, and what to do instead.
type Reason = ((&'static str, &'static str), (&'static str, &'static str));

const MXFP4: Reason = (
    (
        "quant_method mxfp4 is gpt-oss's layout of expert stacks; a dense EXAONE has no experts, and no runtime reads it so",
        "quant_method mxfp4는 gpt-oss의 전문가(MoE) 배치입니다. dense 모델인 EXAONE에는 전문가가 없어 어느 런타임도 읽지 못합니다",
    ),
    (
        "Quantize with llm-compressor's scheme MXFP4A16 (compressed-tensors, mxfp4-pack-quantized).",
        "llm-compressor의 MXFP4A16(compressed-tensors, mxfp4-pack-quantized)으로 양자화하세요.",
    ),
);

const GGUF: Reason = (
    (
        "GGUF is llama.cpp's own container; only safetensors files are graded",
        "GGUF는 llama.cpp의 자체 파일 형식입니다. safetensors만 채점합니다",
    ),
    (
        "Submit safetensors: quantize the original model with llm-compressor (W4A16 is close to Q4_K_M in size).",
        "safetensors로 제출하세요. 원래 모델을 llm-compressor로 양자화하면 됩니다(W4A16이 Q4_K_M과 크기가 비슷합니다).",
    ),
);

const MODELOPT: Reason = (
    (
        "this variant of NVIDIA ModelOpt is not read",
        "NVIDIA ModelOpt의 이 변형은 읽지 않습니다",
    ),
    (
        "Use llm-compressor's FP8, FP8_DYNAMIC or NVFP4A16: the same numbers in compressed-tensors.",
        "llm-compressor의 FP8, FP8_DYNAMIC, NVFP4A16을 쓰세요. 같은 값을 compressed-tensors로 저장합니다.",
    ),
);

const MARLIN: Reason = (
    (
        "weights in Marlin's or BitBLAS's order are laid out for one GPU kernel and cannot be read back without it",
        "Marlin, BitBLAS 배치는 특정 GPU 커널 전용이라 그 커널 없이는 되읽을 수 없습니다",
    ),
    (
        "Save as checkpoint_format \"gptq\" or \"gptq_v2\"; runtimes repack for Marlin when they load.",
        "checkpoint_format을 \"gptq\"나 \"gptq_v2\"로 저장하세요. Marlin 배치는 런타임이 읽을 때 만듭니다.",
    ),
);

const GEMV: Reason = (
    (
        "only AWQ's GEMM layout is read; gemv, gemv_fast, marlin, exllama, llm-awq and ipex order the same weights otherwise",
        "AWQ는 GEMM 배치만 읽습니다. gemv, gemv_fast, marlin, exllama, llm-awq, ipex는 순서가 다릅니다",
    ),
    (
        "Save with version \"GEMM\", or use llm-compressor's AWQModifier (compressed-tensors).",
        "version을 \"GEMM\"으로 저장하거나 llm-compressor의 AWQModifier(compressed-tensors)를 쓰세요.",
    ),
);

const OTHER: Reason = (
    (
        "no runtime of this contest reads this format",
        "이 대회의 런타임은 이 형식을 읽지 않습니다",
    ),
    USE_SUPPORTED,
);

/// A format refused for the reason kept for its name.
pub(crate) fn refused(format: &str) -> Problem {
    let (why, instead) = match format {
        "mxfp4" => MXFP4,
        "gguf" => GGUF,
        "modelopt" => MODELOPT,
        "marlin" => MARLIN,
        "awq" => GEMV,
        _ => OTHER,
    };
    because(format, why, instead)
}

/// A format, or a part of one, refused for a reason.
pub(crate) fn because(
    place: &str,
    why: (impl AsRef<str>, impl AsRef<str>),
    instead: (impl Into<String>, impl Into<String>),
) -> Problem {
    let (en, ko) = (why.0.as_ref(), why.1.as_ref());
    problem(
        "format-refused",
        place,
        (format!("{place}: {en}"), format!("{place}: {ko}")),
        instead,
    )
}
