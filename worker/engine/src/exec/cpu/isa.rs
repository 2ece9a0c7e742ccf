//! One portable kernel source, compiled for several instruction sets and chosen when the executor starts.
//!
//! The kernels are written with lanes across outputs, so wider registers change speed and nothing else: every instruction set gives the same bits.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::numerics::PARTIALS;

/// Sixteen 16-bit integers: one load.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Words(pub [i16; 16]);

impl Words {
    /// Sixteen zeros.
    pub const ZERO: Words = Words([0; 16]);
}

/// Four columns of sixteen outputs in codes of four bits: the low halves of bytes 4i to 4i + 3 are output i's, the high ones output
/// 8 + i's.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Quad(pub [u8; 32]);

impl Quad {
    /// Zeros.
    pub const ZERO: Quad = Quad([0; 32]);
}

/// What the kernels' inner loops are made of. Every implementation gives the same results.
pub trait Arithmetic {
    /// sixteen 16-bit integers
    type Vector: Copy;
    /// eight 32-bit sums
    type Sums: Copy;
    /// eight f32 partial sums
    type Floats: Copy;
    /// a table of sixteen integers
    type Table: Copy;
    /// four bytes for each of eight outputs
    type Bytes: Copy;
    /// sums of a few products of them
    type Few: Copy;

    /// `a·b + c` for bf16 values a and b: their product is exact, so fusing changes nothing.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;

    /// Nothing yet.
    fn zero() -> Self::Sums;

    /// Reads sixteen integers.
    fn load(words: &Words) -> Self::Vector;

    /// Writes them.
    fn store(vector: Self::Vector, words: &mut Words);

    /// Multiplies lane by lane and adds neighbouring products to a sum each; never exceeds 32 bits where
    /// [`crate::numerics::MAX_WEIGHT`] is kept.
    fn dot(sums: Self::Sums, a: Self::Vector, b: Self::Vector) -> Self::Sums;

    /// Reads partial sums.
    fn partials(partials: &[f32; PARTIALS]) -> Self::Floats;

    /// Writes them.
    fn lanes(partials: Self::Floats) -> [f32; PARTIALS];

    /// Rounds a block's sums to f32, ties to even, and adds them times `unit`. That is a power of two, so the product is exact, fused
    /// or not.
    fn add(partials: Self::Floats, block: Self::Sums, unit: f32) -> Self::Floats;

    /// Reads a table: low bytes, then high ones.
    fn table(bytes: &[u8; 32]) -> Self::Table;

    /// The integers of 32 codes, columns 0 to 15 and 16 to 31, packed as [`super::nibbles`] packs them.
    fn decode(table: Self::Table, codes: &[u8; 16]) -> (Self::Vector, Self::Vector);

    /// Asks for the codes that a stream of them will come to soon.
    fn fetch_ahead(codes: &[u8; 16]);

    /// The codes of the first eight outputs and of the others.
    fn halves(codes: &Quad) -> (Self::Bytes, Self::Bytes);

    /// Four bytes for every output.
    fn spread(bytes: i32) -> Self::Bytes;

    /// Nothing yet.
    fn nothing() -> Self::Few;

    /// Adds an output's four products of codes (0 to 15) and inputs (−127 to 127); good for eight times.
    fn dot_bytes(sums: Self::Few, codes: Self::Bytes, inputs: Self::Bytes) -> Self::Few;

    /// Adds an output's few products to its sum.
    fn widen(sums: Self::Sums, few: Self::Few) -> Self::Sums;

    /// Writes sums.
    fn integers(sums: Self::Sums) -> [i32; PARTIALS];
}

/// What every machine has, with or without fused multiply-add.
pub struct Portable<const FUSED: bool>;

impl<const FUSED: bool> Arithmetic for Portable<FUSED> {
    type Vector = [i16; 16];
    type Sums = [i32; PARTIALS];
    type Floats = [f32; PARTIALS];
    type Table = [i16; 16];
    type Bytes = [u8; 32];
    type Few = [i32; PARTIALS];

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        if FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn zero() -> Self::Sums {
        [0; PARTIALS]
    }

    #[inline(always)]
    fn load(words: &Words) -> Self::Vector {
        words.0
    }

    #[inline(always)]
    fn store(vector: Self::Vector, words: &mut Words) {
        words.0 = vector;
    }

    #[inline(always)]
    fn dot(mut sums: Self::Sums, a: Self::Vector, b: Self::Vector) -> Self::Sums {
        let product = |j: usize| i32::from(a[j]) * i32::from(b[j]);
        for (i, sum) in sums.iter_mut().enumerate() {
            // inputs that are not finite may be any integers
            *sum = sum.wrapping_add(product(2 * i).wrapping_add(product(2 * i + 1)));
        }
        sums
    }

    #[inline(always)]
    fn partials(partials: &[f32; PARTIALS]) -> Self::Floats {
        *partials
    }

    #[inline(always)]
    fn lanes(partials: Self::Floats) -> [f32; PARTIALS] {
        partials
    }

    #[inline(always)]
    fn add(mut partials: Self::Floats, block: Self::Sums, unit: f32) -> Self::Floats {
        for (partial, sum) in partials.iter_mut().zip(block) {
            *partial += sum as f32 * unit;
        }
        partials
    }

    #[inline(always)]
    fn table(bytes: &[u8; 32]) -> Self::Table {
        std::array::from_fn(|i| i16::from_le_bytes([bytes[i], bytes[16 + i]]))
    }

    #[inline(always)]
    fn decode(table: Self::Table, codes: &[u8; 16]) -> (Self::Vector, Self::Vector) {
        let half = |first: usize| std::array::from_fn(|i| table[usize::from(codes[first + i % 8] >> (i / 8 * 4) & 15)]);
        (half(0), half(8))
    }

    #[inline(always)]
    fn fetch_ahead(_codes: &[u8; 16]) {}

    #[inline(always)]
    fn halves(codes: &Quad) -> (Self::Bytes, Self::Bytes) {
        (codes.0.map(|byte| byte & 15), codes.0.map(|byte| byte >> 4))
    }

    #[inline(always)]
    fn spread(bytes: i32) -> Self::Bytes {
        let bytes = bytes.to_le_bytes();
        std::array::from_fn(|i| bytes[i % 4])
    }

    #[inline(always)]
    fn nothing() -> Self::Few {
        [0; PARTIALS]
    }

    #[inline(always)]
    fn dot_bytes(mut sums: Self::Few, codes: Self::Bytes, inputs: Self::Bytes) -> Self::Few {
        for (i, sum) in sums.iter_mut().enumerate() {
            let product = |j: usize| i32::from(codes[4 * i + j]) * i32::from(inputs[4 * i + j] as i8);
            *sum += product(0) + product(1) + product(2) + product(3);
        }
        sums
    }

    #[inline(always)]
    fn widen(mut sums: Self::Sums, few: Self::Few) -> Self::Sums {
        sums.iter_mut().zip(few).for_each(|(sum, few)| *sum += few);
        sums
    }

    #[inline(always)]
    fn integers(sums: Self::Sums) -> [i32; PARTIALS] {
        sums
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
                if x86::has_avx512() {
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
            Level::Portable => kernel.run::<Portable<{ cfg!(target_arch = "aarch64") }>>(),
            // SAFETY: these levels exist only where detection found the features.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::avx512(kernel) },
        }
    }
}
