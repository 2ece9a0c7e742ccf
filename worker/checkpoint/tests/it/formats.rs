//! Formats that are recognised by name and not run yet, from the headers that real tools wrote.

use assay_checkpoint::{Content, Inspection, ListedFile, Listing, verify};

use crate::support::*;

fn look(name: &str) -> Inspection {
    let dir = fixtures().join("headers").join(name);
    let text = |file: &str| {
        let bytes = std::fs::read(dir.join(file)).ok()?;
        Some(ListedFile {
            name: file.into(),
            bytes: bytes.len() as u64,
            content: Content::Text(bytes),
        })
    };
    let header = std::fs::read(dir.join(format!("{name}.header"))).unwrap();
    let bytes = std::fs::read_to_string(dir.join(format!("{name}.bytes")))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let weights = ListedFile {
        name: "model.safetensors".into(),
        bytes,
        content: Content::Header(header),
    };
    let files = [text("config.json"), Some(weights), text("recipe.yaml")]
        .into_iter()
        .flatten()
        .collect();
    verify(&Listing { files }, Some(&base()), None)
}

#[test]
fn each_is_named_and_answered_in_one_problem() {
    for (name, format, scheme) in [("ar-gptq", "gptq", "W4A16 g128 sym")] {
        let found = look(name);
        assert_eq!(
            codes(&found.problems),
            ["format-not-supported-yet"],
            "{name}: {:?}",
            found.problems
        );
        assert_eq!(found.problems[0].place, format, "{name}");
        assert_eq!(
            (found.format.as_str(), found.scheme.as_str()),
            (format, scheme),
            "{name}"
        );
        let sum: u64 = found.bytes.groups.iter().map(|g| g.bytes).sum();
        assert_eq!(sum, found.bytes.total, "{name}");
        assert_eq!(found.bytes.group("other"), 0, "{name}");
    }
}

/// One input scale for a whole batch, computed when it runs: no score could be repeated.
#[test]
fn activations_that_depend_on_their_batch_are_refused_with_the_reason() {
    let found = look("fp8-tensor-dyn-acts");
    assert_eq!(codes(&found.problems), ["activations-batch-dependent"]);
    assert_eq!(found.format, "float-quantized");
    assert!(found.problems[0].fix.en.contains("per token"));
}

#[test]
fn other_tools_are_known_by_their_quant_method() {
    for (method, format) in [
        ("awq", "awq"),
        ("bitsandbytes", "bitsandbytes"),
        ("fp8", "fp8"),
        ("fbgemm_fp8", "fbgemm_fp8"),
        ("mxfp4", "mxfp4"),
        ("torchao", "torchao"),
        ("hqq", "hqq"),
        ("auto-round", "auto-round"),
        ("intel/auto-round", "auto-round"),
        ("modelopt", "modelopt"),
        ("quark", "quark"),
        ("aqlm", "aqlm"),
    ] {
        let mut small = Small::dense();
        small.config["quantization_config"] = serde_json::json!({"quant_method": method});
        let found = small.inspect();
        assert_eq!(codes(&found.problems), ["format-not-supported-yet"], "{method}");
        assert_eq!(
            (found.format.as_str(), found.problems[0].place.as_str()),
            (format, format)
        );
    }
}

#[test]
fn every_format_a_contest_may_name_is_recognised() {
    for format in assay_contest::rules::FORMATS {
        let as_method = Small::dense()
            .set("quantization_config", serde_json::json!({"quant_method": format}))
            .inspect();
        let as_format = Small::packed()
            .quant(|q| q["format"] = serde_json::json!(format))
            .inspect();
        let known = |found: &Inspection| !codes(&found.problems).contains(&"format-unknown");
        let dense = *format == "mixed-precision"; // says nothing of its own: each group's format counts
        assert!(known(&as_method) || known(&as_format) || dense, "{format}");
    }
    let nonsense = Small::packed()
        .quant(|q| q["format"] = serde_json::json!("zip"))
        .inspect();
    assert_eq!(codes(&nonsense.problems), ["format-unknown"]);
}
