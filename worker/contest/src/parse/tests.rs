use proptest::prelude::*;

use super::*;
use crate::mistake::{MAX_MISTAKES, Mistake};
use crate::rules::{Judge, Profile, Revealed};

/// Root keys, then sections in the order they need among their own kind: (header, lines).
const GOOD: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "id = \"spring\"",
            "title = { en = \"Spring\", ko = \"봄 대회\" }",
            "timezone = \"Asia/Seoul\"",
        ],
    ),
    (
        "[[phases]]",
        &[
            "id = \"practice\"",
            "title = { en = \"Practice\", ko = \"연습\" }",
            "opens = 2026-03-01T00:00:00+09:00",
            "closes = 2026-03-08T00:00:00+09:00",
        ],
    ),
    (
        "[[phases]]",
        &[
            "id = \"final\"",
            "title = { en = \"Final\", ko = \"본선\" }",
            "opens = \"2026-03-07T15:00:00Z\"",
            "closes = 2026-03-15T00:00:00+09:00",
        ],
    ),
    (
        "[base]",
        &[
            "name = \"EXAONE-4.0-1.2B\"",
            "dir = \"../base\"",
            "config_sha256 = \"0000000000000000000000000000000000000000000000000000000000000001\"",
            "tokenizer_sha256 = \"0000000000000000000000000000000000000000000000000000000000000002\"",
            "chat_template_sha256 = \"0000000000000000000000000000000000000000000000000000000000000003\"",
            "bytes = 2_559_000_000",
        ],
    ),
    (
        "[base.measures]",
        &[
            "acc.gsm8k.exact_match.strict-match = 0.6",
            "\"acc.kmmlu.acc.none\" = 0.4",
            "time_per_token = 0.01",
        ],
    ),
    (
        "[checkpoint]",
        &[
            "formats = [\"dense\", \"pack-quantized\"]",
            "modules = [\"Linear\", \"lm_head\"]",
            "locked = [\"vocab_size\"]",
            "max_bytes = 0x1_0000_0000",
            "max_files = 64",
            "recipe = \"required\"",
        ],
    ),
    (
        "[grading]",
        &[
            "harness = \"lm_eval 0.4.13\"",
            "profile = \"chat-single\"",
            "tasks_dir = \"tasks\"",
            "tasks = [\"gsm8k\", \"kmmlu\"]",
            "limit = 512",
            "wall_seconds = 3600",
        ],
    ),
    (
        "[[grading.samples]]",
        &["kind = \"math\"", "prompt = \"1+1=\"", "max_tokens = 8"],
    ),
    (
        "[score]",
        &[
            "formula = \"base.bytes/bytes * acc.gsm8k.exact_match.strict-match\"",
            "order = \"descending\"",
            "show = [\"bytes\"]",
        ],
    ),
    (
        "[[score.floors]]",
        &["measure = \"acc.gsm8k.exact_match.strict-match\"", "at_least = 0.5"],
    ),
    ("[quota]", &["graded_per_day = 3"]),
];

const DIGEST: &str = "digest = \"00000000000000000000000000000000000000000000000000000000000000ff\"";

fn good() -> String {
    let mut text = String::new();
    for (header, lines) in GOOD {
        text += &format!("{header}\n{}\n", lines.join("\n"));
    }
    text
}

fn mistakes(source: &str) -> Vec<Mistake> {
    let errors = Contest::parse(source).unwrap_err();
    assert!((1..=MAX_MISTAKES).contains(&errors.mistakes.len()));
    let lines: Vec<&str> = source.split('\n').collect();
    for mistake in &errors.mistakes {
        let line = lines.get(mistake.line - 1).expect("a line of the file");
        assert!(mistake.column <= line.chars().count() + 1, "{mistake}");
        for text in [&mistake.message, &mistake.fix] {
            assert!(
                !text.en.is_empty() && !text.ko.is_empty() && text.en != text.ko,
                "{mistake}"
            );
        }
        assert!(
            mistake
                .code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
    }
    errors.mistakes
}

/// The good file with `from` replaced by `to`: what is wrong, and that it is pointed at where `at` stands in `to`.
fn one(from: &str, to: &str, at: &str, code: &str) -> Mistake {
    let source = good();
    let start = source.find(from).unwrap_or_else(|| panic!("{from} is not in the file"));
    let source = source.replacen(from, to, 1);
    let byte = start + to.find(at).unwrap();
    let line = source[..byte].matches('\n').count() + 1;
    let column = source[..byte].rsplit('\n').next().unwrap().chars().count() + 1;
    let found = mistakes(&source);
    assert_eq!(found.len(), 1, "{to}: {found:#?}");
    let mistake = found.into_iter().next().unwrap();
    assert_eq!(
        (mistake.code, mistake.line, mistake.column),
        (code, line, column),
        "{to}: {mistake}"
    );
    mistake
}

#[test]
fn a_good_file_says_what_it_says() {
    let contest = Contest::parse(&good()).unwrap();
    assert_eq!(contest.id, "spring");
    assert_eq!(contest.title.ko, "봄 대회");
    assert_eq!(contest.phases[1].opens, "2026-03-07T15:00:00Z");
    assert_eq!(contest.base.bytes, 2_559_000_000);
    assert_eq!(contest.base.measures["acc.kmmlu.acc.none"], 0.4);
    assert_eq!(contest.base.measures["acc.gsm8k.exact_match.strict-match"], 0.6);
    assert_eq!(contest.checkpoint.max_bytes, 1 << 32);
    assert_eq!(contest.checkpoint.recipe, RecipeRule::Required);
    assert_eq!(contest.grading.profile, Profile::ChatSingle);
    assert_eq!(contest.grading.limit, Some(512));
    assert_eq!(contest.grading.seed, 1234);
    assert_eq!(contest.score.decimals, 4);
    assert_eq!(contest.score.floors[0].at_least, 0.5);
    assert_eq!(contest.quota.graded_per_day, 3);
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

/// What the rules may say besides, each key away from its default.
fn with_everything() -> String {
    good()
        .replace("\"chat-single\"", "\"chat-single-0.4.9\"")
        .replace(
            "limit = 512",
            &format!(
                "limit = 512\nenable_thinking = true\nmax_gen_toks = 2048\n\
                 sealed = {{ share = 0.5, {DIGEST}, after = \"sealed\" }}"
            ),
        )
        .replace("max_tokens = 8", "max_tokens = 8\nbase = \"2\"")
        .replace("at_least = 0.5", "at_least = 0.5\njudge = \"lower-bound\"")
        .replace(
            "order = \"descending\"",
            "order = \"descending\"\nconfidence = 0.99\nresamples = 5000",
        )
}

#[test]
fn what_rules_may_say_besides_is_read() {
    let contest = Contest::parse(&with_everything()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(contest.grading.profile, Profile::ChatSingle049);
    assert!(contest.grading.enable_thinking);
    assert_eq!(contest.grading.max_gen_toks, Some(2048));
    let sealed = contest.grading.sealed.as_ref().unwrap();
    assert_eq!((sealed.share, sealed.after), (0.5, Revealed::Sealed));
    assert_eq!(contest.grading.samples[0].base.as_deref(), Some("2"));
    assert_eq!(contest.score.floors[0].judge, Judge::LowerBound);
    assert_eq!((contest.score.confidence, contest.score.resamples), (0.99, 5000));

    let plain = Contest::parse(&good()).unwrap();
    assert_eq!(plain.grading.sealed, None);
    assert_eq!((plain.score.confidence, plain.score.resamples), (0.95, 2000));
    // Said or left out, a default is the same rules.
    let said = good()
        .replace("limit = 512", "limit = 512\nenable_thinking = false")
        .replace("at_least = 0.5", "at_least = 0.5\njudge = \"value\"")
        .replace("order =", "confidence = 0.95\nresamples = 2000\norder =");
    assert_eq!(Contest::parse(&said).unwrap().digest(), plain.digest());
    for (from, to) in [
        ("enable_thinking = true", ""),
        ("2048", "2049"),
        ("share = 0.5", "share = 0.25"),
        ("after = \"sealed\"", "after = \"all\""),
        ("base = \"2\"", "base = \"3\""),
        ("judge = \"lower-bound\"", ""),
        ("0.99", "0.98"),
        ("resamples = 5000", "resamples = 5001"),
    ] {
        let other = with_everything().replace(from, to);
        assert_ne!(Contest::parse(&other).unwrap().digest(), contest.digest(), "{to}");
    }
}

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

#[test]
fn the_canonical_form_is_what_it_is() {
    // A change here changes every digest: raise the version in canonical.rs and say why. Keys that came after this digest
    // are left out at their default, so that rules without them keep it.
    let contest = Contest::parse(&good()).unwrap();
    let canonical = contest.canonical();
    assert!(canonical.starts_with("{\"assay_contest\":1,\"base\":{\"bytes\":2559000000,\"chat_template_sha256\":"));
    assert!(canonical.contains("\"formula\":\"base.bytes / bytes * acc.gsm8k.exact_match.strict-match\""));
    assert!(canonical.contains("\"limit\":512,\"profile\":\"chat-single\",\"samples\":[{\"kind\":\"math\""));
    assert_eq!(
        contest.digest(),
        "7a5c35d3a8fcd48cccd12625cd7872663fcc0cf18f0a70b0100777868da806ac"
    );
    let unlimited = Contest::parse(&good().replace("limit = 512\n", "")).unwrap();
    assert!(unlimited.canonical().contains("\"limit\":null"));
    assert_ne!(unlimited.digest(), contest.digest());
}

#[test]
fn spelling_does_not_change_the_digest_and_every_value_does() {
    let contest = Contest::parse(&good()).unwrap();
    for (from, to) in [
        (
            "base.bytes/bytes * acc.gsm8k.exact_match.strict-match",
            "(base.bytes / bytes)*acc.gsm8k.exact_match.strict-match",
        ),
        ("\"2026-03-07T15:00:00Z\"", "2026-03-07 15:00:00Z"),
        ("2_559_000_000", "2559000000"),
        ("0.6\n", "6e-1\n"),
        ("\"acc.kmmlu.acc.none\"", "acc.\"kmmlu\".acc.none"),
        ("order = \"descending\"\n", ""),
        ("wall_seconds = 3600", "seed = 1234\nwall_seconds = 3600"),
    ] {
        assert!(good().contains(from), "{from}");
        let other = Contest::parse(&good().replace(from, to)).unwrap();
        assert_eq!(other.digest(), contest.digest(), "{to}");
    }
    for (from, to) in [
        ("Spring", "Sprung"),
        ("Asia/Seoul", "Asia/Tokyo"),
        ("2026-03-15T00", "2026-03-15T01"),
        ("2_559_000_000", "2_559_000_001"),
        ("= 0.6", "= 0.61"),
        ("\"Linear\", ", ""),
        ("max_files = 64", "max_files = 65"),
        ("limit = 512", "limit = 511"),
        ("3600", "3601"),
        ("descending", "ascending"),
        ("at_least = 0.5", "at_least = 0.51"),
        ("base.bytes/bytes *", "base.bytes/bytes +"),
        ("graded_per_day = 3", "graded_per_day = 4"),
    ] {
        assert!(good().contains(from), "{from}");
        let other = Contest::parse(&good().replace(from, to)).unwrap();
        assert_ne!(other.digest(), contest.digest(), "{to}");
    }
}

/// Sections and the lines in them shuffled, with comments and blanks strewn in. Sections of one header keep their order,
/// which has a meaning.
fn shuffled() -> impl Strategy<Value = String> {
    let sections: Vec<_> = GOOD
        .iter()
        .map(|(_, lines)| Just(lines.to_vec()).prop_shuffle())
        .collect();
    let order = Just((1..GOOD.len()).collect::<Vec<_>>()).prop_shuffle();
    let junk = prop::collection::vec(prop::sample::select(vec!["", "# note: [x] = \"1\"", "\t ", "#봄"]), 80);
    (sections, order, junk).prop_map(|(sections, mut order, junk)| {
        for header in ["[[phases]]"] {
            let places: Vec<usize> = (0..order.len()).filter(|&i| GOOD[order[i]].0 == header).collect();
            let mut which: Vec<usize> = places.iter().map(|&i| order[i]).collect();
            which.sort_unstable();
            for (place, section) in places.into_iter().zip(which) {
                order[place] = section;
            }
        }
        let mut junk = junk.into_iter().cycle();
        let mut text = String::new();
        for section in std::iter::once(0).chain(order) {
            text += &format!("{}\n{} {}\n", junk.next().unwrap(), GOOD[section].0, "# here");
            for line in &sections[section] {
                text += &format!("  {line} {}\n", junk.next().unwrap());
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Order of keys and tables, comments and blanks leave no trace in the canonical form.
    #[test]
    fn canonical_form_is_stable(source in shuffled()) {
        let contest = Contest::parse(&source).map_err(|e| TestCaseError::fail(format!("{source}\n{e}")))?;
        let plain = Contest::parse(&good()).unwrap();
        prop_assert_eq!(contest.canonical(), plain.canonical());
        prop_assert_eq!(contest.digest(), plain.digest());
    }

    /// A file with bytes cut out or put in is read or refused, never more.
    #[test]
    fn damaged_files_are_refused_with_places(
        at in any::<prop::sample::Index>(),
        cut in 0usize..40,
        put in "[\\PC\n\"'\\[\\]={}.,]{0,12}",
    ) {
        let mut text: Vec<char> = good().chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, put.chars());
        let source: String = text.into_iter().collect();
        if Contest::parse(&source).is_err() {
            mistakes(&source);
        }
    }
}
