//! Models of real sizes with made-up weights. Speed does not depend on what the numbers are, only on their kind.

use assay_checkpoint::config::{ComputeDtype, Family, LayerType, Llama3, ModelConfig, Rope};
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Coded, Codes, InputScale, Inputs, Matrix, Scales, Weights, Zeros};
use assay_engine::{LayerParts, LoadError, Model, Parts, Precision};

/// Whose sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// EXAONE-4.0-1.2B
    #[value(name = "exaone-4.0-1.2b")]
    Exaone40Small,
    /// EXAONE-3.5-2.4B
    #[value(name = "exaone-3.5-2.4b")]
    Exaone35,
    /// EXAONE-4.0-32B
    #[value(name = "exaone-4.0-32b")]
    Exaone40Large,
    /// a few thousand weights: to try the command itself
    #[value(name = "tiny")]
    Tiny,
}

/// How the matrices of the layers are compressed; embedding and head stay bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheme {
    /// bfloat16
    Bf16,
    /// 4-bit integers in groups of 128
    W4a16,
    /// 8-bit integers in groups of 128
    W8a16,
    /// 8-bit integers by channel, inputs in 8 bits by row
    W8a8,
}

impl Shape {
    /// What its config.json says.
    pub fn config(self) -> ModelConfig {
        let sizes = |layers, hidden, intermediate, heads, head_dim| (layers, hidden, intermediate, heads, head_dim);
        let (layers, hidden, intermediate, heads, head_dim) = match self {
            Shape::Exaone40Small => sizes(30, 2048, 4096, 32, 64),
            Shape::Exaone35 => sizes(30, 2560, 7168, 32, 80),
            Shape::Exaone40Large => sizes(64, 5120, 27_392, 40, 128),
            Shape::Tiny => sizes(2, 256, 512, 8, 32),
        };
        let hybrid = self == Shape::Exaone40Large;
        let kind = |layer| match hybrid && layer % 4 != 3 {
            true => LayerType::Sliding,
            false => LayerType::Full,
        };
        ModelConfig {
            family: match self {
                Shape::Exaone35 => Family::Exaone,
                _ => Family::Exaone4,
            },
            vocab: if self == Shape::Tiny { 512 } else { 102_400 },
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads: 8,
            head_dim,
            rms_eps: 1e-5,
            rope: Rope {
                theta: 1e6,
                scaling: Some(Llama3 {
                    factor: 16.0,
                    low: 1.0,
                    high: 4.0,
                    original: 8192.0,
                }),
            },
            sliding_window: hybrid.then_some(4096),
            layer_types: (0..layers).map(kind).collect(),
            tie: !hybrid,
            max_positions: 65_536,
            eos: vec![2],
            bos: None,
            pad: None,
            dtype: ComputeDtype::Bf16,
        }
    }
}

/// The model, the same for a seed on every machine.
pub fn model(shape: Shape, scheme: Scheme, seed: u64) -> Result<Model, LoadError> {
    let config = shape.config();
    let mut random = Random(seed);
    let r = &mut random;
    let (h, q, kv, mlp) = (config.hidden, config.q_dim(), config.kv_dim(), config.intermediate);
    let norms = config.family == Family::Exaone4;
    let layers = (0..config.layers).map(|_| LayerParts {
        q: matrix(r, scheme, q, h),
        k: matrix(r, scheme, kv, h),
        v: matrix(r, scheme, kv, h),
        o: matrix(r, scheme, h, q),
        gate: matrix(r, scheme, mlp, h),
        up: matrix(r, scheme, mlp, h),
        down: matrix(r, scheme, h, mlp),
        qk_norm: norms.then(|| (vec![1.0; config.head_dim], vec![1.0; config.head_dim])),
        attention_norm: vec![1.0; h],
        mlp_norm: vec![1.0; h],
        cache: None,
    });
    let layers = layers.collect();
    let parts = Parts {
        layers,
        embedding: matrix(r, Scheme::Bf16, config.vocab, h),
        head: (!config.tie).then(|| matrix(r, Scheme::Bf16, config.vocab, h)),
        final_norm: vec![1.0; h],
    };
    Model::assemble(config, parts)
}

fn matrix(r: &mut Random, scheme: Scheme, rows: usize, cols: usize) -> Matrix {
    let spread = 1.0 / (cols as f32).sqrt();
    let integers = |r: &mut Random, bits: u8, group: usize| {
        let words = rows * (cols * usize::from(bits)).div_ceil(32);
        let codes = (0..words).map(|_| r.next() as u32).collect();
        let step = spread * 3.5 / (1u32 << bits) as f32;
        let scale = |r: &mut Random| Precision::Bf16.round(step * (0.5 + r.unit()));
        let scales = (0..rows * cols.div_ceil(group)).map(|_| scale(r)).collect();
        Weights::Coded(Coded::int(
            bits,
            codes,
            Scales::grouped(scales, group),
            Zeros::None,
            Dtype::BF16,
        ))
    };
    let weights = match scheme {
        Scheme::Bf16 => {
            let value = |r: &mut Random| Precision::Bf16.round((r.unit() - 0.5) * 3.5 * spread);
            Weights::Bf16((0..rows * cols).map(|_| (value(r).to_bits() >> 16) as u16).collect())
        }
        Scheme::W4a16 => integers(r, 4, 128),
        Scheme::W8a16 => integers(r, 8, 128),
        Scheme::W8a8 => integers(r, 8, cols),
    };
    let mut matrix = Matrix::plain(rows, cols, weights);
    if scheme == Scheme::W8a8 {
        matrix.inputs = Inputs::Quantized {
            codes: Codes::Int { bits: 8 },
            scale: InputScale::Row { symmetric: true },
        };
    }
    matrix
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Of a normal distribution with deviation 1.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt(); // never the logarithm of zero
        radius * (2.0 * std::f32::consts::PI * self.unit()).cos()
    }
}
