//! Fixtures, a seeded random source, and small made-up models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_checkpoint::config::{ComputeDtype, Family, LayerType, Llama3, ModelConfig, Rope};
use assay_checkpoint::safetensors::{Dtype, Header, parse_header};
use assay_checkpoint::{
    CacheCodes, Checkpoint, Coded, Codes, HeadScale, InputScale, Inputs, Matrix, Scales, Weights, Zeros,
};
use assay_engine::{Device, Engine, LayerParts, Model, Options, Parts, Precision, executor};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// Loads the checkpoint of a fixture.
pub fn load(name: &str) -> Arc<Model> {
    let checkpoint = Checkpoint::open(&fixtures().join("checkpoints").join(name)).unwrap();
    let model = Model::load(&checkpoint).unwrap();
    let model = model.with_cache_scheme(&checkpoint).unwrap();
    // The golden files of the two random models come from modules cast whole to bf16, RoPE frequencies included.
    Arc::new(if ["hybrid", "exaone35"].contains(&name) {
        model.with_bf16_frequencies()
    } else {
        model
    })
}

pub fn options(device: Device) -> Options {
    Options {
        device,
        threads: 2,
        kv_tokens: 4096,
        ..Options::default()
    }
}

pub fn engine(model: &Arc<Model>, options: &Options) -> Engine {
    Engine::new(executor(Arc::clone(model), options).unwrap(), options)
}

/// One prompt of a golden file and what transformers computed from it.
pub struct Golden {
    pub prompt: Vec<u32>,
    /// (T, vocab)
    pub logits: Vec<f32>,
    pub greedy: Vec<u32>,
}

/// Names of all golden files.
pub fn golden_names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixtures().join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// The tensors of a golden file.
struct Tensors {
    file: Vec<u8>,
    header: Header,
}

impl Tensors {
    fn read(path: &Path) -> Tensors {
        let file = std::fs::read(path).unwrap();
        let header = parse_header(&file, file.len() as u64).unwrap();
        Tensors { file, header }
    }

    fn bytes(&self, key: &str, dtype: Dtype) -> &[u8] {
        let t = &self.header.tensors[key];
        assert_eq!(t.dtype, dtype, "{key}");
        let start = self.header.header_bytes;
        &self.file[(start + t.begin) as usize..(start + t.end) as usize]
    }

    fn ids(&self, key: &str) -> Vec<u32> {
        let values = self.bytes(key, Dtype::I64).as_chunks::<8>().0.iter();
        values.map(|b| u32::try_from(i64::from_le_bytes(*b)).unwrap()).collect()
    }

    fn floats(&self, key: &str) -> Vec<f32> {
        let values = self.bytes(key, Dtype::F32).as_chunks::<4>().0.iter();
        values.map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// The numbers after `prefix` in the tensors' names, in order.
    fn numbers(&self, prefix: &str) -> BTreeSet<usize> {
        let names = self.header.tensors.keys();
        names.filter_map(|k| k.strip_prefix(prefix)?.parse().ok()).collect()
    }
}

/// Quantized inputs as compressed-tensors computes them: the named tensor of `activations.safetensors`.
pub fn activations(key: &str) -> Vec<f32> {
    Tensors::read(&fixtures().join("activations.safetensors")).floats(key)
}

pub fn golden(name: &str) -> Vec<Golden> {
    let file = Tensors::read(&fixtures().join("golden").join(format!("{name}.safetensors")));
    let case = |i: usize| Golden {
        prompt: file.ids(&format!("prompt.{i}")),
        logits: file.floats(&format!("logits.{i}")),
        greedy: file.ids(&format!("greedy.{i}")),
    };
    let all: Vec<Golden> = file.numbers("prompt.").into_iter().map(case).collect();
    assert!(!all.is_empty());
    all
}

/// Logits (T, vocab) of the first prompts of [`golden`], computed in float64 throughout and rounded to f32 at the end.
pub fn golden64(name: &str) -> Vec<Vec<f32>> {
    let file = Tensors::read(&fixtures().join("golden64").join(format!("{name}.safetensors")));
    let logits = file.numbers("logits.").into_iter();
    logits.map(|i| file.floats(&format!("logits.{i}"))).collect()
}

/// SplitMix64: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// in (0, 1)
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f32 {
        ((-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()) as f32
    }

    pub fn normals(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.normal() * scale).collect()
    }

    pub fn tokens(&mut self, n: usize, vocab: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(vocab) as u32).collect()
    }
}

pub fn matrix(random: &mut Random, rows: usize, cols: usize, scale: f32) -> Matrix {
    Matrix::plain(rows, cols, Weights::F32(random.normals(rows * cols, scale)))
}

/// Sizes of a made-up model; odd on purpose.
#[derive(Clone)]
pub struct Shape {
    pub family: Family,
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub window: Option<usize>,
    pub tie: bool,
}

/// Sizes that are no multiple of any lane count, with sliding windows.
pub const ODD: Shape = Shape {
    family: Family::Exaone4,
    vocab: 101,
    hidden: 72,
    intermediate: 88,
    heads: 6,
    kv_heads: 2,
    head_dim: 12,
    window: Some(70),
    tie: false,
};

pub const PLAIN: Shape = Shape {
    family: Family::Exaone4,
    vocab: 128,
    hidden: 64,
    intermediate: 96,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    window: None,
    tie: true,
};

pub fn model_of(config: ModelConfig, parts: Parts) -> Arc<Model> {
    Arc::new(Model::assemble(config, parts).unwrap())
}

/// Name, dtype, shape and bytes of each tensor of a file.
pub fn read_tensors(path: &Path) -> Vec<(String, Dtype, Vec<u64>, Vec<u8>)> {
    let file = Tensors::read(path);
    let names = file.header.tensors.iter();
    names
        .map(|(name, info)| {
            let data = file.bytes(name, info.dtype).to_vec();
            (name.clone(), info.dtype, info.shape.clone(), data)
        })
        .collect()
}

/// A made-up model of three layers.
pub fn model(shape: &Shape, seed: u64) -> Arc<Model> {
    let (config, parts) = parts(shape, seed);
    Arc::new(Model::assemble(config, parts).unwrap())
}

/// The same with quantized inputs of every kind and a quantized cache; q, k and v read one input with different stored scales.
pub fn quantized_model(shape: &Shape, seed: u64) -> Arc<Model> {
    let (config, mut parts) = parts(shape, seed);
    let s = shape;
    let int = |scale| Inputs::Quantized {
        codes: Codes::Int { bits: 8 },
        scale,
    };
    let float = |scale| Inputs::Quantized {
        codes: Codes::Float8,
        scale,
    };
    for layer in &mut parts.layers {
        layer.q.inputs = int(InputScale::Fixed { scale: 0.03, zero: 0 });
        layer.k.inputs = int(InputScale::Fixed { scale: 0.04, zero: -7 });
        layer.v.inputs = float(InputScale::Fixed { scale: 0.02, zero: 0 });
        layer.o.inputs = int(InputScale::Row { symmetric: false });
        layer.gate.inputs = int(InputScale::Row { symmetric: true });
        layer.up.inputs = layer.gate.inputs;
        layer.down.inputs = float(InputScale::Row { symmetric: true });
        let head = |i: usize, scale: f32| HeadScale {
            scale: scale * (1 + i) as f32,
            zero: 0,
        };
        layer.cache = Some(CacheCodes {
            codes: Codes::Float8,
            keys: (0..s.kv_heads).map(|i| head(i, 0.01)).collect(),
            values: (0..s.kv_heads).map(|i| head(i, 0.003)).collect(),
        });
    }
    Arc::new(Model::assemble(config, parts).unwrap())
}

/// The same with all matrices of the layers in four bits, groups of 32 with zero points.
pub fn few_bit_model(shape: &Shape, seed: u64) -> Arc<Model> {
    let (config, mut parts) = parts(shape, seed);
    let r = &mut Random(seed);
    for l in &mut parts.layers {
        for m in [
            &mut l.q,
            &mut l.k,
            &mut l.v,
            &mut l.o,
            &mut l.gate,
            &mut l.up,
            &mut l.down,
        ] {
            *m = asymmetric(r, m.rows, m.cols);
        }
    }
    Arc::new(Model::assemble(config, parts).unwrap())
}

/// Four-bit codes with zero points.
pub fn asymmetric(r: &mut Random, rows: usize, cols: usize) -> Matrix {
    let group = 32;
    let groups = cols.div_ceil(group);
    let codes = (0..rows * (cols * 4).div_ceil(32)).map(|_| r.next() as u32).collect();
    let scale = |r: &mut Random| Precision::Bf16.round(0.001 + r.unit() as f32 * 0.1);
    let scales = Scales::grouped((0..rows * groups).map(|_| scale(r)).collect(), group);
    let zeros = (0..rows * groups).map(|_| r.below(16) as i16 - 8).collect();
    let weights = Weights::Coded(Coded::int(4, codes, scales, Zeros::Int(zeros), Dtype::BF16));
    Matrix::plain(rows, cols, weights)
}

pub fn parts(shape: &Shape, seed: u64) -> (ModelConfig, Parts) {
    let r = &mut Random(seed);
    let s = shape;
    let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let config = ModelConfig {
        family: s.family,
        vocab: s.vocab,
        hidden: s.hidden,
        intermediate: s.intermediate,
        layers: 3,
        heads: s.heads,
        kv_heads: s.kv_heads,
        head_dim: s.head_dim,
        rms_eps: 1e-5,
        rope: Rope {
            theta: 1e4,
            scaling: Some(Llama3 {
                factor: 8.0,
                low: 1.0,
                high: 4.0,
                original: 512.0,
            }),
        },
        sliding_window: s.window,
        layer_types: (0..3)
            .map(|l| {
                if s.window.is_some() && l < 2 {
                    LayerType::Sliding
                } else {
                    LayerType::Full
                }
            })
            .collect(),
        tie: s.tie,
        max_positions: 8192,
        eos: vec![0],
        bos: None,
        pad: None,
        dtype: ComputeDtype::Bf16,
    };
    let norm = |r: &mut Random, n: usize| r.normals(n, 0.2).iter().map(|x| 1.0 + x).collect::<Vec<f32>>();
    let layers = (0..3)
        .map(|_| LayerParts {
            q: matrix(r, q, s.hidden, 0.2),
            k: matrix(r, kv, s.hidden, 0.2),
            v: matrix(r, kv, s.hidden, 0.2),
            o: matrix(r, s.hidden, q, 0.2),
            gate: matrix(r, s.intermediate, s.hidden, 0.2),
            up: matrix(r, s.intermediate, s.hidden, 0.2),
            down: matrix(r, s.hidden, s.intermediate, 0.2),
            qk_norm: (s.family == Family::Exaone4).then(|| (norm(r, s.head_dim), norm(r, s.head_dim))),
            attention_norm: norm(r, s.hidden),
            mlp_norm: norm(r, s.hidden),
            cache: None,
        })
        .collect();
    let parts = Parts {
        layers,
        embedding: matrix(r, s.vocab, s.hidden, 0.5),
        head: (!s.tie).then(|| matrix(r, s.vocab, s.hidden, 0.3)),
        final_norm: norm(r, s.hidden),
    };
    (config, parts)
}
