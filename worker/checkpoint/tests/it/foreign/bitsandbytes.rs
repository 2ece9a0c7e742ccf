//! bitsandbytes, broken in one place each.

use serde_json::json;

use super::*;
use crate::support::*;

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
