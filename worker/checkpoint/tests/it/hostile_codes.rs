//! Int-quantized, float-quantized and act-ordered checkpoints with something wrong: by their headers, and by their data.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{
    Checkpoint, Coded, Codes, InputScale, Inputs, Inspection, Linear, Listing, Matrix, OpenError, Weights, Zeros,
};
use assay_checkpoint::{verify, verify_data};
use serde_json::{Value, json};

use crate::support::*;

const UP: &str = "model.layers.1.mlp.up_proj";

fn int(bits: u8, strategy: &str) -> Value {
    let group = if strategy == "group" { json!(16) } else { json!(null) };
    json!({"num_bits": bits, "type": "int", "symmetric": true, "strategy": strategy, "group_size": group, "dynamic": false})
}

fn float(strategy: &str) -> Value {
    json!({"num_bits": 8, "type": "float", "symmetric": true, "strategy": strategy, "dynamic": false})
}

fn token(kind: &str, symmetric: bool) -> Value {
    json!({"num_bits": 8, "type": kind, "symmetric": symmetric, "strategy": "token", "dynamic": true})
}

fn fixed(kind: &str, symmetric: bool) -> Value {
    json!({"num_bits": 8, "type": kind, "symmetric": symmetric, "strategy": "tensor", "dynamic": false})
}

fn set(mut value: Value, field: &str, to: Value) -> Value {
    value[field] = to;
    value
}

/// The tensor `suffix` of one matrix, changed.
fn with(mut small: Small, suffix: &str, change: impl FnOnce(&mut Tensor)) -> Small {
    change(small.tensor(&format!("{UP}.{suffix}")));
    small
}

fn grouped(kind: &str, bits: u8, size: u64) -> Value {
    json!({"num_bits": bits, "type": kind, "strategy": "group", "group_size": size, "dynamic": true})
}

#[test]
fn schemes() {
    let c = Small::coded;
    let asym = |bits, strategy| set(int(bits, strategy), "symmetric", json!(false));
    let refused: &[&str] = &["format-not-supported-yet"];
    judge(vec![
        ("W8A8", &[], c(&int(8, "channel"), &token("int", true))),
        ("one scale", &[], c(&int(8, "tensor"), &token("int", false))),
        ("W4A8", &[], c(&int(4, "group"), &token("int", true))),
        ("W3A8", &[], c(&int(3, "group"), &token("int", true))),
        ("zero points", &[], c(&asym(8, "channel"), &fixed("int", false))),
        ("zero points in groups", &[], c(&asym(4, "group"), &fixed("int", true))),
        ("FP8", &[], c(&float("tensor"), &fixed("float", true))),
        ("FP8_DYNAMIC", &[], c(&float("channel"), &token("float", true))),
        (
            "float weights, integer inputs",
            &[],
            c(&float("channel"), &token("int", true)),
        ),
        ("float8 weights alone", &[], c(&float("channel"), &json!(null))),
        ("16-bit inputs", &[], c(&int(8, "channel"), &json!(null))),
        ("inputs in groups", &[], c(&float("channel"), &grouped("float", 8, 128))),
        (
            "integer inputs in groups",
            &[],
            c(&int(4, "group"), &grouped("int", 4, 16)),
        ),
        (
            "inputs in groups that do not divide a row",
            &["group-size"; 7],
            c(&float("channel"), &grouped("float", 8, 24)),
        ),
        (
            "inputs in groups with power-of-two scales",
            &["group-size"; 2],
            c(
                &float("channel"),
                &set(grouped("float", 4, 32), "scale_dtype", json!("torch.uint8")),
            ),
        ),
        (
            "power-of-two scales of other groups",
            refused,
            c(
                &float("channel"),
                &set(grouped("float", 8, 16), "scale_dtype", json!("torch.uint8")),
            ),
        ),
        (
            "inputs under a global scale that is not there",
            &["tensor-missing"; 7],
            c(
                &float("channel"),
                &set(
                    set(grouped("float", 4, 16), "strategy", json!("tensor_group")),
                    "dynamic",
                    json!("local"),
                ),
            ),
        ),
        (
            "four-bit floats",
            &[],
            c(&float("channel"), &set(token("float", true), "num_bits", json!(4))),
        ),
        (
            "floats with a zero point",
            refused,
            c(&float("channel"), &token("float", false)),
        ),
        (
            "one scale for the batch",
            &["activations-batch-dependent"],
            c(&int(8, "channel"), &set(fixed("int", true), "dynamic", json!(true))),
        ),
        (
            "quantized outputs",
            refused,
            c(&int(8, "channel"), &token("int", true))
                .quant(|q| q["config_groups"]["group_0"]["output_activations"] = fixed("int", true)),
        ),
        (
            "an embedding with quantized inputs",
            refused,
            c(&int(8, "channel"), &token("int", true))
                .quant(|q| q["config_groups"]["group_0"]["targets"] = json!(["Linear", "Embedding"])),
        ),
        (
            "bytes where packed words are announced",
            &["module-layout"; 7],
            c(&int(8, "channel"), &token("int", true)).quant(|q| q["format"] = json!("pack-quantized")),
        ),
        (
            "packed words where bytes are announced",
            &["module-layout"; 7],
            Small::packed().quant(|q| q["format"] = json!("int-quantized")),
        ),
        (
            "packed words with quantized inputs",
            &[],
            Small::packed().quant(|q| q["config_groups"]["group_0"]["input_activations"] = token("int", true)),
        ),
    ]);
}

#[test]
fn tensors() {
    let dynamic = || Small::coded(&int(8, "channel"), &token("int", true));
    let stored = || Small::coded(&int(8, "channel"), &fixed("int", false));
    let float8 = || Small::coded(&float("channel"), &fixed("float", true));
    let missing = |suffix: &str| stored().without(&format!("{UP}.{suffix}"));
    let extra = |small: Small, suffix: &str, dtype| small.with(Tensor::new(&format!("{UP}.{suffix}"), dtype, &[1], 1));
    judge(vec![
        ("no weight", &["tensor-missing"], missing("weight")),
        ("no scale", &["tensor-missing"], missing("weight_scale")),
        ("no input scale", &["tensor-missing"], missing("input_scale")),
        ("no input zero point", &["tensor-missing"], missing("input_zero_point")),
        (
            "input scale nobody asked for",
            &["tensor-unexpected"],
            extra(dynamic(), "input_scale", Dtype::BF16),
        ),
        (
            "input zero point of a symmetric scheme",
            &["tensor-unexpected"],
            extra(float8(), "input_zero_point", Dtype::I8),
        ),
        (
            "zero point of a symmetric weight",
            &["tensor-unexpected"],
            extra(dynamic(), "weight_zero_point", Dtype::I8),
        ),
        (
            "g_idx of plain bytes",
            &["tensor-unexpected"],
            extra(dynamic(), "weight_g_idx", Dtype::I32),
        ),
        (
            "a scale a column",
            &["tensor-shape"],
            with(dynamic(), "weight_scale", |t| {
                (t.shape, t.data) = (vec![1, 48], vec![0x3C; 96])
            }),
        ),
        (
            "an input scale for every column",
            &["tensor-shape"],
            with(stored(), "input_scale", |t| {
                (t.shape, t.data) = (vec![32], vec![0x3C; 64])
            }),
        ),
        (
            "an input scale without a dimension",
            &[],
            with(stored(), "input_scale", |t| t.shape = vec![]),
        ),
        (
            "an input scale of bytes",
            &["tensor-dtype"],
            with(stored(), "input_scale", |t| (t.dtype, t.data) = (Dtype::I8, vec![1])),
        ),
        (
            "one matrix left dense",
            &["module-not-packed"],
            with(dynamic(), "weight", |t| {
                (t.dtype, t.data) = (Dtype::BF16, vec![0x3C; t.data.len() * 2])
            }),
        ),
        (
            "floats where integers belong",
            &["module-layout"],
            with(dynamic(), "weight", |t| t.dtype = Dtype::F8_E4M3),
        ),
        (
            "unsigned bytes",
            &["tensor-dtype"],
            with(dynamic(), "weight", |t| t.dtype = Dtype::U8),
        ),
    ]);
}

fn look(small: &Small) -> Inspection {
    let dir = small.save();
    let first = verify(&Listing::read_dir(dir.path()).unwrap(), None, None);
    assert!(first.accepted(), "{:?}", first.problems);
    let second = verify_data(dir.path(), &first);
    // what the data check accepts loads, and what loading itself refuses it has refused
    if second.accepted() {
        Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Up).unwrap();
    }
    second
}

fn bf16(value: f32) -> Vec<u8> {
    assay_checkpoint::number::f32_to_bf16(value).to_le_bytes().to_vec()
}

#[test]
fn data() {
    let stored = || Small::coded(&int(8, "channel"), &fixed("int", false));
    for (what, value, code) in [
        ("NaN", f32::NAN, "non-finite"),
        ("infinite", f32::INFINITY, "non-finite"),
        ("zero", 0.0, "input-scale-not-positive"),
        ("negative", -1.0, "input-scale-not-positive"),
    ] {
        let small = with(stored(), "input_scale", |t| t.data = bf16(value));
        assert_eq!(codes(&look(&small).problems), [code], "{what}");
        let read = Checkpoint::open(small.save().path()).unwrap().linear(1, Linear::Up);
        assert!(matches!(read, Err(OpenError::Tensor { .. })), "{what}");
    }
    let nan = with(stored(), "weight_scale", |t| {
        t.data[..2].copy_from_slice(&bf16(f32::NAN))
    });
    assert_eq!(codes(&look(&nan).problems), ["non-finite"]);
    for value in [0.0, -0.5] {
        let odd = with(stored(), "weight_scale", |t| t.data[..2].copy_from_slice(&bf16(value)));
        let found = look(&odd);
        assert!(found.accepted() && codes(&found.findings).contains(&"scale-not-positive"));
    }

    let float8 = || Small::coded(&float("channel"), &token("float", true));
    assert!(look(&float8()).accepted());
    for bits in [0x7F, 0xFF] {
        let nan = with(float8(), "weight", |t| t.data[7] = bits);
        assert_eq!(codes(&look(&nan).problems), ["non-finite"]);
    }
    // 448 times the scale leaves bfloat16
    let huge = with(float8(), "weight_scale", |t| t.data[..2].copy_from_slice(&bf16(1e36)));
    assert_eq!(codes(&look(&huge).problems), ["scale-overflow"]);

    let four = || Small::coded(&int(4, "group"), &token("int", true));
    assert!(look(&with(four(), "weight", |t| (t.data[0], t.data[1]) = (7, 0xF8))).accepted());
    for code in [8, 0xF7, 0x80] {
        let wide = with(four(), "weight", |t| t.data[3] = code);
        assert_eq!(codes(&look(&wide).problems), ["code-out-of-range"]);
        let read = Checkpoint::open(wide.save().path()).unwrap().linear(1, Linear::Up);
        assert!(matches!(read, Err(OpenError::Tensor { .. })));
    }
}

/// Four-bit groups of 16 with `weight_g_idx` of every matrix; `up`'s 32 columns alternate between its two groups.
fn act_ordered() -> Small {
    let mut small = Small::packed().quant(|q| q["config_groups"]["group_0"]["weights"]["actorder"] = json!("group"));
    let packed: Vec<(String, u64)> = small
        .tensors
        .iter()
        .filter_map(|t| Some((t.name.strip_suffix(".weight_packed")?.to_owned(), t.shape[1] * 8)))
        .collect();
    for (name, cols) in packed {
        let mut index = Tensor::new(&format!("{name}.weight_g_idx"), Dtype::I32, &[cols], 0);
        let groups = cols as u32 / 16;
        index.data = (0..cols as u32).flat_map(|c| (c % groups).to_le_bytes()).collect();
        small = small.with(index);
    }
    small
}

#[test]
fn group_indices() {
    let put = |at: usize, group: i32| {
        with(act_ordered(), "weight_g_idx", |t| {
            t.data[4 * at..][..4].copy_from_slice(&group.to_le_bytes())
        })
    };
    judge(vec![
        ("each column its group", &[], act_ordered()),
        (
            "one index short",
            &["tensor-shape"],
            with(act_ordered(), "weight_g_idx", |t| {
                t.shape = vec![31];
                t.data.truncate(124);
            }),
        ),
    ]);
    assert!(look(&act_ordered()).accepted());
    for (what, small) in [
        ("beyond the last", put(3, 2)),
        ("negative", put(3, -1)),
        ("an uneven group", put(3, 0)),
        (
            "never filled in",
            with(act_ordered(), "weight_g_idx", |t| t.data.fill(0)),
        ),
    ] {
        assert_eq!(codes(&look(&small).problems), ["group-index"], "{what}");
    }
    // the tool's way of saying that groups are consecutive
    let unset = with(act_ordered(), "weight_g_idx", |t| t.data.fill(0xFF));
    assert!(look(&unset).accepted());

    let weights = |small: &Small| {
        let checkpoint = Checkpoint::open(small.save().path()).unwrap();
        let matrix = checkpoint.linear(1, Linear::Up).unwrap();
        let mut row = vec![0f32; matrix.cols];
        matrix.row_f32(0, &mut row);
        (matrix, row)
    };
    // distinct scales: column c belongs to group c % 2
    let scaled = |small| {
        with(small, "weight_scale", |t| {
            t.data[..4].copy_from_slice(&[bf16(1.0), bf16(2.0)].concat())
        })
    };
    let (matrix, row) = weights(&scaled(act_ordered()));
    assert_eq!(coded(&matrix).index.as_ref().unwrap()[..4], [0, 1, 0, 1]);
    // codes 10, 5, 10, 5 … less 8
    assert_eq!(row[..4], [2.0, -6.0, 2.0, -6.0]);
    let (matrix, row) = weights(&scaled(unset));
    assert_eq!(coded(&matrix).index, None);
    assert_eq!((row[1], row[17]), (-3.0, -6.0));
}

/// What was written is what is read: codes of a byte, zero points, float8 and the rule of the inputs.
#[test]
fn values_survive_reading() {
    let mut weights = int(4, "channel");
    weights["symmetric"] = json!(false);
    let small = with(Small::coded(&weights, &fixed("int", false)), "weight", |t| {
        t.data
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = (i % 16) as u8 ^ 0xF8);
        t.data.iter_mut().for_each(|b| *b = (((*b as i8) << 4) >> 4) as u8);
    });
    let codes: Vec<i8> = small
        .tensors
        .iter()
        .find(|t| t.name == format!("{UP}.weight"))
        .unwrap()
        .data
        .iter()
        .map(|b| *b as i8)
        .collect();
    let matrix = Checkpoint::open(small.save().path())
        .unwrap()
        .linear(1, Linear::Up)
        .unwrap();
    assert_eq!(coded(&matrix).bits, 4);
    assert!(matches!(coded(&matrix).zeros, Zeros::Int(_)));
    let scale = f32::from_bits(0x3C3C_0000);
    let round = |x: f32| assay_checkpoint::number::bf16_to_f32(assay_checkpoint::number::f32_to_bf16(x));
    let mut row = vec![0f32; matrix.cols];
    for r in 0..matrix.rows {
        matrix.row_f32(r, &mut row);
        let expected = codes[r * matrix.cols..][..matrix.cols]
            .iter()
            .map(|q| round(f32::from(*q - 2) * scale));
        assert!(row.iter().copied().eq(expected), "row {r}");
    }
    assert_eq!(
        matrix.inputs,
        Inputs::Quantized {
            codes: Codes::Int { bits: 8 },
            scale: InputScale::Fixed { scale, zero: 9 }
        }
    );

    let small = with(Small::coded(&float("tensor"), &token("float", true)), "weight", |t| {
        t.data
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = if i % 128 == 127 { 0 } else { i as u8 });
    });
    let matrix = Checkpoint::open(small.save().path())
        .unwrap()
        .linear(1, Linear::Up)
        .unwrap();
    matrix.row_f32(3, &mut row);
    let expected: Vec<f32> = (0..matrix.cols)
        .map(|c| 3 * matrix.cols + c)
        .map(|i| if i % 128 == 127 { 0 } else { i as u8 })
        .map(|bits| round(assay_checkpoint::number::e4m3_to_f32(bits) * scale))
        .collect();
    assert_eq!(row, expected);
    assert_eq!(
        matrix.inputs,
        Inputs::Quantized {
            codes: Codes::Float8,
            scale: InputScale::Row { symmetric: true }
        }
    );
}

fn coded(matrix: &Matrix) -> &Coded {
    match &matrix.weights {
        Weights::Coded(coded) => coded,
        dense => panic!("{dense:?}"),
    }
}
