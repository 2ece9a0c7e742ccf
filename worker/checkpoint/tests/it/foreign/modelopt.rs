//! ModelOpt.

use assay_checkpoint::number::f32_to_bf16;
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear};
use serde_json::json;

use super::*;
use crate::support::*;

/// ModelOpt: float8 as vLLM's, NVFP4 with a second scale that multiplies; both named in a file of their own or in config.json.
#[test]
fn modelopt_by_the_book() {
    let scale = |n: usize, g: usize| 0x30 + some(n * 31 + g, 16) as u8;
    let code = |n: usize, k: usize| some(n * 131 + k, 16) as u8;
    let four = |name: &str, out: usize, cols: usize| {
        vec![
            tensor(
                format!("{name}.weight"),
                Dtype::U8,
                &[out, cols / 2],
                (0..out)
                    .flat_map(|n| (0..cols / 2).map(move |b| code(n, 2 * b) | code(n, 2 * b + 1) << 4))
                    .collect(),
            ),
            tensor(
                format!("{name}.weight_scale"),
                Dtype::F8_E4M3,
                &[out, cols / 16],
                (0..out)
                    .flat_map(|n| (0..cols / 16).map(move |g| scale(n, g)))
                    .collect(),
            ),
            tensor(
                format!("{name}.weight_scale_2"),
                Dtype::F32,
                &[],
                0.0123f32.to_le_bytes().to_vec(),
            ),
            tensor(
                format!("{name}.input_scale"),
                Dtype::F32,
                &[],
                0.5f32.to_le_bytes().to_vec(),
            ),
        ]
    };
    let inside = json!({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]});
    let small = tiny(inside, four);
    let dir = small.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(
        (found.format.as_str(), found.scheme.as_str()),
        ("modelopt", "W4A16 fp g16 sym")
    );
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Gate).unwrap();
    let mut row = vec![0; 64];
    for n in 0..96 {
        matrix.row_bf16(n, &mut row);
        let value = |k: usize| {
            assay_checkpoint::number::e2m1_to_f32(code(n, k))
                * (assay_checkpoint::number::e4m3_to_f32(scale(n, k / 16)) * 0.0123)
        };
        assert_eq!(
            row,
            (0..64).map(|k| f32_to_bf16(value(k))).collect::<Vec<_>>(),
            "row {n}"
        );
    }
    let mut aside = small.clone().unset("quantization_config");
    let text = json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": null, "group_size": 16, "exclude_modules": ["lm_head"]}});
    aside = aside.file("hf_quant_config.json", text.to_string().as_bytes());
    assert!(aside.inspect().accepted(), "{:?}", aside.inspect().problems);
    let other = small.clone().quant(|q| q["quant_algo"] = json!("W4A8_AWQ"));
    assert_eq!(codes(&other.inspect().problems), ["format-refused"]);
    let mut nan = small;
    nan.tensor(&format!("{UP}.weight_scale")).data[1] = 0x7F;
    assert_eq!(data_codes(&nan).0, ["non-finite"]);
}
