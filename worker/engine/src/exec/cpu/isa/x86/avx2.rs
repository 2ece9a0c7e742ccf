//! AVX2: two registers where there are sixteen lanes.

use std::arch::x86_64::*;

use super::super::{Arithmetic, CodePairs, QUAD, WIDE, WordQuad, Words};
use super::fetch_ahead;

/// AVX2 and fused multiply-add.
pub struct Avx2;

/// Lanes of a register.
const HALF: usize = WIDE / 2;

// Functions and no closures: these would not be compiled for the instruction set.
#[inline(always)]
fn table(first: &[u8; 32], second: &[u8; 32]) -> (__m256i, __m256i) {
    let (first, second): (*const __m128i, *const __m128i) = (first.as_ptr().cast(), second.as_ptr().cast());
    // SAFETY: see the module; both halves lie in the arrays, and the loads need no alignment.
    unsafe {
        (
            _mm256_loadu2_m128i(second, first),
            _mm256_loadu2_m128i(second.add(1), first.add(1)),
        )
    }
}

#[inline(always)]
fn low_halves(bytes: __m256i) -> __m256i {
    // SAFETY: see the module.
    unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(15)) }
}

// Each 128 bits' four sums: those two apart, then neighbours.
#[inline(always)]
fn finish(sums: __m256) -> (f32, f32) {
    // SAFETY: see the module.
    unsafe {
        let two = _mm256_add_ps(sums, _mm256_permute_ps::<0b00_00_11_10>(sums));
        let one = _mm256_add_ps(two, _mm256_permute_ps::<0b00_00_00_01>(two));
        (
            _mm_cvtss_f32(_mm256_castps256_ps128(one)),
            _mm_cvtss_f32(_mm256_extractf128_ps::<1>(one)),
        )
    }
}

#[inline(always)]
fn look_up((low, high): (__m256i, __m256i), codes: __m256i) -> (__m256i, __m256i) {
    // SAFETY: see the module.
    unsafe {
        let (low, high) = (_mm256_shuffle_epi8(low, codes), _mm256_shuffle_epi8(high, codes));
        (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high))
    }
}

impl Arithmetic for Avx2 {
    type Inputs = __m256i;
    type Weights = [__m256i; 2];
    type Tables = [(__m256i, __m256i); 2];
    type Bytes = [__m256i; 2];
    type Spread = __m256i;
    type Few = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Floats = [__m256; 2];

    const QUADS: usize = 1;
    const PANELS: usize = 1;
    const STEPS: usize = 8;
    const FEW: usize = 2;

    #[inline(always)]
    fn multiply_add(a: f32, b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: see the module.
        unsafe {
            let a = _mm256_set1_ps(a);
            [_mm256_fmadd_ps(a, b[0], c[0]), _mm256_fmadd_ps(a, b[1], c[1])]
        }
    }

    #[inline(always)]
    fn widen_bf16(bits: &[u16; WIDE]) -> [__m256; 2] {
        let bits: *const __m128i = bits.as_ptr().cast();
        // SAFETY: see the module; both halves lie in the array, and the loads need no alignment.
        unsafe {
            let first = _mm256_cvtepu16_epi32(_mm_loadu_si128(bits));
            let second = _mm256_cvtepu16_epi32(_mm_loadu_si128(bits.add(1)));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(first)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(second)),
            ]
        }
    }

    #[inline(always)]
    fn zero() -> [__m256i; 2] {
        // SAFETY: see the module.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn inputs(words: &Words) -> __m256i {
        // SAFETY: see the module; `Words` is as large and as aligned as half a register.
        unsafe { _mm256_broadcastsi128_si256(_mm_load_si128(std::ptr::from_ref(words).cast())) }
    }

    #[inline(always)]
    fn weights(words: &WordQuad) -> [__m256i; 2] {
        let words: *const __m256i = std::ptr::from_ref(words).cast();
        // SAFETY: see the module; `WordQuad` is as large as two registers and more aligned.
        unsafe { [_mm256_load_si256(words), _mm256_load_si256(words.add(1))] }
    }

    #[inline(always)]
    fn store(weights: [__m256i; 2], words: &mut WordQuad) {
        let words: *mut __m256i = std::ptr::from_mut(words).cast();
        // SAFETY: as in `weights`.
        unsafe {
            _mm256_store_si256(words, weights[0]);
            _mm256_store_si256(words.add(1), weights[1]);
        }
    }

    #[inline(always)]
    fn dot(sums: [__m256i; 2], inputs: __m256i, weights: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(inputs, weights[0])),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(inputs, weights[1])),
            ]
        }
    }

    #[inline(always)]
    fn join(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see the module.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn floats(floats: &[f32; WIDE]) -> [__m256; 2] {
        // SAFETY: see the module; both loads lie in the array and need no alignment.
        unsafe {
            [
                _mm256_loadu_ps(floats.as_ptr()),
                _mm256_loadu_ps(floats.as_ptr().add(HALF)),
            ]
        }
    }

    #[inline(always)]
    fn write(floats: [__m256; 2], to: &mut [f32; WIDE]) {
        // SAFETY: as in `floats`.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), floats[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(HALF), floats[1]);
        }
    }

    #[inline(always)]
    fn finish(floats: [__m256; 2]) -> [f32; QUAD] {
        let ((first, second), (third, fourth)) = (finish(floats[0]), finish(floats[1]));
        [first, second, third, fourth]
    }

    #[inline(always)]
    fn units(units: [f32; QUAD]) -> [__m256; 2] {
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_set_m128(_mm_set1_ps(units[1]), _mm_set1_ps(units[0])),
                _mm256_set_m128(_mm_set1_ps(units[3]), _mm_set1_ps(units[2])),
            ]
        }
    }

    #[inline(always)]
    fn add(floats: [__m256; 2], block: [__m256i; 2], unit: f32, units: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: see the module.
        unsafe {
            let unit = _mm256_set1_ps(unit);
            [
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(block[0]), _mm256_mul_ps(unit, units[0]), floats[0]),
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(block[1]), _mm256_mul_ps(unit, units[1]), floats[1]),
            ]
        }
    }

    #[inline(always)]
    fn tables(tables: [&[u8; 32]; QUAD]) -> [(__m256i, __m256i); 2] {
        [table(tables[0], tables[1]), table(tables[2], tables[3])]
    }

    #[inline(always)]
    fn low(codes: &CodePairs) -> [__m256i; 2] {
        let codes: *const __m256i = std::ptr::from_ref(codes).cast();
        // SAFETY: see the module; `CodePairs` is as large as two registers and as aligned as one.
        unsafe {
            [
                low_halves(_mm256_load_si256(codes)),
                low_halves(_mm256_load_si256(codes.add(1))),
            ]
        }
    }

    #[inline(always)]
    fn high(codes: &CodePairs) -> [__m256i; 2] {
        let codes: *const __m256i = std::ptr::from_ref(codes).cast();
        // SAFETY: as in `low`.
        unsafe {
            [
                low_halves(_mm256_srli_epi16(_mm256_load_si256(codes), 4)),
                low_halves(_mm256_srli_epi16(_mm256_load_si256(codes.add(1)), 4)),
            ]
        }
    }

    #[inline(always)]
    fn decode(tables: [(__m256i, __m256i); 2], codes: [__m256i; 2]) -> ([__m256i; 2], [__m256i; 2]) {
        let (first, second) = (look_up(tables[0], codes[0]), look_up(tables[1], codes[1]));
        ([first.0, second.0], [first.1, second.1])
    }

    #[inline(always)]
    fn fetch_ahead<T>(at: &T, bytes: usize) {
        fetch_ahead(at, bytes);
    }

    #[inline(always)]
    fn spread(bytes: i32) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_set1_epi32(bytes) }
    }

    // sums of 16 bits, two an output
    #[inline(always)]
    fn few(_sums: [__m256i; 2]) -> [__m256i; 2] {
        Self::zero()
    }

    #[inline(always)]
    fn dot_bytes(few: [__m256i; 2], codes: [__m256i; 2], inputs: __m256i) -> [__m256i; 2] {
        // SAFETY: see the module.
        unsafe {
            [
                _mm256_add_epi16(few[0], _mm256_maddubs_epi16(codes[0], inputs)),
                _mm256_add_epi16(few[1], _mm256_maddubs_epi16(codes[1], inputs)),
            ]
        }
    }

    #[inline(always)]
    fn widen(sums: [__m256i; 2], few: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see the module.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(few[0], ones)),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(few[1], ones)),
            ]
        }
    }

    #[inline(always)]
    fn integers(sums: [__m256i; 2]) -> [i32; WIDE] {
        let mut integers = [0; WIDE];
        let (halves, _) = integers.as_chunks_mut::<HALF>();
        for (half, sums) in halves.iter_mut().zip(sums) {
            // SAFETY: see the module; the store needs no alignment.
            unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), sums) };
        }
        integers
    }
}
