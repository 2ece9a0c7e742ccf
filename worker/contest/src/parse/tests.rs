use proptest::prelude::*;

use super::*;
use crate::mistake::{MAX_MISTAKES, Mistake};
use crate::rules::{Judge, Profile, Revealed, Workload};

mod mistakes;

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

/// A model beside the base, for the end of the good file.
const REFERENCE: &str = r#"
[[references]]
name = "GPTQ W4A16"
bytes = 1_390_692_528
source = { en = "Measured by us.", ko = "직접 측정" }
[references.measures]
acc.gsm8k.exact_match.flexible-extract = 0.5977
acc_stderr.gsm8k.exact_match.flexible-extract = 0.0217
items.gsm8k = 512
"#;

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
    assert_eq!(contest.checkpoint.lineage, LineageRule::Report);
    assert_eq!(contest.checkpoint.kv_cache, CacheRule::Bfloat16);
    assert_eq!(contest.grading.profile, Profile::ChatSingle);
    assert_eq!(contest.grading.limit, Some(512));
    assert_eq!(contest.grading.seed, 1234);
    assert_eq!(contest.score.decimals, 4);
    assert_eq!(contest.score.floors[0].at_least, 0.5);
    assert_eq!(contest.quota.graded_per_day, 3);
}

#[test]
fn references_are_read_and_rules_without_them_keep_their_digest() {
    let with = Contest::parse(&(good() + REFERENCE)).unwrap();
    let reference = &with.references[0];
    assert_eq!(
        (reference.bytes, reference.source.ko.as_str()),
        (1_390_692_528, "직접 측정")
    );
    assert_eq!(reference.measures["items.gsm8k"], 512.0);
    let without = Contest::parse(&good()).unwrap();
    assert!(!without.canonical().contains("references"), "{}", without.canonical());
    assert_ne!(with.digest(), without.digest());
}

#[test]
fn the_example_of_the_real_model_can_be_read() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/exaone-4.0-1.2b/contest.toml");
    let contest = Contest::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        (contest.base.bytes, contest.references[0].bytes),
        (2_558_821_288, 1_390_692_528)
    );
}

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
        .replace("order =", "confidence = 0.95\nresamples = 2000\norder =")
        .replace("max_files = 64", "max_files = 64\nkv_cache = \"bfloat16\"");
    assert_eq!(Contest::parse(&said).unwrap().digest(), plain.digest());
    let applied = Contest::parse(&said.replace("\"bfloat16\"", "\"declared\"")).unwrap();
    assert_eq!(applied.checkpoint.kv_cache, CacheRule::Declared);
    assert_ne!(applied.digest(), plain.digest());
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

/// The good file with a time track.
fn timed(keys: &str) -> String {
    good().replace("limit = 512", &format!("limit = 512\ntime = {{ {keys} }}"))
}

#[test]
fn a_time_track_has_defaults_and_opens_its_measures_to_formula_floors_and_board() {
    let read = |source: &str| Contest::parse(source).unwrap_or_else(|errors| panic!("{errors}"));
    let (plain, usual) = (read(&good()), read(&timed("")));
    assert_eq!(plain.grading.time, None);
    let defaults = Workload {
        prompt_tokens: 512,
        generated_tokens: 128,
        sequences: 1,
        rounds: 5,
    };
    assert_eq!(usual.grading.time, Some(defaults));
    assert_eq!(defaults.positions(), 640);
    assert_ne!(usual.digest(), plain.digest());
    let said = "prompt_tokens = 512, generated_tokens = 128, sequences = 1, rounds = 5";
    assert_eq!(read(&timed(said)).digest(), usual.digest());
    for key in ["prompt_tokens", "generated_tokens", "sequences", "rounds"] {
        assert_ne!(read(&timed(&format!("{key} = 99"))).digest(), usual.digest(), "{key}");
    }
    let spent = timed("")
        .replace("base.bytes/bytes", "1 / time_ratio")
        .replace(
            "show = [\"bytes\"]",
            "show = [\"time_ratio\", \"time_track_base_seconds\"]",
        )
        .replace(
            "[quota]",
            "[[score.floors]]\nmeasure = \"time_ratio_high\"\nat_least = 0.0\n[quota]",
        );
    assert_eq!(read(&spent).score.floors[1].measure, "time_ratio_high");
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
/// which has a meaning, and so do an array's entries and the tables inside them.
fn shuffled() -> impl Strategy<Value = String> {
    let sections: Vec<_> = GOOD
        .iter()
        .map(|(_, lines)| Just(lines.to_vec()).prop_shuffle())
        .collect();
    let order = Just((1..GOOD.len()).collect::<Vec<_>>()).prop_shuffle();
    let junk = prop::collection::vec(prop::sample::select(vec!["", "# note: [x] = \"1\"", "\t ", "#봄"]), 80);
    (sections, order, junk).prop_map(|(sections, mut order, junk)| {
        for together in [&["[[phases]]"][..], &["[[references]]", "[references.measures]"]] {
            let places: Vec<usize> = (0..order.len())
                .filter(|&i| together.contains(&GOOD[order[i]].0))
                .collect();
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
