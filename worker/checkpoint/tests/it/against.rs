//! Against the contest: rules, base model, recipe, tokenizer.

use assay_checkpoint::{Content, Listing, verify};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn the_contests_rules_and_the_base() {
    let base = assay_checkpoint::BaseModel::new(Small::dense().config, None, None, None);
    let look =
        |small: Small, rules: &assay_contest::CheckpointRules| verify(&small.listing(), Some(&base), Some(rules));
    let rules = rules();
    assert!(look(Small::packed(), &rules).accepted());
    let dense_only = assay_contest::CheckpointRules {
        formats: vec!["dense".into()],
        ..rules.clone()
    };
    assert_eq!(
        codes(&look(Small::packed(), &dense_only).problems),
        ["format-not-allowed"]
    );
    let no_linear = assay_contest::CheckpointRules {
        modules: vec!["lm_head".into()],
        ..rules.clone()
    };
    assert_eq!(
        codes(&look(Small::packed(), &no_linear).problems),
        ["module-not-allowed"]
    );
    let recipe = assay_contest::CheckpointRules {
        recipe: assay_contest::RecipeRule::Required,
        ..rules.clone()
    };
    assert_eq!(codes(&look(Small::packed(), &recipe).problems), ["recipe-missing"]);
    // spellings of one meaning are equal, another meaning is not
    let spelled = Small::dense().unset("rope_theta").set(
        "rope_parameters",
        json!({"rope_type": "default", "rope_theta": 1_000_000}),
    );
    assert!(look(spelled, &rules).accepted());
    let locked = Small::dense().set("rope_theta", json!(1e5));
    assert_eq!(codes(&look(locked, &rules).problems), ["config-locked-field"]);
    // free fields that changed are findings
    let shorter = look(Small::dense().set("max_position_embeddings", json!(64)), &rules);
    assert!(shorter.accepted() && codes(&shorter.findings).contains(&"config-side-door"));
    let eps = Small::dense()
        .set("rms_norm_eps", json!(1e-6))
        .set("sliding_window", json!(null));
    let epsilon = look(eps, &rules);
    assert_eq!(
        epsilon
            .findings
            .iter()
            .filter(|p| p.code == "config-side-door")
            .map(|p| p.place.as_str())
            .collect::<Vec<_>>(),
        ["config.json: rms_norm_eps"]
    );
    // ids of the contest's tokenizer must exist
    let mut fewer = Small::dense().set("vocab_size", json!(8));
    let embedding = fewer.tensor("model.embed_tokens.weight");
    (embedding.shape, embedding.data) = (vec![8, 32], vec![0x3C; 512]);
    assert_eq!(
        codes(&look(fewer, &rules).problems),
        ["config-locked-field", "vocabulary-too-small"]
    );
}

/// The rules that the quickstart opens with take what the tools wrote for them.
#[test]
fn the_sample_contest_takes_its_sample_submissions() {
    let source = std::fs::read_to_string(fixtures().join("../../deploy/sample/contest.toml")).unwrap();
    let contest = assay_contest::Contest::parse(&source).unwrap();
    for name in [
        "base",
        "fp16",
        "w4a16-gptq",
        "w4a16-asym",
        "w8a16",
        "untied-w4a16",
        "sharded-w8a16",
        "w4a16-kv8",
    ] {
        let listing = Listing::read_dir(&checkpoint(name)).unwrap();
        let found = verify(&listing, Some(&base()), Some(&contest.checkpoint));
        assert_eq!(codes(&found.problems), Vec::<&str>::new(), "{name}");
    }
    let listing = Listing::read_dir(&checkpoint("exaone35")).unwrap();
    let other = verify(&listing, Some(&base()), Some(&contest.checkpoint));
    assert!(codes(&other.problems).contains(&"model-family"));
}

#[test]
fn recipes_against_configurations() {
    let recipe = |body: &str| format!("default_stage:\n  default_modifiers:\n    {body}\n");
    let w4g16 = "QuantizationModifier: {config_groups: {g: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 16}}}, ignore: [lm_head]}";
    let with = |body: &str| Small::packed().file("recipe.yaml", recipe(body).as_bytes());
    judge(vec![
        ("agrees", &[], with(w4g16)),
        (
            "other bits",
            &["recipe-disagrees"; 7],
            with(&w4g16.replace("num_bits: 4", "num_bits: 8")),
        ),
        (
            "other group",
            &["recipe-disagrees"; 7],
            with("GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16}"),
        ),
        (
            "other modules",
            &["recipe-disagrees"; 7],
            with(&w4g16.replace("[lm_head]", "[lm_head, 're:.*']")),
        ),
        (
            "unknown scheme",
            &["recipe-unreadable"],
            with("GPTQModifier: {scheme: W9A9}"),
        ),
        (
            "both ways at once",
            &["recipe-unreadable"],
            with(&w4g16.replace("ignore:", "scheme: W4A16, ignore:")),
        ),
        ("unknown modifier is a finding", &[], with("MagicModifier: {}")),
        (
            "recipe quantizes, config is dense",
            &["recipe-disagrees"],
            Small::dense().file("recipe.yaml", recipe("GPTQModifier: {scheme: W4A16}").as_bytes()),
        ),
        (
            "pruning only",
            &[],
            Small::dense().file("recipe.yaml", recipe("SparseGPTModifier: {sparsity: 0.5}").as_bytes()),
        ),
        (
            "two documents",
            &["recipe-unreadable"],
            Small::packed().file("recipe.yaml", b"--- {}\n--- {}\n"),
        ),
    ]);
}

#[test]
fn tokenizers_and_templates() {
    let base = base();
    let original = std::fs::read(checkpoint("base").join("tokenizer.json")).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut tokenizer: Value = serde_json::from_slice(&original).unwrap();
        change(&mut tokenizer);
        tokenizer.to_string().into_bytes()
    };
    let look = |name: &str, content: Vec<u8>| {
        let mut listing = Listing::read_dir(&checkpoint("w4a16-gptq")).unwrap();
        let file = listing.files.iter_mut().find(|f| f.name == name).unwrap();
        file.bytes = content.len() as u64;
        file.content = Content::Text(content);
        let found = verify(&listing, Some(&base), Some(&rules()));
        found
            .problems
            .into_iter()
            .map(|p| (p.code, p.place))
            .collect::<Vec<_>>()
    };
    let differs = |part: &str| vec![("tokenizer-differs".to_owned(), format!("tokenizer.json: {part}"))];
    assert!(look("tokenizer.json", changed(&|t| t["truncation"] = json!(null))).is_empty());
    assert_eq!(
        look("tokenizer.json", changed(&|t| t["model"]["vocab"]["zzz"] = json!(611))),
        differs("vocab")
    );
    assert_eq!(
        look(
            "tokenizer.json",
            changed(&|t| drop(t["model"]["merges"].as_array_mut().unwrap().pop()))
        ),
        differs("merges")
    );
    assert_eq!(
        look("tokenizer.json", changed(&|t| t["pre_tokenizer"] = json!(null))),
        differs("pre_tokenizer")
    );
    assert_eq!(
        look(
            "tokenizer.json",
            changed(&|t| t["added_tokens"][7]["content"] = json!("<eot>"))
        )
        .len(),
        2
    );
    assert_eq!(look("tokenizer.json", b"{}".to_vec())[0].0, "tokenizer-unreadable");
    assert_eq!(
        look("tokenizer.json", b"{\"model\":{},\"model\":{}}".to_vec())[0].0,
        "tokenizer-unreadable"
    );
    let template = std::fs::read(checkpoint("base").join("chat_template.jinja")).unwrap();
    let windows = String::from_utf8(template).unwrap().replace('\n', "\r\n") + "\r\n";
    assert!(look("chat_template.jinja", windows.into_bytes()).is_empty());
    assert_eq!(
        look(
            "chat_template.jinja",
            b"{{ cycler.__init__.__globals__.os.popen('id') }}".to_vec()
        )[0]
        .0,
        "chat-template-differs"
    );
}
