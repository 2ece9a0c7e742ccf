//! One portable kernel source, compiled for several instruction sets and chosen when the executor starts.
//!
//! The kernels are written with lanes across outputs, so wider registers change speed and nothing else: every instruction set gives the same bits.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::numerics::{PARTIALS, add_partials, from_bf16};

/// Lanes of the widest registers: two outputs' partial sums, or an output each.
pub const WIDE: usize = 2 * PARTIALS;

/// Sixteen 16-bit integers.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Words(pub [i16; 16]);

impl Words {
    /// Sixteen zeros.
    pub const ZERO: Words = Words([0; 16]);
}

/// Sixteen integers of each of two outputs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct WordPair(pub [Words; 2]);

impl WordPair {
    /// Zeros.
    pub const ZERO: WordPair = WordPair([Words::ZERO; 2]);
}

/// Codes of four bits, two to a byte.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct CodePairs(pub [u8; 32]);

impl CodePairs {
    /// Zeros.
    pub const ZERO: CodePairs = CodePairs([0; 32]);
}

/// What the kernels' inner loops are made of. Every implementation gives the same results.
pub trait Arithmetic {
    /// sixteen inputs, of 16 bits
    type Inputs: Copy;
    /// sixteen weights of each of two outputs, likewise
    type Weights: Copy;
    /// tables of sixteen integers, one for each of two outputs
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

    /// Pairs of outputs in a pass: the registers hold their sums for [`Isa::integer_rows`] rows.
    const PAIRS: usize;

    /// `a·b + c` for bf16 values a and b: their product is exact, so fusing changes nothing.
    fn multiply_add(a: f32, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// The values of sixteen bf16.
    fn widen_bf16(bits: &[u16; WIDE]) -> Self::Floats;

    /// Nothing yet.
    fn zero() -> Self::Sums;

    /// Reads inputs.
    fn inputs(words: &Words) -> Self::Inputs;

    /// Reads weights.
    fn weights(words: &WordPair) -> Self::Weights;

    /// Writes them.
    fn store(weights: Self::Weights, words: &mut WordPair);

    /// Multiplies both outputs' weights by the inputs and adds neighbouring products to a sum each, the first output's to the first
    /// eight; never exceeds 32 bits where [`crate::numerics::MAX_WEIGHT`] is kept.
    fn dot(sums: Self::Sums, inputs: Self::Inputs, weights: Self::Weights) -> Self::Sums;

    /// Adds sums.
    fn join(a: Self::Sums, b: Self::Sums) -> Self::Sums;

    /// Reads f32 sums.
    fn floats(floats: &[f32; WIDE]) -> Self::Floats;

    /// Writes them.
    fn write(floats: Self::Floats, to: &mut [f32; WIDE]);

    /// Both outputs' partial sums added up, as [`crate::numerics::add_partials`] does.
    fn finish(floats: Self::Floats) -> [f32; 2];

    /// A number for each of two outputs' partial sums.
    fn units(first: f32, second: f32) -> Self::Floats;

    /// Rounds a block's sums to f32, ties to even, and adds them times both units. These are powers of two, so the product is exact,
    /// fused or not.
    fn add(floats: Self::Floats, block: Self::Sums, unit: f32, units: Self::Floats) -> Self::Floats;

    /// Reads two outputs' tables: low bytes, then high ones.
    fn tables(first: &[u8; 32], second: &[u8; 32]) -> Self::Tables;

    /// The low halves of the bytes, then the high ones.
    fn halves(codes: &CodePairs) -> Self::Bytes;

    /// The integers of two outputs' codes, columns 0 to 15 and 16 to 31, in the order of [`super::nibbles`].
    fn decode(tables: Self::Tables, codes: Self::Bytes) -> (Self::Weights, Self::Weights);

    /// Asks for what lies so many bytes behind something.
    fn fetch_ahead<T>(at: &T, bytes: usize);

    /// Four bytes for every output.
    fn spread(bytes: i32) -> Self::Spread;

    /// Begins a few products that will be added to sums.
    fn few(sums: Self::Sums) -> Self::Few;

    /// Adds an output's four products of codes (0 to 15) and inputs (−127 to 127); good for eight times.
    fn dot_bytes(few: Self::Few, codes: Self::Bytes, inputs: Self::Spread) -> Self::Few;

    /// The sums with the few products begun from them.
    fn widen(sums: Self::Sums, few: Self::Few) -> Self::Sums;

    /// Writes sums.
    fn integers(sums: Self::Sums) -> [i32; WIDE];
}

/// What every machine has, with or without fused multiply-add.
pub struct Portable<const FUSED: bool>;

impl<const FUSED: bool> Arithmetic for Portable<FUSED> {
    type Inputs = [i16; 16];
    type Weights = [[i16; 16]; 2];
    type Tables = [[i16; 16]; 2];
    type Bytes = [u8; 64];
    type Spread = [u8; 4];
    type Few = [i32; WIDE];
    type Sums = [i32; WIDE];
    type Floats = [f32; WIDE];

    const PAIRS: usize = 1;

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
    fn weights(words: &WordPair) -> Self::Weights {
        words.0.map(|words| words.0)
    }

    #[inline(always)]
    fn store(weights: Self::Weights, words: &mut WordPair) {
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
    fn finish(floats: Self::Floats) -> [f32; 2] {
        let (outputs, _) = floats.as_chunks::<PARTIALS>();
        [add_partials(outputs[0]), add_partials(outputs[1])]
    }

    #[inline(always)]
    fn units(first: f32, second: f32) -> Self::Floats {
        std::array::from_fn(|i| if i < PARTIALS { first } else { second })
    }

    #[inline(always)]
    fn add(mut floats: Self::Floats, block: Self::Sums, unit: f32, units: Self::Floats) -> Self::Floats {
        for ((float, sum), own) in floats.iter_mut().zip(block).zip(units) {
            *float += sum as f32 * (unit * own);
        }
        floats
    }

    #[inline(always)]
    fn tables(first: &[u8; 32], second: &[u8; 32]) -> Self::Tables {
        [first, second].map(|bytes| std::array::from_fn(|i| i16::from_le_bytes([bytes[i], bytes[16 + i]])))
    }

    #[inline(always)]
    fn halves(codes: &CodePairs) -> Self::Bytes {
        std::array::from_fn(|i| codes.0[i % 32] >> (i / 32 * 4) & 15)
    }

    #[inline(always)]
    fn decode(tables: Self::Tables, codes: Self::Bytes) -> (Self::Weights, Self::Weights) {
        let weights = |first: usize| {
            let of = |output: usize| {
                let code = |i: usize| codes[output * 32 + first + i % 8 + i / 8 * 16];
                std::array::from_fn(|i| tables[output][usize::from(code(i))])
            };
            [of(0), of(1)]
        };
        (weights(0), weights(8))
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

    /// Rows that share a pass over a panel of weights in f32: as many as the registers hold sums for, so that their additions hide each
    /// other's latency. One of 16, 6, 4.
    pub fn float_rows(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 6,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 16,
        }
    }

    /// The same in bytes: at most 8.
    pub fn byte_rows(self) -> usize {
        match self.0 {
            Level::Portable => 4,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 6,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 8,
        }
    }

    /// The same in 16-bit integers, [`Arithmetic::PAIRS`] pairs of outputs at a time: at most 6.
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
