//! What real tools wrote: every fixture gets the verdict it deserves.

use std::path::Path;

use assay_checkpoint::{Inspection, Listing, Verdict, verify, verify_data};

use crate::support::*;

fn look(dir: &Path) -> Inspection {
    let listing = Listing::read_dir(dir).unwrap();
    verify_data(dir, &verify(&listing, Some(&base()), Some(&rules())))
}

#[test]
fn what_llm_compressor_wrote_is_accepted() {
    for (name, format, scheme, findings) in [
        ("base", "dense", "BF16", vec![]),
        ("fp16", "dense", "F16", vec!["rounded-to-bfloat16"]),
        ("w4a16-gptq", "pack-quantized", "W4A16 g128 sym", vec![]),
        ("w4a16-asym", "pack-quantized", "W4A16 g128 asym", vec![]),
        ("w4a16-channel", "pack-quantized", "W4A16 channel sym", vec![]),
        ("w4a16-g32", "pack-quantized", "W4A16 g32 sym", vec![]),
        (
            "w4a16-kv8",
            "pack-quantized",
            "W4A16 g128 sym",
            vec!["kv-cache-scheme-not-applied"],
        ),
        ("w8a16", "pack-quantized", "W8A16 g128 sym", vec![]),
        ("sharded-w8a16", "pack-quantized", "W8A16 g128 sym", vec![]),
        (
            "untied-w4a16",
            "pack-quantized",
            "W4A16 g128 sym",
            vec!["config-differs-from-base"],
        ),
        // layer 0's down_proj is ignored, gate and up are not: nothing to complain about
        ("mixed", "pack-quantized", "W8A16 channel sym + W4A16 g128 sym", vec![]),
        ("w4a16-actorder-group", "pack-quantized", "W4A16 g128 sym", vec![]),
        ("w8a8", "int-quantized", "W8A8 channel sym", vec![]),
        ("w8a8-static", "int-quantized", "W8A8 channel sym static", vec![]),
        (
            "w8a8-asym-static",
            "int-quantized",
            "W8A8 channel sym static asym inputs",
            vec![],
        ),
        ("w4a8", "int-quantized", "W4A8 g128 sym", vec!["vllm-would-refuse"]),
        ("fp8-dynamic", "float-quantized", "W8A8 fp channel sym", vec![]),
        ("fp8-block", "float-quantized", "W8A8 fp block sym", vec![]),
        ("fp8-static", "float-quantized", "W8A8 fp tensor sym static", vec![]),
        (
            "ar-mxfp4",
            "mxfp4-pack-quantized",
            "W4A4 fp g32 sym",
            vec!["recipe-absent", "rounded-to-bfloat16"],
        ),
        (
            "ar-nvfp4",
            "nvfp4-pack-quantized",
            "W4A4 fp g16 sym",
            vec!["recipe-absent", "rounded-to-bfloat16"],
        ),
        (
            "fp8-static-scales-f32",
            "float-quantized",
            "W8A8 fp tensor sym static",
            vec![],
        ),
        ("w4a16-scales-f32", "pack-quantized", "W4A16 g128 sym", vec![]),
        ("w3a16", "pack-quantized", "W3A16 g128 sym", vec!["vllm-would-refuse"]),
        (
            "w2a16-g32",
            "pack-quantized",
            "W2A16 g32 sym",
            vec!["vllm-would-refuse"],
        ),
        ("nvfp4a16", "nvfp4-pack-quantized", "W4A16 fp g16 sym", vec![]),
        ("mxfp4a16", "mxfp4-pack-quantized", "W4A16 fp g32 sym", vec![]),
        (
            "mixed-fp8-w4",
            "mixed-precision",
            "W8A8 fp channel sym + W4A16 g128 sym",
            vec![],
        ),
    ] {
        let found = look(&checkpoint(name));
        assert_eq!(
            codes(&found.problems),
            Vec::<&str>::new(),
            "{name}: {:?}",
            found.problems
        );
        assert_eq!(found.verdict, Verdict::Accepted, "{name}");
        assert_eq!(
            (found.format.as_str(), found.scheme.as_str()),
            (format, scheme),
            "{name}"
        );
        assert_eq!(codes(&found.findings), findings, "{name}: {:?}", found.findings);
        let sum: u64 = found.bytes.groups.iter().map(|g| g.bytes).sum();
        assert_eq!(sum, found.bytes.total, "{name}");
        let on_disk: u64 = std::fs::read_dir(checkpoint(name))
            .unwrap()
            .map(|e| e.unwrap())
            .filter(|e| e.file_name().to_string_lossy().ends_with(".safetensors"))
            .map(|e| e.metadata().unwrap().len())
            .sum();
        assert_eq!(found.bytes.total, on_disk, "{name}");
        assert_eq!(found.bytes.group("other"), 0, "{name}");
        assert!(found.hints.is_sorted_by_key(|h| std::cmp::Reverse(h.saves)), "{name}");
    }
}

#[test]
fn models_of_other_shapes_are_accepted_on_their_own() {
    let listing = Listing::read_dir(&checkpoint("hybrid")).unwrap();
    let hybrid = verify_data(&checkpoint("hybrid"), &verify(&listing, None, None));
    assert_eq!(codes(&hybrid.problems), Vec::<&str>::new());
    assert!(
        hybrid.hints.iter().all(|h| h.code != "untied-duplicate"),
        "its head is its own"
    );

    let listing = Listing::read_dir(&checkpoint("exaone35")).unwrap();
    let older = verify_data(&checkpoint("exaone35"), &verify(&listing, None, None));
    assert_eq!(codes(&older.problems), Vec::<&str>::new());
    assert_eq!(codes(&older.findings), ["auto-map-ignored", "tokenizer-absent"]);
    assert_eq!(older.bytes.group("other"), 0);
}

#[test]
fn the_untied_copy_is_suspected_by_its_header_and_confirmed_by_its_bytes() {
    let dir = checkpoint("untied-w4a16");
    let listing = Listing::read_dir(&dir).unwrap();
    let suspected = verify(&listing, Some(&base()), Some(&rules()));
    assert_eq!(
        (suspected.hints[0].code.as_str(), suspected.hints[0].saves),
        ("untied-duplicate", 1_859_272 - 1_546_352)
    );
    assert!(suspected.hints[0].message.en.contains("If both are equal"));
    let confirmed = verify_data(&dir, &suspected);
    assert_eq!(
        (confirmed.hints[0].code.as_str(), confirmed.hints[0].saves),
        ("untied-duplicate", 1_859_272 - 1_546_352)
    );
    assert!(confirmed.hints[0].message.en.contains("same bytes"));
    assert!(confirmed.accepted());
    // without a base the headers alone raise no suspicion, the bytes still tell
    let alone = verify(&listing, None, None);
    assert!(alone.hints.iter().all(|h| h.code != "untied-duplicate"));
    assert_eq!(verify_data(&dir, &alone).hints[0].code, "untied-duplicate");
}

#[test]
fn the_answer_is_json_with_the_agreed_keys() {
    let found = serde_json::to_value(look(&checkpoint("untied-w4a16"))).unwrap();
    assert_eq!(found["verdict"], "accepted");
    assert_eq!(found["format"], "pack-quantized");
    assert_eq!(found["bytes"]["total"], 1_859_272);
    assert_eq!(found["bytes"]["groups"][0]["name"], "embedding");
    assert_eq!(found["hints"][0]["code"], "untied-duplicate");
    assert!(found["hints"][0]["message"]["ko"].is_string());
    for key in ["code", "where", "message", "fix"] {
        assert!(!found["findings"][0][key].is_null(), "{key}");
    }
    let back: Inspection = serde_json::from_value(found).unwrap();
    assert!(back.accepted());
}
