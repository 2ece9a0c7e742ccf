//! One portable kernel source, compiled for several instruction sets and chosen when the executor starts.
//!
//! The kernels are written with lanes across outputs, so wider registers change speed and nothing else: every instruction set gives the same bits.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use self::portable::Portable;
use crate::numerics::PARTIALS;

/// Outputs whose partial sums share a register.
pub const QUAD: usize = 4;

/// Lanes of the widest registers: four outputs' partial sums, or an output each.
pub const WIDE: usize = QUAD * PARTIALS;

/// Columns of inputs in [`Words`].
pub const WORDS: usize = 2 * PARTIALS;

/// Eight 16-bit integers.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Words(pub [i16; WORDS]);

impl Words {
    /// Eight zeros.
    pub const ZERO: Words = Words([0; WORDS]);
}

/// Eight integers of each of four outputs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct WordQuad(pub [Words; QUAD]);

impl WordQuad {
    /// Zeros.
    pub const ZERO: WordQuad = WordQuad([Words::ZERO; QUAD]);
}

/// Codes of four bits, two to a byte.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct CodePairs(pub [u8; 64]);

impl CodePairs {
    /// Zeros.
    pub const ZERO: CodePairs = CodePairs([0; 64]);
}

/// What the kernels' inner loops are made of. Every implementation gives the same results.
pub trait Arithmetic {
    /// eight inputs, of 16 bits
    type Inputs: Copy;
    /// eight weights of each of four outputs, likewise
    type Weights: Copy;
    /// tables of sixteen integers, one for each of four outputs
    type Tables: Copy;
    /// 64 bytes
    type Bytes: Copy;
    /// four bytes, for each of sixteen outputs
    type Spread: Copy;
    /// sixteen sums of a few products of bytes
    type Few: Copy;
    /// sixteen 32-bit sums
    type Sums: Copy;
    /// sixteen f32 sums
    type Floats: Copy;

    /// Quads of outputs in a pass, one or all of a panel: the registers hold their sums for [`Isa::integer_rows`] rows.
    const QUADS: usize;

    /// Panels of outputs in a pass in f32 or over bytes, one or two: the registers hold their sums for [`Isa::panel_rows`] rows, and an input
    /// is read for all of them.
    const PANELS: usize;

    /// Times that [`Arithmetic::dot_bytes`] may add to a few products; even. Where they have 16 bits, 8 · 2 · 15 · 127 = 30,480 fit.
    const STEPS: usize;

    /// Rows whose sums of one quad, twice over, leave registers to decode codes in: at most 6, and no more than share a pass.
    const FEW: usize;

    /// `a·b + c` for bf16 values a and b: their product is exact, so fusing changes nothing.
    fn multiply_add(a: f32, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// The values of sixteen bf16.
    fn widen_bf16(bits: &[u16; WIDE]) -> Self::Floats;

    /// Nothing yet.
    fn zero() -> Self::Sums;

    /// Reads inputs.
    fn inputs(words: &Words) -> Self::Inputs;

    /// Reads weights.
    fn weights(words: &WordQuad) -> Self::Weights;

    /// Writes them.
    fn store(weights: Self::Weights, words: &mut WordQuad);

    /// Multiplies each output's weights by the inputs and adds neighbouring products to a sum each, the first output's to the first
    /// four; never exceeds 32 bits where [`crate::numerics::MAX_WEIGHT`] is kept.
    fn dot(sums: Self::Sums, inputs: Self::Inputs, weights: Self::Weights) -> Self::Sums;

    /// Adds sums.
    fn join(a: Self::Sums, b: Self::Sums) -> Self::Sums;

    /// Reads f32 sums.
    fn floats(floats: &[f32; WIDE]) -> Self::Floats;

    /// Writes them.
    fn write(floats: Self::Floats, to: &mut [f32; WIDE]);

    /// Each output's partial sums added up, as [`crate::numerics::add_partials`] does.
    fn finish(floats: Self::Floats) -> [f32; QUAD];

    /// A number for each output's partial sums.
    fn units(units: [f32; QUAD]) -> Self::Floats;

    /// Rounds a block's sums to f32, ties to even, and adds them times both units. These are powers of two, so the product is exact,
    /// fused or not.
    fn add(floats: Self::Floats, block: Self::Sums, unit: f32, units: Self::Floats) -> Self::Floats;

    /// Reads four outputs' tables: low bytes, then high ones.
    fn tables(tables: [&[u8; 32]; QUAD]) -> Self::Tables;

    /// The low halves of the bytes.
    fn low(codes: &CodePairs) -> Self::Bytes;

    /// The high halves.
    fn high(codes: &CodePairs) -> Self::Bytes;

    /// The integers of sixteen codes of each of four outputs: of the first eight columns, then of the others.
    fn decode(tables: Self::Tables, codes: Self::Bytes) -> (Self::Weights, Self::Weights);

    /// Asks for what lies so many bytes behind something.
    fn fetch_ahead<T>(at: &T, bytes: usize);

    /// Four bytes for every output.
    fn spread(bytes: i32) -> Self::Spread;

    /// Begins a few products that will be added to sums.
    fn few(sums: Self::Sums) -> Self::Few;

    /// Adds an output's four products of codes (0 to 15) and inputs (−127 to 127); good for [`Arithmetic::STEPS`] times.
    fn dot_bytes(few: Self::Few, codes: Self::Bytes, inputs: Self::Spread) -> Self::Few;

    /// The sums with the few products begun from them.
    fn widen(sums: Self::Sums, few: Self::Few) -> Self::Sums;

    /// Writes sums.
    fn integers(sums: Self::Sums) -> [i32; WIDE];
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

    /// Rows that share a pass over [`Arithmetic::PANELS`] panels of weights in f32 or in bytes: as many as the registers hold sums for, so that
    /// their additions hide each other's latency. At most 11.
    pub fn panel_rows(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 6,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 11,
        }
    }

    /// How many of so many rows share a pass: as few passes as possible, as even as possible.
    pub fn together(self, rows: usize) -> usize {
        rows.div_ceil(rows.div_ceil(self.panel_rows()).max(1))
    }

    /// The same in 16-bit integers, [`Arithmetic::QUADS`] quads of outputs at a time: at most 6.
    pub fn integer_rows(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 | Level::Avx512 => 6,
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
