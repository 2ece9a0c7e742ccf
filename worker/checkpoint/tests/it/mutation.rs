//! Random files: what is written is read back, what is broken is refused, and nothing panics.

use std::collections::BTreeMap;

use assay_checkpoint::safetensors::{Dtype, NewTensor, file_length, parse_header, write};
use assay_checkpoint::{Content, Listing, verify};
use proptest::prelude::*;

use crate::support::*;

fn dtype() -> impl Strategy<Value = Dtype> {
    prop::sample::select(vec![
        Dtype::BOOL,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E4M3,
        Dtype::I16,
        Dtype::F16,
        Dtype::BF16,
        Dtype::I32,
        Dtype::F32,
        Dtype::F64,
        Dtype::I64,
    ])
}

fn files() -> impl Strategy<Value = BTreeMap<String, (Dtype, Vec<u64>)>> {
    prop::collection::btree_map(
        "[a-zA-Z0-9._-]{1,40}",
        (dtype(), prop::collection::vec(1u64..5, 0..=4)),
        1..12,
    )
}

/// A valid submission as bytes: header and texts that the second test mutates.
fn listing() -> Listing {
    Small::packed().file("recipe.yaml", b"default_stage:\n  default_modifiers:\n    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16}\n").listing()
}

fn content(file: &mut Content) -> &mut Vec<u8> {
    match file {
        Content::Header(bytes) | Content::Text(bytes) => bytes,
        _ => panic!(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(entries in files()) {
        let data: Vec<Vec<u8>> = entries.values().map(|(d, s)| vec![7; (s.iter().product::<u64>() * d.bits() / 8) as usize]).collect();
        let tensors: Vec<NewTensor> = entries
            .iter()
            .zip(&data)
            .map(|((name, (dtype, shape)), data)| NewTensor { name: name.clone(), dtype: *dtype, shape: shape.clone(), data })
            .collect();
        let file = write(&tensors, &[("format", "pt")]).unwrap();
        let header = parse_header(&file, file.len() as u64).unwrap();
        prop_assert_eq!(header.file_bytes, file.len() as u64);
        prop_assert_eq!(header.header_bytes % 8, 0);
        let listed = header.tensors.iter().map(|(name, t)| (name.as_str(), t.dtype, t.shape.as_slice()));
        let metadata = BTreeMap::from([("format", "pt")]);
        prop_assert_eq!(file_length(listed, &metadata), Some(header.file_bytes));
        prop_assert_eq!(header.metadata.get("format").map(String::as_str), Some("pt"));
        let read: BTreeMap<String, (Dtype, Vec<u64>)> = header.tensors.into_iter().map(|(n, t)| (n, (t.dtype, t.shape))).collect();
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn broken_files_are_judged_without_panic(
        which in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        bytes in prop::option::of(any::<u64>()),
    ) {
        let mut listing = listing();
        let file = &mut listing.files[which];
        let content = content(&mut file.content);
        for (at, value, how) in edits {
            if content.is_empty() { break; }
            let at = at.index(content.len());
            match how {
                0 => content[at] = value,
                1 => { content.remove(at); }
                2 => content.insert(at, value),
                _ => content[at] ^= 1 << (value % 8),
            }
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len() + 1));
        }
        if let Some(bytes) = bytes {
            file.bytes = bytes;
        }
        let found = verify(&listing, Some(&base_small()), Some(&rules()));
        prop_assert_eq!(found.accepted(), found.problems.is_empty());
        prop_assert_eq!(found.bytes.groups.iter().map(|g| u128::from(g.bytes)).sum::<u128>(), u128::from(found.bytes.total));
        for p in found.problems.iter().chain(&found.findings) {
            prop_assert!(!p.code.is_empty() && !p.message.en.is_empty() && !p.message.ko.is_empty() && !p.fix.en.is_empty() && !p.fix.ko.is_empty());
        }
    }

    /// JSON values of any type in any place of config.json.
    #[test]
    fn odd_values_in_config_are_judged_without_panic(
        field in any::<prop::sample::Index>(),
        deep in any::<prop::sample::Index>(),
        value in prop::sample::select(vec!["null", "true", "0", "-1", "1", "7", "18446744073709551615", "1e308", "0.5", "\"\"", "\"x\"", "\"W4A16\"", "[]", "{}", "[1,[2]]", "{\"a\":{}}", "\"re:(\"", "[\"re:.*\"]"]),
    ) {
        let mut small = Small::packed();
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        let keys: Vec<String> = small.config.as_object().unwrap().keys().cloned().collect();
        let key = &keys[field.index(keys.len())];
        small.config[key] = value.clone();
        let found = small.inspect();
        prop_assert_eq!(found.accepted(), found.problems.is_empty());
        // and inside the quantization configuration
        let mut small = Small::packed();
        let places = ["/quant_method", "/format", "/config_groups", "/ignore", "/version", "/quantization_status", "/config_groups/group_0",
            "/config_groups/group_0/targets", "/config_groups/group_0/weights", "/config_groups/group_0/weights/num_bits",
            "/config_groups/group_0/weights/group_size", "/config_groups/group_0/weights/strategy", "/config_groups/group_0/weights/symmetric",
            "/config_groups/group_0/weights/dynamic", "/config_groups/group_0/weights/type", "/config_groups/group_0/input_activations"];
        *small.config["quantization_config"].pointer_mut(places[deep.index(places.len())]).unwrap() = value;
        let found = small.inspect();
        prop_assert_eq!(found.accepted(), found.problems.is_empty());
    }
}

fn base_small() -> assay_checkpoint::BaseModel {
    assay_checkpoint::BaseModel::new(Small::dense().config, None, None, None)
}
