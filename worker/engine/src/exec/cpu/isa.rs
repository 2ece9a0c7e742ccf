//! One portable kernel source, compiled for several instruction sets and chosen when the executor starts.
//!
//! The kernels are written with lanes across outputs, so wider registers change speed and nothing else: every instruction set gives the same bits.

/// Multiplication and addition of two exact products' terms, fused where the machine can.
pub trait Arithmetic {
    /// `a·b + c` for bf16 values a and b: their product is exact, so fusing changes nothing.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;
}

/// Separate multiplication and addition.
pub struct Separate;

/// Fused multiply-add instructions.
pub struct Fused;

impl Arithmetic for Separate {
    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

impl Arithmetic for Fused {
    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Work to be compiled for each instruction set. `run` must be `#[inline(always)]`, as must all it calls.
pub trait Kernel {
    /// The work.
    fn run<A: Arithmetic>(self);
}

/// An instruction set this machine has: can only be had from [`Isa::detect`] and [`Isa::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best this machine has.
    pub fn detect() -> Isa {
        Isa::available().pop().unwrap_or(Isa(Level::Portable))
    }

    /// All this machine has, best last.
    pub fn available() -> Vec<Isa> {
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_mut, reason = "only x86-64 has more levels")
        )]
        let mut levels = vec![Isa(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Isa(Level::Avx2));
                if is_x86_feature_detected!("avx512f") {
                    levels.push(Isa(Level::Avx512));
                }
            }
        }
        levels
    }

    /// For reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// Rows that share a pass over a panel of weights: as many as the registers hold accumulators for, so that their additions
    /// hide each other's latency. One of 8, 6, 4.
    pub fn block_rows(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 6,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 8,
        }
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline(always)]
    pub fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            // every aarch64 machine has fused multiply-add in its base set
            #[cfg(target_arch = "aarch64")]
            Level::Portable => kernel.run::<Fused>(),
            #[cfg(not(target_arch = "aarch64"))]
            Level::Portable => kernel.run::<Separate>(),
            // SAFETY: these levels exist only where detection found the features.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) {
    kernel.run::<Fused>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) {
    kernel.run::<Fused>();
}
