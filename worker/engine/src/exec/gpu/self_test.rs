//! Whether this card and its driver compute what they should, tried before any weight is loaded.
//!
//! Drivers have shipped that compute nonsense, or something else for another number of rows. A product has to have the exact bits of
//! the numerics specification from either kernel at any row count, in every layout; attention has to be near f64, and the same bits
//! in any pages and in pieces. It takes a fraction of a second on a card.
//!
//! Products on matrix units cannot have the specification's bits. They have to be as near to f64 as their many additions allow, exact where
//! every sum is a small integer, and the same bits from either kernel at any row count; else the card does without.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Codebook, Coded, Codes, InputScale, Inputs, Matrix, Scales, Weights, Zeros};

use super::GpuError;
use super::device::Card;
use super::probe::{Heads, Probe, Sequence, Shape};
use super::units::Units;
use crate::batch::Page;
use crate::numerics::{PAGE_TOKENS, Precision, from_bf16, k_slices};

const OUTPUTS: usize = 70;
const INPUTS: usize = 416; // no slice of it is empty, and the last is shorter
const ROWS: usize = 67;

/// A card's kernels, tested: on matrix units if it has them, they may be used, and they pass. If they do not, why.
pub fn tested(card: &Card, precision: Precision, matrix_units: bool) -> Result<(Probe, Option<GpuError>), GpuError> {
    let pass = |card: &Card, units| -> Result<Probe, GpuError> {
        let probe = Probe::new(card, precision, units)?;
        run(&probe, precision)?;
        Ok(probe)
    };
    let Some(units) = Units::of(card).filter(|_| matrix_units) else {
        return Ok((pass(card, None)?, None));
    };
    match pass(card, Some(units)) {
        Ok(probe) => Ok((probe, None)),
        // they may have cost the card
        Err(error) => Ok((pass(&card.again(), None)?, Some(error))),
    }
}

/// Runs the self-test; an error names the kernel and what came out.
pub fn run(probe: &Probe, precision: Precision) -> Result<(), GpuError> {
    let mut random = Random::new(1);
    for (name, matrix) in matrices(&mut random) {
        match probe.units() {
            Some(_) => unit_products(probe, precision, name, &matrix, &mut random)?,
            None => products(probe, precision, name, &matrix, &mut random)?,
        }
    }
    if probe.units().is_some() {
        integers(probe, &mut random)?;
    }
    attention(probe, precision, &mut random)
}

fn fail<T>(kernel: &str, found: String) -> Result<T, GpuError> {
    Err(GpuError::SelfTest {
        kernel: kernel.to_owned(),
        found,
    })
}

fn matrices(random: &mut Random) -> [(&'static str, Matrix); 4] {
    let (n, k, group) = (OUTPUTS, INPUTS, 32);
    let groups = k.div_ceil(group);
    let int = |random: &mut Random, bits: u8, dtype| {
        let codes = (0..n * k * usize::from(bits) / 32).map(|_| random.next()).collect();
        let scales = Scales::grouped(random.values(n * groups), group);
        let zeros = (0..n * groups).map(|_| (random.next() % 15) as i16).collect();
        Weights::Coded(Coded::int(bits, codes, scales, Zeros::Int(zeros), dtype))
    };
    let float8 = |random: &mut Random| {
        // no pattern of a NaN
        let word = |random: &mut Random| u32::from_le_bytes([(); 4].map(|()| (random.next() % 127) as u8));
        let codes = (0..n * k / 4).map(|_| word(random)).collect();
        let scales = Scales::grouped(random.values(n * groups), group);
        Weights::Coded(Coded::float(8, Codebook::E4m3, codes, scales, Dtype::BF16))
    };
    [
        ("bf16 weights", Weights::F32(random.values(n * k))),
        ("4-bit weights", int(random, 4, Dtype::BF16)),
        ("8-bit weights", int(random, 8, Dtype::F32)),
        ("float8 weights", float8(random)),
    ]
    .map(|(name, weights)| (name, Matrix::plain(n, k, weights)))
}

fn products(probe: &Probe, precision: Precision, name: &str, w: &Matrix, random: &mut Random) -> Result<(), GpuError> {
    let x: Vec<f32> = random
        .values(ROWS * w.cols)
        .iter()
        .map(|&x| precision.round(x))
        .collect();
    let expected = product(w, &x);
    for (shape, rows) in [
        (Shape::Narrow, 1),
        (Shape::Narrow, 6),
        (Shape::Wide, 3),
        (Shape::Wide, ROWS),
    ] {
        let found = probe.product(w, &x[..rows * w.cols], &vec![1.0; rows], shape)?;
        let wrong = found
            .iter()
            .zip(&expected)
            .position(|(found, expected)| found != expected);
        if let Some(at) = wrong {
            let (row, output) = (at / w.rows, at % w.rows);
            let found = format!(
                "output {output} of row {row} of {rows} is {}, not {}",
                found[at], expected[at]
            );
            return fail(&format!("{shape:?} product with {name}"), found);
        }
    }
    Ok(())
}

fn unit_products(
    probe: &Probe,
    precision: Precision,
    name: &str,
    w: &Matrix,
    random: &mut Random,
) -> Result<(), GpuError> {
    let values = random.values(ROWS * w.cols);
    let x: Vec<f32> = values.iter().map(|&x| precision.round(x)).collect();
    let run = |shape, rows: usize| probe.product(w, &x[..rows * w.cols], &vec![1.0; rows], shape);
    let all = run(Shape::Wide, ROWS)?;
    let mut bits = vec![0; w.cols];
    for output in 0..w.rows {
        w.row_bf16(output, &mut bits);
        for (row, x) in x.chunks_exact(w.cols).enumerate() {
            let products = x
                .iter()
                .zip(&bits)
                .map(|(&x, &w)| f64::from(x) * f64::from(from_bf16(w)));
            let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, of), p| (sum + p, of + p.abs()));
            let found = all[row * w.rows + output];
            // additions may truncate, and align their terms before they do
            let allowed = 4.0 * w.cols as f64 * 0.5f64.powi(24) * magnitude;
            let near = (f64::from(found) - sum).abs() <= allowed;
            if !near {
                let found = format!("output {output} of row {row} is {found}, not {sum}");
                return fail(&format!("product on matrix units with {name}"), found);
            }
        }
    }
    for (shape, rows) in [
        (Shape::Wide, ROWS),
        (Shape::Wide, 3),
        (Shape::Narrow, 1),
        (Shape::Narrow, 6),
        (Shape::Narrow, ROWS),
    ] {
        let found = run(shape, rows)?;
        let differ = found
            .iter()
            .zip(&all)
            .filter(|(a, b)| a.to_bits() != b.to_bits())
            .count();
        if differ > 0 {
            let found = format!("{differ} of {} values differ from those of {ROWS} rows", found.len());
            return fail(
                &format!("{shape:?} product of {rows} rows on matrix units with {name}"),
                found,
            );
        }
    }
    Ok(())
}

// Every sum is exact in whatever order: what is wrong was not rounded but read too early, or elsewhere.
fn integers(probe: &Probe, random: &mut Random) -> Result<(), GpuError> {
    let mut small = |n: usize| (0..n).map(|_| (random.next() % 5) as f32 - 2.0).collect::<Vec<f32>>();
    let (x, w) = (small(ROWS * INPUTS), small(OUTPUTS * INPUTS));
    let matrix = Matrix::plain(OUTPUTS, INPUTS, Weights::F32(w));
    let expected = product(&matrix, &x);
    let codes = Inputs::Quantized {
        codes: Codes::Int { bits: 8 },
        scale: InputScale::Row { symmetric: true },
    };
    for (shape, inputs) in [Inputs::Plain, codes, Inputs::Plain]
        .into_iter()
        .flat_map(|inputs| [Shape::Wide, Shape::Narrow].map(|shape| (shape, inputs)))
    {
        if probe.product_of(&matrix, inputs, &x, &[1.0; ROWS], shape)? != expected {
            let found = "sums of small integers are not exact".to_owned();
            return fail(&format!("{shape:?} product on matrix units"), found);
        }
    }
    Ok(())
}

// x·W in the order of additions of the numerics specification.
fn product(w: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut bits = vec![0; w.cols];
    let mut out = vec![0.0; x.len() / w.cols * w.rows];
    for n in 0..w.rows {
        w.row_bf16(n, &mut bits);
        for (row, x) in x.chunks_exact(w.cols).enumerate() {
            for slice in k_slices(w.cols) {
                // the products are exact, so it does not matter that this is not fused
                let sum = slice.fold(0f32, |sum, k| sum + x[k] * from_bf16(bits[k]));
                out[row * w.rows + n] += sum;
            }
        }
    }
    out
}

fn attention(probe: &Probe, precision: Precision, random: &mut Random) -> Result<(), GpuError> {
    const TOKENS: usize = 600; // three chunks, ten pages
    let sizes = Heads {
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        window: None,
    };
    let (q, k, v) = (
        random.values(TOKENS * 32),
        random.values(TOKENS * 16),
        random.values(TOKENS * 16),
    );
    let positions: Vec<u32> = (0..TOKENS as u32).collect();
    let still = vec![[1f32, 0.0]; TOKENS * 8];
    let attend = |pages: &[Page], steps: &[usize]| {
        let sequence = Sequence {
            positions: &positions,
            pages,
            rotations: &still,
        };
        probe.attend_in_steps(sizes, &sequence, None, [&q, &k, &v], 12, steps)
    };
    let pages: [Page; TOKENS.div_ceil(PAGE_TOKENS)] = std::array::from_fn(|page| page as Page);
    let found = attend(&pages, &[TOKENS])?;
    let others = pages.map(|page| (7 * page + 6) % 12);
    if attend(&others, &[TOKENS])? != found {
        return fail("attention", "other pages give other bits".into());
    }
    // many rows walk through their chunks, few have them side by side: that no driver fuses the one's arithmetic and not the other's
    if attend(&pages, &[64, 300, 1, 64, 64, 64, 43])? != found {
        return fail("attention", "rows in pieces give other bits".into());
    }
    for row in [0, 1, 63, 64, 255, 256, 512, TOKENS - 1] {
        for head in 0..2 {
            let q = &q[row * 32 + head * 16..][..16];
            let expected = attend_f64(q, &k, &v, row + 1, precision);
            for (d, expected) in expected.into_iter().enumerate() {
                let found = f64::from(found[row * 32 + head * 16 + d]);
                let near = (found - expected).abs() <= 1e-4;
                if !near {
                    return fail("attention", format!("row {row} has {found}, not {expected}"));
                }
            }
        }
    }
    Ok(())
}

// One head over the first `seen` keys, 16 wide.
fn attend_f64(q: &[f32], k: &[f32], v: &[f32], seen: usize, precision: Precision) -> Vec<f64> {
    let stored = |x: &[f32], j: usize, d: usize| f64::from(precision.round(x[j * 16 + d]));
    let score = |j: usize| (0..16).map(|d| f64::from(q[d]) * stored(k, j, d)).sum::<f64>() / 4.0;
    let weights: Vec<f64> = (0..seen).map(|j| score(j).exp()).collect(); // scores are small: no maximum is needed
    let sum: f64 = weights.iter().sum();
    let value = |d: usize| {
        weights
            .iter()
            .enumerate()
            .map(|(j, w)| w * stored(v, j, d))
            .sum::<f64>()
            / sum
    };
    (0..16).map(value).collect()
}

/// xorshift: any numbers will do, but the same on every machine.
pub(super) struct Random(u32);

impl Random {
    /// `seed` must not be zero.
    pub(super) fn new(seed: u32) -> Random {
        Random(seed)
    }

    /// Any bits.
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// In [−1, 1), none of them zero or tiny.
    pub(super) fn values(&mut self, n: usize) -> Vec<f32> {
        let value = |bits: u32| (bits >> 8 | 1) as f32 / (1 << 23) as f32 - 1.0;
        (0..n).map(|_| value(self.next())).collect()
    }
}
