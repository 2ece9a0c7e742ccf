//! AWQ's interleaved words.

use assay_checkpoint::verify;
use serde_json::{Value, json};

use crate::support::*;

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
