//! HQQ and torchao.

use assay_checkpoint::number::f32_to_bf16;
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear};
use serde_json::{Value, json};

use super::*;
use crate::support::*;

#[test]
fn hqq_and_torchao_broken_in_one_place() {
    let hqq = |change: fn(&mut Value, &mut Vec<Tensor>)| {
        let dir = changed("hqq-4", change);
        codes(&look(dir.path()).problems)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(hqq(|_, _| ()), Vec::<String>::new());
    assert_eq!(hqq(|_, t| at(t, &format!("{UP}.axis")).data[0] = 0), ["hqq-metadata"]);
    assert_eq!(hqq(|_, t| at(t, &format!("{UP}.shape")).data[0] = 1), ["hqq-metadata"]);
    assert_eq!(
        hqq(|_, t| at(t, &format!("{UP}.quant_zero")).data[0] = 1),
        ["hqq-metadata"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["zero_quant_params"] = json!({"nbits": 8})),
        ["format-refused"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["weight_quant_params"]["nbits"] = json!(5)),
        ["quantization-config-invalid"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"] = json!(null)),
        ["quantization-config-invalid"]
    );
    assert!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["weight_quant_params"]["group_size"] = json!(7))
            .contains(&"packing-width".into())
    );
    let ao = |name: &str, change: fn(&mut Value, &mut Vec<Tensor>)| {
        let dir = changed(name, change);
        codes(&look(dir.path()).problems)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let narrow = |c: &mut Value| {
        c["quantization_config"]["quant_type"]["default"]["_data"] =
            json!({"weight_dtype": {"_type": "torch.dtype", "_data": "int4"}})
    };
    let dir = changed("torchao-intx4", |c, _| narrow(c));
    let found = look(dir.path());
    assert!(
        found.accepted() && found.scheme == "W4A16 g32 asym",
        "{:?}",
        found.problems
    );
    let dir = changed("torchao-intx4", |c, t| {
        narrow(c);
        at(t, &format!("{UP}._weight_qdata")).data[0] = 8;
    });
    assert_eq!(codes(&look(dir.path()).problems), ["code-out-of-range"]);
    assert_eq!(
        ao("torchao-float8", |_, t| at(t, &format!("{UP}._weight_qdata")).data[0] =
            0x7F),
        ["non-finite"]
    );
    assert_eq!(
        ao("torchao-int8", |_, t| at(t, &format!("{UP}._weight_qdata")).dtype =
            Dtype::U8),
        ["format-refused"]
    );
}

/// torchao's plain int4: signed nibbles, the low one first, and a float offset: bf16(bf16(q · s) + z).
#[test]
fn torchao_int4_by_the_book() {
    let round = |x: f32| assay_checkpoint::number::bf16_to_f32(f32_to_bf16(x));
    let (scale, offset) = (
        |g: usize, n: usize| round(0.01 + 0.001 * ((3 * g + n) % 11) as f32),
        |g: usize, n: usize| round(0.02 - 0.003 * ((g + n) % 9) as f32),
    );
    let code = |n: usize, k: usize| some(n * 131 + k, 16) as i32 - 8;
    let config = json!({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_version": 2, "_data": {"group_size": 32}}}, "modules_to_not_convert": null});
    let small = tiny(config, |name, out, cols| {
        let nibble = |n: usize, k: usize| (code(n, k) & 15) as u8;
        let qdata = (0..out)
            .flat_map(|n| (0..cols / 2).map(move |b| nibble(n, 2 * b) | nibble(n, 2 * b + 1) << 4))
            .collect();
        let grid = |value: &dyn Fn(usize, usize) -> f32| {
            (0..cols / 32)
                .flat_map(|g| (0..out).map(move |n| (g, n)))
                .flat_map(|(g, n)| f32_to_bf16(value(g, n)).to_le_bytes())
                .collect::<Vec<u8>>()
        };
        vec![
            tensor(format!("{name}._weight_qdata"), Dtype::I8, &[out, cols / 2], qdata),
            tensor(
                format!("{name}._weight_scale"),
                Dtype::BF16,
                &[cols / 32, out],
                grid(&scale),
            ),
            tensor(
                format!("{name}._weight_zero_point"),
                Dtype::BF16,
                &[cols / 32, out],
                grid(&offset),
            ),
        ]
    });
    let dir = small.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(found.scheme, "W4A16 g32 asym");
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(0, Linear::Down).unwrap();
    let mut row = vec![0f32; 96];
    for n in 0..64 {
        matrix.row_f32(n, &mut row);
        let expected: Vec<f32> = (0..96)
            .map(|k| round(round(code(n, k) as f32 * scale(k / 32, n)) + offset(k / 32, n)))
            .collect();
        assert_eq!(row, expected, "row {n}");
    }
}
