//! Wrong files, and shards that tell two stories.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Content, Inspection, ListedFile, Listing, verify};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn files() {
    let extra = |name: &str| Small::dense().file(name, b"x");
    let weights = file_of(&Small::dense().tensors);
    judge(vec![
        ("pickle", &["pickle-file"], extra("pytorch_model.bin")),
        ("pickle", &["pickle-file"], extra("model.pt")),
        ("code", &["code-file"], extra("modeling_exaone.py")),
        ("library", &["code-file"], extra("kernel.so")),
        ("gguf", &["format-refused"], extra("model.gguf")),
        ("adapter", &["adapter-file"], extra("adapter_config.json")),
        ("archive", &["file-not-allowed"], extra("weights.zip")),
        ("odd name", &["file-name"], extra("Copy of config.json")),
        ("path", &["file-name"], extra("../../etc/passwd")),
        ("look-alike", &["file-name"], extra("configс.json")),
        ("case", &["file-not-allowed", "file-duplicate"], extra("CONFIG.JSON")),
        (
            "readme is a finding",
            &[],
            extra("README.md").file(".gitattributes", b""),
        ),
        (
            "companions are fine",
            &[],
            extra("vocab.json")
                .file("merges.txt", b"")
                .file("special_tokens_map.json", b"{}"),
        ),
        (
            "second weights file",
            &["index-missing"],
            Small::dense().file("consolidated.safetensors", &weights),
        ),
        (
            "modelopt",
            &["not-compressed"],
            Small::dense().file("hf_quant_config.json", br#"{"quantization": {"quant_algo": "FP8"}}"#),
        ),
        ("recipe broken", &["recipe-unreadable"], extra("recipe.yaml")),
        (
            "recipe with code",
            &["recipe-unsafe"],
            Small::dense().file("recipe.yaml", b"a_stage: !!python/object:os.system {}"),
        ),
    ]);
    // kinds that only a folder can show
    let dir = Small::dense().save();
    std::fs::create_dir(dir.path().join("eora_rank64")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("tokenizer.json")).unwrap();
    let found = verify(&Listing::read_dir(dir.path()).unwrap(), Some(&base()), None);
    assert!(
        codes(&found.problems).starts_with(&["subfolder", "not-a-plain-file"]),
        "{:?}",
        codes(&found.problems)
    );
    // too long, too many, too large
    let mut listing = Small::dense().listing();
    listing.files[0].bytes = 3 << 20;
    listing.files[0].content = Content::Absent;
    assert_eq!(
        codes(&verify(&listing, None, None).problems),
        ["file-too-long", "config-missing"]
    );
    let tight = assay_contest::CheckpointRules {
        max_bytes: 100,
        max_files: 1,
        ..rules()
    };
    let found = verify(&Small::dense().listing(), None, Some(&tight));
    assert_eq!(codes(&found.problems), ["too-many-files", "too-large"]);
}

#[test]
fn shards() {
    let all = Small::dense().tensors;
    let (first, second) = all.split_at(10);
    let index = |change: &dyn Fn(&mut Value)| {
        let mut map = serde_json::Map::new();
        first
            .iter()
            .for_each(|t| drop(map.insert(t.name.clone(), json!("model-00001-of-00002.safetensors"))));
        second
            .iter()
            .for_each(|t| drop(map.insert(t.name.clone(), json!("model-00002-of-00002.safetensors"))));
        let mut index = json!({"metadata": {"total_size": 1}, "weight_map": map});
        change(&mut index);
        index.to_string().into_bytes()
    };
    let config = Small::dense().config.to_string().into_bytes();
    let text = |name: &str, bytes: &[u8]| ListedFile {
        name: name.into(),
        bytes: bytes.len() as u64,
        content: Content::Text(bytes.into()),
    };
    let look = |index: &[u8], a: &[Tensor], b: &[Tensor], extra: &[ListedFile]| -> Inspection {
        let mut files = vec![
            text("config.json", &config),
            text("model.safetensors.index.json", index),
        ];
        files.push(weights_of("model-00001-of-00002.safetensors", &file_of(a)));
        if !b.is_empty() {
            files.push(weights_of("model-00002-of-00002.safetensors", &file_of(b)));
        }
        files.extend_from_slice(extra);
        verify(&Listing { files }, None, None)
    };
    let good = index(&|_| {});
    let norm = "model.norm.weight";
    let table: Vec<(&str, &[&str], Inspection)> = vec![
        ("as saved", &[], look(&good, first, second, &[])),
        ("shard missing", &["shard-missing"], look(&good, first, &[], &[])),
        (
            "left over shard",
            &["shard-unlisted", "index-mismatch"],
            look(
                &good,
                first,
                second,
                &[weights_of(
                    "model-00003-of-00003.safetensors",
                    &file_of(&[Tensor::new("x", Dtype::U8, &[1], 0)]),
                )],
            ),
        ),
        (
            "single file beside",
            &["weights-ambiguous"],
            look(&good, first, second, &[weights_of("model.safetensors", &file_of(&all))]),
        ),
        (
            "tensor in two shards",
            &["index-mismatch", "tensor-duplicate"],
            look(&good, &[first, &second[..1]].concat(), second, &[]),
        ),
        (
            "tensor elsewhere",
            &["index-mismatch"],
            look(
                &index(&|i| i["weight_map"][norm] = json!("model-00002-of-00002.safetensors")),
                first,
                second,
                &[],
            ),
        ),
        (
            "tensor unmapped",
            &["index-mismatch"],
            look(
                &index(&|i| drop(i["weight_map"].as_object_mut().unwrap().shift_remove(norm))),
                first,
                second,
                &[],
            ),
        ),
        (
            "mapped, not there",
            &["index-mismatch"],
            look(
                &index(&|i| i["weight_map"]["ghost"] = json!("model-00002-of-00002.safetensors")),
                first,
                second,
                &[],
            ),
        ),
        (
            "no metadata",
            &["index-unreadable"],
            look(
                &index(&|i| drop(i.as_object_mut().unwrap().shift_remove("metadata"))),
                first,
                second,
                &[],
            ),
        ),
        (
            "path in the map",
            &["index-unreadable"],
            look(
                &index(&|i| i["weight_map"][norm] = json!("../other.safetensors")),
                first,
                second,
                &[],
            ),
        ),
        (
            "pickle in the map",
            &["index-unreadable"],
            look(
                &index(&|i| i["weight_map"][norm] = json!("pytorch_model.bin")),
                first,
                second,
                &[],
            ),
        ),
        ("not JSON", &["index-unreadable"], look(b"{", first, second, &[])),
    ];
    for (what, expected, found) in table {
        let mut found_codes = codes(&found.problems);
        found_codes.dedup();
        assert!(
            found_codes.starts_with(expected) && found_codes.is_empty() == expected.is_empty(),
            "{what}: {found_codes:?}"
        );
    }
}
