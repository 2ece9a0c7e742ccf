//! The values handed to the engine, against an independent reader (tests/oracle.py).

use assay_checkpoint::config::Family;
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear, Matrix, Norm, OpenError, Weights, Zeros};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::*;

fn digest(hash: &mut Sha256, matrix: &Matrix) {
    let mut row = vec![0u16; matrix.cols];
    for r in 0..matrix.rows {
        matrix.row_bf16(r, &mut row);
        row.iter().for_each(|bits| hash.update(bits.to_le_bytes()));
    }
}

#[test]
fn every_weight_of_every_fixture() {
    for (name, expected) in [
        ("base", "09ceba3cfa170af7"),
        ("exaone35", "d5aa0bac77e50a03"),
        ("fp16", "46545dc50281c114"),
        ("hybrid", "b5cd725eaff67858"),
        ("sharded-w8a16", "b87899126306b170"),
        ("untied-w4a16", "664f49bdac2d815f"),
        ("w4a16-asym", "5cd8e8cd108a6f26"),
        ("w4a16-channel", "394daa78a4e8fe09"),
        ("w4a16-g32", "af5129f5cef64de0"),
        ("w4a16-gptq", "4cdae8465542b1a2"),
        ("w4a16-kv8", "44e93c6f293d976a"),
        ("w8a16", "b87899126306b170"),
        ("drop1-w4a16", "d744655aa5e69bfa"),
        ("fp8-dynamic", "0acab8e44fb2089c"),
        ("fp8-static", "118a181d30f6565e"),
        ("mixed", "9b1a3b124dcba811"),
        ("mixed-fp8-w4", "6a7a3bb8bc1f420c"),
        ("w4a16-actorder-group", "969b695375768c1b"),
        ("w4a8", "44e93c6f293d976a"),
        ("w8a8", "c0a11656ff23cec5"),
        ("w8a8-asym-static", "c0a11656ff23cec5"),
        ("w8a8-static", "c0a11656ff23cec5"),
        ("fp8-block", "e1bc74fd900c35f0"),
        ("nvfp4a16", "9b79fdb7302497f8"),
        ("mxfp4a16", "0b28af843fc487b5"),
        ("w3a16", "c2f5434f6842e194"),
        ("w2a16-g32", "19b56aee7d3c3578"),
    ] {
        let checkpoint = Checkpoint::open(&checkpoint(name)).unwrap();
        let mut hash = Sha256::new();
        for layer in 0..checkpoint.config().layers {
            for which in Linear::ALL {
                digest(&mut hash, &checkpoint.linear(layer, which).unwrap());
            }
        }
        digest(&mut hash, &checkpoint.embedding().unwrap());
        if let Some(head) = checkpoint.head().unwrap() {
            digest(&mut hash, &head);
        }
        assert_eq!(hex::encode(&hash.finalize()[..8]), expected, "{name}");
    }
}

#[test]
fn architecture_and_norms() {
    let hybrid = Checkpoint::open(&checkpoint("hybrid")).unwrap();
    let config = hybrid.config();
    assert_eq!(
        (config.family, config.layers, config.hidden, config.head_dim),
        (Family::Exaone4, 4, 128, 32)
    );
    assert_eq!(
        (0..4).map(|i| config.uses_rope(i)).collect::<Vec<_>>(),
        [true, true, true, false]
    );
    assert_eq!(
        (0..4).map(|i| config.window(i)).collect::<Vec<_>>(),
        [Some(16), Some(16), Some(16), None]
    );
    assert!(hybrid.head().unwrap().is_some());

    let base = Checkpoint::open(&checkpoint("base")).unwrap();
    assert!((0..4).all(|i| base.config().uses_rope(i) && base.config().window(i).is_none()));
    assert!(base.head().unwrap().is_none());
    assert_eq!(base.config().eos, [7]);
    assert_eq!(base.norm(Norm::Q(3)).unwrap().len(), 64);
    assert_eq!(base.norm(Norm::Final).unwrap().len(), 256);
    assert!(matches!(base.norm(Norm::InputPre(0)), Err(OpenError::Tensor { .. })));
    assert!(matches!(base.linear(4, Linear::Q), Err(OpenError::Tensor { .. })));

    let older = Checkpoint::open(&checkpoint("exaone35")).unwrap();
    assert_eq!((older.config().family, older.config().layers), (Family::Exaone, 3));
    assert_eq!(older.norm(Norm::MlpPre(2)).unwrap().len(), 128);
    assert!(matches!(older.norm(Norm::K(0)), Err(OpenError::Tensor { .. })));
    assert!((0..3).all(|i| older.config().uses_rope(i)));
}

/// A float16 norm is what a bfloat16 runtime makes of it.
#[test]
fn norms_are_rounded_to_bfloat16() {
    let mut small = Small::dense();
    let norm = small.tensor("model.norm.weight");
    norm.dtype = Dtype::F16;
    norm.data = 0x3C01u16.to_le_bytes().repeat(32); // 1 + 2^-10
    let dir = small.save();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.norm(Norm::Final).unwrap(), vec![1.0; 32]);
}

#[test]
fn zero_points_by_group_channel_and_tensor() {
    // packed 0x5A: codes 10, 5, 10, 5 … minus 8 → 2, −3; scale 0x3C3C = 0.01147…; zero points 0x21: 1, 2 minus 8 → −7, −6
    let scale = f32::from_bits(0x3C3C_0000);
    let bf16 = |x: f32| assay_checkpoint::number::f32_to_bf16(x);
    let args = |strategy: &str| json!({"num_bits": 4, "type": "int", "symmetric": false, "strategy": strategy, "group_size": if strategy == "group" { json!(16) } else { json!(null) }, "dynamic": false});
    for strategy in ["group", "channel"] {
        let dir = Small::packed_with(&args(strategy)).save();
        let matrix = Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Down).unwrap();
        let Weights::Coded(coded) = &matrix.weights else {
            panic!()
        };
        let Zeros::Int(zeros) = &coded.zeros else { panic!() };
        let scales = &coded.scales;
        assert_eq!(
            (coded.bits, scales.cols),
            (4, if strategy == "group" { 16 } else { 48 })
        );
        assert_eq!(scales.values.len(), zeros.len());
        let mut row = vec![0; 48];
        matrix.row_bf16(0, &mut row);
        assert_eq!(row[..2], [bf16(9.0 * scale), bf16(4.0 * scale)], "{strategy}");
        matrix.row_bf16(1, &mut row);
        assert_eq!(row[..2], [bf16(8.0 * scale), bf16(3.0 * scale)], "{strategy}");
    }
    let dir = Small::packed_with(&args("tensor")).save();
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(0, Linear::K).unwrap();
    let mut row = vec![0; 32];
    matrix.row_bf16(15, &mut row);
    assert_eq!(row[..2], [bf16(-scale), bf16(-6.0 * scale)]); // zero point 3
}

#[test]
fn a_rejected_folder_does_not_open_and_says_why() {
    let dir = Small::packed().without("model.norm.weight").save();
    let Err(OpenError::Rejected(problems)) = Checkpoint::open(dir.path()) else {
        panic!()
    };
    assert_eq!(codes(&problems), ["tensor-missing"]);
    assert!(matches!(
        Checkpoint::open(&dir.path().join("nowhere")),
        Err(OpenError::Look(_))
    ));
    // a file that shrinks after it was opened is an error at the tensor, not a panic
    let dir = Small::dense().save();
    let open = Checkpoint::open(dir.path()).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("model.safetensors"))
        .unwrap()
        .set_len(4000)
        .unwrap();
    assert!(matches!(open.linear(1, Linear::Down), Err(OpenError::Read { .. })));
}
