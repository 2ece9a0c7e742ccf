//! float8 of transformers, vLLM and fbgemm.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear};
use serde_json::{Value, json};

use super::*;
use crate::support::*;

#[test]
fn float8_of_other_tools() {
    let weight = |name: &str, out: usize, cols: usize| {
        let codes = (0..out * cols)
            .map(|i| (some(i, 0x7E) as u8) | u8::from(i.is_multiple_of(3)) << 7)
            .collect();
        tensor(format!("{name}.weight"), Dtype::F8_E4M3, &[out, cols], codes)
    };
    let make = |config: Value,
                dtype: Dtype,
                shape: fn(usize, usize) -> Vec<usize>,
                suffix: &'static str,
                input: Option<&'static str>| {
        tiny(config, move |name, out, cols| {
            let shape = shape(out, cols);
            let count = shape.iter().product::<usize>().max(1);
            let fill = match dtype {
                Dtype::U8 => vec![120; count],
                _ => 0.01f32.to_le_bytes().repeat(count),
            };
            let mut list = vec![
                weight(name, out, cols),
                tensor(format!("{name}.{suffix}"), dtype, &shape, fill),
            ];
            if let Some(input) = input {
                list.push(tensor(
                    format!("{name}.{input}"),
                    Dtype::F32,
                    &[],
                    0.05f32.to_le_bytes().to_vec(),
                ));
            }
            list
        })
    };
    let blocks = |r: usize, c: usize| json!({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [r, c], "modules_to_not_convert": null});
    let accepted = |what: &str, small: &Small, scheme: &str| {
        let dir = small.save();
        let found = look(dir.path());
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{what}: {:?}",
            found.problems
        );
        assert_eq!(found.scheme, scheme, "{what}");
        Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Down).unwrap()
    };
    accepted(
        "blocks",
        &make(
            blocks(128, 128),
            Dtype::F32,
            |r, c| vec![r.div_ceil(128), c.div_ceil(128)],
            "weight_scale_inv",
            None,
        ),
        "W8A8 fp block sym",
    );
    let micro = make(
        blocks(32, 16),
        Dtype::U8,
        |r, c| vec![r.div_ceil(32), c.div_ceil(16)],
        "weight_scale_inv",
        None,
    )
    .quant(|q| q["scale_fmt"] = json!("ue8m0"));
    let matrix = accepted("ue8m0", &micro, "W8A8 fp block sym");
    let mut row = vec![0f32; 96];
    matrix.row_f32(3, &mut row);
    let code = |i: usize| (some(i, 0x7E) as u8) | u8::from(i.is_multiple_of(3)) << 7;
    let expected: Vec<f32> = (0..96)
        .map(|c| assay_checkpoint::number::e4m3_to_f32(code(3 * 96 + c)) / 128.0)
        .collect();
    assert_eq!(row, expected);
    let mut nan = micro.clone();
    nan.tensor(&format!("{UP}.weight_scale_inv")).data[0] = 255;
    assert_eq!(data_codes(&nan).0, ["non-finite"]);
    let whole = json!({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]});
    let fixed = make(
        whole.clone(),
        Dtype::F32,
        |_, _| vec![],
        "weight_scale",
        Some("input_scale"),
    );
    let matrix = accepted("static", &fixed, "W8A8 fp tensor sym static");
    assert!(format!("{:?}", matrix.inputs).contains("Fixed"), "{:?}", matrix.inputs);
    accepted(
        "static, transformers",
        &make(
            whole.clone(),
            Dtype::F32,
            |_, _| vec![1],
            "weight_scale_inv",
            Some("activation_scale"),
        ),
        "W8A8 fp tensor sym static",
    );
    accepted(
        "dynamic",
        &make(
            json!({"quant_method": "fp8", "activation_scheme": "dynamic"}),
            Dtype::F32,
            |_, _| vec![1],
            "weight_scale",
            None,
        ),
        "W8A8 fp tensor sym",
    );
    let rows = make(
        json!({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}),
        Dtype::F32,
        |r, _| vec![r, 1],
        "weight_scale",
        None,
    );
    accepted("fbgemm", &rows, "W8A8 fp channel sym");
    let mut bad = rows.clone();
    bad.tensor(&format!("{UP}.weight")).data[7] = 0x7F;
    assert_eq!(data_codes(&bad).0, ["non-finite"]);

    // announced and not done: vLLM would read garbage, transformers would quantize while loading
    let dense = Small::dense().set("quantization_config", whole);
    assert_eq!(codes(&dense.inspect().problems), ["not-compressed"]);
}
