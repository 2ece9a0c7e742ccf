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
    const READ: &str = "not-compressed";
    for (method, format, code) in [
        ("gptq", "gptq", READ),
        ("awq", "awq", READ),
        ("fp8", "fp8", READ),
        ("fbgemm_fp8", "fbgemm_fp8", READ),
        ("bitsandbytes", "bitsandbytes", READ),
        ("torchao", "torchao", READ),
        ("hqq", "hqq", READ),
        ("modelopt", "modelopt", READ),
        ("auto-round", "auto-round", READ),
        ("intel/auto-round", "auto-round", READ),
        ("mxfp4", "mxfp4", "format-refused"),
        ("quark", "quark", "format-refused"),
        ("aqlm", "aqlm", "format-refused"),
    ] {
        let mut small = Small::dense();
        small.config["quantization_config"] = serde_json::json!({"quant_method": method});
        let found = small.inspect();
        assert_eq!(codes(&found.problems), [code], "{method}");
        assert_eq!(found.format, format);
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
