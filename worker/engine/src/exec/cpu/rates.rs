//! What this machine reaches without a model: the floors that a benchmark stands beside. Each is the best of several tries, since what
//! disturbs a machine only ever slows it.

use std::hint::black_box;
use std::time::Instant;

use super::isa::{Arithmetic, Isa, Kernel, Quad, Words};
use super::pool::Pool;
use crate::numerics::PARTIALS;

/// Rates of all threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// bytes read from memory a second
    pub read: f64,
    /// f32 multiplications and additions a second
    pub float: f64,
    /// 16-bit multiplications and 32-bit additions a second
    pub integer: f64,
    /// multiplications of four bits by eight and their additions a second
    pub byte: f64,
}

const TRIES: usize = 5;
const TURNS: usize = 1 << 21;

impl Rates {
    /// Measures, for about a second.
    pub fn measure(pool: &Pool, isa: Isa) -> Rates {
        let threads = pool.threads();
        let memory = vec![1u64; 64 << 20]; // far beyond any cache
        let share = memory.len() / threads;
        let best = |work: &(dyn Fn(usize) + Sync)| {
            let tries = (0..TRIES).map(|_| {
                let begun = Instant::now();
                pool.run(threads, work);
                begun.elapsed().as_secs_f64()
            });
            tries.fold(f64::MAX, f64::min)
        };
        let read = best(&|thread| isa.run(Read(&memory[thread * share..][..share])));
        let float = best(&|_| isa.run(Float));
        let integer = best(&|_| isa.run(Integer));
        let byte = best(&|_| isa.run(Byte));
        let operations = |each: usize| (threads * TURNS * each) as f64;
        Rates {
            read: (threads * share * 8) as f64 / read,
            float: operations(2 * CHAINS * PARTIALS) / float,
            integer: operations(2 * 16 * 8) / integer,
            byte: operations(2 * 32 * 8) / byte,
        }
    }
}

struct Read<'a>(&'a [u64]);

impl Kernel for Read<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let mut sums = [0u64; 16];
        for piece in self.0.as_chunks::<16>().0 {
            for (sum, x) in sums.iter_mut().zip(piece) {
                *sum = sum.wrapping_add(*x);
            }
        }
        black_box(sums);
    }
}

const CHAINS: usize = 12;

// Independent chains, as many as hide the delay of an addition.
struct Float;

impl Kernel for Float {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (x, y) = (black_box(0.999_f32), black_box(0.001_f32));
        let mut sums = [[0.1f32; PARTIALS]; CHAINS];
        for _ in 0..TURNS {
            for lane in sums.as_flattened_mut() {
                *lane = A::multiply_add(*lane, x, y);
            }
        }
        black_box(sums);
    }
}

// Four vectors, read anew each time, against two: sums, vectors and a product fit sixteen registers.
struct Integer;

impl Kernel for Integer {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let words = black_box([Words([1; 16]); 64]);
        let others = [A::load(&words[0]), A::load(&words[1])];
        let mut sums = [[A::zero(); 2]; 4];
        for turn in 0..TURNS {
            let words = &words[turn % 16 * 4..][..4];
            for (sums, word) in sums.iter_mut().zip(words) {
                let word = A::load(word);
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum = A::dot(*sum, word, other);
                }
            }
        }
        for sum in sums.as_flattened() {
            black_box(A::lanes(A::add(A::partials(&[0.0; PARTIALS]), *sum, 1.0)));
        }
    }
}

// The same in bytes. Sums that no longer fit their bits are of no interest.
struct Byte;

impl Kernel for Byte {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let inputs = black_box([0i32; 64]);
        let (low, high) = A::halves(&black_box(Quad([0x11; 32])));
        let mut sums = [[A::nothing(); 2]; 4];
        for turn in 0..TURNS {
            let inputs = &inputs[turn % 16 * 4..][..4];
            for (sums, x) in sums.iter_mut().zip(inputs) {
                let x = A::spread(*x);
                for (sum, codes) in sums.iter_mut().zip([low, high]) {
                    *sum = A::dot_bytes(*sum, codes, x);
                }
            }
        }
        for sum in sums.as_flattened() {
            black_box(A::integers(A::widen(A::zero(), *sum)));
        }
    }
}
