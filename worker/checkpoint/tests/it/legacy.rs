//! What compressed-tensors 0.13 wrote in storages that newer versions no longer write, against the weights it was given
//! (tests/fixtures/legacy/make.py).

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Inspection, Linear, Listing, Matrix, OpenError, verify, verify_data};
use sha2::{Digest, Sha256};

use crate::support::*;

fn digest(hash: &mut Sha256, matrix: &Matrix) {
    let mut row = vec![0u16; matrix.cols];
    for r in 0..matrix.rows {
        matrix.row_bf16(r, &mut row);
        row.iter().for_each(|bits| hash.update(bits.to_le_bytes()));
    }
}

fn look(dir: &std::path::Path) -> Inspection {
    verify_data(dir, &verify(&Listing::read_dir(dir).unwrap(), None, None))
}

#[test]
fn every_weight_is_the_one_that_was_compressed() {
    for (name, format, scheme, refused, expected) in [
        (
            "ct013-w3-words",
            "pack-quantized",
            "W3A16 g32 sym",
            true,
            "a8fffbdcc3f39b6d",
        ),
        (
            "ct013-w5-words-asym",
            "pack-quantized",
            "W5A16 g64 asym",
            true,
            "a6f61ba0de574ba3",
        ),
        (
            "ct013-marlin24-w4",
            "marlin-24",
            "W4A16 g128 sym",
            false,
            "8c827f0e806e79c1",
        ),
        (
            "ct013-marlin24-w8",
            "marlin-24",
            "W8A16 channel sym",
            false,
            "335f17012fc11071",
        ),
        (
            "ct013-sparse24",
            "sparse-24-bitmask",
            "BF16 2:4 sparse",
            true,
            "00308bbe77d696e2",
        ),
        (
            "ct013-sparse",
            "sparse-bitmask",
            "BF16 sparse",
            true,
            "439284728108a307",
        ),
        (
            "ct013-sparse24-fp8",
            "sparse-24-bitmask",
            "W8A16 fp channel sym 2:4 sparse",
            true,
            "0c1bdb3c21d45005",
        ),
    ] {
        let dir = fixtures().join("legacy").join(name);
        let found = look(&dir);
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{name}: {:?}",
            found.problems
        );
        assert_eq!(
            (found.format.as_str(), found.scheme.as_str()),
            (format, scheme),
            "{name}"
        );
        assert_eq!(
            codes(&found.findings).contains(&"vllm-would-refuse"),
            refused,
            "{name}: {:?}",
            found.findings
        );
        assert_eq!(found.bytes.group("other"), 0, "{name}");
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let mut hash = Sha256::new();
        Linear::ALL
            .into_iter()
            .for_each(|which| digest(&mut hash, &checkpoint.linear(0, which).unwrap()));
        digest(&mut hash, &checkpoint.embedding().unwrap());
        assert_eq!(hex::encode(&hash.finalize()[..8]), expected, "{name}");
    }
}

/// One of the folders as something that can be broken.
fn open(name: &str) -> Small {
    let dir = fixtures().join("legacy").join(name);
    let config = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let header = assay_checkpoint::safetensors::parse_header(&bytes, bytes.len() as u64).unwrap();
    let tensors = header.tensors.into_iter().map(|(name, info)| Tensor {
        name,
        dtype: info.dtype,
        data: bytes[(header.header_bytes + info.begin) as usize..][..info.bytes() as usize].to_vec(),
        shape: info.shape,
    });
    Small {
        config,
        tensors: tensors.collect(),
        files: Vec::new(),
    }
}

const UP: &str = "model.layers.0.mlp.up_proj";

fn with(mut small: Small, suffix: &str, change: impl FnOnce(&mut Tensor)) -> Small {
    change(small.tensor(&format!("{UP}.{suffix}")));
    small
}

/// Broken data is told by its code, and refused or harmless when it is loaded all the same.
fn broken(small: Small) -> Vec<String> {
    let dir = small.save();
    let found = look(dir.path());
    match Checkpoint::open(dir.path()).map(|c| c.linear(0, Linear::Up)) {
        Ok(Ok(_) | Err(OpenError::Tensor { .. })) | Err(OpenError::Rejected(_)) => {}
        other => panic!("{other:?}"),
    }
    found.problems.into_iter().map(|p| p.code).collect()
}

#[test]
fn broken_masks_and_shapes() {
    let sparse = || open("ct013-sparse24");
    let list = || open("ct013-sparse");
    let float8 = || open("ct013-sparse24-fp8");
    let marlin = || open("ct013-marlin24-w4");
    let words = || open("ct013-w3-words");
    for (what, code, small) in [
        (
            "three of four",
            "sparse-mask",
            with(sparse(), "bitmask", |t| t.data[5] = 0x37),
        ),
        (
            "one of four",
            "sparse-mask",
            with(sparse(), "bitmask", |t| t.data[5] = 0x31),
        ),
        (
            "another shape",
            "weight-shape",
            with(sparse(), "shape", |t| t.data[0] ^= 1),
        ),
        (
            "too few values",
            "tensor-shape",
            with(sparse(), "compressed", |t| {
                t.shape[1] -= 1;
                t.data.truncate(t.data.len() - 2 * t.shape[0] as usize);
            }),
        ),
        (
            "a mask of signed bytes",
            "tensor-dtype",
            with(sparse(), "bitmask", |t| {
                t.dtype = Dtype::I8;
            }),
        ),
        ("a bit more", "sparse-mask", with(list(), "bitmask", |t| t.data[3] ^= 1)),
        (
            "rows that begin elsewhere",
            "sparse-mask",
            with(list(), "row_offsets", |t| t.data[8] ^= 1),
        ),
        (
            "a value more",
            "sparse-mask",
            with(list(), "compressed", |t| {
                t.shape[0] += 1;
                t.data.extend([0, 0]);
            }),
        ),
        (
            "a value that is infinite",
            "non-finite",
            with(list(), "compressed", |t| t.data[..2].copy_from_slice(&[0x80, 0x7F])),
        ),
        (
            "a code that is NaN",
            "non-finite",
            with(float8(), "compressed", |t| t.data[9] = 0x7F),
        ),
        (
            "places that are the same",
            "sparse-mask",
            with(marlin(), "meta", |t| t.data[4] = 0x44 | 0x05),
        ),
        (
            "scales of bfloat16",
            "tensor-dtype",
            with(marlin(), "scale_packed", |t| t.dtype = Dtype::BF16),
        ),
        (
            "two scales too many",
            "tensor-shape",
            with(marlin(), "scale_packed", |t| {
                t.shape[0] += 2;
                t.data.extend(vec![0x3C; 4 * t.shape[1] as usize]);
            }),
        ),
        (
            "bits above ten codes",
            "packed-padding",
            with(words(), "weight_packed", |t| t.data[3] |= 0x40),
        ),
        (
            "bits above the last codes",
            "packed-padding",
            with(words(), "weight_packed", |t| {
                let row = 4 * t.shape[1] as usize;
                t.data[row - 1] |= 0x20;
            }),
        ),
    ] {
        let found = broken(small);
        assert!(
            !found.is_empty() && found.iter().all(|c| c == code),
            "{what}: {found:?}"
        );
    }
    let gone = |small: Small, suffix: &str| broken(small.without(&format!("{UP}.{suffix}")));
    for (small, suffix) in [
        (sparse(), "shape"),
        (marlin(), "meta"),
        (marlin(), "scale_packed"),
        (float8(), "weight_scale"),
        (list(), "compressed"),
    ] {
        let found = gone(small, suffix);
        assert!(!found.is_empty(), "{suffix}: {found:?}");
    }
    // a mask that the configuration does not announce
    let silent = sparse().quant(|q| q["sparsity_config"] = serde_json::json!({}));
    assert!(
        silent
            .inspect()
            .problems
            .iter()
            .all(|p| p.code == "quantization-config-invalid")
    );
    let other = sparse().quant(|q| q["sparsity_config"]["format"] = serde_json::json!("sparse-bitmask"));
    assert!(codes(&other.inspect().problems).contains(&"module-layout"));
    let unknown = sparse().quant(|q| q["sparsity_config"]["format"] = serde_json::json!("sparse-zip"));
    assert_eq!(codes(&unknown.inspect().problems), ["format-unknown"]);
}
