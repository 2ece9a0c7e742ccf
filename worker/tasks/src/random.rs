//! CPython's `random.Random`: the Mersenne Twister and the three draws lm-evaluation-harness makes from it.
//!
//! Few-shot examples are drawn from one generator per task that runs on from document to document, so one different
//! draw changes every later prompt. Nothing here may be "improved".

const N: usize = 624;
const M: usize = 397;

/// MT19937 (Matsumoto and Nishimura), seeded the way CPython seeds it from an integer.
#[derive(Clone)]
pub struct Random {
    state: [u32; N],
    at: usize,
}

/// More was asked of a population than it holds (`ValueError` in CPython).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot draw {asked} from a population of {available}")]
pub struct SampleError {
    /// How many were asked for.
    pub asked: usize,
    /// How many there are.
    pub available: usize,
}

impl Random {
    /// `random.Random(seed)`: the seed's 32-bit words, least significant first, are the key of `init_by_array`.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let words = [low, high];
        let key = if high == 0 { &words[..1] } else { &words[..] };
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
            if j >= key.len() {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.at >= N {
            self.refill();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let mag = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ mag;
        }
        self.at = 0;
    }

    /// `random()`: 53 bits in [0, 1).
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `_randbelow(n)`: as many bits as `n` has, drawn again until below `n`. Needs 0 < n < 2³².
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        // The bits of n, not of n - 1: a population of one still costs draws.
        let bits = (usize::BITS - n.leading_zeros()).min(32);
        loop {
            let drawn = (self.next_u32() >> (32 - bits)) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `sample(range(n), k)`: `k` different indices below `n`, in the order drawn.
    pub fn sample(&mut self, n: usize, k: usize) -> Result<Vec<usize>, SampleError> {
        if k > n {
            return Err(SampleError { asked: k, available: n });
        }
        // CPython takes the list method where the list is smaller than the set would be.
        let mut set_size = 21usize;
        if k > 5 {
            let mut power = 1usize;
            while power < k.saturating_mul(3) {
                power = power.saturating_mul(4);
            }
            set_size = set_size.saturating_add(power);
        }
        let mut result = Vec::with_capacity(k);
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            for i in 0..k {
                let j = self.below(n - i);
                result.push(pool[j]);
                pool[j] = pool[n - i - 1];
            }
        } else {
            let mut selected = std::collections::HashSet::with_capacity(k);
            for _ in 0..k {
                let mut j = self.below(n);
                while !selected.insert(j) {
                    j = self.below(n);
                }
                result.push(j);
            }
        }
        Ok(result)
    }

    /// `shuffle(items)`, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }

    /// `choices(range(n), k=k)`: `k` indices below `n`, with replacement.
    pub fn choices(&mut self, n: usize, k: usize) -> Vec<usize> {
        (0..k).map(|_| self.choice(n)).collect()
    }

    /// One index of [`choices`](Self::choices).
    pub fn choice(&mut self, n: usize) -> usize {
        (self.random() * n as f64).floor() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_floats_of_1234() {
        let mut rng = Random::new(1234);
        let words: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(words, [4150886329, 3342196574, 1892932127, 501869158]);
        let mut rng = Random::new(1234);
        let floats: Vec<f64> = (0..3).map(|_| rng.random()).collect();
        assert_eq!(floats, [0.9664535356921388, 0.4407325991753527, 0.007491470058587191]);
    }

    #[test]
    fn samples_of_1234_in_sequence() {
        let mut rng = Random::new(1234);
        assert_eq!(rng.sample(20, 5).unwrap(), [14, 3, 0, 2, 1]);
        assert_eq!(rng.sample(21, 5).unwrap(), [2, 3, 11, 7, 0]);
        assert_eq!(rng.sample(22, 5).unwrap(), [0, 11, 20, 19, 15]);
        assert_eq!(rng.sample(85, 6).unwrap(), [78, 59, 19, 11, 23, 14]);
        assert_eq!(rng.sample(86, 6).unwrap(), [1, 64, 62, 31, 8, 85]);
        assert_eq!(rng.sample(2, 3), Err(SampleError { asked: 3, available: 2 }));
    }

    #[test]
    fn shuffles() {
        let shuffled = |rng: &mut Random| {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            items
        };
        let mut rng = Random::new(0);
        assert_eq!(shuffled(&mut rng), [2, 0, 1, 3]);
        assert_eq!(shuffled(&mut rng), [0, 1, 3, 2]);
        assert_eq!(shuffled(&mut rng), [0, 2, 1, 3]);
        assert_eq!(shuffled(&mut rng), [1, 0, 3, 2]);
        let mut rng = Random::new(42);
        assert_eq!(shuffled(&mut rng), [2, 1, 3, 0]);
        assert_eq!(shuffled(&mut rng), [3, 2, 0, 1]);
    }

    #[test]
    fn choices_of_0() {
        assert_eq!(
            Random::new(0).choices(100, 10),
            [84, 75, 42, 25, 51, 40, 78, 30, 47, 58]
        );
    }

    // Values from CPython 3.11: a seed of more than 32 bits has two key words, and one element still costs draws.
    #[test]
    fn wide_seeds_and_populations_of_one() {
        let mut rng = Random::new(1 << 40);
        let wide: Vec<u32> = (0..3).map(|_| rng.next_u32()).collect();
        assert_eq!(wide, WIDE);
        let mut rng = Random::new(7);
        assert_eq!(rng.sample(1, 1).unwrap(), [0]);
        assert_eq!(rng.sample(50, 3).unwrap(), AFTER_ONE);
    }
    const WIDE: [u32; 3] = [445128065, 1517081360, 2880015531];
    const AFTER_ONE: [usize; 3] = [9, 25, 41];
}
