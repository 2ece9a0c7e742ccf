//! What this machine reaches without a model: the floors that a benchmark stands beside. Each is the best of several tries, since what
//! disturbs a machine only ever slows it.

use std::hint::black_box;
use std::time::Instant;

use super::isa::{Arithmetic, CodePairs, Isa, Kernel, QUAD, WIDE, WORDS, WordQuad, Words};
use super::pool::Pool;

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
const STEPS: usize = 1 << 24;

impl Rates {
    /// Measures, for about a second.
    pub fn measure(pool: &Pool, isa: Isa) -> Rates {
        let threads = pool.threads();
        let memory = vec![[1f32; WIDE]; 8 << 20]; // half a gigabyte, far beyond any cache
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
        // a multiplication and an addition each
        let operations = |products: usize| (2 * threads * STEPS * products) as f64;
        Rates {
            read: (threads * share * size_of::<[f32; WIDE]>()) as f64 / read,
            float: operations(WIDE) / float,
            integer: operations(2 * 16) / integer,
            byte: operations(64) / byte,
        }
    }
}

/// Bytes ahead of what is read that are asked for.
const AHEAD: usize = 4096;

struct Read<'a>(&'a [[f32; WIDE]]);

impl Kernel for Read<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let mut sums = [A::floats(&[0.0; WIDE]); 4];
        for piece in self.0.as_chunks::<4>().0 {
            for i in 0..4 {
                A::fetch_ahead(&piece[i], AHEAD);
                sums[i] = A::multiply_add(1.0, A::floats(&piece[i]), sums[i]);
            }
        }
        for sum in sums {
            black_box(A::finish(sum));
        }
    }
}

// Independent chains, as many as hide the delay of an addition and fit the registers.
struct Float;

impl Kernel for Float {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match A::QUADS {
            4 => float::<A, 16>(),
            _ => float::<A, 4>(),
        }
    }
}

#[inline(always)]
fn float<A: Arithmetic, const CHAINS: usize>() {
    let x = black_box(0.001_f32);
    let y = A::floats(&black_box([0.999; WIDE]));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS / CHAINS {
        for sum in &mut sums {
            *sum = A::multiply_add(x, y, *sum);
        }
    }
    for sum in sums {
        let mut lanes = [0.0; WIDE];
        A::write(sum, &mut lanes);
        black_box(lanes);
    }
}

// As many vectors as a pass has rows, read anew each time, against as many as it has quads of outputs.
struct Integer;

impl Kernel for Integer {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match A::QUADS {
            4 => integer::<A, 6, 4>(),
            _ => integer::<A, 4, 1>(),
        }
    }
}

#[inline(always)]
fn integer<A: Arithmetic, const ROWS: usize, const N: usize>() {
    let inputs = black_box([[Words([1; WORDS]); ROWS]; 8]);
    let weights = A::weights(&black_box(WordQuad([Words([1; WORDS]); QUAD])));
    let mut sums = [[A::zero(); N]; ROWS];
    for turn in 0..STEPS / (ROWS * N) {
        let inputs = &inputs[turn % 8];
        for row in 0..ROWS {
            let x = A::inputs(&inputs[row]);
            for sum in &mut sums[row] {
                *sum = A::dot(*sum, x, weights);
            }
        }
    }
    for sum in sums.as_flattened() {
        black_box(A::integers(*sum));
    }
}

// The same in bytes. Sums that no longer fit their bits are of no interest.
struct Byte;

impl Kernel for Byte {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match A::QUADS {
            4 => byte::<A, 16>(),
            _ => byte::<A, 4>(),
        }
    }
}

#[inline(always)]
fn byte<A: Arithmetic, const ROWS: usize>() {
    let inputs = black_box([[0i32; ROWS]; 16]);
    let codes = A::low(&black_box(CodePairs([0x11; 64])));
    let mut sums = [A::few(A::zero()); ROWS];
    for turn in 0..STEPS / ROWS {
        let inputs = &inputs[turn % 16];
        for row in 0..ROWS {
            sums[row] = A::dot_bytes(sums[row], codes, A::spread(inputs[row]));
        }
    }
    for sum in sums {
        black_box(A::integers(A::widen(A::zero(), sum)));
    }
}
