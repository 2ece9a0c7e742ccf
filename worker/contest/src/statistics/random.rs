//! The generator documents are drawn with: small, written out, the same on every machine and in every version.

use sha2::{Digest, Sha256};

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream that belongs to `name`: its state starts as the first eight bytes of a sha256, the highest first.
    pub fn of(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("assay resample 1 {name}")).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0: the high half of a product. One in 2^64/n draws is off by one.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        // From the reference implementation, seeded with 1234567.
        let mut random = SplitMix64(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn streams_are_their_name_s_and_even() {
        let draw = |name| {
            let mut random = SplitMix64::of(name);
            (0..60_000).map(|_| random.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
        for face in 0..6 {
            let count = draw("a").iter().filter(|d| **d == face).count();
            // Five standard deviations.
            assert!((9_540..10_460).contains(&count), "{face}: {count}");
        }
        assert_eq!(SplitMix64::of("a").below(1), 0);
    }
}
