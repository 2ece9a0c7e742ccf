//! The tensors of a GPTQ matrix, and how they are read.

use super::super::companions::{QUANTIZE_AGAIN, bias, optional, read_words, scales, transposed};
use super::super::unpackable;
use super::{Gptq, ZeroPoints};
use crate::load::{Coded, OpenError, Scales, Shards, Zeros, field, stream};
use crate::load::{FLOATS, words};
use crate::problem::{Problems, problem};
use crate::quant::{Quantized, Strategy};
use crate::safetensors::Dtype;
use crate::verify::Expect;

pub(in super::super) fn expect(
    name: &str,
    (out, cols): (usize, usize),
    q: Quantized,
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    let bits = usize::from(q.bits);
    // a word, or as many words as hold whole codes
    let multiple = if matches!(bits, 2 | 4 | 8) { 32 / bits } else { 32 };
    for (what, count) in [(("inputs", "입력"), cols), (("outputs", "출력"), out)] {
        if !count.is_multiple_of(multiple) {
            problems.push(unpackable(name, what, count, multiple));
        }
    }
    let groups = q.groups(cols as u64) as usize;
    put("qweight", Expect::one(&[cols * bits / 32, out], &[Dtype::I32]));
    put("qzeros", Expect::one(&[groups, out * bits / 32], &[Dtype::I32]));
    put("scales", Expect::one(&[groups, out], FLOATS));
    let index = Expect::one(&[cols], &[Dtype::I32]);
    put(
        "g_idx",
        if q.indexed {
            index
        } else {
            optional(&[cols], &[Dtype::I32])
        },
    );
    put("bias", optional(&[out], FLOATS));
}

pub(in super::super) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    g: Gptq,
) -> Result<Coded, OpenError> {
    let row_words = cols * usize::from(q.bits) / 32;
    // the words of one output follow one another along the inputs, and are a stream already
    let stored = read_words(shards, &format!("{name}.qweight"), row_words * rows)?;
    let mut codes = transposed(&stored, row_words, rows);
    if planes(q.bits, g) {
        codes = codes
            .chunks(usize::from(q.bits))
            .flat_map(|block| stream(unplaned(block, q.bits), q.bits))
            .collect();
    }
    let groups = q.groups(cols as u64) as usize;
    let (_, scale) = shards.floats(&format!("{name}.scales"), groups * rows)?;
    let (version, fields) = zero_fields(shards, name, rows, groups, q, g)?;
    let half = 1i16 << (q.bits - 1);
    let zeros: Vec<i16> = transposed(&fields, groups, rows)
        .into_iter()
        .map(|z| i16::from(zero_point(z, q.bits, version)) - half)
        .collect();
    let size = match q.strategy {
        Strategy::Group(size) => (size as usize).min(cols),
        _ => cols,
    };
    Ok(Coded {
        index: index(shards, name, cols, groups, size)?,
        ..Coded::int(
            q.bits,
            codes,
            Scales::grouped(transposed(&scale, groups, rows), size),
            if zeros.iter().all(|z| *z == 0) {
                Zeros::None
            } else {
                Zeros::Int(zeros)
            },
            // the product is rounded once, to bfloat16: kernels that multiply in float16 first exist, the reference logits do not
            Dtype::F32,
        )
    })
}

/// Stored as bit planes; 2, 4 and 8 bits are one plane and read like a stream.
fn planes(bits: u8, g: Gptq) -> bool {
    g.planar && !matches!(bits, 2 | 4 | 8)
}

/// The 32 values of a block of `bits` words: planes of four, two and one bits, the low bits first.
fn unplaned(block: &[u32], bits: u8) -> Vec<u32> {
    let mut values = vec![0u32; 32];
    let mut from = 0u8;
    for width in [4u8, 2, 1] {
        if bits & width != 0 {
            let plane = &block[usize::from(from)..usize::from(from + width)];
            for (i, value) in values.iter_mut().enumerate() {
                *value |= field(plane, width, i) << from;
            }
            from += width;
        }
    }
    values
}

/// The zero points' fields, [groups][out], and what they mean. Version 1 in 2, 4 and 8 bits is turned into version 2: it was made by
/// subtracting from whole words, so that borrows are undone only by adding to whole words.
fn zero_fields(
    shards: &Shards,
    name: &str,
    rows: usize,
    groups: usize,
    q: Quantized,
    g: Gptq,
) -> Result<(ZeroPoints, Vec<u8>), OpenError> {
    let row_words = rows * usize::from(q.bits) / 32;
    let mut stored = read_words(shards, &format!("{name}.qzeros"), groups * row_words)?;
    let version = version(&stored, q, g);
    let whole_words = matches!(q.bits, 2 | 4 | 8);
    if version == ZeroPoints::LessOne && whole_words {
        let ones = (0..32 / u32::from(q.bits)).fold(0u32, |w, i| w | 1 << (i * u32::from(q.bits)));
        stored.iter_mut().for_each(|w| *w = w.wrapping_add(ones));
    }
    let left = if whole_words { ZeroPoints::Plain } else { version };
    Ok((left, fields(&stored, row_words, rows, q.bits, g)))
}

fn zero_point(field: u8, bits: u8, version: ZeroPoints) -> u8 {
    match version {
        ZeroPoints::Plain => field,
        ZeroPoints::LessOne => field.wrapping_add(1) & (u8::MAX >> (8 - bits)),
    }
}

fn fields(stored: &[u32], row_words: usize, rows: usize, bits: u8, g: Gptq) -> Vec<u8> {
    let row = |words: &[u32]| -> Vec<u8> {
        if planes(bits, g) {
            let blocks = words.chunks(usize::from(bits));
            return blocks
                .flat_map(|block| unplaned(block, bits))
                .map(|z| z as u8)
                .collect();
        }
        (0..rows).map(|n| field(words, bits, n) as u8).collect()
    };
    stored.chunks(row_words.max(1)).flat_map(row).collect()
}

/// The version that the words show: a symmetric matrix has one of two words throughout. Else the one the configuration says.
fn version(stored: &[u32], q: Quantized, g: Gptq) -> ZeroPoints {
    match q.symmetric.then(|| shown(stored, q.bits)).flatten() {
        Some(version) => version,
        None => g.zeros,
    }
}

fn shown(stored: &[u32], bits: u8) -> Option<ZeroPoints> {
    let half = 1u32 << (bits - 1);
    let all = |field: u32| {
        let pattern = stream(std::iter::repeat_n(field, 32), bits);
        stored.iter().enumerate().all(|(i, w)| *w == pattern[i % pattern.len()])
    };
    if all(half) {
        Some(ZeroPoints::Plain)
    } else if all(half - 1) {
        Some(ZeroPoints::LessOne)
    } else {
        None
    }
}

fn stored_index(shards: &Shards, name: &str, cols: usize) -> Result<Option<Vec<i32>>, OpenError> {
    let tensor = format!("{name}.g_idx");
    if shards.info(&tensor).is_none() {
        return Ok(None);
    }
    let (_, bytes) = shards.bytes(&tensor, cols, &[Dtype::I32])?;
    Ok(Some(words(&bytes).map(|w| w as i32).collect()))
}

/// The group of each column; `None` where groups are consecutive.
fn index(shards: &Shards, name: &str, cols: usize, groups: usize, size: usize) -> Result<Option<Vec<u32>>, OpenError> {
    let Some(stored) = stored_index(shards, name, cols)? else {
        return Ok(None);
    };
    let group = |g: &i32| u32::try_from(*g).ok().filter(|g| (*g as usize) < groups);
    let Some(index) = stored.iter().map(group).collect::<Option<Vec<u32>>>() else {
        return Err(OpenError::Tensor {
            tensor: format!("{name}.g_idx"),
            reason: format!("a group that is not one of the {groups}"),
        });
    };
    let consecutive = index.iter().enumerate().all(|(c, g)| c / size == *g as usize);
    Ok(if consecutive { None } else { Some(index) })
}

pub(in super::super) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    g: Gptq,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let most = ((1u32 << q.bits) - 1) as f32;
    scales(shards, &format!("{name}.scales"), most, problems, findings)?;
    bias(shards, name, problems)?;
    let groups = q.groups(cols as u64) as usize;
    let tensor = format!("{name}.qzeros");
    let stored = read_words(shards, &tensor, groups * rows * usize::from(q.bits) / 32)?;
    if q.symmetric {
        match if planes(q.bits, g) { Some(g.zeros) } else { shown(&stored, q.bits) } {
            Some(version) if version == g.zeros => {}
            Some(_) => findings.push(problem(
                "gptq-zeros-version",
                &tensor,
                (
                    format!("{tensor} is of the other version than checkpoint_format says; the words decide"),
                    format!("{tensor}의 버전이 checkpoint_format과 다릅니다. 저장된 값을 따릅니다"),
                ),
                (
                    "Write the checkpoint_format that was saved: gptq (0x77777777 in four bits) or gptq_v2 (0x88888888).",
                    "저장된 대로 checkpoint_format을 적어 주세요. 4비트에서 0x77777777이면 gptq, 0x88888888이면 gptq_v2입니다.",
                ),
            )),
            None => findings.push(problem(
                "gptq-not-symmetric",
                &tensor,
                (
                    format!("sym is true, but {tensor} holds other zero points; they are used"),
                    format!("sym이 true인데 {tensor}에 다른 영점이 있습니다. 저장된 영점을 씁니다"),
                ),
                ("Write \"sym\": false.", "\"sym\": false로 적어 주세요."),
            )),
        }
    }
    if let Some(stored) = stored_index(shards, name, cols)? {
        check_index(&format!("{name}.g_idx"), &stored, groups, q, problems);
    }
    Ok(())
}

/// Every column in a group that exists, every group of its size, and not all zeros as an index never filled in has.
fn check_index(tensor: &str, stored: &[i32], groups: usize, q: Quantized, problems: &mut Problems) {
    let mut sizes = vec![0usize; groups];
    for g in stored {
        if let Some(size) = usize::try_from(*g).ok().and_then(|g| sizes.get_mut(g)) {
            *size += 1;
        }
    }
    let beyond = stored.len() - sizes.iter().sum::<usize>();
    let size = match q.strategy {
        Strategy::Group(size) => (size as usize).min(stored.len()),
        _ => stored.len(),
    };
    let even = sizes.iter().filter(|n| **n != size).count() <= usize::from(!stored.len().is_multiple_of(size));
    let (en, ko) = if groups > 1 && stored.iter().all(|g| *g == 0) {
        (
            format!("{tensor} is zero throughout: it was never filled in"),
            format!("{tensor}가 모두 0입니다. 채워지지 않은 채 저장되었습니다"),
        )
    } else if beyond > 0 {
        (
            format!("{tensor}: {beyond} columns belong to a group that is not one of the {groups}"),
            format!("{tensor}: 그룹 {groups}개에 없는 번호가 {beyond}개 있습니다"),
        )
    } else if !even {
        (
            format!("{tensor}: the {groups} groups do not all have {size} columns"),
            format!("{tensor}: 그룹 {groups}개의 크기가 모두 {size}열이 아닙니다"),
        )
    } else {
        return;
    };
    problems.push(problem("group-index", tensor, (en, ko), QUANTIZE_AGAIN));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{InputRule, Layout};

    /// Planes by the book: 32 values of 3 bits are a plane of 2 bits in two words and one of 1 bit in a third, and so on.
    #[test]
    fn planes_are_put_together() {
        for (bits, widths) in [(3u8, &[2u8, 1][..]), (5, &[4, 1]), (6, &[4, 2]), (7, &[4, 2, 1])] {
            let values: Vec<u32> = (0..32u32)
                .map(|i| i.wrapping_mul(2_654_435_761) >> (32 - bits))
                .collect();
            let mut block = Vec::new();
            let mut from = 0;
            for width in widths {
                block.extend(stream(values.iter().map(|v| v >> from & ((1 << width) - 1)), *width));
                from += width;
            }
            assert_eq!(block.len(), usize::from(bits));
            assert_eq!(unplaned(&block, bits), values, "{bits} bits");
        }
    }

    #[test]
    fn words_show_their_version() {
        let q = |bits| Quantized {
            layout: Layout::Bytes,
            bits,
            strategy: Strategy::Channel,
            symmetric: true,
            indexed: false,
            inputs: InputRule::Plain,
        };
        let wrong = |zeros| Gptq { zeros, planar: false };
        for (bits, one, two) in [
            (2, 0x5555_5555u32, 0xAAAA_AAAAu32),
            (4, 0x7777_7777, 0x8888_8888),
            (8, 0x7F7F_7F7F, 0x8080_8080),
        ] {
            assert_eq!(
                version(&[one; 3], q(bits), wrong(ZeroPoints::Plain)),
                ZeroPoints::LessOne
            );
            assert_eq!(
                version(&[two; 3], q(bits), wrong(ZeroPoints::LessOne)),
                ZeroPoints::Plain
            );
            assert_eq!(
                version(&[one, two], q(bits), wrong(ZeroPoints::Plain)),
                ZeroPoints::Plain
            );
        }
        let three = stream(std::iter::repeat_n(3u32, 32), 3);
        assert_eq!(version(&three, q(3), wrong(ZeroPoints::Plain)), ZeroPoints::LessOne);
    }
}
