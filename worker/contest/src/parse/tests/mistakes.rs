//! What is wrong with a file, and where.

use super::*;

#[test]
fn an_accuracy_of_a_reference_needs_its_error() {
    for missing in [
        "acc_stderr.gsm8k.exact_match.flexible-extract = 0.0217\n",
        "items.gsm8k = 512\n",
    ] {
        let found = mistakes(&(good() + &REFERENCE.replacen(missing, "", 1)));
        assert_eq!((found.len(), found[0].code), (1, "reference-without-error"));
        assert!(found[0].message.en.contains(missing.split(' ').next().unwrap()));
        assert_eq!(found[0].key, "references[0].name");
    }
}

#[test]
fn mistakes_in_references_are_named() {
    for (from, to, code) in [
        ("1_390_692_528", "0", "out-of-range"),
        ("\"Measured by us.\"", "\"\"", "invalid-text"),
        (
            "items.gsm8k = 512",
            "items.gsm8k = 512\nitms.gsm8k = 1",
            "unknown-measure",
        ),
        ("items.gsm8k = 512", "items.gsm8k = 512\nbytes = 1", "measure-of-base"),
        ("name = \"GPTQ W4A16\"", "nam = \"x\"\nname = \"x\"", "unknown-key"),
    ] {
        assert!(REFERENCE.contains(from), "{from}");
        let found = mistakes(&(good() + &REFERENCE.replacen(from, to, 1)));
        assert_eq!((found.len(), found[0].code), (1, code), "{to}: {found:#?}");
    }
    let found = mistakes(&(good() + REFERENCE + REFERENCE));
    assert_eq!((found.len(), found[0].code), (1, "repeated"), "{found:#?}");
}

#[test]
fn mistakes_in_devices_are_named() {
    let deployment = "[checkpoint.deployment]\ncontext = 4096\n\n[[checkpoint.deployment.devices]]\nname = { en = \"phone\", ko = \"휴대폰\" }\nmemory_bytes = 4_294_967_296\n\n[[checkpoint.deployment.devices]]\nname = { en = \"NVIDIA T4\", ko = \"NVIDIA T4\" }\nmemory_bytes = 16_106_127_360\nusd_per_hour = 0.35\n";
    let read = Contest::parse(&(good() + deployment))
        .unwrap()
        .checkpoint
        .deployment
        .unwrap();
    assert_eq!((read.context, read.devices.len()), (4096, 2));
    assert_eq!(
        read.devices.iter().map(|d| d.usd_per_hour).collect::<Vec<_>>(),
        [None, Some(0.35)]
    );
    for (from, to, code) in [
        ("context = 4096", "context = 0", "out-of-range"),
        ("context = 4096\n", "", "missing-key"),
        ("4_294_967_296", "0", "out-of-range"),
        ("usd_per_hour = 0.35", "usd_per_hour = -1", "out-of-range"),
        ("usd_per_hour = 0.35", "usd_per_hour = \"free\"", "wrong-type"),
        ("usd_per_hour", "eur_per_hour", "unknown-key"),
        ("en = \"phone\"", "en = \"NVIDIA T4\"", ""),
        (
            "name = { en = \"phone\", ko = \"휴대폰\" }",
            "name = { en = \"NVIDIA T4\", ko = \"NVIDIA T4\" }",
            "repeated",
        ),
    ] {
        assert!(deployment.contains(from), "{from}");
        let read = Contest::parse(&(good() + &deployment.replacen(from, to, 1)));
        let found = read.map_or_else(|errors| errors.mistakes, |_| Vec::new());
        assert_eq!(
            found.iter().map(|m| m.code).collect::<Vec<_>>(),
            Vec::from_iter((!code.is_empty()).then_some(code)),
            "{to}: {found:#?}"
        );
    }
    // rules without devices keep the digest they had
    assert!(
        !serde_json::to_string(&Contest::parse(&good()).unwrap())
            .unwrap()
            .contains("deployment")
    );
}

#[test]
fn every_kind_of_mistake_is_named_in_its_place() {
    for (from, to, at, code) in [
        ("id = \"spring\"", "id = \"Spring!\"", "\"Spring!", "invalid-slug"),
        ("id = \"spring\"", "id = 7", "7", "wrong-type"),
        ("\"봄 대회\"", "\"봄 대회\", jp = \"春\"", "jp", "unknown-key"),
        ("\"봄 대회\"", "\" \"", "\" \"", "invalid-text"),
        ("\"Asia/Seoul\"", "\"Asia/Soeul\"", "\"Asia", "unknown-timezone"),
        (
            "2026-03-01T00:00:00+09:00",
            "2026-03-01T00:00:00",
            "2026",
            "invalid-time",
        ),
        ("2026-03-01T00:00:00+09:00", "2026-03-01", "2026", "invalid-time"),
        ("2026-03-01T00:00:00+09:00", "12", "12", "wrong-type"),
        (
            "2026-03-08T00:00:00+09:00",
            "2026-03-01T00:00:00+09:00",
            "2026",
            "phase-order",
        ),
        (
            "\"2026-03-07T15:00:00Z\"",
            "\"2026-03-07T14:59:59Z\"",
            "\"2026",
            "phase-overlap",
        ),
        ("id = \"final\"", "id = \"practice\"", "\"practice", "repeated"),
        ("\"../base\"", "\"/base\"", "\"/base", "invalid-path"),
        ("\"../base\"", "\"a\\\\b\"", "\"a", "invalid-path"),
        (
            "\"0000000000000000000000000000000000000000000000000000000000000001\"",
            "\"00\"",
            "\"",
            "invalid-sha256",
        ),
        ("2_559_000_000", "0", "0", "out-of-range"),
        ("2_559_000_000", "-1", "-1", "out-of-range"),
        ("2_559_000_000", "99999999999999999999999", "9", "out-of-range"),
        ("2_559_000_000", "2.5", "2.5", "wrong-type"),
        (
            "time_per_token = 0.01",
            "time_per_tokn = 0.01",
            "time",
            "unknown-measure",
        ),
        ("time_per_token = 0.01", "base.bytes = 0.01", "bytes", "measure-of-base"),
        ("time_per_token = 0.01", "bytes = 1", "bytes", "measure-of-base"),
        ("time_per_token = 0.01", "time_per_token = nan", "nan", "not-finite"),
        (
            "time_per_token = 0.01",
            "time_per_token = \"fast\"",
            "\"fast",
            "wrong-type",
        ),
        ("\"dense\"", "\"dens\"", "\"dens", "unknown-format"),
        (
            "\"dense\", \"pack-quantized\"]",
            "\"dense\", \"dense\"]",
            "\"dense\"]",
            "repeated",
        ),
        ("\"lm_head\"", "\"head\"", "\"head", "unknown-module"),
        ("[\"vocab_size\"]", "[\"vocab size\"]", "\"vocab size", "invalid-name"),
        ("[\"vocab_size\"]", "[3]", "3", "wrong-type"),
        ("[\"vocab_size\"]", "\"vocab_size\"", "\"vocab", "wrong-type"),
        ("max_files = 64", "max_files = 1025", "1025", "out-of-range"),
        ("\"required\"", "\"require\"", "\"require", "unknown-recipe-rule"),
        (
            "recipe = \"required\"",
            "recipe = \"required\"\nlineage = \"require\"",
            "\"require\"",
            "unknown-lineage-rule",
        ),
        (
            "max_files = 64",
            "max_files = 64\nkv_cache = \"fp8\"",
            "\"fp8",
            "unknown-cache-rule",
        ),
        ("\"chat-single\"", "\"chat_single\"", "\"chat", "unknown-profile"),
        ("tasks = [\"gsm8k\", \"kmmlu\"]", "tasks = []", "[]", "wrong-count"),
        ("limit = 512", "limits = 512", "limits", "unknown-key"),
        ("limit = 512", "limit = 0", "0", "out-of-range"),
        ("wall_seconds = 3600", "wall_seconds = 604801", "604801", "out-of-range"),
        ("max_tokens = 8", "max_tokens = 5000", "5000", "out-of-range"),
        ("max_tokens = 8", "max_tokens = 8\nbase = \"\"", "\"\"", "invalid-text"),
        ("max_tokens = 8", "max_tokens = 8\nbase = 2", "2", "wrong-type"),
        ("limit = 512", "enable_thinking = \"yes\"", "\"yes", "wrong-type"),
        ("limit = 512", "max_gen_toks = 0", "0", "out-of-range"),
        ("limit = 512", "max_gen_toks = 131073", "131073", "out-of-range"),
        ("limit = 512", "sealed = true", "true", "wrong-type"),
        (
            "limit = 512",
            &format!("sealed = {{ share = 1, {DIGEST} }}"),
            "1,",
            "out-of-range",
        ),
        (
            "limit = 512",
            &format!("sealed = {{ share = 0.0, {DIGEST} }}"),
            "0.0",
            "out-of-range",
        ),
        ("limit = 512", "sealed = { share = 0.5 }", "{", "missing-key"),
        (
            "limit = 512",
            "sealed = { share = 0.5, digest = \"00\" }",
            "\"00",
            "invalid-sha256",
        ),
        (
            "limit = 512",
            &format!("sealed = {{ share = 0.5, {DIGEST}, after = \"seald\" }}"),
            "\"seald",
            "unknown-reveal",
        ),
        (
            "limit = 512",
            &format!("sealed = {{ share = 0.5, {DIGEST}, key = \"hush\" }}"),
            "key",
            "unknown-key",
        ),
        (
            "at_least = 0.5",
            "at_least = 0.5\njudge = \"lower\"",
            "\"lower",
            "unknown-judge",
        ),
        (
            "show = [\"bytes\"]",
            "confidence = 1.0\nshow = [\"bytes\"]",
            "1.0",
            "out-of-range",
        ),
        (
            "show = [\"bytes\"]",
            "confidence = \"95%\"\nshow = [\"bytes\"]",
            "\"95",
            "wrong-type",
        ),
        (
            "show = [\"bytes\"]",
            "confidence = 0.995\nshow = [\"bytes\"]",
            "0.995",
            "too-few-resamples",
        ),
        (
            "show = [\"bytes\"]",
            "resamples = 99\nshow = [\"bytes\"]",
            "99",
            "out-of-range",
        ),
        ("\"1+1=\"", "\"\"", "\"\"", "invalid-text"),
        ("\"descending\"", "\"down\"", "\"down", "unknown-order"),
        (
            "show = [\"bytes\"]",
            "show = [\"base.bytes\"]",
            "\"base",
            "measure-of-base",
        ),
        ("show = [\"bytes\"]", "show = [\"byts\"]", "\"byts", "unknown-measure"),
        ("at_least = 0.5", "at_least = inf", "inf", "not-finite"),
        ("graded_per_day = 3", "graded_per_day = \"3\"", "\"3", "wrong-type"),
        ("[quota]", "[quotas]\n[quota]", "quotas", "unknown-key"),
    ] {
        one(from, to, at, code);
    }
}

#[test]
fn missing_keys_are_reported_at_their_table() {
    one("[quota]\ngraded_per_day = 3", "[quota]\n", "[quota]", "missing-key");
    let found = mistakes("id = \"x\"\n[base]\nname = \"b\"\n");
    let keys: Vec<(&str, usize)> = found.iter().map(|m| (m.key.as_str(), m.line)).collect();
    assert!(found.iter().all(|m| m.code == "missing-key"));
    for expected in [
        ("title", 1),
        ("timezone", 1),
        ("phases", 1),
        ("checkpoint", 1),
        ("grading", 1),
        ("score", 1),
        ("quota", 1),
        ("base.dir", 2),
        ("base.bytes", 2),
    ] {
        assert!(keys.contains(&expected), "{expected:?} in {keys:?}");
    }
    // A missing table is one mistake, not one for each of its keys.
    assert!(keys.iter().all(|(key, _)| !key.starts_with("score.")));
}

#[test]
fn mistakes_in_the_formula_point_into_it() {
    let formula = "formula = \"base.bytes/bytes * acc.gsm8k.exact_match.strict-match\"";
    for (to, at, code) in [
        ("formula = \"base.bytes / byte\"", "byte\"", "unknown-measure"),
        ("formula = \"base.bytes / * bytes\"", "* bytes", "formula-value"),
        (
            "formula = 'bytes + base.acc.none.acc.none'",
            "base",
            "base-measure-missing",
        ),
        (
            "formula = \"\"\"\n  bytes\n  + base.peak_memory\"\"\"",
            "base",
            "base-measure-missing",
        ),
        ("formula = \"clmp(bytes, 1, 2)\"", "clmp", "formula-unknown-function"),
        ("formula = \"base.bytes * 2\"", "base", "formula-constant"),
        ("formula = \"bytes × 2\"", "×", "formula-character"),
        // With an escape in the string, its start is as near as it gets.
        ("formula = \"base.bytes \\u002f byte\"", "\"base", "unknown-measure"),
        ("formula = \"\"", "\"\"", "invalid-text"),
        ("formula = true", "true", "wrong-type"),
    ] {
        one(formula, to, at, code);
    }
    assert_eq!(
        one(formula, "formula = \"bytse\"", "bytse", "unknown-measure").fix.en,
        "Did you mean `bytes`?"
    );
}

#[test]
fn a_time_track_is_checked_and_its_measures_need_it() {
    for (to, at, code) in [
        ("time = { rounds = 4 }", "4", "out-of-range"),
        ("time = { rounds = 100 }", "100", "out-of-range"),
        ("time = { sequences = 0 }", "0", "out-of-range"),
        ("time = { sequences = 257 }", "257", "out-of-range"),
        ("time = { prompt_tokens = 0 }", "0", "out-of-range"),
        ("time = { prompt_tokens = 131073 }", "131073", "out-of-range"),
        ("time = { generated_tokens = 131073 }", "131073", "out-of-range"),
        ("time = { generated_tokens = \"64\" }", "\"64", "wrong-type"),
        ("time = { warmup = 1 }", "warmup", "unknown-key"),
        ("time = true", "true", "wrong-type"),
    ] {
        one("limit = 512", to, at, code);
    }
    let unmeasured = "time-without-workload";
    for (from, to, at) in [
        ("base.bytes/bytes *", "base.bytes / time_ratio *", "time_ratio"),
        ("show = [\"bytes\"]", "show = [\"time_ratio_low\"]", "\"time_ratio_low"),
        (
            "measure = \"acc.gsm8k.exact_match.strict-match\"",
            "measure = \"time_track_seconds\"",
            "\"time_track",
        ),
    ] {
        let mistake = one(from, to, at, unmeasured);
        assert!(mistake.fix.en.contains("[grading.time]"), "{mistake}");
    }
}

/// What the rules may say besides, each key away from its default.
#[test]
fn only_an_accuracy_is_judged_by_its_interval() {
    let to = "measure = \"bytes\"\nat_least = 0.5\njudge = \"lower-bound\"";
    let from = "measure = \"acc.gsm8k.exact_match.strict-match\"\nat_least = 0.5";
    one(from, to, "\"lower", "floor-without-interval");
}

#[test]
fn everything_wrong_is_told_at_once_and_in_order() {
    let source = good()
        .replace("id = \"spring\"", "id = \"S\"")
        .replace("\"Asia/Seoul\"", "\"Mars/Olympus\"")
        .replace("limit = 512", "limit = -1\ncolour = \"red\"")
        .replace("\"descending\"", "\"descnding\"");
    let found = mistakes(&source);
    let codes: Vec<&str> = found.iter().map(|m| m.code).collect();
    assert_eq!(
        codes,
        [
            "invalid-slug",
            "unknown-timezone",
            "out-of-range",
            "unknown-key",
            "unknown-order"
        ]
    );
    assert_eq!(found[4].fix.en, "Did you mean `descending`?");
    assert!(found.is_sorted_by_key(|m| (m.line, m.column)));

    let errors = Contest::parse(&source).unwrap_err();
    assert_eq!(errors.to_string().lines().count(), 5);
    assert_eq!(errors.problems()[0].place, "contest.toml:2:6");
}

#[test]
fn syntax_is_reported_alone() {
    let found = mistakes(&good().replace("id = \"spring\"", "id = spring\nid = \"again\" \"twice\""));
    assert!(found.iter().all(|m| m.code == "toml-syntax"), "{found:#?}");
    assert_eq!(found[0].line, 2);
    let twice = mistakes(&good().replace("id = \"spring\"", "id = \"a\"\nid = \"b\""));
    assert_eq!((twice[0].code, twice[0].line), ("toml-syntax", 3));
}

#[test]
fn sizes_are_capped() {
    let codes = |source: &str| mistakes(source).iter().map(|m| m.code).collect::<Vec<_>>();
    assert_eq!(codes(&"#".repeat(MAX_BYTES + 1)), ["contest-too-long"]);
    // As many mistakes as fit in a file: reported up to the cap, the first ones first.
    let many = mistakes(&(0..20_000).map(|i| format!("k{i} = 1\n")).collect::<String>());
    assert_eq!(many.len(), MAX_MISTAKES);
    let tasks = (0..1000).map(|i| format!("\"t{i}\"")).collect::<Vec<_>>().join(",");
    assert_eq!(
        codes(&good().replace("[\"gsm8k\", \"kmmlu\"]", &format!("[{tasks}]"))),
        ["wrong-count"]
    );
    let long = "x".repeat(5000);
    let title = mistakes(&good().replace("Spring", &long));
    assert_eq!(title[0].code, "invalid-text");
    assert!(
        title[0].message.en.len() < 300,
        "what is wrong is not repeated at length"
    );
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(
        codes(&good().replace("limit = 512", &format!("limit = {deep}")))[0],
        "toml-syntax"
    );
    let dotted = "a.".repeat(70) + "a = 1";
    assert_eq!(
        codes(&good().replace("time_per_token = 0.01", &dotted)),
        ["unknown-measure"]
    );
}
