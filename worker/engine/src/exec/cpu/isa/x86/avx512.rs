//! AVX-512: one register where there are sixteen lanes.

use std::arch::x86_64::*;

use super::super::{Arithmetic, CodePairs, WIDE, WordPair, Words};
use super::{fetch_ahead, finish};

/// AVX-512 with its neural network instructions.
pub struct Avx512;

/// The second output's lanes.
const SECOND: __mmask16 = 0xff00;

impl Arithmetic for Avx512 {
    type Inputs = __m512i;
    type Weights = __m512i;
    type Tables = (__m512i, __m512i);
    type Bytes = __m512i;
    type Spread = __m512i;
    type Few = __m512i;
    type Sums = __m512i;
    type Floats = __m512;

    const PAIRS: usize = 2;

    #[inline(always)]
    fn multiply_add(a: f32, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_fmadd_ps(_mm512_set1_ps(a), b, c) }
    }

    #[inline(always)]
    fn widen_bf16(bits: &[u16; WIDE]) -> __m512 {
        // SAFETY: see the module; the load needs no alignment.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bits.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn zero() -> __m512i {
        // SAFETY: see the module.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn inputs(words: &Words) -> __m512i {
        // SAFETY: see the module; `Words` is as large and as aligned as half a register.
        unsafe { _mm512_broadcast_i64x4(_mm256_load_si256(std::ptr::from_ref(words).cast())) }
    }

    #[inline(always)]
    fn weights(words: &WordPair) -> __m512i {
        // SAFETY: see the module; `WordPair` is as large and as aligned as a register.
        unsafe { _mm512_load_si512(std::ptr::from_ref(words).cast()) }
    }

    #[inline(always)]
    fn store(weights: __m512i, words: &mut WordPair) {
        // SAFETY: as in `weights`.
        unsafe { _mm512_store_si512(std::ptr::from_mut(words).cast(), weights) }
    }

    #[inline(always)]
    fn dot(sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: see the module.
        unsafe { _mm512_dpwssd_epi32(sums, inputs, weights) }
    }

    #[inline(always)]
    fn join(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the module.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn floats(floats: &[f32; WIDE]) -> __m512 {
        // SAFETY: see the module; the load needs no alignment.
        unsafe { _mm512_loadu_ps(floats.as_ptr()) }
    }

    #[inline(always)]
    fn write(floats: __m512, to: &mut [f32; WIDE]) {
        // SAFETY: as in `floats`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), floats) };
    }

    #[inline(always)]
    fn finish(floats: __m512) -> [f32; 2] {
        // SAFETY: see the module.
        let (first, second) = unsafe {
            let doubles = _mm512_castps_pd(floats);
            (_mm512_castpd512_pd256(doubles), _mm512_extractf64x4_pd::<1>(doubles))
        };
        // SAFETY: see the module.
        unsafe { [finish(_mm256_castpd_ps(first)), finish(_mm256_castpd_ps(second))] }
    }

    #[inline(always)]
    fn units(first: f32, second: f32) -> __m512 {
        // SAFETY: see the module.
        unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(first), SECOND, _mm512_set1_ps(second)) }
    }

    #[inline(always)]
    fn add(floats: __m512, block: __m512i, unit: f32, units: __m512) -> __m512 {
        // SAFETY: see the module.
        unsafe {
            _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(block),
                _mm512_mul_ps(_mm512_set1_ps(unit), units),
                floats,
            )
        }
    }

    #[inline(always)]
    fn tables(first: &[u8; 32], second: &[u8; 32]) -> (__m512i, __m512i) {
        let (first, second): (*const __m128i, *const __m128i) = (first.as_ptr().cast(), second.as_ptr().cast());
        // SAFETY: see the module; both halves lie in the arrays, and the loads need no alignment.
        unsafe {
            let low = _mm512_broadcast_i32x4(_mm_loadu_si128(first));
            let high = _mm512_broadcast_i32x4(_mm_loadu_si128(first.add(1)));
            (
                _mm512_mask_broadcast_i32x4(low, SECOND, _mm_loadu_si128(second)),
                _mm512_mask_broadcast_i32x4(high, SECOND, _mm_loadu_si128(second.add(1))),
            )
        }
    }

    #[inline(always)]
    fn halves(codes: &CodePairs) -> __m512i {
        // SAFETY: see the module; `CodePairs` is as large and as aligned as half a register.
        unsafe {
            let codes = _mm512_broadcast_i64x4(_mm256_load_si256(std::ptr::from_ref(codes).cast()));
            let codes = _mm512_mask_srli_epi32::<4>(codes, SECOND, codes);
            _mm512_and_si512(codes, _mm512_set1_epi8(15))
        }
    }

    #[inline(always)]
    fn decode((low, high): (__m512i, __m512i), codes: __m512i) -> (__m512i, __m512i) {
        // SAFETY: see the module.
        unsafe {
            let (low, high) = (_mm512_shuffle_epi8(low, codes), _mm512_shuffle_epi8(high, codes));
            (_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high))
        }
    }

    #[inline(always)]
    fn fetch_ahead<T>(at: &T, bytes: usize) {
        fetch_ahead(at, bytes);
    }

    #[inline(always)]
    fn spread(bytes: i32) -> __m512i {
        // SAFETY: see the module.
        unsafe { _mm512_set1_epi32(bytes) }
    }

    #[inline(always)]
    fn few(sums: __m512i) -> __m512i {
        sums
    }

    #[inline(always)]
    fn dot_bytes(few: __m512i, codes: __m512i, inputs: __m512i) -> __m512i {
        // SAFETY: see the module.
        unsafe { _mm512_dpbusd_epi32(few, codes, inputs) }
    }

    #[inline(always)]
    fn widen(_sums: __m512i, few: __m512i) -> __m512i {
        few
    }

    #[inline(always)]
    fn integers(sums: __m512i) -> [i32; WIDE] {
        let mut integers = [0; WIDE];
        // SAFETY: see the module; the store needs no alignment.
        unsafe { _mm512_storeu_si512(integers.as_mut_ptr().cast(), sums) };
        integers
    }
}
