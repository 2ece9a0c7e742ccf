//! Other tools' formats: files those tools wrote, by the weights those tools read from them (tests/fixtures/foreign/make.py), and
//! files written here by the book, whole and broken.

use assay_checkpoint::number::{f16_to_f32, f32_to_bf16, f32_to_f16};
use assay_checkpoint::safetensors::{Dtype, parse_header};
use assay_checkpoint::{Checkpoint, Inspection, Linear, Listing, Matrix, verify, verify_data};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::*;

fn look(dir: &std::path::Path) -> Inspection {
    verify_data(dir, &verify(&Listing::read_dir(dir).unwrap(), None, None))
}

fn digest(checkpoint: &Checkpoint) -> String {
    let mut hash = Sha256::new();
    let mut add = |matrix: &Matrix| {
        let mut row = vec![0u16; matrix.cols];
        for r in 0..matrix.rows {
            matrix.row_bf16(r, &mut row);
            for bits in &row {
                // the sign of a zero is no value's
                let bits = if *bits == 0x8000 { 0 } else { *bits };
                hash.update(bits.to_le_bytes());
            }
        }
    };
    for layer in 0..checkpoint.config().layers {
        Linear::ALL
            .into_iter()
            .for_each(|which| add(&checkpoint.linear(layer, which).unwrap()));
    }
    add(&checkpoint.embedding().unwrap());
    hex::encode(&hash.finalize()[..8])
}

/// What each folder is taken for; findings apart from the missing recipe and tokenizer, which none of these has.
const WRITTEN: &[(&str, &str, &str, &[&str])] = &[
    ("gptq-v1-4", "gptq", "W4A16 g32 asym", &[]),
    ("gptq-v1-3", "gptq", "W3A16 g32 asym", &[]),
    ("gptq-v2-2", "gptq", "W2A16 g32 asym", &[]),
    ("autoround-8", "auto-round", "W8A16 g32 asym", &[]),
    ("autoround-3", "auto-round", "W3A16 g32 sym", &[]),
    ("awq-gemm", "awq", "W4A16 g32 asym", &[]),
    ("fp8-bf16", "fp8", "W8A8 fp block sym", &[]),
    ("bnb-nf4", "bitsandbytes", "W4A16 nf4", &[]),
    ("bnb-nf4-nested", "bitsandbytes", "W4A16 nf4 nested", &[]),
    ("bnb-fp4", "bitsandbytes", "W4A16 fp4", &[]),
    (
        "bnb-int8",
        "bitsandbytes",
        "W8A16 channel sym",
        &["inputs-not-quantized"],
    ),
    ("hqq-4", "hqq", "W4A16 g64 asym", &[]),
    ("hqq-3", "hqq", "W3A16 g32 asym", &[]),
    ("hqq-2-axis0", "hqq", "W2A16 g32 axis 0 asym", &[]),
    ("torchao-int8", "torchao", "W8A16 channel asym", &[]),
    ("torchao-float8", "torchao", "W8A16 fp channel sym", &[]),
    ("torchao-intx4", "torchao", "W8A16 g32 asym", &[]),
];

#[test]
fn every_weight_is_what_the_tool_itself_reads() {
    let folder = fixtures().join("foreign");
    let digests: Value = serde_json::from_slice(&std::fs::read(folder.join("digests.json")).unwrap()).unwrap();
    for (name, format, scheme, findings) in WRITTEN {
        let found = look(&folder.join(name));
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{name}: {:?}",
            found.problems
        );
        assert_eq!(
            (found.format.as_str(), found.scheme.as_str()),
            (*format, *scheme),
            "{name}"
        );
        let told: Vec<&str> = codes(&found.findings)
            .into_iter()
            .filter(|code| !["recipe-absent", "tokenizer-absent"].contains(code))
            .collect();
        assert_eq!(told, *findings, "{name}");
        let checkpoint = Checkpoint::open(&folder.join(name)).unwrap();
        assert_eq!(digest(&checkpoint), digests[*name].as_str().unwrap(), "{name}");
    }
}

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

/// A model whose matrices can be packed at every width: two layers, width 64, one key head of 32, MLP of 96.
fn tiny(quantization: Value, put: impl Fn(&str, usize, usize) -> Vec<Tensor>) -> Small {
    let mut small = Small::dense();
    small.tensors.retain(|t| !t.name.contains("_proj"));
    for (field, value) in [
        ("hidden_size", 64),
        ("intermediate_size", 96),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("head_dim", 32),
    ] {
        small.config[field] = json!(value);
    }
    small.config["quantization_config"] = quantization;
    for t in &mut small.tensors {
        let width = if t.name.contains("q_norm") || t.name.contains("k_norm") {
            32
        } else {
            64
        };
        *t.shape.last_mut().unwrap() = width;
        t.data = vec![0x3C; 2 * t.shape.iter().product::<u64>() as usize];
    }
    for i in 0..2 {
        for (m, out, cols) in [
            ("self_attn.q_proj", 64, 64),
            ("self_attn.k_proj", 32, 64),
            ("self_attn.v_proj", 32, 64),
            ("self_attn.o_proj", 64, 64),
            ("mlp.gate_proj", 96, 64),
            ("mlp.up_proj", 96, 64),
            ("mlp.down_proj", 64, 96),
        ] {
            small.tensors.extend(put(&format!("model.layers.{i}.{m}"), out, cols));
        }
    }
    small
}

fn tensor(name: String, dtype: Dtype, shape: &[usize], data: Vec<u8>) -> Tensor {
    let shape = shape.iter().map(|d| *d as u64).collect();
    Tensor {
        name,
        dtype,
        shape,
        data,
    }
}

fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A number that looks random, below `limit`.
fn some(seed: usize, limit: u32) -> u32 {
    ((seed as u32)
        .wrapping_mul(2_654_435_761)
        .rotate_left(7)
        .wrapping_mul(40_503)
        >> 8)
        % limit
}

/// Fields packed one bit at a time.
fn packed(fields: &[u32], bits: usize) -> Vec<u32> {
    let mut words = vec![0; (fields.len() * bits).div_ceil(32)];
    for (i, f) in fields.iter().enumerate() {
        for b in 0..bits {
            let at = i * bits + b;
            words[at / 32] |= (f >> b & 1) << (at % 32);
        }
    }
    words
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

const UP: &str = "model.layers.1.mlp.up_proj";

fn data_codes(small: &Small) -> (Vec<String>, Vec<String>) {
    let dir = small.save();
    let found = look(dir.path());
    let list = |problems: &[assay_contest::Problem]| {
        let kept = codes(problems)
            .into_iter()
            .filter(|c| !["recipe-absent", "tokenizer-absent"].contains(c));
        kept.map(String::from).collect()
    };
    (list(&found.problems), list(&found.findings))
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
            n if n.contains("o_proj") => vec![Tensor::new(
                &format!("{name}.weight"),
                Dtype::BF16,
                &[out as u64, cols as u64],
                0x3C,
            )],
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
            n if n.contains("o_proj") => vec![Tensor::new(
                &format!("{name}.weight"),
                Dtype::BF16,
                &[out as u64, cols as u64],
                0x3C,
            )],
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

#[test]
fn awq_layouts() {
    let folder = fixtures().join("foreign/awq-gemm");
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let with = |field: &str, value: Value| {
        let mut config = config.clone();
        config["quantization_config"][field] = value;
        verify(&listing_of(config.to_string().as_bytes(), &weights, &[]), None, None)
    };
    assert!(with("version", json!("GEMM")).accepted());
    for version in ["gemv", "gemv_fast", "marlin", "exllama", "ipex"] {
        let found = with("version", json!(version));
        assert_eq!(codes(&found.problems), ["format-refused"], "{version}");
        assert!(found.problems[0].fix.en.contains("GEMM"));
    }
    assert_eq!(codes(&with("bits", json!(8)).problems), ["format-refused"]);
    assert!(
        codes(&with("modules_to_not_convert", json!(["o_proj"])).problems)
            .iter()
            .all(|c| *c == "module-packed")
    );
}

#[test]
fn float8_of_other_tools() {
    let weight = |name: &str, out: usize, cols: usize| {
        let codes = (0..out * cols)
            .map(|i| (some(i, 0x7E) as u8) | u8::from(i.is_multiple_of(3)) << 7)
            .collect();
        tensor(format!("{name}.weight"), Dtype::F8_E4M3, &[out, cols], codes)
    };
    let make = |config: Value,
                dtype: Dtype,
                shape: fn(usize, usize) -> Vec<usize>,
                suffix: &'static str,
                input: Option<&'static str>| {
        tiny(config, move |name, out, cols| {
            let shape = shape(out, cols);
            let count = shape.iter().product::<usize>().max(1);
            let fill = match dtype {
                Dtype::U8 => vec![120; count],
                _ => 0.01f32.to_le_bytes().repeat(count),
            };
            let mut list = vec![
                weight(name, out, cols),
                tensor(format!("{name}.{suffix}"), dtype, &shape, fill),
            ];
            if let Some(input) = input {
                list.push(tensor(
                    format!("{name}.{input}"),
                    Dtype::F32,
                    &[],
                    0.05f32.to_le_bytes().to_vec(),
                ));
            }
            list
        })
    };
    let blocks = |r: usize, c: usize| json!({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [r, c], "modules_to_not_convert": null});
    let accepted = |what: &str, small: &Small, scheme: &str| {
        let dir = small.save();
        let found = look(dir.path());
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{what}: {:?}",
            found.problems
        );
        assert_eq!(found.scheme, scheme, "{what}");
        Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Down).unwrap()
    };
    accepted(
        "blocks",
        &make(
            blocks(128, 128),
            Dtype::F32,
            |r, c| vec![r.div_ceil(128), c.div_ceil(128)],
            "weight_scale_inv",
            None,
        ),
        "W8A8 fp block sym",
    );
    let micro = make(
        blocks(32, 16),
        Dtype::U8,
        |r, c| vec![r.div_ceil(32), c.div_ceil(16)],
        "weight_scale_inv",
        None,
    )
    .quant(|q| q["scale_fmt"] = json!("ue8m0"));
    let matrix = accepted("ue8m0", &micro, "W8A8 fp block sym");
    let mut row = vec![0f32; 96];
    matrix.row_f32(3, &mut row);
    let code = |i: usize| (some(i, 0x7E) as u8) | u8::from(i.is_multiple_of(3)) << 7;
    let expected: Vec<f32> = (0..96)
        .map(|c| assay_checkpoint::number::e4m3_to_f32(code(3 * 96 + c)) / 128.0)
        .collect();
    assert_eq!(row, expected);
    let mut nan = micro.clone();
    nan.tensor(&format!("{UP}.weight_scale_inv")).data[0] = 255;
    assert_eq!(data_codes(&nan).0, ["non-finite"]);
    let whole = json!({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]});
    let fixed = make(
        whole.clone(),
        Dtype::F32,
        |_, _| vec![],
        "weight_scale",
        Some("input_scale"),
    );
    let matrix = accepted("static", &fixed, "W8A8 fp tensor sym");
    assert!(format!("{:?}", matrix.inputs).contains("Fixed"), "{:?}", matrix.inputs);
    accepted(
        "static, transformers",
        &make(
            whole.clone(),
            Dtype::F32,
            |_, _| vec![1],
            "weight_scale_inv",
            Some("activation_scale"),
        ),
        "W8A8 fp tensor sym",
    );
    accepted(
        "dynamic",
        &make(
            json!({"quant_method": "fp8", "activation_scheme": "dynamic"}),
            Dtype::F32,
            |_, _| vec![1],
            "weight_scale",
            None,
        ),
        "W8A8 fp tensor sym",
    );
    let rows = make(
        json!({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}),
        Dtype::F32,
        |r, _| vec![r, 1],
        "weight_scale",
        None,
    );
    accepted("fbgemm", &rows, "W8A8 fp channel sym");
    let mut bad = rows.clone();
    bad.tensor(&format!("{UP}.weight")).data[7] = 0x7F;
    assert_eq!(data_codes(&bad).0, ["non-finite"]);

    // announced and not done: vLLM would read garbage, transformers would quantize while loading
    let dense = Small::dense().set("quantization_config", whole);
    assert_eq!(codes(&dense.inspect().problems), ["not-compressed"]);
}

/// A fixture of a real tool, its files changed.
fn changed(name: &str, change: impl FnOnce(&mut Value, &mut Vec<Tensor>)) -> tempfile::TempDir {
    let folder = fixtures().join("foreign").join(name);
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let file = std::fs::read(folder.join("model.safetensors")).unwrap();
    let header = parse_header(&file, file.len() as u64).unwrap();
    let mut tensors: Vec<Tensor> = header
        .tensors
        .iter()
        .map(|(name, info)| {
            let at = (header.header_bytes + info.begin) as usize;
            tensor(
                name.clone(),
                info.dtype,
                &[],
                file[at..at + info.bytes() as usize].to_vec(),
            )
            .shaped(&info.shape)
        })
        .collect();
    change(&mut config, &mut tensors);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), file_of(&tensors)).unwrap();
    dir
}

impl Tensor {
    fn shaped(mut self, shape: &[u64]) -> Tensor {
        self.shape = shape.into();
        self
    }
}

fn at<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|t| t.name == name).unwrap()
}

#[test]
fn bitsandbytes_broken_in_one_place() {
    let state = format!("{UP}.weight.quant_state.bitsandbytes__nf4");
    let edited = |name: &str, from: &str, to: &str| {
        let dir = changed(name, |_, tensors| {
            let t = at(tensors, &state);
            let text = String::from_utf8(t.data.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            t.data = text.replace(from, to).into_bytes();
            t.shape = vec![t.data.len() as u64];
        });
        codes(&look(dir.path()).problems)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(edited("bnb-nf4", "nf4", "nf4"), Vec::<String>::new());
    for (from, to) in [
        ("\"nf4\"", "\"fp4\""),
        ("160", "161"),
        ("bfloat16", "int8"),
        ("{", "["),
        ("blocksize\": 64", "blocksize\": 128"),
        ("blocksize\": 64", "blocksize\": 0"),
    ] {
        assert_eq!(edited("bnb-nf4", from, to), ["quant-state"], "{from} → {to}");
    }
    assert_eq!(edited("bnb-nf4-nested", "nested_offset", "offset"), ["quant-state"]);
    assert_eq!(
        edited(
            "bnb-nf4-nested",
            "\"nested_blocksize\": 256",
            "\"nested_blocksize\": 64"
        ),
        ["quant-state"]
    );
    // a table of one's own would carry what no code says
    let dir = changed("bnb-nf4", |_, tensors| {
        at(tensors, &format!("{UP}.weight.quant_map")).data[..4].copy_from_slice(&0.5f32.to_le_bytes())
    });
    assert_eq!(codes(&look(dir.path()).problems), ["quant-state"]);
    let dir = changed("bnb-nf4", |config, _| {
        config["quantization_config"]["bnb_4bit_quant_storage"] = json!("bfloat16")
    });
    assert_eq!(codes(&look(dir.path()).problems), ["format-refused"]);
    let dir = changed("bnb-int8", |_, tensors| {
        at(tensors, &format!("{UP}.weight_format")).data = vec![2]
    });
    assert_eq!(codes(&look(dir.path()).problems), ["quant-state"]);
    let dir = changed("bnb-nf4", |_, tensors| {
        let t = at(tensors, &format!("{UP}.weight.absmax"));
        (t.data, t.shape) = (vec![0; 28], vec![7]);
    });
    assert_eq!(codes(&look(dir.path()).problems), ["tensor-shape"]);
}

#[test]
fn hqq_and_torchao_broken_in_one_place() {
    let hqq = |change: fn(&mut Value, &mut Vec<Tensor>)| {
        let dir = changed("hqq-4", change);
        codes(&look(dir.path()).problems)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(hqq(|_, _| ()), Vec::<String>::new());
    assert_eq!(hqq(|_, t| at(t, &format!("{UP}.axis")).data[0] = 0), ["hqq-metadata"]);
    assert_eq!(hqq(|_, t| at(t, &format!("{UP}.shape")).data[0] = 1), ["hqq-metadata"]);
    assert_eq!(
        hqq(|_, t| at(t, &format!("{UP}.quant_zero")).data[0] = 1),
        ["hqq-metadata"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["zero_quant_params"] = json!({"nbits": 8})),
        ["format-refused"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["weight_quant_params"]["nbits"] = json!(5)),
        ["quantization-config-invalid"]
    );
    assert_eq!(
        hqq(|c, _| c["quantization_config"]["quant_config"] = json!(null)),
        ["quantization-config-invalid"]
    );
    assert!(
        hqq(|c, _| c["quantization_config"]["quant_config"]["weight_quant_params"]["group_size"] = json!(7))
            .contains(&"packing-width".into())
    );
    let ao = |name: &str, change: fn(&mut Value, &mut Vec<Tensor>)| {
        let dir = changed(name, change);
        codes(&look(dir.path()).problems)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let narrow = |c: &mut Value| {
        c["quantization_config"]["quant_type"]["default"]["_data"] =
            json!({"weight_dtype": {"_type": "torch.dtype", "_data": "int4"}})
    };
    let dir = changed("torchao-intx4", |c, _| narrow(c));
    let found = look(dir.path());
    assert!(
        found.accepted() && found.scheme == "W4A16 g32 asym",
        "{:?}",
        found.problems
    );
    let dir = changed("torchao-intx4", |c, t| {
        narrow(c);
        at(t, &format!("{UP}._weight_qdata")).data[0] = 8;
    });
    assert_eq!(codes(&look(dir.path()).problems), ["code-out-of-range"]);
    assert_eq!(
        ao("torchao-float8", |_, t| at(t, &format!("{UP}._weight_qdata")).data[0] =
            0x7F),
        ["non-finite"]
    );
    assert_eq!(
        ao("torchao-int8", |_, t| at(t, &format!("{UP}._weight_qdata")).dtype =
            Dtype::U8),
        ["format-refused"]
    );
}

/// torchao's plain int4: signed nibbles, the low one first, and a float offset: bf16(bf16(q · s) + z).
#[test]
fn torchao_int4_by_the_book() {
    let round = |x: f32| assay_checkpoint::number::bf16_to_f32(f32_to_bf16(x));
    let (scale, offset) = (
        |g: usize, n: usize| round(0.01 + 0.001 * ((3 * g + n) % 11) as f32),
        |g: usize, n: usize| round(0.02 - 0.003 * ((g + n) % 9) as f32),
    );
    let code = |n: usize, k: usize| some(n * 131 + k, 16) as i32 - 8;
    let config = json!({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_version": 2, "_data": {"group_size": 32}}}, "modules_to_not_convert": null});
    let small = tiny(config, |name, out, cols| {
        let nibble = |n: usize, k: usize| (code(n, k) & 15) as u8;
        let qdata = (0..out)
            .flat_map(|n| (0..cols / 2).map(move |b| nibble(n, 2 * b) | nibble(n, 2 * b + 1) << 4))
            .collect();
        let grid = |value: &dyn Fn(usize, usize) -> f32| {
            (0..cols / 32)
                .flat_map(|g| (0..out).map(move |n| (g, n)))
                .flat_map(|(g, n)| f32_to_bf16(value(g, n)).to_le_bytes())
                .collect::<Vec<u8>>()
        };
        vec![
            tensor(format!("{name}._weight_qdata"), Dtype::I8, &[out, cols / 2], qdata),
            tensor(
                format!("{name}._weight_scale"),
                Dtype::BF16,
                &[cols / 32, out],
                grid(&scale),
            ),
            tensor(
                format!("{name}._weight_zero_point"),
                Dtype::BF16,
                &[cols / 32, out],
                grid(&offset),
            ),
        ]
    });
    let dir = small.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(found.scheme, "W4A16 g32 asym");
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(0, Linear::Down).unwrap();
    let mut row = vec![0f32; 96];
    for n in 0..64 {
        matrix.row_f32(n, &mut row);
        let expected: Vec<f32> = (0..96)
            .map(|k| round(round(code(n, k) as f32 * scale(k / 32, n)) + offset(k / 32, n)))
            .collect();
        assert_eq!(row, expected, "row {n}");
    }
}

/// ModelOpt: float8 as vLLM's, NVFP4 with a second scale that multiplies; both named in a file of their own or in config.json.
#[test]
fn modelopt_by_the_book() {
    let scale = |n: usize, g: usize| 0x30 + some(n * 31 + g, 16) as u8;
    let code = |n: usize, k: usize| some(n * 131 + k, 16) as u8;
    let four = |name: &str, out: usize, cols: usize| {
        vec![
            tensor(
                format!("{name}.weight"),
                Dtype::U8,
                &[out, cols / 2],
                (0..out)
                    .flat_map(|n| (0..cols / 2).map(move |b| code(n, 2 * b) | code(n, 2 * b + 1) << 4))
                    .collect(),
            ),
            tensor(
                format!("{name}.weight_scale"),
                Dtype::F8_E4M3,
                &[out, cols / 16],
                (0..out)
                    .flat_map(|n| (0..cols / 16).map(move |g| scale(n, g)))
                    .collect(),
            ),
            tensor(
                format!("{name}.weight_scale_2"),
                Dtype::F32,
                &[],
                0.0123f32.to_le_bytes().to_vec(),
            ),
            tensor(
                format!("{name}.input_scale"),
                Dtype::F32,
                &[],
                0.5f32.to_le_bytes().to_vec(),
            ),
        ]
    };
    let inside = json!({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]});
    let small = tiny(inside, four);
    let dir = small.save();
    let found = look(dir.path());
    assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{:?}", found.problems);
    assert_eq!(
        (found.format.as_str(), found.scheme.as_str()),
        ("modelopt", "W4A16 fp g16 sym")
    );
    let matrix = Checkpoint::open(dir.path()).unwrap().linear(1, Linear::Gate).unwrap();
    let mut row = vec![0; 64];
    for n in 0..96 {
        matrix.row_bf16(n, &mut row);
        let value = |k: usize| {
            assay_checkpoint::number::e2m1_to_f32(code(n, k))
                * (assay_checkpoint::number::e4m3_to_f32(scale(n, k / 16)) * 0.0123)
        };
        assert_eq!(
            row,
            (0..64).map(|k| f32_to_bf16(value(k))).collect::<Vec<_>>(),
            "row {n}"
        );
    }
    let mut aside = small.clone().unset("quantization_config");
    let text = json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": null, "group_size": 16, "exclude_modules": ["lm_head"]}});
    aside = aside.file("hf_quant_config.json", text.to_string().as_bytes());
    assert!(aside.inspect().accepted(), "{:?}", aside.inspect().problems);
    let other = small.clone().quant(|q| q["quant_algo"] = json!("W4A8_AWQ"));
    assert_eq!(codes(&other.inspect().problems), ["format-refused"]);
    let mut nan = small;
    nan.tensor(&format!("{UP}.weight_scale")).data[1] = 0x7F;
    assert_eq!(data_codes(&nan).0, ["non-finite"]);
}
