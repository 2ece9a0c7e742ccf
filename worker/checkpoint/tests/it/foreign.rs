//! Other tools' formats: files those tools wrote, by the weights those tools read from them (tests/fixtures/foreign/make.py), and
//! files written here by the book, whole and broken.

mod autoround;
mod awq;
mod bitsandbytes;
mod float8;
mod gptq;
mod modelopt;
mod torchao;

use assay_checkpoint::safetensors::{Dtype, parse_header};
use assay_checkpoint::{Checkpoint, Inspection, Linear, Listing, Matrix, verify, verify_data};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::*;

fn look(dir: &std::path::Path) -> Inspection {
    verify_data(dir, &verify(&Listing::read_dir(dir).unwrap(), None, None))
}

fn digest(checkpoint: &Checkpoint) -> String {
    let mut hash = Sha256::new();
    let mut add = |matrix: &Matrix| {
        let mut row = vec![0u16; matrix.cols];
        for r in 0..matrix.rows {
            matrix.row_bf16(r, &mut row);
            for bits in &row {
                // the sign of a zero is no value's
                let bits = if *bits == 0x8000 { 0 } else { *bits };
                hash.update(bits.to_le_bytes());
            }
        }
    };
    for layer in 0..checkpoint.config().layers {
        Linear::ALL
            .into_iter()
            .for_each(|which| add(&checkpoint.linear(layer, which).unwrap()));
    }
    add(&checkpoint.embedding().unwrap());
    hex::encode(&hash.finalize()[..8])
}

/// What each folder is taken for; findings apart from the missing recipe and tokenizer, which none of these has.
const WRITTEN: &[(&str, &str, &str, &[&str])] = &[
    ("gptq-v1-4", "gptq", "W4A16 g32 asym", &[]),
    ("gptq-v1-3", "gptq", "W3A16 g32 asym", &[]),
    ("gptq-v2-2", "gptq", "W2A16 g32 asym", &[]),
    ("autoround-8", "auto-round", "W8A16 g32 asym", &[]),
    ("autoround-3", "auto-round", "W3A16 g32 sym", &[]),
    ("awq-gemm", "awq", "W4A16 g32 asym", &[]),
    ("fp8-bf16", "fp8", "W8A8 fp block sym", &[]),
    ("bnb-nf4", "bitsandbytes", "W4A16 nf4", &[]),
    ("bnb-nf4-nested", "bitsandbytes", "W4A16 nf4 nested", &[]),
    ("bnb-fp4", "bitsandbytes", "W4A16 fp4", &[]),
    (
        "bnb-int8",
        "bitsandbytes",
        "W8A16 channel sym",
        &["inputs-not-quantized"],
    ),
    ("hqq-4", "hqq", "W4A16 g64 asym", &[]),
    ("hqq-3", "hqq", "W3A16 g32 asym", &[]),
    ("hqq-2-axis0", "hqq", "W2A16 g32 axis 0 asym", &[]),
    ("torchao-int8", "torchao", "W8A16 channel asym", &[]),
    ("torchao-float8", "torchao", "W8A16 fp channel sym", &[]),
    ("torchao-intx4", "torchao", "W8A16 g32 asym", &[]),
];

#[test]
fn every_weight_is_what_the_tool_itself_reads() {
    let folder = fixtures().join("foreign");
    let digests: Value = serde_json::from_slice(&std::fs::read(folder.join("digests.json")).unwrap()).unwrap();
    for (name, format, scheme, findings) in WRITTEN {
        let found = look(&folder.join(name));
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{name}: {:?}",
            found.problems
        );
        assert_eq!(
            (found.format.as_str(), found.scheme.as_str()),
            (*format, *scheme),
            "{name}"
        );
        let told: Vec<&str> = codes(&found.findings)
            .into_iter()
            .filter(|code| !["recipe-absent", "tokenizer-absent"].contains(code))
            .collect();
        assert_eq!(told, *findings, "{name}");
        let checkpoint = Checkpoint::open(&folder.join(name)).unwrap();
        assert_eq!(digest(&checkpoint), digests[*name].as_str().unwrap(), "{name}");
    }
}

/// A model whose matrices can be packed at every width: two layers, width 64, one key head of 32, MLP of 96.
fn tiny(quantization: Value, put: impl Fn(&str, usize, usize) -> Vec<Tensor>) -> Small {
    let mut small = Small::dense();
    small.tensors.retain(|t| !t.name.contains("_proj"));
    for (field, value) in [
        ("hidden_size", 64),
        ("intermediate_size", 96),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("head_dim", 32),
    ] {
        small.config[field] = json!(value);
    }
    small.config["quantization_config"] = quantization;
    for t in &mut small.tensors {
        let width = if t.name.contains("q_norm") || t.name.contains("k_norm") {
            32
        } else {
            64
        };
        *t.shape.last_mut().unwrap() = width;
        t.data = vec![0x3C; 2 * t.shape.iter().product::<u64>() as usize];
    }
    for i in 0..2 {
        for (m, out, cols) in [
            ("self_attn.q_proj", 64, 64),
            ("self_attn.k_proj", 32, 64),
            ("self_attn.v_proj", 32, 64),
            ("self_attn.o_proj", 64, 64),
            ("mlp.gate_proj", 96, 64),
            ("mlp.up_proj", 96, 64),
            ("mlp.down_proj", 64, 96),
        ] {
            small.tensors.extend(put(&format!("model.layers.{i}.{m}"), out, cols));
        }
    }
    small
}

fn tensor(name: String, dtype: Dtype, shape: &[usize], data: Vec<u8>) -> Tensor {
    let shape = shape.iter().map(|d| *d as u64).collect();
    Tensor {
        name,
        dtype,
        shape,
        data,
    }
}

fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A number that looks random, below `limit`.
fn some(seed: usize, limit: u32) -> u32 {
    ((seed as u32)
        .wrapping_mul(2_654_435_761)
        .rotate_left(7)
        .wrapping_mul(40_503)
        >> 8)
        % limit
}

/// Fields packed one bit at a time.
fn packed(fields: &[u32], bits: usize) -> Vec<u32> {
    let mut words = vec![0; (fields.len() * bits).div_ceil(32)];
    for (i, f) in fields.iter().enumerate() {
        for b in 0..bits {
            let at = i * bits + b;
            words[at / 32] |= (f >> b & 1) << (at % 32);
        }
    }
    words
}

const UP: &str = "model.layers.1.mlp.up_proj";

fn data_codes(small: &Small) -> (Vec<String>, Vec<String>) {
    let dir = small.save();
    let found = look(dir.path());
    let list = |problems: &[assay_contest::Problem]| {
        let kept = codes(problems)
            .into_iter()
            .filter(|c| !["recipe-absent", "tokenizer-absent"].contains(c));
        kept.map(String::from).collect()
    };
    (list(&found.problems), list(&found.findings))
}

/// A fixture of a real tool, its files changed.
fn changed(name: &str, change: impl FnOnce(&mut Value, &mut Vec<Tensor>)) -> tempfile::TempDir {
    let folder = fixtures().join("foreign").join(name);
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let file = std::fs::read(folder.join("model.safetensors")).unwrap();
    let header = parse_header(&file, file.len() as u64).unwrap();
    let mut tensors: Vec<Tensor> = header
        .tensors
        .iter()
        .map(|(name, info)| {
            let at = (header.header_bytes + info.begin) as usize;
            tensor(
                name.clone(),
                info.dtype,
                &[],
                file[at..at + info.bytes() as usize].to_vec(),
            )
            .shaped(&info.shape)
        })
        .collect();
    change(&mut config, &mut tensors);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), file_of(&tensors)).unwrap();
    dir
}

impl Tensor {
    fn shaped(mut self, shape: &[u64]) -> Tensor {
        self.shape = shape.into();
        self
    }
}

fn at<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|t| t.name == name).unwrap()
}
