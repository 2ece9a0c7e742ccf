//! Attention: prompts at once and in pieces, and single tokens after them.

use assay_engine::exec::exact;
use assay_engine::{Device, Options};

use super::device::{Kernels, Sequence};
use super::rows::Worst;
use super::{OtherRow, Size};
use crate::synthetic::Random;

/// Tokens that are computed one by one after a prompt.
const DECODED: usize = 4;

/// (heads, kv_heads, head_dim, whether there is a window): the groups of EXAONE-4.0-1.2B and, with its window, of 32B.
const SHAPES: [(usize, usize, usize, bool); 2] = [(8, 2, 64, false), (5, 1, 128, true)];

/// Every shape, as a prompt and as tokens after one.
pub fn measure(kernels: &dyn Kernels, device: &Device, size: Size, r: &mut Random) -> anyhow::Result<Vec<OtherRow>> {
    let mut rows = Vec::new();
    let tokens = size.context();
    for (heads, kv_heads, head_dim, windowed) in SHAPES {
        let mut draw = |width: usize| -> Vec<f32> { (0..tokens * width).map(|_| r.normal()).collect() };
        let sequence = Sequence {
            heads,
            kv_heads,
            head_dim,
            window: windowed.then_some(tokens / 2),
            tokens,
            q: draw(heads * head_dim),
            k: draw(kv_heads * head_dim),
            v: draw(kv_heads * head_dim),
        };
        let exact = exactly(&sequence);
        let prompt = tokens - DECODED;
        let pieces = [&[prompt / 3, prompt - prompt / 3][..], &[1; DECODED]].concat();
        let window = sequence.window.map_or(String::new(), |w| format!(", a window of {w}"));
        let what = format!("{heads} heads of {head_dim}, {kv_heads} of keys{window}, {tokens} tokens");
        let width = heads * head_dim;
        for (name, steps, first) in [("prompt", vec![tokens], 0), ("tokens after it", pieces, prompt)] {
            let mut worst = Worst::new(device, format!("attention, {name}: {what}"));
            let out = kernels.attend(&sequence, &steps)?;
            worst.take(&out[first * width..], &exact[first * width..], head_dim);
            rows.push(worst.0);
        }
    }
    Ok(rows)
}

// (tokens, heads, head_dim)
fn exactly(s: &Sequence) -> Vec<f64> {
    let precision = Options::default().precision;
    // keys and values of a head, (tokens, head_dim), as they are stored
    let stored = |x: &[f32], head: usize| -> Vec<f32> {
        let rows = x.chunks_exact(s.kv_heads * s.head_dim);
        let rows = rows.flat_map(|row| &row[head * s.head_dim..][..s.head_dim]);
        rows.map(|&x| precision.round(x)).collect()
    };
    let cache: Vec<(Vec<f32>, Vec<f32>)> = (0..s.kv_heads)
        .map(|head| (stored(&s.k, head), stored(&s.v, head)))
        .collect();
    let scale = 1.0 / (s.head_dim as f32).sqrt();
    let mut out = Vec::with_capacity(s.q.len());
    for (i, q) in s.q.chunks_exact(s.head_dim).enumerate() {
        let (position, head) = (i / s.heads, i % s.heads);
        let first = s.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let seen = first * s.head_dim..(position + 1) * s.head_dim;
        let (keys, values) = &cache[head / (s.heads / s.kv_heads)];
        let q: Vec<f32> = q.iter().map(|q| q * scale).collect();
        out.extend(exact::attention(&q, &keys[seen.clone()], &values[seen]));
    }
    out
}
