//! Attention of one row over the pages of its sequence, and the store of keys and values into pages.
//!
//! Scores are computed with lanes across the keys of a page, values with lanes across the head's width, so that no sum crosses
//! lanes. Chunks of keys are cut at absolute positions and merged left to right: a row gives the same bits whether its sequence
//! was computed at once, in pieces, or found in the cache.

use super::isa::{Arithmetic, Isa, Kernel};
use super::pool::Pool;
use crate::batch::{Page, Segment};
use crate::numerics::{KV_CHUNK, LANES, MAX_HEAD_DIM, PAGE_TOKENS, bf16, exp, from_bf16, lane_sum};

/// One layer's keys and values, bf16.
pub struct KvCache {
    head_dim: usize,
    head_len: usize,
    keys: Vec<u16>,   // (kv_heads, pages, head_dim, PAGE_TOKENS)
    values: Vec<u16>, // (kv_heads, pages, PAGE_TOKENS, head_dim)
}

impl KvCache {
    /// An empty cache. The sizes' product must have been checked.
    pub fn new(kv_heads: usize, head_dim: usize, pages: usize) -> KvCache {
        let head_len = pages * PAGE_TOKENS * head_dim;
        KvCache { head_dim, head_len, keys: vec![0; kv_heads * head_len], values: vec![0; kv_heads * head_len] }
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
        self.keys.fill(0x7fc0);
        self.values.fill(0x7fc0);
    }

    /// Rounds and stores the rows' keys and values. `k` and `v` give the head of a row: (row, kv head) → (head_dim).
    pub fn store<'a>(
        &mut self,
        pool: &Pool,
        segments: &[Segment],
        k: impl Fn(usize, usize) -> &'a [f32] + Sync,
        v: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) {
        let (head_dim, head_len) = (self.head_dim, self.head_len);
        pool.chunks2((&mut self.keys, head_len), (&mut self.values, head_len), |head, keys, values| {
            for s in segments {
                for i in 0..s.rows {
                    let position = s.kv_len - s.rows + i;
                    let page = s.pages[position / PAGE_TOKENS] as usize * PAGE_TOKENS * head_dim;
                    let slot = position % PAGE_TOKENS;
                    let key = keys[page..].iter_mut().skip(slot).step_by(PAGE_TOKENS);
                    key.zip(k(s.first_row + i, head)).for_each(|(o, &x)| *o = bf16(x));
                    let value = &mut values[page + slot * head_dim..][..head_dim];
                    value.iter_mut().zip(v(s.first_row + i, head)).for_each(|(o, &x)| *o = bf16(x));
                }
            }
        });
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
        isa.run(Attend { keys, values, head_dim: self.head_dim, pages, first, position, q, out });
    }
}

struct Attend<'a> {
    keys: &'a [u16],   // (pages, head_dim, PAGE_TOKENS)
    values: &'a [u16], // (pages, PAGE_TOKENS, head_dim)
    head_dim: usize,
    pages: &'a [Page],
    first: usize,
    position: usize,
    q: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let size = PAGE_TOKENS * self.head_dim;
        let page_of = |cache: &'_ [u16], position: usize| -> usize {
            let page = self.pages[position / PAGE_TOKENS] as usize * size;
            debug_assert!(page + size <= cache.len());
            page
        };
        for (q, out) in self.q.chunks_exact(self.head_dim).zip(self.out.chunks_exact_mut(self.head_dim)) {
            // merged so far: maximum, Σp, Σp·v (in `out`)
            let (mut max, mut sum) = (f32::NEG_INFINITY, 0f32);
            let mut chunk_first = self.first / KV_CHUNK * KV_CHUNK;
            let mut begun = false;
            while chunk_first <= self.position {
                let seen = self.first.max(chunk_first)..(self.position + 1).min(chunk_first + KV_CHUNK);
                let mut p = [0f32; KV_CHUNK];
                let mut at = seen.start / PAGE_TOKENS * PAGE_TOKENS;
                while at < seen.end {
                    let keys = &self.keys[page_of(self.keys, at)..][..size];
                    page_scores(q, keys, &mut p[at - chunk_first..][..PAGE_TOKENS]);
                    at += PAGE_TOKENS;
                }
                let chunk_max = softmax_terms(&mut p, seen.start - chunk_first, seen.end - chunk_first);
                let chunk_sum = lane_sum(&p);
                let mut o = [0f32; MAX_HEAD_DIM];
                let o = &mut o[..self.head_dim];
                let mut at = seen.start;
                while at < seen.end {
                    let end = (at / PAGE_TOKENS + 1) * PAGE_TOKENS;
                    let end = end.min(seen.end);
                    let first = page_of(self.values, at) + at % PAGE_TOKENS * self.head_dim;
                    let values = &self.values[first..][..(end - at) * self.head_dim];
                    add_values(&p[at - chunk_first..end - chunk_first], values, o);
                    at = end;
                }
                if begun {
                    let merged = if chunk_max > max { chunk_max } else { max };
                    let (old, new) = (exp(max - merged), exp(chunk_max - merged));
                    sum = sum * old + chunk_sum * new;
                    for (out, o) in out.iter_mut().zip(o.iter()) {
                        *out = *out * old + *o * new;
                    }
                    max = merged;
                } else {
                    (max, sum, begun) = (chunk_max, chunk_sum, true);
                    out.copy_from_slice(o);
                }
                chunk_first += KV_CHUNK;
            }
            for out in out {
                *out /= sum;
            }
        }
    }
}

// q·k for the 64 keys of a page, (head_dim, PAGE_TOKENS). Slots that hold no key yet give numbers nobody looks at.
#[inline(always)]
fn page_scores(q: &[f32], keys: &[u16], scores: &mut [f32]) {
    let mut sums = [0f32; PAGE_TOKENS];
    let (keys, _) = keys.as_chunks::<PAGE_TOKENS>();
    for (&q, k) in q.iter().zip(keys) {
        for j in 0..PAGE_TOKENS {
            sums[j] += q * from_bf16(k[j]);
        }
    }
    scores.copy_from_slice(&sums);
}

// Scores to e^(s − max); exactly zero outside `first..end`. Returns the maximum.
#[inline(always)]
fn softmax_terms(p: &mut [f32; KV_CHUNK], first: usize, end: usize) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    p[..first].fill(f32::NEG_INFINITY);
    p[end..].fill(f32::NEG_INFINITY);
    let (chunks, _) = p.as_chunks_mut::<LANES>();
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

// o += Σ_j p_j·v_j in order of j, over (keys, head_dim).
#[inline(always)]
fn add_values(p: &[f32], values: &[u16], o: &mut [f32]) {
    let head_dim = o.len();
    let (blocks, rest) = o.as_chunks_mut::<LANES>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut sums = *block;
        for (&p, v) in p.iter().zip(values.chunks_exact(head_dim)) {
            let v = &v[b * LANES..(b + 1) * LANES];
            for j in 0..LANES {
                sums[j] += p * from_bf16(v[j]);
            }
        }
        *block = sums;
    }
    let done = head_dim - rest.len();
    for (&p, v) in p.iter().zip(values.chunks_exact(head_dim)) {
        for (o, &v) in rest.iter_mut().zip(&v[done..]) {
            *o += p * from_bf16(v);
        }
    }
}
