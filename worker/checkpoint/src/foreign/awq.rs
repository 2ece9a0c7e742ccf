//! AWQ in AutoAWQ's GEMM layout: four bits, packed along the outputs in an order of its own, zero points as they are.

use std::collections::BTreeMap;

use assay_contest::Problem;

use super::companions::{bias, optional, read_words, scales, transposed};
use super::keys::Keys;
use super::refuse::{because, refused};
use super::{Foreign, Look, unpackable};
use crate::load::{Coded, FLOATS, OpenError, Scales, Shards, Zeros};
use crate::model::Module;
use crate::problem::Problems;
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::{Expect, invalid};

/// The output that nibble i of a word holds, of its eight.
const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

pub(super) fn plan(look: &Look) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    let version = match keys.text("version")? {
        Some(version) => version,
        // GPTQModel's name for the same
        None => keys.text("format")?.unwrap_or_else(|| "gemm".to_owned()),
    };
    let backend = keys.text("backend")?.unwrap_or_else(|| "autoawq".to_owned());
    if version != "gemm" || backend.contains("llm-awq") {
        return Err(Box::new(refused("awq")));
    }
    let bits = keys.bits("bits")?.or(keys.bits("w_bit")?).unwrap_or(4);
    let group = keys.group("group_size")?.or(keys.group("q_group_size")?).unwrap_or(128);
    let asymmetric = keys.flag("zero_point", true)?;
    // substrings of the whole name
    let left_out = keys.strings("modules_to_not_convert")?.unwrap_or_default();
    super::assign(look, |module, name| {
        if module == Module::Head || left_out.iter().any(|entry| name.contains(entry)) {
            return Ok(None);
        }
        quantized(bits, group, !asymmetric).map(Some)
    })
}

/// A matrix in this layout.
pub(super) fn quantized(bits: i64, group: i64, symmetric: bool) -> Result<Quantized, Box<Problem>> {
    if bits != 4 {
        return Err(Box::new(because(
            "awq",
            (
                format!("the GEMM layout has four bits, not {bits}"),
                format!("GEMM 배치는 4비트입니다({bits}비트는 없음)"),
            ),
            (
                "Use four bits, or compressed-tensors for other widths.",
                "4비트를 쓰거나, 다른 폭은 compressed-tensors를 쓰세요.",
            ),
        )));
    }
    let Some(strategy) = super::strategy(group) else {
        return Err(Box::new(invalid(&format!("group_size: {group}"))));
    };
    Ok(Quantized {
        layout: Layout::Foreign(Foreign::Awq),
        bits: 4,
        strategy,
        symmetric,
        indexed: false,
        inputs: InputRule::Plain,
    })
}

pub(super) fn expect(
    name: &str,
    (out, cols): (usize, usize),
    q: Quantized,
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    if !out.is_multiple_of(8) {
        problems.push(unpackable(name, ("outputs", "출력"), out, 8));
    }
    let groups = q.groups(cols as u64) as usize;
    let zeros = Expect::one(&[groups, out / 8], &[Dtype::I32]);
    put("qweight", Expect::one(&[cols, out / 8], &[Dtype::I32]));
    // without zero points, some tools leave them out and some write 8 throughout
    put(
        "qzeros",
        Expect {
            required: !q.symmetric,
            ..zeros
        },
    );
    put("scales", Expect::one(&[groups, out], FLOATS));
    put("bias", optional(&[out], FLOATS));
}

pub(super) fn load(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
) -> Result<Coded, OpenError> {
    let across = rows / 8;
    let stored = read_words(shards, &format!("{name}.qweight"), cols * across)?;
    let row_words = cols.div_ceil(8);
    let mut codes = vec![0u32; rows * row_words];
    for (k, words) in stored.chunks(across.max(1)).enumerate() {
        for (c, word) in words.iter().enumerate() {
            for (i, offset) in ORDER.into_iter().enumerate() {
                codes[(8 * c + offset) * row_words + k / 8] |= (word >> (4 * i) & 15) << (4 * (k % 8));
            }
        }
    }
    let groups = q.groups(cols as u64) as usize;
    let (_, scale) = shards.floats(&format!("{name}.scales"), groups * rows)?;
    let tensor = format!("{name}.qzeros");
    let zeros = if shards.info(&tensor).is_some() {
        let stored = read_words(shards, &tensor, groups * across)?;
        let zero = |(k, n): (usize, usize)| {
            // the inverse of the order above
            let nibble = (n % 8) / 2 + 4 * (n % 2);
            (stored[k * across + n / 8] >> (4 * nibble) & 15) as i16 - 8
        };
        let zeros: Vec<i16> = (0..rows)
            .flat_map(|n| (0..groups).map(move |k| (k, n)))
            .map(zero)
            .collect();
        if zeros.iter().all(|z| *z == 0) {
            Zeros::None
        } else {
            Zeros::Int(zeros)
        }
    } else {
        Zeros::None
    };
    let size = match q.strategy {
        Strategy::Group(size) => (size as usize).min(cols),
        _ => cols,
    };
    Ok(Coded::int(
        4,
        codes,
        Scales::grouped(transposed(&scale, groups, rows), size),
        zeros,
        // rounded once: see GPTQ
        Dtype::F32,
    ))
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    _q: Quantized,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    scales(shards, &format!("{name}.scales"), 15.0, problems, findings)?;
    bias(shards, name, problems)
}
