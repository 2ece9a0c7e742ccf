//! Attention of one row over the pages of its sequence, and the store of keys and values into pages.
//!
//! Scores are computed with lanes across the keys of a page, values with lanes across the head's width, so that no sum crosses
//! lanes. Chunks of keys are cut at absolute positions and merged left to right: a row gives the same bits whether its sequence
//! was computed at once, in pieces, or found in the cache.

use assay_checkpoint::{CacheCodes, Codes, HeadScale, InputScale};

use super::isa::{Arithmetic, Isa, Kernel};
use super::pool::Pool;
use crate::batch::{Page, Segment};
use crate::numerics::{KV_CHUNK, LANES, MAX_HEAD_DIM, PAGE_TOKENS, Precision, RowCodes, exp, lane_sum};

/// Rows whose keys and values the calling thread stores by itself.
const FEW_ROWS: usize = 4;

/// One layer's keys and values, rounded but kept in f32.
pub struct KvCache {
    head_dim: usize,
    head_len: usize,
    keys: Vec<f32>,   // (kv_heads, pages, head_dim, PAGE_TOKENS)
    values: Vec<f32>, // (kv_heads, pages, PAGE_TOKENS, head_dim)
    codes: Option<CacheCodes>,
}

impl KvCache {
    /// An empty cache. The sizes' product must have been checked.
    pub fn new(kv_heads: usize, head_dim: usize, pages: usize) -> KvCache {
        let head_len = pages * PAGE_TOKENS * head_dim;
        KvCache {
            head_dim,
            head_len,
            keys: vec![0.0; kv_heads * head_len],
            values: vec![0.0; kv_heads * head_len],
            codes: None,
        }
    }

    /// The same cache for keys and values that are quantized first.
    pub fn with_codes(self, codes: Option<CacheCodes>) -> KvCache {
        KvCache { codes, ..self }
    }

    /// Copies a page.
    pub fn copy(&mut self, from: Page, to: Page) {
        let size = PAGE_TOKENS * self.head_dim;
        let (from, to) = (from as usize * size, to as usize * size);
        for cache in [&mut self.keys, &mut self.values] {
            for head in cache.chunks_exact_mut(self.head_len) {
                head.copy_within(from..from + size, to);
            }
        }
    }

    /// Fills everything with NaN, so that a test sees any read of what was never stored.
    pub fn poison(&mut self) {
        self.keys.fill(f32::NAN);
        self.values.fill(f32::NAN);
    }

    /// Quantizes, rounds and stores the rows' keys and values. `k` and `v` give the head of a row: (row, kv head) → (head_dim).
    pub fn store<'a>(
        &mut self,
        pool: &Pool,
        precision: Precision,
        segments: &[Segment],
        k: impl Fn(usize, usize) -> &'a [f32] + Sync,
        v: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) {
        let (head_dim, head_len, codes) = (self.head_dim, self.head_len, &self.codes);
        let rule = |scales: &[HeadScale], codes: Codes, head: usize| {
            let HeadScale { scale, zero } = scales[head];
            RowCodes::of(codes, InputScale::Fixed { scale, zero }, &[])
        };
        let stored = |by: Option<RowCodes>, x: f32| precision.round(by.map_or(x, |by| by.code(x) * by.scale));
        let store = |head: usize, keys: &mut [f32], values: &mut [f32]| {
            let of_keys = codes.as_ref().map(|c| rule(&c.keys, c.codes, head));
            let of_values = codes.as_ref().map(|c| rule(&c.values, c.codes, head));
            for s in segments {
                for i in 0..s.rows {
                    let position = s.kv_len - s.rows + i;
                    let page = s.pages[position / PAGE_TOKENS] as usize * PAGE_TOKENS * head_dim;
                    let slot = position % PAGE_TOKENS;
                    let key = keys[page..].iter_mut().skip(slot).step_by(PAGE_TOKENS);
                    key.zip(k(s.first_row + i, head))
                        .for_each(|(o, &x)| *o = stored(of_keys, x));
                    let value = &mut values[page + slot * head_dim..][..head_dim];
                    value
                        .iter_mut()
                        .zip(v(s.first_row + i, head))
                        .for_each(|(o, &x)| *o = stored(of_values, x));
                }
            }
        };
        let (keys, values) = (&mut self.keys[..], &mut self.values[..]);
        // a few rows are stored sooner than another thread has heard of them
        if segments.iter().map(|s| s.rows).sum::<usize>() <= FEW_ROWS {
            let heads = keys.chunks_mut(head_len.max(1)).zip(values.chunks_mut(head_len.max(1)));
            for (head, (keys, values)) in heads.enumerate() {
                store(head, keys, values);
            }
        } else {
            pool.chunks2((keys, head_len), (values, head_len), store);
        }
    }

    /// Attention of one row for all query heads of one key/value head. `q` is (group, head_dim), already scaled; so is `out`.
    /// The row sees keys `first..=position`.
    #[allow(clippy::too_many_arguments)]
    pub fn attend(
        &self,
        isa: Isa,
        kv_head: usize,
        pages: &[Page],
        first: usize,
        position: usize,
        q: &[f32],
        out: &mut [f32],
    ) {
        let span = kv_head * self.head_len..(kv_head + 1) * self.head_len;
        let (keys, values) = (&self.keys[span.clone()], &self.values[span]);
        isa.run(Attend {
            keys,
            values,
            head_dim: self.head_dim,
            pages,
            first,
            position,
            q,
            out,
        });
    }
}

struct Attend<'a> {
    keys: &'a [f32],   // (pages, head_dim, PAGE_TOKENS)
    values: &'a [f32], // (pages, PAGE_TOKENS, head_dim)
    head_dim: usize,
    pages: &'a [Page],
    first: usize,
    position: usize,
    q: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let (q, out) = (self.q, std::mem::take(&mut self.out));
        let quads = q.len() / (4 * self.head_dim) * 4 * self.head_dim;
        let pairs = q.len() / (2 * self.head_dim) * 2 * self.head_dim;
        let (out, last_out) = out.split_at_mut(pairs);
        let (out, pair_out) = out.split_at_mut(quads);
        let quads_of = q[..quads].chunks_exact(4 * self.head_dim);
        for (q, out) in quads_of.zip(out.chunks_exact_mut(4 * self.head_dim)) {
            self.heads::<2, 2>(q, out);
        }
        if quads < pairs {
            self.heads::<1, 2>(&q[quads..pairs], pair_out);
        }
        if pairs < q.len() {
            self.heads::<1, 1>(&q[pairs..], last_out);
        }
    }
}

impl Attend<'_> {
    // PARTS times H query heads. H of them share every key and value loaded into a register, and PARTS of these a chunk of keys in the nearer
    // caches.
    #[inline(always)]
    fn heads<const PARTS: usize, const H: usize>(&self, q: &[f32], out: &mut [f32]) {
        let (head_dim, size) = (self.head_dim, PAGE_TOKENS * self.head_dim);
        // merged so far: maximum, Σp, and Σp·v in `out`
        let (mut max, mut sum) = ([[f32::NEG_INFINITY; H]; PARTS], [[0f32; H]; PARTS]);
        let mut p = [[0f32; KV_CHUNK]; H];
        let mut o = [[0f32; MAX_HEAD_DIM]; H];
        let first_chunk = self.first / KV_CHUNK;
        for chunk in first_chunk..=self.position / KV_CHUNK {
            let start = chunk * KV_CHUNK;
            let (from, end) = (
                self.first.max(start) - start,
                (self.position + 1).min(start + KV_CHUNK) - start,
            );
            for part in 0..PARTS {
                let mut own = [q; H];
                for h in 0..H {
                    own[h] = &q[(part * H + h) * head_dim..][..head_dim];
                }
                for at in (from / PAGE_TOKENS * PAGE_TOKENS..end).step_by(PAGE_TOKENS) {
                    let keys = &self.keys[self.page(start + at) * size..][..size];
                    page_scores(own, keys, &mut p, at);
                }
                let (mut chunk_max, mut chunk_sum) = ([0f32; H], [0f32; H]);
                for h in 0..H {
                    chunk_max[h] = softmax_terms(&mut p[h], from, end);
                    chunk_sum[h] = lane_sum(&p[h]);
                    o[h][..head_dim].fill(0.0);
                }
                let mut at = from;
                while at < end {
                    let stop = ((at / PAGE_TOKENS + 1) * PAGE_TOKENS).min(end);
                    let slot = self.page(start + at) * PAGE_TOKENS + at % PAGE_TOKENS;
                    let values = &self.values[slot * head_dim..][..(stop - at) * head_dim];
                    add_values(&p, at, values, &mut o, head_dim);
                    at = stop;
                }
                for h in 0..H {
                    let out = &mut out[(part * H + h) * head_dim..][..head_dim];
                    let (max, sum) = (&mut max[part][h], &mut sum[part][h]);
                    if chunk == first_chunk {
                        (*max, *sum) = (chunk_max[h], chunk_sum[h]);
                        out.copy_from_slice(&o[h][..head_dim]);
                        continue;
                    }
                    let merged = if chunk_max[h] > *max { chunk_max[h] } else { *max };
                    let (old, new) = (exp(*max - merged), exp(chunk_max[h] - merged));
                    *sum = *sum * old + chunk_sum[h] * new;
                    for (out, o) in out.iter_mut().zip(&o[h]) {
                        *out = *out * old + o * new;
                    }
                    *max = merged;
                }
            }
        }
        for (out, sum) in out.chunks_exact_mut(head_dim).zip(sum.as_flattened()) {
            out.iter_mut().for_each(|o| *o /= sum);
        }
    }

    // Where a position's page lies.
    #[inline(always)]
    fn page(&self, position: usize) -> usize {
        self.pages[position / PAGE_TOKENS] as usize
    }
}

// q·k for the 64 keys of a page, (head_dim, PAGE_TOKENS), in order of the head's dimensions. Slots that hold no key yet give
// numbers nobody looks at.
#[inline(always)]
fn page_scores<const H: usize>(q: [&[f32]; H], keys: &[f32], scores: &mut [[f32; KV_CHUNK]; H], at: usize) {
    let (keys, _) = keys.as_chunks::<PAGE_TOKENS>();
    for block in (0..PAGE_TOKENS).step_by(2 * LANES) {
        let mut sums = [[[0f32; LANES]; 2]; H];
        for (d, k) in keys.iter().enumerate() {
            let k = load::<2>(&k[block..block + 2 * LANES]);
            for h in 0..H {
                let q = q[h][d];
                for b in 0..2 {
                    for j in 0..LANES {
                        sums[h][b][j] += q * k[b][j];
                    }
                }
            }
        }
        for h in 0..H {
            scores[h][at + block..][..2 * LANES].copy_from_slice(sums[h].as_flattened());
        }
    }
}

// Scores to e^(s − max); exactly zero outside `first..end`. Returns the maximum.
#[inline(always)]
fn softmax_terms(p: &mut [f32; KV_CHUNK], first: usize, end: usize) -> f32 {
    p[..first].fill(f32::NEG_INFINITY);
    p[end..].fill(f32::NEG_INFINITY);
    let (chunks, _) = p.as_chunks_mut::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter() {
        for j in 0..LANES {
            // a NaN must win, or it would vanish
            lanes[j] = if chunk[j] <= lanes[j] { lanes[j] } else { chunk[j] };
        }
    }
    let mut max = lanes[0];
    for &lane in &lanes[1..] {
        max = if lane <= max { max } else { lane };
    }
    for chunk in chunks {
        for x in chunk {
            *x = exp(*x - max);
        }
    }
    p[..first].fill(0.0);
    p[end..].fill(0.0);
    max
}

// o += Σ_j p_j·v_j in order of j, for the keys from `at` on; values are (keys, head_dim).
#[inline(always)]
fn add_values<const H: usize>(
    p: &[[f32; KV_CHUNK]; H],
    at: usize,
    values: &[f32],
    o: &mut [[f32; MAX_HEAD_DIM]; H],
    head_dim: usize,
) {
    let mut d = 0;
    while d + 2 * LANES <= head_dim {
        add_block::<H, 2>(p, at, values, o, head_dim, d);
        d += 2 * LANES;
    }
    while d + LANES <= head_dim {
        add_block::<H, 1>(p, at, values, o, head_dim, d);
        d += LANES;
    }
    for h in 0..H {
        for (&p, v) in p[h][at..].iter().zip(values.chunks_exact(head_dim)) {
            for i in d..head_dim {
                o[h][i] += p * v[i];
            }
        }
    }
}

#[inline(always)]
fn add_block<const H: usize, const B: usize>(
    p: &[[f32; KV_CHUNK]; H],
    at: usize,
    values: &[f32],
    o: &mut [[f32; MAX_HEAD_DIM]; H],
    head_dim: usize,
    d: usize,
) {
    let mut sums = [[[0f32; LANES]; B]; H];
    for h in 0..H {
        sums[h].as_flattened_mut().copy_from_slice(&o[h][d..d + B * LANES]);
    }
    for (i, v) in values.chunks_exact(head_dim).enumerate() {
        let v = load::<B>(&v[d..d + B * LANES]);
        for h in 0..H {
            let p = p[h][at + i];
            for b in 0..B {
                for j in 0..LANES {
                    sums[h][b][j] += p * v[b][j];
                }
            }
        }
    }
    for h in 0..H {
        o[h][d..d + B * LANES].copy_from_slice(sums[h].as_flattened());
    }
}

// Loaded whole before use, element by element, so that the compiler sees registers and not memory.
#[inline(always)]
fn load<const B: usize>(x: &[f32]) -> [[f32; LANES]; B] {
    let mut lanes = [[0f32; LANES]; B];
    let (x, _) = x.as_chunks::<LANES>();
    for b in 0..B {
        for j in 0..LANES {
            lanes[b][j] = x[b][j];
        }
    }
    lanes
}
