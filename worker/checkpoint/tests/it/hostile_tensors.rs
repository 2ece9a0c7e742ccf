//! Tensors that are missing, superfluous or wrong.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::verify;
use serde_json::json;

use crate::support::*;

#[test]
fn tensors() {
    let (d, p) = (Small::dense, Small::packed);
    let q = "model.layers.1.self_attn.q_proj";
    let renumbered = || {
        let mut small = d();
        small
            .tensors
            .iter_mut()
            .for_each(|t| t.name = t.name.replace("layers.1.", "layers.2."));
        small
    };
    let dropped = || {
        let mut small = d();
        small.tensors.retain(|t| !t.name.contains("layers.1."));
        small
    };
    let mut ambiguous = p().with(Tensor::new("lm_head.weight_packed", Dtype::I32, &[16, 4], 0));
    ambiguous.config["tie_word_embeddings"] = json!(true);
    let mut swapped = d();
    swapped.tensor("model.embed_tokens.weight").name = "lm_head.weight".into();
    let mut half = p();
    half.tensor(&format!("{q}.weight_packed")).dtype = Dtype::F32;
    let mut shape32 = p();
    let t = shape32.tensor(&format!("{q}.weight_shape"));
    (t.dtype, t.data) = (Dtype::I32, [32u32.to_le_bytes(), 32u32.to_le_bytes()].concat());
    let mut scale32 = p();
    let t = scale32.tensor(&format!("{q}.weight_scale"));
    (t.dtype, t.data) = (Dtype::F32, 0.01f32.to_le_bytes().repeat(64));
    judge(vec![
        ("norm missing", &["tensor-missing"], d().without("model.norm.weight")),
        (
            "matrix missing",
            &["tensor-missing"],
            d().without(&format!("{q}.weight")),
        ),
        (
            "scale missing",
            &["tensor-missing"],
            p().without(&format!("{q}.weight_scale")),
        ),
        (
            "shape missing",
            &["tensor-missing"],
            p().without(&format!("{q}.weight_shape")),
        ),
        (
            "payload",
            &["tensor-unexpected"],
            d().with(Tensor::new("payload", Dtype::U8, &[1000], 0)),
        ),
        (
            "bias",
            &["tensor-unexpected"],
            d().with(Tensor::new(&format!("{q}.bias"), Dtype::BF16, &[32], 0)),
        ),
        (
            "llama's norm",
            &["tensor-unexpected"],
            d().with(Tensor::new(
                "model.layers.0.input_layernorm.weight",
                Dtype::BF16,
                &[32],
                0,
            )),
        ),
        (
            "zero points of a symmetric matrix",
            &["symmetry-differs"],
            p().with(Tensor::new(&format!("{q}.weight_zero_point"), Dtype::I32, &[4, 2], 0)),
        ),
        (
            "g_idx that nobody declared",
            &["tensor-unexpected"],
            p().with(Tensor::new(&format!("{q}.weight_g_idx"), Dtype::I32, &[32], 0)),
        ),
        (
            "packed and dense",
            &["tensor-unexpected"],
            p().with(Tensor::new(&format!("{q}.weight"), Dtype::BF16, &[32, 32], 0)),
        ),
        (
            "kv scales without a scheme",
            &["tensor-unexpected"],
            p().with(Tensor::new("model.layers.0.self_attn.k_scale", Dtype::BF16, &[1], 0)),
        ),
        (
            "inv_freq is a finding",
            &[],
            d().with(Tensor::new("model.rotary_emb.inv_freq", Dtype::F32, &[4], 0)),
        ),
        (
            "a big inv_freq is not",
            &["tensor-unexpected"],
            d().with(Tensor::new("model.rotary_emb.inv_freq", Dtype::F32, &[4000], 0)),
        ),
        ("one matrix not packed", &["module-not-packed"], {
            let mut small = p();
            small.tensors.retain(|t| !t.name.starts_with(q));
            small.with(Tensor::new(&format!("{q}.weight"), Dtype::BF16, &[32, 32], 0))
        }),
        ("transposed", &["tensor-shape"], {
            let mut small = d();
            small.tensor("model.layers.0.self_attn.k_proj.weight").shape = vec![32, 16];
            small
        }),
        (
            "vocabulary off by one",
            &["tensor-shape"],
            d().set("vocab_size", json!(17)),
        ),
        ("embedding as integers", &["tensor-dtype"], {
            let mut small = d();
            small.tensor("model.embed_tokens.weight").dtype = Dtype::I16;
            small
        }),
        ("packed as floats", &["tensor-dtype"], half),
        ("weight_shape in I32 is fine", &[], shape32),
        ("scales in F32 are fine", &[], scale32),
        ("layers renumbered with a gap", &["layer-gap"], renumbered()),
        ("layer dropped, config kept", &["layer-missing"], dropped()),
        (
            "layer dropped, config follows",
            &[],
            dropped()
                .set("num_hidden_layers", json!(1))
                .set("layer_types", json!(["full_attention"])),
        ),
        (
            "config has fewer layers",
            &["layer-extra"],
            d().set("num_hidden_layers", json!(1))
                .set("layer_types", json!(["full_attention"])),
        ),
        (
            "untied, head missing",
            &["head-missing"],
            d().set("tie_word_embeddings", json!(false)),
        ),
        (
            "flag lost in a re-save",
            &["head-missing"],
            d().unset("tie_word_embeddings"),
        ),
        (
            "tied with a copy is a finding",
            &[],
            d().with(Tensor::new("lm_head.weight", Dtype::BF16, &[16, 32], 0x3C)),
        ),
        (
            "tied with a quantized head",
            &["head-ambiguous", "module-packed"],
            ambiguous,
        ),
        ("embedding saved as head", &["embedding-missing"], swapped),
    ]);
}

#[test]
fn quantized_head_and_embedding_run_here() {
    let mut small = Small::packed().set("tie_word_embeddings", json!(false)).quant(|q| {
        q["ignore"] = json!([]);
        q["config_groups"]["group_0"]["targets"] = json!(["Linear", "Embedding"]);
    });
    small.tensors.retain(|t| t.name != "model.embed_tokens.weight");
    for module in ["model.embed_tokens", "lm_head"] {
        small.tensors.push(Tensor::new(
            &format!("{module}.weight_packed"),
            Dtype::I32,
            &[16, 4],
            0x11,
        ));
        small.tensors.push(Tensor::new(
            &format!("{module}.weight_scale"),
            Dtype::BF16,
            &[16, 2],
            0x3C,
        ));
        let mut shape = Tensor::new(&format!("{module}.weight_shape"), Dtype::I64, &[2], 0);
        shape.data = [16u64.to_le_bytes(), 32u64.to_le_bytes()].concat();
        small.tensors.push(shape);
    }
    let found = small.inspect();
    assert_eq!(codes(&found.problems), Vec::<&str>::new());
    assert_eq!(
        codes(&found.findings)
            .iter()
            .filter(|c| **c == "vllm-would-refuse")
            .count(),
        3 // the embedding, the head, and groups of 16
    );
    let found = verify(&small.listing(), None, Some(&rules()));

    assert_eq!(codes(&found.problems), ["module-not-allowed", "module-not-allowed"]);
    let dir = small.save();
    let open = assay_checkpoint::Checkpoint::open(dir.path()).unwrap();
    assert_eq!(
        (open.embedding().unwrap().rows, open.head().unwrap().unwrap().rows),
        (16, 16)
    );
}
