//! Whole tensors, looked at as fast as they can be read: pieces of files in their order, each taken by whichever thread is free.
//!
//! Files are read, not mapped: an uploaded file that shrinks under a map kills the process that looks at it. A piece is small enough to
//! stay in a core's own cache between the copy out of the file cache and the look at it, so that memory is read once.

use crate::load::{OpenError, Shards};
use crate::number::{bf16_to_f32, f16_to_f32};
use crate::safetensors::Dtype;
use crate::threads;

/// Bytes read at a time; a multiple of every element size, about half of a second-level cache.
const PIECE: u64 = 256 << 10;
/// Pieces taken at a time: neighbours, which the system's read-ahead expects.
const RUN: usize = 4;

/// A tensor to be looked at.
pub(super) struct Work {
    pub name: String,
    pub bytes: u64,
    pub look: Look,
}

/// What is looked for.
pub(super) enum Look {
    /// NaN and infinities
    Finite(Dtype),
    /// the same, and whether its bytes are those of another tensor of the same length, which is looked at as well
    Pair(Dtype, String),
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// elements that should not be
    pub bad: u64,
    /// the first of them
    pub first: Option<u64>,
    /// a pair's other tensor: its bad elements, and the first
    pub other: (u64, Option<u64>),
    /// a pair is not equal
    pub differs: bool,
}

impl Seen {
    fn join(&mut self, more: Seen) {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.bad += more.bad;
        self.first = least(self.first, more.first);
        self.other = (self.other.0 + more.other.0, least(self.other.1, more.other.1));
        self.differs |= more.differs;
    }
}

/// Looks at all of them; one answer each, in their order.
pub(super) fn scan(shards: &Shards, list: &[Work]) -> Result<Vec<Seen>, OpenError> {
    // in the order of the files, as disks like it
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|i| shards.position(&list[*i].name));
    let pieces: Vec<(usize, u64)> = order
        .into_iter()
        .flat_map(|i| (0..list[i].bytes.div_ceil(PIECE)).map(move |piece| (i, piece * PIECE)))
        .collect();
    let runs: Vec<&[(usize, u64)]> = pieces.chunks(RUN).collect();
    let buffers = || [vec![0u8; PIECE as usize], Vec::new()];
    let found = threads::each_with(&runs, buffers, |buffers, run| {
        let looks = run
            .iter()
            .map(|(index, at)| Ok((*index, list[*index].piece(shards, *at, buffers)?)));
        looks.collect::<Result<Vec<_>, OpenError>>()
    });
    let mut seen = vec![Seen::default(); list.len()];
    for run in found {
        run?.into_iter().for_each(|(index, found)| seen[index].join(found));
    }
    Ok(seen)
}

impl Work {
    /// Looks at one piece.
    fn piece(&self, shards: &Shards, at: u64, buffers: &mut [Vec<u8>; 2]) -> Result<Seen, OpenError> {
        let [piece, other] = buffers;
        let length = PIECE.min(self.bytes - at) as usize;
        let piece = &mut piece[..length];
        shards.read_at(&self.name, at, piece)?;
        let mut seen = Seen::default();
        match &self.look {
            Look::Finite(dtype) => (seen.bad, seen.first) = non_finite(piece, *dtype, at),
            Look::Pair(dtype, name) => {
                other.resize(PIECE as usize, 0);
                let other = &mut other[..length];
                shards.read_at(name, at, other)?;
                (seen.bad, seen.first) = non_finite(piece, *dtype, at);
                seen.differs = piece != other;
                seen.other = if seen.differs {
                    non_finite(other, *dtype, at)
                } else {
                    (seen.bad, seen.first)
                };
            }
        }
        Ok(seen)
    }
}

/// Values that are NaN or infinite, and the first.
fn non_finite(piece: &[u8], dtype: Dtype, at: u64) -> (u64, Option<u64>) {
    if !any_non_finite(piece, dtype) {
        return (0, None);
    }
    let values: Box<dyn Iterator<Item = f32>> = match dtype {
        Dtype::BF16 => Box::new(piece.as_chunks().0.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b)))),
        Dtype::F16 => Box::new(piece.as_chunks().0.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b)))),
        _ => Box::new(piece.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
    };
    let first = at / (dtype.bits() / 8);
    let mut bad = values
        .enumerate()
        .filter(|(_, v)| !v.is_finite())
        .map(|(i, _)| first + i as u64)
        .peekable();
    let first = bad.peek().copied();
    (bad.count() as u64, first)
}

/// Whether any value has all its exponent bits set, four or two values at a time: gigabytes pass through here.
fn any_non_finite(piece: &[u8], dtype: Dtype) -> bool {
    let (exponent, low, high) = match dtype {
        Dtype::BF16 => (
            0x7F80_7F80_7F80_7F80u64,
            0x7FFF_7FFF_7FFF_7FFFu64,
            0x8000_8000_8000_8000u64,
        ),
        Dtype::F16 => (0x7C00_7C00_7C00_7C00, 0x7FFF_7FFF_7FFF_7FFF, 0x8000_8000_8000_8000),
        _ => (0x7F80_0000_7F80_0000, 0x7FFF_FFFF_7FFF_FFFF, 0x8000_0000_8000_0000),
    };
    // A lane of `missing` is zero iff its exponent is full; adding `low` then leaves its high bit clear. Lanes never carry.
    let full = |word: u64| {
        let missing = (word & exponent) ^ exponent;
        !(missing + low) & high
    };
    let (words, rest) = piece.as_chunks::<8>();
    let mut tail = [0u8; 8];
    tail[..rest.len()].copy_from_slice(rest);
    // no branch inside a block of a page, so that it becomes vector code
    let any = |block: &[[u8; 8]]| {
        block
            .iter()
            .fold(0, |found, word| found | full(u64::from_le_bytes(*word)))
            != 0
    };
    words.chunks(512).any(any) || full(u64::from_le_bytes(tail)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit pattern in every lane, and the tail.
    #[test]
    fn lanes_find_exactly_the_non_finite() {
        for bits in 0..=u16::MAX {
            for lane in 0..5 {
                let mut piece = [0x3C; 10];
                piece[2 * lane..2 * lane + 2].copy_from_slice(&bits.to_le_bytes());
                let bf16 = !bf16_to_f32(bits).is_finite();
                assert_eq!(any_non_finite(&piece, Dtype::BF16), bf16, "{bits:#x}");
                assert_eq!(
                    any_non_finite(&piece, Dtype::F16),
                    !f16_to_f32(bits).is_finite(),
                    "{bits:#x}"
                );
                let found = non_finite(&piece, Dtype::BF16, 100);
                assert_eq!(found, if bf16 { (1, Some(50 + lane as u64)) } else { (0, None) });
            }
            let value = f32::from_bits(u32::from(bits) << 16 | 1);
            let piece = [1f32.to_le_bytes(), value.to_le_bytes(), value.to_le_bytes()].concat();
            assert_eq!(any_non_finite(&piece, Dtype::F32), !value.is_finite());
        }
    }
}
