//! NVIDIA ModelOpt: float8 with one scale a matrix or a row, and NVFP4 whose second scale multiplies.

use std::collections::BTreeMap;

use assay_contest::Problem;

use super::companions::{QUANTIZE_AGAIN, scales};
use super::float8::{Float8, inputs_stay, quantized};
use super::keys::Keys;
use super::refuse::refused;
use super::{Foreign, Look};
use crate::load::{Codebook, Coded, Codes, FLOATS, OpenError, Scales, Shards, stream};
use crate::model::Module;
use crate::number::e4m3_to_f32;
use crate::problem::{Problems, problem};
use crate::quant::{InputRule, Layout, Quantized, Storage, Strategy};
use crate::safetensors::Dtype;
use crate::verify::{Expect, invalid};

/// Columns that share a scale of NVFP4.
const GROUP: usize = 16;

pub(super) fn plan(look: &Look, findings: &mut Problems) -> Result<BTreeMap<Module, Storage>, Box<Problem>> {
    let keys = Keys(look.map);
    // hf_quant_config.json keeps everything in "quantization"
    let keys = keys.object("quantization")?.unwrap_or(keys);
    let algorithm = keys.text("quant_algo")?.unwrap_or_default();
    let codes = Codes::Float8;
    let f = Float8 {
        scale: "weight_scale",
        input: "input_scale",
        block: None,
    };
    let q = match algorithm.as_str() {
        "fp8" => quantized(f, Strategy::Tensor, InputRule::Fixed { codes, symmetric: true }),
        "fp8_per_channel_per_token" => quantized(f, Strategy::Channel, InputRule::Row { codes, symmetric: true }),
        "nvfp4" | "w4a16_nvfp4" => {
            if !matches!(keys.int("group_size")?, None | Some(16)) {
                return Err(Box::new(invalid("group_size: NVFP4 has groups of 16")));
            }
            if algorithm == "nvfp4" {
                findings.push(inputs_stay("modelopt", "to NVFP4", "NVFP4로"));
            }
            Quantized {
                layout: Layout::Foreign(Foreign::NvFp4),
                bits: 4,
                strategy: Strategy::Group(GROUP as u64),
                symmetric: true,
                indexed: false,
                inputs: InputRule::Plain,
            }
        }
        _ => return Err(Box::new(refused("modelopt"))),
    };
    let cache = keys.get("kv_cache_quant_algo").or(keys.get("kv_cache_scheme"));
    if cache.is_some() {
        findings.push(problem(
            "kv-cache-scheme-not-applied",
            "config.json: quantization_config",
            (
                "the submission asks for a quantized KV cache; it is graded with a bfloat16 cache",
                "KV 캐시 양자화가 선언되어 있지만 bfloat16 캐시로 채점합니다.",
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
    let left_out = match keys.strings("exclude_modules")? {
        Some(list) => list,
        None => keys.strings("ignore")?.unwrap_or_else(|| vec!["lm_head"]),
    };
    super::assign(look, |module, name| {
        let left = left_out
            .iter()
            .any(|entry| shell(entry, name) || (!entry.contains('*') && name.starts_with(&format!("{entry}."))));
        let head_stays = module == Module::Head && super::marker(name, look.tensors).is_none();
        Ok(if left || head_stays { None } else { Some(q) })
    })
}

/// A shell pattern over a whole name: `*` is any run of characters, `?` any one.
fn shell(pattern: &str, name: &str) -> bool {
    let (p, n) = (pattern.as_bytes(), name.as_bytes());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < n.len() {
        match p.get(i) {
            Some(b'*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == b'?' || *c == n[j] => (i, j) = (i + 1, j + 1),
            // the last star takes one more
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (i, j) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == b'*')
}

/// Scales of the KV cache, which keys and values may bring along.
pub(super) fn expect_cache(name: &str, put: &mut dyn FnMut(&str, Expect)) {
    for (module, scale) in [("k_proj", "k_scale"), ("v_proj", "v_scale")] {
        if name.ends_with(module) {
            put(
                scale,
                Expect {
                    required: false,
                    ..Expect::scalar(FLOATS)
                },
            );
        }
    }
}

pub(super) fn expect(
    name: &str,
    (out, cols): (usize, usize),
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    if !cols.is_multiple_of(GROUP) {
        problems.push(super::unpackable(name, ("inputs", "입력"), cols, GROUP));
    }
    put("weight", Expect::one(&[out, cols / 2], &[Dtype::U8]));
    put("weight_scale", Expect::one(&[out, cols / GROUP], &[Dtype::F8_E4M3]));
    put("weight_scale_2", Expect::scalar(&[Dtype::F32]));
    let input = Expect {
        required: false,
        ..Expect::scalar(&[Dtype::F32])
    };
    put("input_scale", input);
    expect_cache(name, put);
}

/// The block scales' bytes and the whole matrix's factor.
fn stored(shards: &Shards, name: &str, count: usize) -> Result<(Vec<u8>, f32), OpenError> {
    let (_, blocks) = shards.bytes(&format!("{name}.weight_scale"), count, &[Dtype::F8_E4M3])?;
    let whole = shards.floats(&format!("{name}.weight_scale_2"), 1)?.1[0];
    Ok((blocks, whole))
}

pub(super) fn load(shards: &Shards, name: &str, (rows, cols): (usize, usize)) -> Result<Coded, OpenError> {
    let (_, bytes) = shards.bytes(&format!("{name}.weight"), rows * cols / 2, &[Dtype::U8])?;
    let nibbles = |b: &u8| [u32::from(b & 15), u32::from(b >> 4)];
    let codes = bytes
        .chunks((cols / 2).max(1))
        .flat_map(|row| stream(row.iter().flat_map(nibbles), 4));
    let (blocks, whole) = stored(shards, name, rows * cols / GROUP)?;
    let scales = blocks.into_iter().map(|b| e4m3_to_f32(b) * whole).collect();
    Ok(Coded::float(
        4,
        Codebook::E2m1,
        codes.collect(),
        Scales::grouped(scales, GROUP),
        Dtype::F32,
    ))
}

pub(super) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    scales(
        shards,
        &format!("{name}.weight_scale_2"),
        6.0 * 448.0,
        problems,
        findings,
    )?;
    let (blocks, _) = stored(shards, name, rows * cols / GROUP)?;
    let bad = blocks.iter().filter(|b| **b & 0x7F == 0x7F).count();
    if bad > 0 {
        let tensor = format!("{name}.weight_scale");
        problems.push(problem(
            "non-finite",
            &tensor,
            (
                format!("{tensor} has {bad} float8 values that are NaN"),
                format!("{tensor}에 NaN인 float8 값이 {bad}개 있습니다"),
            ),
            QUANTIZE_AGAIN,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn shell_patterns() {
        assert!(
            shell("lm_head", "lm_head") && shell("*", "x") && shell("*self_attn*", "model.layers.1.self_attn.q_proj")
        );
        assert!(shell("model.layers.?.mlp*", "model.layers.3.mlp.up_proj") && shell("*proj", "a.proj.proj"));
        assert!(!shell("mlp*", "model.mlp") && !shell("", "x") && !shell("*up", "upper"));
    }
}
