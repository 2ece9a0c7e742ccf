//! What only the tensor data can show.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Listing, Verdict, verify, verify_data};
use serde_json::json;

use crate::support::*;

#[test]
fn data_that_headers_cannot_show() {
    let look = |small: &Small| {
        let dir = small.save();
        let listing = Listing::read_dir(dir.path()).unwrap();
        let first = verify(&listing, None, None);
        assert!(first.accepted(), "{:?}", first.problems);
        verify_data(dir.path(), &first)
    };
    let poke = |mut small: Small, tensor: &str, at: usize, bytes: &[u8]| {
        small.tensor(tensor).data[at..at + bytes.len()].copy_from_slice(bytes);
        small
    };
    let up = "model.layers.1.mlp.up_proj";
    let (packed, scale, shape) = (
        format!("{up}.weight_packed"),
        format!("{up}.weight_scale"),
        format!("{up}.weight_shape"),
    );
    assert!(look(&Small::packed()).accepted() && look(&Small::dense()).accepted());
    let nan = look(&poke(Small::dense(), "model.norm.weight", 10, &0x7FC0u16.to_le_bytes()));
    assert_eq!(
        (codes(&nan.problems), nan.verdict),
        (vec!["non-finite"], Verdict::Rejected)
    );
    assert!(nan.problems[0].message.en.contains("the first at element 5"));
    assert_eq!(
        codes(&look(&poke(Small::packed(), &scale, 0, &0xFF80u16.to_le_bytes())).problems),
        ["non-finite"]
    );
    let mut half = Small::dense();
    half.tensor("model.norm.weight").dtype = Dtype::F16;
    assert!(look(&half).accepted());
    assert_eq!(
        codes(&look(&poke(half, "model.norm.weight", 0, &0x7C00u16.to_le_bytes())).problems),
        ["non-finite"]
    );
    assert_eq!(
        codes(&look(&poke(Small::packed(), &scale, 0, &0x7F00u16.to_le_bytes())).problems),
        ["scale-overflow"]
    );
    let zero = look(&poke(Small::packed(), &scale, 0, &0u16.to_le_bytes()));
    assert!(zero.accepted() && codes(&zero.findings).contains(&"scale-not-positive"));
    assert_eq!(
        codes(&look(&poke(Small::packed(), &shape, 0, &32u64.to_le_bytes())).problems),
        ["weight-shape"]
    );

    // rows of 33 columns end inside a word
    let mut odd = Small::packed_with(
        &json!({"num_bits": 4, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false}),
    );
    odd.config["hidden_size"] = json!(33);
    for t in &mut odd.tensors {
        let new: Vec<u64> = match (t.name.rsplit('.').next().unwrap(), &t.shape[..]) {
            ("weight", [16, 32]) => vec![16, 33],
            ("weight", [32]) => vec![33],
            ("weight_packed", [out, 4]) if !t.name.contains("o_proj") => vec![*out, 5],
            ("weight_packed", [32, cols]) => vec![33, *cols],
            ("weight_scale", [32, 1]) if t.name.contains("o_proj") || t.name.contains("down_proj") => vec![33, 1],
            _ => t.shape.clone(),
        };
        t.data = vec![
            if t.dtype == Dtype::I32 { 0 } else { 0x3C };
            (new.iter().product::<u64>() * t.dtype.bits() / 8) as usize
        ];
        t.shape = new;
        if t.name.ends_with("weight_shape") {
            let (_, out, cols) = MATRICES.into_iter().find(|(m, ..)| t.name.contains(m)).unwrap();
            let out = if t.name.contains("o_proj") || t.name.contains("down_proj") {
                33
            } else {
                out
            };
            let cols = if cols == 32 && !t.name.contains("o_proj") {
                33
            } else {
                cols
            };
            t.data = [out.to_le_bytes(), cols.to_le_bytes()].concat();
        }
    }
    assert_eq!(codes(&look(&odd).problems), Vec::<&str>::new());
    let hidden = look(&poke(odd, &packed, 5 * 4 * 7 + 16, &[0x10]));
    assert_eq!(codes(&hidden.problems), ["packed-padding"]);

    // the copy of the embedding: equal, different, tied and different
    let head = Tensor::new("lm_head.weight", Dtype::BF16, &[16, 32], 0x3C);
    let tied = Small::dense().with(head.clone());
    let untied = tied.clone().set("tie_word_embeddings", json!(false));
    assert_eq!(look(&tied).hints[0].code, "dense-matrices");
    let shorter = (file_of(&tied.tensors).len() - file_of(&Small::dense().tensors).len()) as u64;
    assert!(
        look(&tied)
            .hints
            .iter()
            .any(|h| h.code == "tied-copy" && h.saves == shorter)
    );
    assert!(
        look(&untied)
            .hints
            .iter()
            .any(|h| h.code == "untied-duplicate" && h.saves == shorter)
    );
    assert!(
        look(&poke(untied, "lm_head.weight", 1023, &[1]))
            .hints
            .iter()
            .all(|h| h.code != "untied-duplicate")
    );
    assert_eq!(
        codes(&look(&poke(tied, "lm_head.weight", 1023, &[1])).problems),
        ["head-ambiguous"]
    );

    // the folder changed between the two looks
    let dir = Small::dense().save();
    let first = verify(&Listing::read_dir(dir.path()).unwrap(), None, None);
    std::fs::write(dir.path().join("model.safetensors"), file_of(&Small::packed().tensors)).unwrap();
    std::fs::write(dir.path().join("config.json"), Small::packed().config.to_string()).unwrap();
    assert_eq!(codes(&verify_data(dir.path(), &first).problems), ["files-unreadable"]);
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(codes(&verify_data(dir.path(), &first).problems), ["files-unreadable"]);
}
