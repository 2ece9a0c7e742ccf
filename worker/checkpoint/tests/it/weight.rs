//! Every hint is carried out, by the tools themselves or here, and the files get shorter by exactly what was said.

use std::collections::{BTreeMap, BTreeSet};

use assay_checkpoint::safetensors::{Dtype, NewTensor, file_length, header_of, parse_header};
use assay_checkpoint::{Content, Inspection, Listing, verify};
use serde_json::{Value, json};

use crate::support::*;

fn all_rules() -> assay_contest::CheckpointRules {
    let mut rules = rules();
    rules.modules = ["Linear", "lm_head", "embed_tokens"].map(String::from).to_vec();
    rules
}

fn saves(found: &Inspection, code: &str) -> u64 {
    found
        .hints
        .iter()
        .find(|h| h.code == code)
        .unwrap_or_else(|| panic!("{code}: {:#?}", found.hints))
        .saves
}

#[test]
fn what_tools_wrote_is_as_long_as_predicted() {
    for entry in std::fs::read_dir(fixtures().join("checkpoints")).unwrap() {
        let listing = Listing::read_dir(&entry.unwrap().path()).unwrap();
        for file in listing.files {
            if let Content::Header(prefix) = &file.content {
                let header = parse_header(prefix, file.bytes).unwrap();
                let tensors = header
                    .tensors
                    .iter()
                    .map(|(name, t)| (name.as_str(), t.dtype, t.shape.as_slice()));
                let metadata: BTreeMap<&str, &str> =
                    header.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                assert_eq!(file_length(tensors, &metadata), Some(file.bytes), "{}", file.name);
            }
        }
    }
}

/// The same model by the same tool, before and after.
#[test]
fn hints_are_the_difference_between_what_tools_wrote() {
    let length = |name: &str| {
        let listing = Listing::read_dir(&checkpoint(name)).unwrap();
        verify(&listing, Some(&base()), Some(&rules()))
    };
    for (from, code, to) in [
        ("base", "dense-matrices", "w4a16-gptq"),
        ("untied-w4a16", "untied-duplicate", "w4a16-gptq"),
        ("w4a16-g32", "small-groups", "w4a16-gptq"),
        ("w4a16-asym", "zero-points", "w4a16-gptq"),
        ("w4a16-actorder-group", "group-indices", "w4a16-gptq"),
        ("w4a8", "loose-codes", "w4a16-gptq"),
        ("w8a16", "eight-bit-matrices", "w4a16-gptq"),
        ("w8a8", "eight-bit-matrices", "w4a16-gptq"),
        ("w8a8-asym-static", "eight-bit-matrices", "w4a16-gptq"),
        ("fp8-dynamic", "eight-bit-matrices", "w4a16-gptq"),
        ("fp8-static", "eight-bit-matrices", "w4a16-gptq"),
    ] {
        let (before, after) = (length(from), length(to));
        assert_eq!(
            saves(&before, code),
            before.bytes.total - after.bytes.total,
            "{from}: {code}"
        );
    }
    // nothing is left to say about the smallest of them but what the contest would have to allow
    assert_eq!(length("w4a16-gptq").hints, []);
}

/// Carries the hint out on a small model and compares file lengths.
fn carried_out(code: &str, before: &Small, carry_out: impl Fn(&mut Vec<Tensor>)) {
    let found = verify(&before.listing(), None, Some(&all_rules()));
    let mut after = before.clone();
    carry_out(&mut after.tensors);
    let shorter = file_of(&before.tensors).len() - file_of(&after.tensors).len();
    assert_eq!(saves(&found, code), shorter as u64, "{code}");
}

fn weights(bits: u8, group: u64, symmetric: bool) -> Value {
    json!({"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": group, "dynamic": false})
}

fn resize(t: &mut Tensor, dtype: Dtype, shape: &[u64]) {
    *t = Tensor::new(&t.name.clone(), dtype, shape, 1);
}

#[test]
fn hints_carried_out() {
    let embedding = |dtype| Tensor::new("lm_head.weight", dtype, &[VOCAB, HIDDEN], 0x3C);
    carried_out("tied-copy", &Small::dense().with(embedding(Dtype::BF16)), |all| {
        all.retain(|t| t.name != "lm_head.weight")
    });

    let mut wide = Small::packed();
    for t in wide
        .tensors
        .iter_mut()
        .filter(|t| t.name.ends_with(".weight_scale") || t.name.ends_with("norm.weight"))
    {
        resize(t, Dtype::F32, &t.shape.clone());
    }
    for (code, suffix) in [("wide-scales", ".weight_scale"), ("wide-floats", ".weight")] {
        carried_out(code, &wide, |all| {
            for t in all
                .iter_mut()
                .filter(|t| t.name.ends_with(suffix) && t.dtype == Dtype::F32)
            {
                resize(t, Dtype::BF16, &t.shape.clone());
            }
        });
    }

    let token = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true});
    for (bits, symmetric) in [(4u8, true), (4, false), (3, false), (6, true)] {
        carried_out(
            "loose-codes",
            &Small::coded(&weights(bits, 16, symmetric), &token),
            |all| {
                let mut shapes = Vec::new();
                for t in all.iter_mut().filter(|t| t.dtype == Dtype::I8) {
                    let (rows, cols) = (t.shape[0], t.shape[1]);
                    if let Some(stem) = t.name.strip_suffix(".weight") {
                        shapes.push(Tensor::new(&format!("{stem}.weight_shape"), Dtype::I64, &[2], 0));
                        t.name += "_packed";
                        resize(t, Dtype::I32, &[rows, (cols * u64::from(bits)).div_ceil(32)]);
                    } else {
                        resize(t, Dtype::I32, &[(rows * u64::from(bits)).div_ceil(32), cols]);
                    }
                }
                all.extend(shapes);
            },
        );
    }

    for symmetric in [true, false] {
        carried_out("small-groups", &Small::packed_with(&weights(4, 16, symmetric)), |all| {
            for t in all
                .iter_mut()
                .filter(|t| t.name.ends_with("_scale") || t.name.ends_with("_zero_point"))
            {
                // no matrix has more than 128 columns
                resize(t, t.dtype, &[t.shape[0], 1]);
            }
        });
    }

    let unused = Tensor::new("model.rotary_emb.inv_freq", Dtype::F32, &[4], 1);
    carried_out("unused-tensors", &Small::dense().with(unused), |all| {
        all.retain(|t| !t.name.ends_with("inv_freq"))
    });

    // an own head and the embedding, where the contest opens them
    let mut untied = Small::packed()
        .with(embedding(Dtype::F16))
        .set("tie_word_embeddings", json!(false));
    untied.tensor("lm_head.weight").data[0] ^= 1;
    for (code, name) in [("dense-head", "lm_head"), ("dense-embedding", "model.embed_tokens")] {
        carried_out(code, &untied, |all| {
            all.retain(|t| t.name != format!("{name}.weight"));
            for (suffix, dtype, shape) in [
                ("packed", Dtype::I32, [VOCAB, HIDDEN / 8].as_slice()),
                ("scale", Dtype::BF16, &[VOCAB, 1]),
                ("shape", Dtype::I64, &[2]),
            ] {
                all.push(Tensor::new(&format!("{name}.weight_{suffix}"), dtype, shape, 0));
            }
        });
    }
}

/// A header that somebody wrote with blanks and a message in it.
#[test]
fn slack_of_the_header() {
    let small = Small::dense();
    let tensors: Vec<NewTensor> = small
        .tensors
        .iter()
        .map(|t| NewTensor {
            name: t.name.clone(),
            dtype: t.dtype,
            shape: t.shape.clone(),
            data: &t.data,
        })
        .collect();
    let usual = header_of(&tensors, &[("format", "pt")]).unwrap().1;
    let (prefix, bytes) = header_of(&tensors, &[("format", "pt"), ("note", "trained with love")]).unwrap();
    let blanks = 4096u64;
    let mut wide = ((prefix.len() - 8) as u64 + blanks).to_le_bytes().to_vec();
    wide.extend_from_slice(&prefix[8..]);
    wide.extend(std::iter::repeat_n(b' ', blanks as usize));
    let mut listing = small.listing();
    let file = listing
        .files
        .iter_mut()
        .find(|f| f.name == "model.safetensors")
        .unwrap();
    (file.bytes, file.content) = (bytes + blanks, Content::Header(wide));
    let found = verify(&listing, None, None);
    assert_eq!(saves(&found, "header-slack"), bytes + blanks - usual);
    assert!(
        verify(&small.listing(), None, None)
            .hints
            .iter()
            .all(|h| h.code != "header-slack")
    );
}

/// Each tensor stays in its shard: only the files that change count, and one that is left with nothing goes.
#[test]
fn hints_in_shards() {
    let small = Small::dense().with(Tensor::new("lm_head.weight", Dtype::BF16, &[VOCAB, HIDDEN], 0x3C));
    let (head, rest): (Vec<Tensor>, Vec<Tensor>) =
        small.tensors.iter().cloned().partition(|t| t.name == "lm_head.weight");
    let map: serde_json::Map<String, Value> = rest
        .iter()
        .map(|t| (t.name.clone(), json!("model-00001-of-00002.safetensors")))
        .chain([("lm_head.weight".to_owned(), json!("model-00002-of-00002.safetensors"))])
        .collect();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    let mut listing = small.listing();
    listing.files.retain(|f| f.name != "model.safetensors");
    listing
        .files
        .push(weights_of("model-00001-of-00002.safetensors", &file_of(&rest)));
    listing
        .files
        .push(weights_of("model-00002-of-00002.safetensors", &file_of(&head)));
    let mut index_file = listing.files[0].clone();
    (index_file.name, index_file.bytes) = ("model.safetensors.index.json".into(), index.len() as u64);
    index_file.content = Content::Text(index.into_bytes());
    listing.files.push(index_file);
    let found = verify(&listing, None, None);
    assert_eq!(codes(&found.problems), Vec::<&str>::new());
    assert_eq!(saves(&found, "tied-copy"), file_of(&head).len() as u64);
}

/// A quantized matrix of a broken file: what could be saved was once counted by config.json, and more than there was.
#[test]
fn hints_never_promise_more_than_there_is() {
    for name in ["w8a16", "w8a8", "w4a16-g32", "base"] {
        let mut listing = Listing::read_dir(&checkpoint(name)).unwrap();
        let file = listing
            .files
            .iter_mut()
            .find(|f| f.name.ends_with(".safetensors"))
            .unwrap();
        (file.bytes, file.content) = (3, Content::Header(vec![3, 3, 3]));
        let found = verify(&listing, None, None);
        assert_eq!(found.bytes.total, 3);
        assert_eq!(found.hints, [], "{name}");
    }
}

#[test]
fn every_group_has_a_name_of_its_own() {
    let found = verify(
        &Listing::read_dir(&checkpoint("w4a16-actorder-group")).unwrap(),
        None,
        None,
    );
    let columns: u64 = 4 * (6 * 256 + 512);
    assert_eq!(found.bytes.group("indices"), 4 * columns);
    assert_eq!(found.bytes.group("shapes"), 28 * 16);
    let names: BTreeSet<&str> = found.bytes.groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names.len(), found.bytes.groups.len());
}
