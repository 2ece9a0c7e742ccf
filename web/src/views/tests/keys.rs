//! The messages: the same in both languages, none missing, none left over.

use crate::i18n::{self, Locale};
use crate::views::lineage::{RELATIONS, relation_key};
use crate::views::{CertificateView, MeasureKind, STEPS, Sealing, StepStatus, SubmissionState, WorkerStatus};
use std::collections::BTreeSet;
use std::path::Path;

/// All text under a folder beside the crate, of files with one of these endings.
fn sources(folder: &str, endings: &[&str], into: &mut String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut entries: Vec<_> = std::fs::read_dir(&path)
        .expect(folder)
        .map(|entry| entry.expect("entry").path())
        .collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).expect("name");
        if entry.is_dir() {
            sources(&format!("{folder}/{name}"), endings, into);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            into.push_str(&std::fs::read_to_string(&entry).expect("text"));
        }
    }
}

/// Keys that code makes up from a family and a member.
fn composed() -> BTreeSet<String> {
    use SubmissionState::*;
    let states = [Draft, Received, Queued, Running, Graded, Rejected, Failed, Cancelled];
    let mut keys: BTreeSet<String> = states.iter().map(|state| state.key().to_owned()).collect();
    keys.extend(
        states
            .iter()
            .filter(|state| state.finished())
            .map(|state| format!("end-{}", state.code())),
    );
    keys.extend(STEPS.iter().map(|step| format!("stage-{step}")));
    keys.insert("stage-prompts".to_owned());
    keys.extend(STEPS.iter().skip(2).map(|step| format!("now-{step}")));
    let steps = [
        StepStatus::Waiting,
        StepStatus::Running,
        StepStatus::Done,
        StepStatus::Stopped,
        StepStatus::Skipped,
    ];
    keys.extend(steps.iter().map(|status| format!("step-{}", status.code())));
    let workers = [
        WorkerStatus::Idle,
        WorkerStatus::Busy,
        WorkerStatus::Draining,
        WorkerStatus::Silent,
        WorkerStatus::Revoked,
    ];
    keys.extend(workers.iter().map(|status| format!("worker-{}", status.code())));
    keys.extend(["no-contest", "visitor", "no-team", "ready"].map(|step| format!("board-empty-{step}")));
    keys.extend(["visitor", "no-team", "ready"].map(|step| format!("board-empty-{step}-button")));
    let groups = [
        "embedding",
        "head",
        "attention",
        "mlp",
        "norms",
        "scales",
        "zero-points",
        "shapes",
        "indices",
        "header",
        "other",
    ];
    keys.extend(groups.map(|group| format!("group-{group}")));
    keys.extend(RELATIONS.iter().flat_map(|relation| {
        let name = format!("relation-{}", relation_key(*relation));
        [format!("{name}-means"), name]
    }));
    let dashed = |name: &&str| name.replace('_', "-");
    keys.extend(
        assay_contest::measure::PLAIN
            .iter()
            .map(|name| format!("measure-{}", dashed(name))),
    );
    keys.extend(
        assay_contest::measure::RATES
            .iter()
            .map(|name| format!("rate-{}", dashed(name))),
    );
    let kinds = [
        "question-answering",
        "classification",
        "named-entities",
        "summary",
        "code",
        "free-text",
    ];
    keys.extend(kinds.iter().map(|kind| format!("sample-kind-{kind}")));
    keys.extend(
        [Sealing::Hidden, Sealing::All, Sealing::Sealed]
            .iter()
            .filter_map(Sealing::key)
            .map(str::to_owned),
    );
    let parts = CertificateView::new(&assay_contest::Certificate {
        checkpoint: "c".into(),
        contest: "c".into(),
        tasks: "t".into(),
        profile: "p".into(),
        engine: "e".into(),
        shaders: Some("s".into()),
        device: "d".into(),
        precision: "p".into(),
        outputs: "o".into(),
        ..assay_contest::Certificate::default()
    });
    keys.extend(parts.parts.iter().map(|(key, _, _)| format!("fact-{key}")));
    let kinds = [
        MeasureKind::Quality,
        MeasureKind::Time,
        MeasureKind::Memory,
        MeasureKind::Other,
    ];
    keys.extend(kinds.map(|kind| kind.message().to_owned()));
    keys.extend(["board-shown", "now-wait", "time-track-work"].map(str::to_owned));
    // Names of rules are found by the rules' own keys.
    keys.extend(
        i18n::keys(Locale::En)
            .filter(|key| key.starts_with("rule-"))
            .map(str::to_owned),
    );
    keys.extend(["board-public", "board-public-rank"].map(str::to_owned));
    let letters = ["signup", "signup-known", "reset", "password-changed"];
    keys.extend(
        letters
            .iter()
            .flat_map(|letter| ["subject", "body"].map(|part| format!("mail-{letter}-{part}"))),
    );
    keys
}

/// The literal keys of `t("…")`, `t1("…"`, `t2("…"` in templates.
fn literal() -> BTreeSet<String> {
    let mut templates = String::new();
    sources("../templates", &[".html"], &mut templates);
    ["t(\"", "t1(\"", "t2(\""]
        .iter()
        .flat_map(|call| templates.split(call).skip(1))
        .filter_map(|rest| rest.split_once('"').map(|(key, _)| key.to_owned()))
        .filter(|key| {
            key.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
        .collect()
}

#[test]
fn both_languages_have_the_same_messages() {
    let [en, ko] = Locale::ALL.map(|locale| i18n::keys(locale).collect::<Vec<_>>());
    assert_eq!(
        en, ko,
        "same keys in the same order: a diff of the two files reads side by side"
    );
    assert_eq!(
        en.iter().collect::<BTreeSet<_>>().len(),
        en.len(),
        "a key is defined twice"
    );
    assert!(en.len() > 150);
}

#[test]
fn every_message_parses_and_fills_its_holes() {
    for locale in Locale::ALL {
        for key in i18n::keys(locale) {
            assert!(i18n::has(locale, key), "{key} in {} does not parse", locale.code());
            assert!(!locale.t(key).trim().is_empty(), "{key} in {} is empty", locale.code());
        }
    }
    assert_eq!(i18n::t(Locale::En, "team-size", &[("n", &1)]), "1 member");
    assert_eq!(i18n::t(Locale::En, "team-size", &[("n", &4)]), "4 members");
    assert_eq!(i18n::t(Locale::Ko, "team-size", &[("n", &4)]), "팀원 4명");
    assert_eq!(
        i18n::t(Locale::En, "exact-bytes", &[("bytes", &"1,546,352")]),
        "1,546,352 bytes"
    );
    assert_eq!(Locale::En.t("no-such-message"), "no-such-message");
}

#[test]
fn both_languages_have_the_same_holes() {
    let holes = |locale: Locale| -> Vec<(String, BTreeSet<String>)> {
        let folder = format!("locales/{}", locale.code());
        let mut text = String::new();
        sources(&folder, &[".ftl"], &mut text);
        let mut list: Vec<(String, BTreeSet<String>)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((key, _)) = line
                .split_once(" =")
                .filter(|(key, _)| !key.contains(' ') && !key.is_empty())
            {
                list.push((key.to_owned(), BTreeSet::new()));
            }
            let names = line
                .split('$')
                .skip(1)
                .map(|rest| rest.split([' ', '}']).next().unwrap_or_default().to_owned());
            if let Some((_, set)) = list.last_mut() {
                set.extend(names);
            }
        }
        list
    };
    for ((key, en), (_, ko)) in holes(Locale::En).into_iter().zip(holes(Locale::Ko)) {
        assert_eq!(en, ko, "{key}");
    }
}

#[test]
fn every_key_that_is_used_exists() {
    for key in literal().iter().chain(&composed()) {
        assert!(i18n::has(Locale::En, key), "no message {key}");
    }
}

#[test]
fn scripts_use_only_sentences_that_exist() {
    let mut scripts = String::new();
    sources("../static/js", &[".js"], &mut scripts);
    let used: BTreeSet<&str> = scripts
        .split("'up-")
        .skip(1)
        .filter_map(|rest| rest.split_once('\'').map(|(key, _)| key))
        .filter(|key| !key.is_empty() && !key.ends_with('-'))
        .collect();
    assert!(used.len() > 20, "found {used:?}");
    for key in used {
        assert!(i18n::has(Locale::En, &format!("up-{key}")), "no message up-{key}");
    }
}

#[test]
fn no_message_is_left_over() {
    let mut text = String::new();
    sources("../static/js", &[".js"], &mut text);
    sources("src", &[".rs"], &mut text);
    let (literal, composed) = (literal(), composed());
    for key in i18n::keys(Locale::En) {
        let quoted = text.contains(&format!("\"{key}\"")) || text.contains(&format!("'{key}'"));
        assert!(
            literal.contains(key) || composed.contains(key) || quoted,
            "nothing uses {key}"
        );
    }
}
