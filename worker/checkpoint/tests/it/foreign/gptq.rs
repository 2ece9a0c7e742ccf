//! GPTQ in its versions and packings, and auto-round's files of that kind.

use assay_checkpoint::number::{f16_to_f32, f32_to_bf16, f32_to_f16};
use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Checkpoint, Linear};
use serde_json::{Value, json};

use super::*;
use crate::support::*;

#[test]
fn what_auto_round_wrote_for_gptq_is_accepted() {
    let found = look(&checkpoint("ar-gptq"));
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(
        (found.format.as_str(), found.scheme.as_str()),
        ("gptq", "W4A16 g128 sym")
    );
    assert_eq!(found.bytes.group("other"), 0);
}

/// Fields packed as bit planes, 32 at a time.
fn planar(fields: &[u32], bits: usize) -> Vec<u32> {
    let planes: &[usize] = match bits {
        3 => &[2, 1],
        5 => &[4, 1],
        6 => &[4, 2],
        7 => &[4, 2, 1],
        _ => return packed(fields, bits),
    };
    let block = |block: &[u32]| {
        let mut from = 0;
        let mut words = Vec::new();
        for width in planes {
            let plane: Vec<u32> = block.iter().map(|f| f >> from & ((1 << width) - 1)).collect();
            words.extend(packed(&plane, *width));
            from += width;
        }
        words
    };
    fields.chunks(32).flat_map(block).collect()
}

/// How a GPTQ file is written.
#[derive(Clone, Copy)]
struct Writing {
    bits: usize,
    group: usize,
    version: u32,
    planar: bool,
    symmetric: bool,
    ordered: bool,
}

impl Writing {
    fn code(self, name: &str, n: usize, k: usize) -> u32 {
        some(name.len() * 7919 + n * 131 + k, 1 << self.bits)
    }

    fn zero(self, g: usize, n: usize) -> u32 {
        let half = 1 << (self.bits - 1);
        // zero itself is among them: the case that spoils its neighbours
        if self.symmetric {
            half
        } else {
            some(g * 977 + n, 1 << self.bits)
        }
    }

    fn scale(self, g: usize, n: usize) -> u16 {
        f32_to_f16(0.001 + 0.0003 * ((g * 13 + n * 7) % 50) as f32)
    }

    /// Group of a column: reordered by a stride that shares no factor with any width.
    fn group_of(self, k: usize, cols: usize) -> usize {
        if self.ordered {
            k * 5 % cols / self.group
        } else {
            k / self.group
        }
    }

    fn pack(self, fields: &[u32]) -> Vec<u32> {
        if self.planar {
            planar(fields, self.bits)
        } else {
            packed(fields, self.bits)
        }
    }

    fn tensors(self, name: &str, out: usize, cols: usize) -> Vec<Tensor> {
        let bits = self.bits;
        let groups = cols.div_ceil(self.group);
        // [words][out]: the words of one output down a column
        let columns: Vec<Vec<u32>> = (0..out)
            .map(|n| self.pack(&(0..cols).map(|k| self.code(name, n, k)).collect::<Vec<_>>()))
            .collect();
        let qweight = (0..cols * bits / 32).flat_map(|w| columns.iter().map(move |c| c[w]));
        let ones = (0..32 / bits).fold(0u32, |w, i| w | 1 << (i * bits));
        let qzeros = (0..groups).flat_map(|g| {
            let zeros: Vec<u32> = (0..out).map(|n| self.zero(g, n)).collect();
            let whole = matches!(bits, 2 | 4 | 8);
            let less: Vec<u32> = zeros.iter().map(|z| z.wrapping_sub(1) & ((1 << bits) - 1)).collect();
            match self.version {
                2 => self.pack(&zeros),
                // a subtraction from the whole word
                _ if whole => self.pack(&zeros).into_iter().map(|w| w.wrapping_sub(ones)).collect(),
                _ => self.pack(&less),
            }
        });
        let scales = (0..groups)
            .flat_map(|g| (0..out).map(move |n| self.scale(g, n)))
            .flat_map(u16::to_le_bytes);
        let part = |suffix: &str| format!("{name}.{suffix}");
        let mut list = vec![
            tensor(part("qweight"), Dtype::I32, &[cols * bits / 32, out], bytes(qweight)),
            tensor(part("qzeros"), Dtype::I32, &[groups, out * bits / 32], bytes(qzeros)),
            tensor(part("scales"), Dtype::F16, &[groups, out], scales.collect()),
        ];
        if self.ordered {
            let index = (0..cols).map(|k| self.group_of(k, cols) as u32);
            list.push(tensor(part("g_idx"), Dtype::I32, &[cols], bytes(index)));
        }
        list
    }

    fn small(self) -> Small {
        let format = match (self.planar, self.version) {
            (true, _) => "gptq_p",
            (_, 1) => "gptq",
            _ => "gptq_v2",
        };
        let config = json!({"quant_method": "gptq", "bits": self.bits, "group_size": self.group, "sym": self.symmetric, "desc_act": self.ordered,
            "checkpoint_format": format, "meta": {"quantizer": ["gptqmodel:7.7.0"]}});
        tiny(config, |name, out, cols| self.tensors(name, out, cols))
    }

    fn weight(self, name: &str, n: usize, k: usize, cols: usize) -> u16 {
        let g = self.group_of(k, cols);
        let difference = self.code(name, n, k) as f32 - self.zero(g, n) as f32;
        f32_to_bf16(difference * f16_to_f32(self.scale(g, n)))
    }
}

const FOUR: Writing = Writing {
    bits: 4,
    group: 32,
    version: 1,
    planar: false,
    symmetric: true,
    ordered: false,
};

/// Every weight of two matrices of each width, packing, version and order.
#[test]
fn gptq_by_the_book() {
    for bits in 2..=8 {
        for (version, planar) in [(1, false), (2, false), (2, true)] {
            // GPTQModel writes 5, 6 and 7 bits as planes only
            if matches!(bits, 5..=7) && !planar {
                continue;
            }
            for (symmetric, ordered, group) in [
                (true, false, 32),
                (false, false, 16),
                (false, true, 32),
                (true, true, 96),
            ] {
                let how = Writing {
                    bits,
                    group,
                    version,
                    planar,
                    symmetric,
                    ordered,
                };
                let text = format!(
                    "{bits} bits, version {version}, planar {planar}, symmetric {symmetric}, ordered {ordered}"
                );
                let dir = how.small().save();
                let found = look(dir.path());
                assert_eq!(
                    codes(&found.problems),
                    Vec::<&str>::new(),
                    "{text}: {:?}",
                    found.problems
                );
                let checkpoint = Checkpoint::open(dir.path()).unwrap();
                for (which, m, cols) in [(Linear::K, "self_attn.k_proj", 64), (Linear::Down, "mlp.down_proj", 96)] {
                    let name = format!("model.layers.1.{m}");
                    let matrix = checkpoint.linear(1, which).unwrap();
                    let mut row = vec![0; cols];
                    for n in 0..matrix.rows {
                        matrix.row_bf16(n, &mut row);
                        let expected: Vec<u16> = (0..cols).map(|k| how.weight(&name, n, k, cols)).collect();
                        assert_eq!(row, expected, "{text}: {m} row {n}");
                    }
                }
            }
        }
    }
}

/// The words decide about the version where the configuration has it wrong or leaves it out.
#[test]
fn gptq_versions_are_read_from_the_words() {
    for version in [1, 2] {
        let how = Writing { version, ..FOUR };
        let mislabelled = how
            .small()
            .quant(|q| q["checkpoint_format"] = json!(if version == 1 { "gptq_v2" } else { "gptq" }));
        let (problems, findings) = data_codes(&mislabelled);
        assert!(
            problems.is_empty() && findings[0] == "gptq-zeros-version",
            "{problems:?} {findings:?}"
        );
        let dir = mislabelled.save();
        let matrix = Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Up).unwrap();
        let mut row = vec![0; 64];
        matrix.row_bf16(5, &mut row);
        assert_eq!(row, (0..64).map(|k| how.weight(UP, 5, k, 64)).collect::<Vec<_>>());
    }
    let lying = Writing {
        symmetric: false,
        ..FOUR
    }
    .small()
    .quant(|q| q["sym"] = json!(true));
    let (problems, findings) = data_codes(&lying);
    assert!(
        problems.is_empty() && findings[0] == "gptq-not-symmetric",
        "{problems:?} {findings:?}"
    );
    let old = Writing {
        symmetric: false,
        ..FOUR
    }
    .small()
    .quant(|q| q["meta"] = json!({}));
    assert_eq!(data_codes(&old).1, ["gptq-zeros-untrusted"]);
}

#[test]
fn gptq_broken_in_one_place() {
    let ordered = Writing { ordered: true, ..FOUR };
    let index = |change: fn(&mut Vec<u8>)| {
        let mut small = ordered.small();
        change(&mut small.tensor(&format!("{UP}.g_idx")).data);
        data_codes(&small).0
    };
    assert_eq!(index(|_| ()), Vec::<String>::new());
    assert_eq!(index(|data| data.fill(0)), ["group-index"]); // never filled in
    assert_eq!(index(|data| data[0] = 9), ["group-index"]); // beyond
    assert_eq!(index(|data| data[3] = 0x80), ["group-index"]); // negative
    assert_eq!(index(|data| data[0] ^= 1), ["group-index"]); // uneven
    let no_index = ordered.small().without(&format!("{UP}.g_idx"));
    assert_eq!(codes(&no_index.inspect().problems), ["tensor-missing"]);
    // a bias of zeros is AutoGPTQ's habit, any other belongs to another model
    let bias = |fill| {
        FOUR.small()
            .with(Tensor::new(&format!("{UP}.bias"), Dtype::F16, &[96], fill))
    };
    assert_eq!(data_codes(&bias(0)).0, Vec::<String>::new());
    assert_eq!(data_codes(&bias(1)).0, ["bias-not-zero"]);
    let mut huge = FOUR.small();
    huge.tensor(&format!("{UP}.scales")).data[..2].copy_from_slice(&f32_to_f16(60000.0).to_le_bytes());
    assert_eq!(data_codes(&huge).0, ["scale-overflow"]);

    let said = |field: &'static str, value: Value| FOUR.small().quant(|q| q[field] = value);
    judge(vec![
        ("as it is", &[], FOUR.small()),
        ("other bits", &["module-bits"], said("bits", json!(8))),
        (
            "other groups",
            &["tensor-shape"; 7],
            said("group_size", json!(64)).quant(|_| ()),
        ),
        (
            "group of nothing",
            &["quantization-config-invalid"],
            said("group_size", json!(0)),
        ),
        ("no bits", &["quantization-config-invalid"], said("bits", json!(null))),
        (
            "bits of text",
            &["quantization-config-invalid"],
            said("bits", json!("four")),
        ),
        (
            "marlin",
            &["format-refused"],
            said("checkpoint_format", json!("marlin")),
        ),
        (
            "marlin, older",
            &["format-refused"],
            said("is_marlin_format", json!(true)),
        ),
        (
            "bitblas",
            &["format-refused"],
            said("checkpoint_format", json!("bitblas")),
        ),
        ("narrow words", &["format-refused"], said("pack_dtype", json!("int8"))),
        (
            "nonsense format",
            &["quantization-config-invalid"],
            said("checkpoint_format", json!("zip")),
        ),
        (
            "slow pattern",
            &["quantization-config-invalid"],
            said("dynamic", json!({"-:(": {}})),
        ),
        (
            "another tool's tensors",
            &["format-disagrees"],
            said("quant_method", json!("awq")),
        ),
        (
            "one matrix dense",
            &["module-not-packed"],
            FOUR.small()
                .without(&format!("{UP}.qweight"))
                .without(&format!("{UP}.qzeros"))
                .without(&format!("{UP}.scales"))
                .with(Tensor::new(&format!("{UP}.weight"), Dtype::BF16, &[96, 64], 0x3C)),
        ),
        (
            "one matrix declared dense",
            &["module-packed"],
            said("dynamic", json!({"-:.*layers\\.1\\.mlp\\.up_proj": {}})),
        ),
        (
            "lost configuration",
            &["quantization-config-missing"],
            FOUR.small().unset("quantization_config"),
        ),
    ]);
    // configuration in a file of its own, as older tools keep it
    let mut aside = FOUR.small();
    let block = aside.config["quantization_config"].take();
    aside = aside
        .unset("quantization_config")
        .file("quantize_config.json", block.to_string().as_bytes());
    assert!(aside.inspect().accepted(), "{:?}", aside.inspect().problems);
}

/// A matrix that was left as it is.
fn dense(name: &str, out: usize, cols: usize) -> Vec<Tensor> {
    let shape = [out as u64, cols as u64];
    vec![Tensor::new(&format!("{name}.weight"), Dtype::BF16, &shape, 0x3C)]
}

/// Patterns are matched from the start of whole names; one that matches nothing changed nothing.
#[test]
fn gptq_modules_of_their_own() {
    let mixed = |dynamic: Value| {
        let config = json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": true, "desc_act": false, "checkpoint_format": "gptq", "dynamic": dynamic});
        tiny(config, |name, out, cols| match name {
            n if n.contains("down_proj") => Writing {
                bits: 8,
                group: 16,
                ..FOUR
            }
            .tensors(name, out, cols),
            n if n.contains("o_proj") => dense(name, out, cols),
            _ => FOUR.tensors(name, out, cols),
        })
    };
    let good = mixed(json!({"+:.*down_proj": {"bits": 8, "group_size": 16}, "-:.*o_proj": {}}));
    let found = good.inspect();
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(found.scheme, "W4A16 g32 sym + W8A16 g16 sym");
    let missed =
        mixed(json!({r"+:model\.layers\.[0-9]+\.(down_proj)": {"bits": 8, "group_size": 16}, "-:.*o_proj": {}}))
            .inspect();
    assert!(codes(&missed.problems).contains(&"module-bits"));
    let idle = FOUR
        .small()
        .quant(|q| q["dynamic"] = json!({r"+:model\.layers\.[0-9]+\.(q_proj)": {"bits": 8}}))
        .inspect();
    assert!(idle.accepted() && codes(&idle.findings).contains(&"dynamic-matches-nothing"));
    let listed = mixed(json!({".*down_proj": {"bits": 8, "group_size": 16}})).quant(|q| {
        q["modules_in_block_to_quantize"] = json!([
            ["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"],
            ["mlp.up_proj", "mlp.gate_proj"],
            ["mlp.down_proj"]
        ])
    });
    assert!(listed.inspect().accepted(), "{:?}", listed.inspect().problems);
}

#[test]
fn auto_round_modules_of_their_own() {
    let config = |extra: Value| json!({"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": true, "data_type": "int", "packing_format": "auto_round:auto_gptq", "extra_config": extra});
    let make = |extra: Value| {
        tiny(config(extra), |name, out, cols| match name {
            n if n.contains("down_proj") => Writing { bits: 8, ..FOUR }.tensors(name, out, cols),
            n if n.contains("o_proj") => dense(name, out, cols),
            _ => FOUR.tensors(name, out, cols),
        })
    };
    let extra = json!({"model.layers.0.mlp.down_proj": {"bits": 8}, ".*layers\\.1.*down_proj": {"bits": 8}, ".*o_proj": {"bits": 16, "data_type": "float"}});
    let found = make(extra.clone()).inspect();
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    let refused = make(extra)
        .quant(|q| q["packing_format"] = json!("auto_round:mlx"))
        .inspect();
    assert_eq!(codes(&refused.problems), ["format-refused"]);
}
