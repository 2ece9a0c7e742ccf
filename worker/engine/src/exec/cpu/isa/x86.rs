//! The inner loops' operations in the vector instructions of x86-64.
//!
//! A type here may be used only where its instructions were found; [`super::Isa`] sees to that.

use std::arch::x86_64::*;

use super::Kernel;

mod avx2;
mod avx512;

#[inline(always)]
fn fetch_ahead<T>(at: &T, bytes: usize) {
    // SAFETY: every x86-64 has the instruction; an address that is not ours is not looked at.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast::<i8>().wrapping_add(bytes)) }
}

/// Whether the machine has what [`avx512`] needs.
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
    kernel.run::<avx2::Avx2>();
}

/// # Safety
/// The machine must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub fn avx512<K: Kernel>(kernel: K) {
    kernel.run::<avx512::Avx512>();
}
