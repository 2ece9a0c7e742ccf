//! The inner loops' operations in plain Rust.

use super::{Arithmetic, CodePairs, QUAD, WIDE, WORDS, WordQuad, Words};
use crate::numerics::{BLOCK, PARTIALS, add_partials, from_bf16};

/// What every machine has, with or without fused multiply-add.
pub struct Portable<const FUSED: bool>;

impl<const FUSED: bool> Arithmetic for Portable<FUSED> {
    type Inputs = [i16; WORDS];
    type Weights = [[i16; WORDS]; QUAD];
    type Tables = [[i16; 16]; QUAD];
    type Bytes = [u8; 64];
    type Spread = [u8; 4];
    type Few = [i32; WIDE];
    type Sums = [i32; WIDE];
    type Floats = [f32; WIDE];

    const QUADS: usize = 1;
    const PANELS: usize = 1;
    const STEPS: usize = BLOCK; // more than a block has
    const FEW: usize = 2;

    #[inline(always)]
    fn multiply_add(a: f32, b: Self::Floats, mut c: Self::Floats) -> Self::Floats {
        for (b, c) in b.into_iter().zip(&mut c) {
            *c = if FUSED { a.mul_add(b, *c) } else { a * b + *c };
        }
        c
    }

    #[inline(always)]
    fn widen_bf16(bits: &[u16; WIDE]) -> Self::Floats {
        bits.map(from_bf16)
    }

    #[inline(always)]
    fn zero() -> Self::Sums {
        [0; WIDE]
    }

    #[inline(always)]
    fn inputs(words: &Words) -> Self::Inputs {
        words.0
    }

    #[inline(always)]
    fn weights(words: &WordQuad) -> Self::Weights {
        words.0.map(|words| words.0)
    }

    #[inline(always)]
    fn store(weights: Self::Weights, words: &mut WordQuad) {
        words.0 = weights.map(Words);
    }

    #[inline(always)]
    fn dot(mut sums: Self::Sums, inputs: Self::Inputs, weights: Self::Weights) -> Self::Sums {
        let (outputs, _) = sums.as_chunks_mut::<PARTIALS>();
        for (sums, weights) in outputs.iter_mut().zip(&weights) {
            let product = |j: usize| i32::from(inputs[j]) * i32::from(weights[j]);
            for (i, sum) in sums.iter_mut().enumerate() {
                // inputs that are not finite may be any integers
                *sum = sum.wrapping_add(product(2 * i).wrapping_add(product(2 * i + 1)));
            }
        }
        sums
    }

    #[inline(always)]
    fn join(mut a: Self::Sums, b: Self::Sums) -> Self::Sums {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_add(b));
        a
    }

    #[inline(always)]
    fn floats(floats: &[f32; WIDE]) -> Self::Floats {
        *floats
    }

    #[inline(always)]
    fn write(floats: Self::Floats, to: &mut [f32; WIDE]) {
        *to = floats;
    }

    #[inline(always)]
    fn finish(floats: Self::Floats) -> [f32; QUAD] {
        let (outputs, _) = floats.as_chunks::<PARTIALS>();
        std::array::from_fn(|i| add_partials(outputs[i]))
    }

    #[inline(always)]
    fn units(units: [f32; QUAD]) -> Self::Floats {
        std::array::from_fn(|i| units[i / PARTIALS])
    }

    #[inline(always)]
    fn add(mut floats: Self::Floats, block: Self::Sums, unit: f32, units: Self::Floats) -> Self::Floats {
        for ((float, sum), own) in floats.iter_mut().zip(block).zip(units) {
            *float += sum as f32 * (unit * own);
        }
        floats
    }

    #[inline(always)]
    fn tables(tables: [&[u8; 32]; QUAD]) -> Self::Tables {
        tables.map(|bytes| std::array::from_fn(|i| i16::from_le_bytes([bytes[i], bytes[16 + i]])))
    }

    #[inline(always)]
    fn low(codes: &CodePairs) -> Self::Bytes {
        codes.0.map(|pair| pair & 15)
    }

    #[inline(always)]
    fn high(codes: &CodePairs) -> Self::Bytes {
        codes.0.map(|pair| pair >> 4)
    }

    #[inline(always)]
    fn decode(tables: Self::Tables, codes: Self::Bytes) -> (Self::Weights, Self::Weights) {
        let weights = |first: usize| {
            std::array::from_fn(|output: usize| {
                std::array::from_fn(|i| tables[output][usize::from(codes[output * 16 + first + i])])
            })
        };
        (weights(0), weights(WORDS))
    }

    #[inline(always)]
    fn fetch_ahead<T>(_at: &T, _bytes: usize) {}

    #[inline(always)]
    fn spread(bytes: i32) -> Self::Spread {
        bytes.to_le_bytes()
    }

    #[inline(always)]
    fn few(sums: Self::Sums) -> Self::Few {
        sums
    }

    #[inline(always)]
    fn dot_bytes(mut few: Self::Few, codes: Self::Bytes, inputs: Self::Spread) -> Self::Few {
        for (i, sum) in few.iter_mut().enumerate() {
            let product = |j: usize| i32::from(codes[4 * i + j]) * i32::from(inputs[j] as i8);
            *sum += product(0) + product(1) + product(2) + product(3);
        }
        few
    }

    #[inline(always)]
    fn widen(_sums: Self::Sums, few: Self::Few) -> Self::Sums {
        few
    }

    #[inline(always)]
    fn integers(sums: Self::Sums) -> [i32; WIDE] {
        sums
    }
}
