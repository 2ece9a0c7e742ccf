//! AVX-512: one register where there are sixteen lanes.

use std::arch::x86_64::*;

use super::super::{Arithmetic, CodePairs, QUAD, WIDE, WordQuad, Words};
use super::fetch_ahead;
use crate::numerics::BLOCK;

/// AVX-512 with its neural network instructions.
pub struct Avx512;

/// Lanes of the later outputs.
const SECOND: __mmask16 = 0x00f0;
const THIRD: __mmask16 = 0x0f00;
const FOURTH: __mmask16 = 0xf000;

// Four pieces of 128 bits.
#[inline(always)]
fn lanes(pieces: [*const u8; QUAD]) -> __m512i {
    // SAFETY: the callers hand over 16 bytes each; the loads need no alignment.
    unsafe {
        let piece = _mm512_broadcast_i32x4(_mm_loadu_si128(pieces[0].cast()));
        let piece = _mm512_mask_broadcast_i32x4(piece, SECOND, _mm_loadu_si128(pieces[1].cast()));
        let piece = _mm512_mask_broadcast_i32x4(piece, THIRD, _mm_loadu_si128(pieces[2].cast()));
        _mm512_mask_broadcast_i32x4(piece, FOURTH, _mm_loadu_si128(pieces[3].cast()))
    }
}

#[inline(always)]
fn low_halves(bytes: __m512i) -> __m512i {
    // SAFETY: see the module.
    unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
}

/// `vpdpwssd`. Written out: the compiler takes the intrinsic for two instructions wherever it sees several of them in a row, to shorten a
/// chain that other chains hide.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply_words(mut sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
    // SAFETY: registers alone, and the feature is there.
    unsafe {
        std::arch::asm!(
            "vpdpwssd {}, {}, {}",
            inlateout(zmm_reg) sums, in(zmm_reg) inputs, in(zmm_reg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

impl Arithmetic for Avx512 {
    type Inputs = __m512i;
    type Weights = __m512i;
    type Tables = (__m512i, __m512i);
    type Bytes = __m512i;
    type Spread = __m512i;
    type Few = __m512i;
    type Sums = __m512i;
    type Floats = __m512;

    const QUADS: usize = 4;
    const PANELS: usize = 2;
    const STEPS: usize = BLOCK; // more than a block has
    const FEW: usize = 6;

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
        // SAFETY: see the module; `Words` is as large and as aligned as a quarter of a register.
        unsafe { _mm512_broadcast_i32x4(_mm_load_si128(std::ptr::from_ref(words).cast())) }
    }

    #[inline(always)]
    fn weights(words: &WordQuad) -> __m512i {
        // SAFETY: see the module; `WordQuad` is as large and as aligned as a register.
        unsafe { _mm512_load_si512(std::ptr::from_ref(words).cast()) }
    }

    #[inline(always)]
    fn store(weights: __m512i, words: &mut WordQuad) {
        // SAFETY: as in `weights`.
        unsafe { _mm512_store_si512(std::ptr::from_mut(words).cast(), weights) }
    }

    #[inline(always)]
    fn dot(sums: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: see the module.
        unsafe { multiply_words(sums, inputs, weights) }
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
    fn finish(floats: __m512) -> [f32; QUAD] {
        let mut sums = [0.0; QUAD];
        // SAFETY: see the module; the store needs no alignment.
        unsafe {
            let two = _mm512_add_ps(floats, _mm512_permute_ps::<0b00_00_11_10>(floats));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0b00_00_00_01>(two));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let one = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
            _mm_storeu_ps(sums.as_mut_ptr(), one);
        }
        sums
    }

    #[inline(always)]
    fn units(units: [f32; QUAD]) -> __m512 {
        // SAFETY: see the module; the load needs no alignment.
        unsafe {
            let units = _mm512_castps128_ps512(_mm_loadu_ps(units.as_ptr()));
            let outputs = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
            _mm512_permutexvar_ps(outputs, units)
        }
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
    fn tables(tables: [&[u8; 32]; QUAD]) -> (__m512i, __m512i) {
        let [a, b, c, d] = tables;
        (
            lanes([&raw const a[0], &raw const b[0], &raw const c[0], &raw const d[0]]),
            lanes([&raw const a[16], &raw const b[16], &raw const c[16], &raw const d[16]]),
        )
    }

    #[inline(always)]
    fn low(codes: &CodePairs) -> __m512i {
        // SAFETY: see the module; `CodePairs` is as large and as aligned as a register.
        unsafe { low_halves(_mm512_load_si512(std::ptr::from_ref(codes).cast())) }
    }

    #[inline(always)]
    fn high(codes: &CodePairs) -> __m512i {
        // SAFETY: as in `low`.
        unsafe {
            low_halves(_mm512_srli_epi16::<4>(_mm512_load_si512(
                std::ptr::from_ref(codes).cast(),
            )))
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
