//! The inner loops' operations in the vector instructions of x86-64.
//!
//! A type here may be used only where its instructions were found; [`super::Isa`] sees to that.

use std::arch::x86_64::*;

use super::{Arithmetic, Kernel, Quad, Words};
use crate::numerics::PARTIALS;

/// Bytes ahead of what is read that are asked for: a few microseconds of a memory's delay.
const AHEAD: usize = 4096;

/// AVX2 and fused multiply-add.
pub struct Avx2;

/// AVX-512 with its neural network instructions, on registers of 256 bits: as quick on machines that halve wider ones, and the
/// sums of a block fit.
pub struct Avx512;

/// Whether the machine has what [`Avx512`] needs.
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// # Safety
/// The machine must have the features.
#[target_feature(enable = "avx2,fma")]
pub fn avx2<K: Kernel>(kernel: K) {
    kernel.run::<Avx2>();
}

/// # Safety
/// The machine must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub fn avx512<K: Kernel>(kernel: K) {
    kernel.run::<Avx512>();
}

macro_rules! shared {
    () => {
        type Vector = __m256i;
        type Sums = __m256i;
        type Floats = __m256;
        type Table = (__m256i, __m256i);
        type Bytes = __m256i;
        type Few = __m256i;

        #[inline(always)]
        fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }

        #[inline(always)]
        fn zero() -> __m256i {
            // SAFETY: see the module.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn load(words: &Words) -> __m256i {
            // SAFETY: see the module; `Words` is as large and as aligned as a register.
            unsafe { _mm256_load_si256(std::ptr::from_ref(words).cast()) }
        }

        #[inline(always)]
        fn store(vector: __m256i, words: &mut Words) {
            // SAFETY: as in `load`.
            unsafe { _mm256_store_si256(std::ptr::from_mut(words).cast(), vector) }
        }

        #[inline(always)]
        fn partials(partials: &[f32; PARTIALS]) -> __m256 {
            // SAFETY: see the module; the load needs no alignment.
            unsafe { _mm256_loadu_ps(partials.as_ptr()) }
        }

        #[inline(always)]
        fn lanes(partials: __m256) -> [f32; PARTIALS] {
            let mut lanes = [0.0; PARTIALS];
            // SAFETY: see the module; the store needs no alignment.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), partials) };
            lanes
        }

        #[inline(always)]
        fn add(partials: __m256, block: __m256i, unit: f32) -> __m256 {
            // SAFETY: see the module.
            unsafe { _mm256_fmadd_ps(_mm256_cvtepi32_ps(block), _mm256_set1_ps(unit), partials) }
        }

        #[inline(always)]
        fn table(bytes: &[u8; 32]) -> (__m256i, __m256i) {
            let bytes: *const __m128i = bytes.as_ptr().cast();
            // SAFETY: see the module; both halves lie in the array, and the load needs no alignment.
            unsafe {
                (
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes)),
                    _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.add(1))),
                )
            }
        }

        #[inline(always)]
        fn decode((low, high): (__m256i, __m256i), codes: &[u8; 16]) -> (__m256i, __m256i) {
            // SAFETY: see the module; the load needs no alignment.
            unsafe {
                let codes = _mm256_broadcastsi128_si256(_mm_loadu_si128(codes.as_ptr().cast()));
                // the upper half of the register takes the upper halves of the bytes
                let codes = _mm256_srlv_epi32(codes, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
                let codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
                let (low, high) = (_mm256_shuffle_epi8(low, codes), _mm256_shuffle_epi8(high, codes));
                (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high))
            }
        }

        #[inline(always)]
        fn fetch_ahead(codes: &[u8; 16]) {
            // SAFETY: see the module; an address that is not ours is not looked at.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(codes.as_ptr().cast::<i8>().wrapping_add(AHEAD)) }
        }

        #[inline(always)]
        fn halves(codes: &Quad) -> (__m256i, __m256i) {
            // SAFETY: see the module; a `Quad` is as large and as aligned as a register.
            unsafe {
                let codes = _mm256_load_si256(std::ptr::from_ref(codes).cast());
                let low = _mm256_set1_epi8(15);
                (
                    _mm256_and_si256(codes, low),
                    _mm256_and_si256(_mm256_srli_epi16(codes, 4), low),
                )
            }
        }

        #[inline(always)]
        fn spread(bytes: i32) -> __m256i {
            // SAFETY: see the module.
            unsafe { _mm256_set1_epi32(bytes) }
        }

        #[inline(always)]
        fn nothing() -> __m256i {
            Self::zero()
        }

        #[inline(always)]
        fn integers(sums: __m256i) -> [i32; PARTIALS] {
            let mut integers = [0; PARTIALS];
            // SAFETY: see the module; the store needs no alignment.
            unsafe { _mm256_storeu_si256(integers.as_mut_ptr().cast(), sums) };
            integers
        }
    };
}

impl Arithmetic for Avx2 {
    shared!();

    #[inline(always)]
    fn dot(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
    }

    // sums of 16 bits, two an output
    #[inline(always)]
    fn dot_bytes(sums: __m256i, codes: __m256i, inputs: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, inputs)) }
    }

    #[inline(always)]
    fn widen(sums: __m256i, few: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(few, _mm256_set1_epi16(1))) }
    }
}

impl Arithmetic for Avx512 {
    shared!();

    #[inline(always)]
    fn dot(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_dpwssd_epi32(sums, a, b) }
    }

    #[inline(always)]
    fn dot_bytes(sums: __m256i, codes: __m256i, inputs: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_dpbusd_epi32(sums, codes, inputs) }
    }

    #[inline(always)]
    fn widen(sums: __m256i, few: __m256i) -> __m256i {
        // SAFETY: see the module.
        unsafe { _mm256_add_epi32(sums, few) }
    }
}
