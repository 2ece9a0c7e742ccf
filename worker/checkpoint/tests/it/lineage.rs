//! Are these the base's weights? Honest files of the real tools, and tampered ones, each caught by its own code.

use std::path::Path;

use assay_checkpoint::number::{bf16_to_f32, f32_to_bf16};
use assay_checkpoint::safetensors::{Dtype, NewTensor, header_of};
use assay_checkpoint::{
    Content, Inspection, ListedFile, Listing, Relation, Verdict, verify, verify_data, verify_lineage,
};
use assay_contest::{CheckpointRules, LineageRule};
use serde_json::json;

use crate::folder::Folder;
use crate::support::*;

/// The whole look, as a worker takes it.
fn look(dir: &Path, lineage: LineageRule) -> Inspection {
    let rules = CheckpointRules { lineage, ..rules() };
    let listing = Listing::read_dir(dir).unwrap();
    let found = verify(&listing, Some(&base()), Some(&rules));
    let found = verify_data(dir, &found);
    verify_lineage(dir, &checkpoint("base"), &found, Some(&rules))
}

fn report(folder: &Folder) -> Inspection {
    look(folder.save().path(), LineageRule::Report)
}

/// Codes that speak against the base or the recipe, without those that only inform.
fn accusations(found: &Inspection) -> Vec<&str> {
    let informs = ["lineage-layers-dropped", "lineage-heads-pruned", "lineage-mlp-pruned"];
    let is_one = |code: &&str| {
        (code.starts_with("lineage-") || code.starts_with("recipe-") && code.contains("-refuted"))
            && !informs.contains(code)
    };
    codes(&found.findings).into_iter().filter(is_one).collect()
}

fn relations(found: &Inspection) -> Vec<(String, Relation)> {
    let lineage = found.lineage.as_ref().expect("compared");
    lineage.cells().map(|(place, cell)| (place, cell.relation)).collect()
}

#[test]
fn what_the_tools_made_of_the_base_is_recognised() {
    let cases = [
        ("base", Relation::Same),
        ("fp16", Relation::Same),
        ("w4a16-g32", Relation::Rounded),
        ("w4a16-channel", Relation::Rounded),
        ("w4a16-asym", Relation::Rounded),
        ("w8a16", Relation::Rounded),
        ("sharded-w8a16", Relation::Rounded),
        ("w8a8", Relation::Rounded),
        ("w4a8", Relation::Rounded),
        ("fp8-dynamic", Relation::Rounded),
        ("fp8-static", Relation::Rounded),
        ("w4a16-gptq", Relation::Compensated),
        ("untied-w4a16", Relation::Compensated),
        ("w4a16-actorder-group", Relation::Compensated),
        ("drop1-w4a16", Relation::Rounded),
    ];
    for (name, expected) in cases {
        let found = look(&checkpoint(name), LineageRule::Required);
        assert!(found.accepted(), "{name}: {:#?}", found.problems);
        assert_eq!(accusations(&found), Vec::<&str>::new(), "{name}");
        for (place, relation) in relations(&found) {
            let expected = if place.starts_with("layer") {
                expected
            } else {
                Relation::Same
            };
            assert_eq!(relation, expected, "{name}, {place}");
        }
        for (place, cell) in found.lineage.as_ref().unwrap().cells() {
            assert!(cell.value().unwrap() <= 1.0, "{name}, {place}: {cell:?}");
        }
    }
    let dropped = look(&checkpoint("drop1-w4a16"), LineageRule::Required);
    assert!(codes(&dropped.findings).contains(&"lineage-layers-dropped"));
    let bases: Vec<_> = dropped.lineage.unwrap().rows.iter().map(|row| row.base).collect();
    assert_eq!(bases.len(), 3);
    assert!(bases.windows(2).all(|w| w[0] < w[1]), "{bases:?}");
}

#[test]
fn a_contest_may_require_the_lineage() {
    let mut folder = Folder::of("base");
    let name = "model.layers.2.mlp.up_proj.weight";
    let shape = folder.tensors[name].shape.clone();
    let values: Vec<f32> = folder.values(name).iter().map(|v| v * 1.02).collect();
    folder.set(name, &shape, &values);
    let dir = folder.save();
    let reported = look(dir.path(), LineageRule::Report);
    assert_eq!(
        (reported.verdict, accusations(&reported)),
        (Verdict::Accepted, vec!["lineage-weights-changed"])
    );
    let required = look(dir.path(), LineageRule::Required);
    assert_eq!(
        (required.verdict, codes(&required.problems)),
        (Verdict::Rejected, vec!["lineage-weights-changed"])
    );
    assert_eq!(required.problems[0].place, "layer 2: up");
    // the map survives the wire
    let json = serde_json::to_string(&required).unwrap();
    assert_eq!(serde_json::from_str::<Inspection>(&json).unwrap(), required);
    // without the base's weights it says so, and nothing else
    let texts = tempfile::tempdir().unwrap();
    std::fs::copy(checkpoint("base").join("config.json"), texts.path().join("config.json")).unwrap();
    let first = verify_data(dir.path(), &verify(&Listing::read_dir(dir.path()).unwrap(), None, None));
    let absent = verify_lineage(dir.path(), texts.path(), &first, None);
    assert!(absent.accepted() && absent.lineage.is_none());
    assert!(codes(&absent.findings).contains(&"lineage-base-absent"));
}

#[test]
fn layers_that_were_swapped() {
    let swap = |name: &str| match name {
        name if name.contains(".layers.1.") => name.replace(".layers.1.", ".layers.2."),
        name => name.replace(".layers.2.", ".layers.1."),
    };
    // with their norms: each is recognised at its old place
    let mut folder = Folder::of("w4a16-gptq");
    folder.rename(swap);
    let found = report(&folder);
    assert_eq!(accusations(&found), ["lineage-layers-moved"]);
    let bases: Vec<_> = found
        .lineage
        .unwrap()
        .rows
        .iter()
        .map(|row| row.base.unwrap())
        .collect();
    assert_eq!(bases, [0, 2, 1, 3]);
    // without them: the matrices are another layer's, and it is named
    let mut folder = Folder::of("w4a16-gptq");
    folder.rename(|name| {
        if name.contains("_proj") {
            swap(name)
        } else {
            name.to_owned()
        }
    });
    let found = report(&folder);
    assert_eq!(accusations(&found), ["lineage-weights-replaced"]);
    let rows = &found.lineage.as_ref().unwrap().rows;
    assert!(
        rows[1]
            .cells
            .iter()
            .all(|cell| cell.relation == Relation::Replaced && cell.from == Some(2))
    );
    assert!(rows[0].cells.iter().all(|cell| cell.relation == Relation::Compensated));
}

/// Rounds to nearest as compressed-tensors does with a bfloat16 model, 4 bits, and stores it as the fixture's matrix.
fn quantize(folder: &mut Folder, module: &str, values: &[f32], group: usize) {
    let bf16 = |v: f32| bf16_to_f32(f32_to_bf16(v));
    let (mut words, mut scales) = (Vec::new(), Vec::new());
    for group in values.chunks(group) {
        let scale = bf16(group.iter().fold(0.0, |a: f32, v| a.max(v.abs())) / 7.5);
        scales.push(scale);
        for eight in group.chunks(8) {
            let fields = eight
                .iter()
                .map(|v| bf16(v / scale).clamp(-8.0, 7.0).round_ties_even() as i32 + 8);
            words.push(
                fields
                    .enumerate()
                    .fold(0u32, |word, (i, q)| word | (q as u32) << (4 * i)),
            );
        }
    }
    let packed = folder.tensor(&format!("{module}.weight_packed"));
    packed.data = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let name = format!("{module}.weight_scale");
    let shape = folder.tensors[&name].shape.clone();
    folder.set(&name, &shape, &scales);
}

/// Noise of so large a share of the weights' own size, from a fixed seed.
fn tuned(values: &[f32], share: f32) -> Vec<f32> {
    let size = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
    let mut state = 7u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    // twelve uniforms have variance one
    values
        .iter()
        .map(|v| bf16_to_f32(f32_to_bf16(v + share * size * (0..12).map(|_| uniform()).sum::<f32>())))
        .collect()
}

const MATRICES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

#[test]
fn one_layer_fine_tuned_by_one_percent() {
    let base = Folder::of("base");
    // before it was quantized: the error of four bits hides it, the scales do not
    for (fixture, group) in [("w4a16-g32", 32), ("w4a16-gptq", 128)] {
        let mut folder = Folder::of(fixture);
        for matrix in MATRICES {
            let module = format!("model.layers.1.{matrix}");
            let weights = tuned(&base.values(&format!("{module}.weight")), 0.01);
            quantize(&mut folder, &module, &weights, group);
        }
        let found = report(&folder);
        assert_eq!(
            accusations(&found),
            ["lineage-weights-changed"],
            "{fixture}: {:#?}",
            found.findings
        );
        for row in &found.lineage.unwrap().rows {
            for cell in &row.cells {
                assert_eq!(
                    cell.relation == Relation::Changed,
                    row.layer == 1,
                    "{fixture}: {cell:?}"
                );
                // what the norm of the error alone would have said
                assert!(cell.value().unwrap() < 1.0, "{cell:?}");
            }
        }
    }
    // a tuned matrix that kept the base's scales is what GPTQ's looks like; a recipe that only rounds is refuted by the codes
    let mut folder = Folder::of("w4a16-g32");
    let module = "model.layers.1.mlp.up_proj";
    let scales = folder.tensors[&format!("{module}.weight_scale")].clone();
    let weights = tuned(&base.values(&format!("{module}.weight")), 0.01);
    quantize(&mut folder, module, &weights, 32);
    folder.tensors.insert(scales.name.clone(), scales);
    assert_eq!(accusations(&report(&folder)), ["recipe-rounding-refuted"]);
    // not quantized at all
    let mut folder = Folder::of("base");
    let name = format!("{module}.weight");
    let (shape, weights) = (folder.tensors[&name].shape.clone(), tuned(&base.values(&name), 0.01));
    folder.set(&name, &shape, &weights);
    let found = report(&folder);
    assert_eq!(accusations(&found), ["lineage-weights-changed"]);
    let error = found.lineage.unwrap().rows[1].cells[5].error.unwrap();
    assert!((0.009..0.011).contains(&error), "{error}");
}

#[test]
fn scales_multiplied_by_1_001() {
    let mut folder = Folder::of("w4a16-gptq");
    let name = "model.layers.2.self_attn.o_proj.weight_scale".to_owned();
    let values: Vec<f32> = folder.values(&name).iter().map(|v| v * 1.001).collect();
    // in bfloat16 nothing is left of a thousandth: the file is the same, bit for bit
    let shape = folder.tensors[&name].shape.clone();
    let before = folder.tensors[&name].data.clone();
    folder.set(&name, &shape, &values);
    assert_eq!(folder.tensors[&name].data, before);
    let scale = folder.tensor(&name);
    scale.dtype = Dtype::F32;
    scale.data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let found = report(&folder);
    assert_eq!(accusations(&found), ["lineage-scales-differ"]);
    let cell = &found.lineage.as_ref().unwrap().rows[2].cells[3];
    assert_eq!(
        (cell.relation, cell.factor, cell.scales),
        (Relation::Rescaled, Some(1.001), Some(0.0))
    );
    // in the other direction, and by a step of bfloat16: the place is named
    let mut folder = Folder::of("w4a16-g32");
    let name = "model.layers.0.mlp.down_proj.weight_scale";
    let shape = folder.tensors[name].shape.clone();
    let values: Vec<f32> = folder.values(name).iter().map(|v| v * 0.99).collect();
    folder.set(name, &shape, &values);
    let found = report(&folder);
    let told = found
        .findings
        .iter()
        .find(|p| p.code == "lineage-weights-changed" || p.code == "recipe-rounding-refuted");
    assert!(
        told.is_some_and(|p| p.message.en.contains("layer 0: down")),
        "{:#?}",
        found.findings
    );
}

#[test]
fn what_headers_and_texts_give_away() {
    // declared groups of 128, stored groups of 32
    let mut folder = Folder::of("w4a16-g32");
    folder.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = json!(128);
    folder.files.remove("recipe.yaml");
    let found = report(&folder);
    assert_eq!(codes(&found.problems), ["group-size-differs"; 7]);
    assert!(
        found.problems[0].message.en.contains("groups of 32"),
        "{:?}",
        found.problems[0]
    );
    // declared 8 bits, stored 4; declared symmetric, stored with zero points
    let mut folder = Folder::of("w4a16-g32");
    folder.config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = json!(8);
    folder.files.remove("recipe.yaml");
    assert_eq!(codes(&report(&folder).problems), ["bits-differ"; 7]);
    let mut folder = Folder::of("w4a16-asym");
    folder.config["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = json!(true);
    folder.files.remove("recipe.yaml");
    assert_eq!(codes(&report(&folder).problems), ["symmetry-differs"; 7]);
    // dense weights under another's label
    let mut folder = Folder::of("base");
    folder.config["quantization_config"] = Folder::of("w4a16-gptq").config["quantization_config"].clone();
    assert_eq!(codes(&report(&folder).problems), ["not-compressed"]);
    // one more word in the tokenizer
    let mut folder = Folder::of("w4a16-gptq");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&folder.files["tokenizer.json"]).unwrap();
    tokenizer["model"]["vocab"]["zzz"] = json!(611);
    folder
        .files
        .insert("tokenizer.json".into(), tokenizer.to_string().into_bytes());
    assert_eq!(codes(&report(&folder).problems), ["tokenizer-differs"]);
    // NaN in one scale
    let mut folder = Folder::of("w4a16-gptq");
    folder.tensor("model.layers.3.self_attn.v_proj.weight_scale").data[..2].copy_from_slice(&0x7FC0u16.to_le_bytes());
    let found = report(&folder);
    assert_eq!(codes(&found.problems), ["non-finite"]);
    assert_eq!(found.problems[0].place, "model.layers.3.self_attn.v_proj.weight_scale");
    // the tied head stored once more: it is named, with the bytes it costs
    let mut folder = Folder::of("w4a16-gptq");
    let mut head = folder.tensors["model.embed_tokens.weight"].clone();
    head.name = "lm_head.weight".into();
    let bytes = head.data.len() as u64;
    folder.tensors.insert(head.name.clone(), head);
    let found = report(&folder);
    assert!(codes(&found.findings).contains(&"tied-copy"));
    assert!(
        found
            .hints
            .iter()
            .any(|hint| hint.code == "tied-copy" && hint.saves > bytes)
    );
    folder.config["tie_word_embeddings"] = json!(false);
    let found = report(&folder);
    assert!(
        found
            .hints
            .iter()
            .any(|hint| hint.code == "untied-duplicate" && hint.saves > bytes)
    );
    assert_eq!(found.lineage.unwrap().head.unwrap().relation, Relation::Same);
}

/// 100 MB that belong to nothing; a header says enough, so that they are never written here.
#[test]
fn an_extra_tensor_of_100_mb() {
    let folder = Folder::of("w4a16-gptq");
    let payload = vec![0u8; 100 << 20];
    let tensors: Vec<NewTensor> = folder
        .tensors
        .values()
        .map(|t| (t.name.clone(), t.dtype, t.shape.clone(), t.data.as_slice()))
        .chain([(
            "model.extra.weight".to_owned(),
            Dtype::U8,
            vec![100 << 20],
            payload.as_slice(),
        )])
        .map(|(name, dtype, shape, data)| NewTensor {
            name,
            dtype,
            shape,
            data,
        })
        .collect();
    let (header, bytes) = header_of(&tensors, &[("format", "pt")]).unwrap();
    let mut listing = Listing::read_dir(&checkpoint("w4a16-gptq")).unwrap();
    let weights = ListedFile {
        name: "model.safetensors".into(),
        bytes,
        content: Content::Header(header),
    };
    listing.files.retain(|file| file.name != weights.name);
    listing.files.push(weights);
    let found = verify(&listing, Some(&base()), Some(&rules()));
    assert_eq!(codes(&found.problems), ["tensor-unexpected"]);
    assert!(
        found.problems[0].message.en.contains("104857600 bytes"),
        "{:?}",
        found.problems[0]
    );
}

#[test]
fn norms_embedding_and_pruning() {
    let mut folder = Folder::of("w4a16-g32");
    folder.tensor("model.layers.2.post_attention_layernorm.weight").data[0] ^= 1;
    let embedding = folder.tensor("model.embed_tokens.weight");
    embedding.data[1] ^= 0x80;
    let found = report(&folder);
    assert_eq!(
        accusations(&found),
        ["lineage-norms-changed", "lineage-weights-changed"]
    );
    assert_eq!(
        found.lineage.unwrap().rows[2].base,
        Some(2),
        "recognised by its weights"
    );

    // half of a matrix set to zero
    let mut folder = Folder::of("base");
    let name = "model.layers.0.mlp.gate_proj.weight";
    let mut values = folder.values(name);
    let shape = folder.tensors[name].shape.clone();
    values.iter_mut().step_by(2).for_each(|v| *v = 0.0);
    folder.set(name, &shape, &values);
    assert_eq!(accusations(&report(&folder)), ["lineage-weights-pruned"]);

    // a recipe that claims it, and weights that do not bear it out
    let recipe = |share: f64| {
        format!("s_stage:\n  s_modifiers:\n    SparseGPTModifier: {{sparsity: {share}, mask_structure: '2:4'}}\n")
    };
    folder.files.insert("recipe.yaml".into(), recipe(0.5).into_bytes());
    assert_eq!(codes(&report(&folder).problems), ["recipe-sparsity-differs"]);
    for i in 0..4 {
        for matrix in MATRICES {
            let name = format!("model.layers.{i}.{matrix}.weight");
            let shape = folder.tensors[&name].shape.clone();
            let mut values = folder.values(&name);
            values.chunks_mut(8).for_each(|eight| eight[..4].fill(0.0));
            folder.set(&name, &shape, &values);
        }
    }
    assert_eq!(codes(&report(&folder).problems), ["recipe-mask-differs"]);
    folder
        .files
        .insert("recipe.yaml".into(), recipe(0.5).replace("2:4", "0:0").into_bytes());
    assert!(report(&folder).accepted());
}

#[test]
fn heads_and_units_that_were_removed() {
    let mut folder = Folder::of("base");
    let rows = |values: &[f32], cols: usize, keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
        let kept = values.chunks(cols).enumerate().filter(|(r, _)| keep(*r));
        kept.flat_map(|(_, row)| row.to_vec()).collect()
    };
    let columns = |values: &[f32], cols: usize, keep: &dyn Fn(usize) -> bool| -> Vec<f32> {
        let kept = values.iter().enumerate().filter(|(i, _)| keep(i % cols));
        kept.map(|(_, v)| *v).collect()
    };
    // query heads 1 and 3 of 4 and every fourth unit of the MLP go
    let head = |r: usize| (r / 64).is_multiple_of(2);
    let unit = |r: usize| r % 4 != 3;
    for i in 0..4 {
        let name = |matrix: &str| format!("model.layers.{i}.{matrix}.weight");
        let q = rows(&folder.values(&name("self_attn.q_proj")), 256, &head);
        folder.set(&name("self_attn.q_proj"), &[128, 256], &q);
        let o = columns(&folder.values(&name("self_attn.o_proj")), 256, &head);
        folder.set(&name("self_attn.o_proj"), &[256, 128], &o);
        for which in ["mlp.gate_proj", "mlp.up_proj"] {
            let kept = rows(&folder.values(&name(which)), 256, &unit);
            folder.set(&name(which), &[384, 256], &kept);
        }
        let down = columns(&folder.values(&name("mlp.down_proj")), 512, &unit);
        folder.set(&name("mlp.down_proj"), &[256, 384], &down);
    }
    folder.config["num_attention_heads"] = json!(2);
    folder.config["head_dim"] = json!(64);
    folder.config["intermediate_size"] = json!(384);
    let found = report(&folder);
    assert_eq!(accusations(&found), Vec::<&str>::new(), "{:#?}", found.problems);
    assert!(codes(&found.findings).contains(&"lineage-heads-pruned"));
    assert!(codes(&found.findings).contains(&"lineage-mlp-pruned"));
    let cells = &found.lineage.as_ref().unwrap().rows[1].cells;
    assert_eq!((cells[0].kept, cells[6].kept), (Some([128, 256]), Some([384, 512])));
    assert!(
        relations(&found)
            .iter()
            .all(|(_, relation)| *relation == Relation::Same)
    );
}
