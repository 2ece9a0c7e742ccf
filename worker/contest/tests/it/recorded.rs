//! Outcomes of 21 checkpoints on the mini tasks, document by document, as the harness recorded them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_contest::wire::ItemScores;
use assay_contest::{Contest, Entry, Measures, Row, board};
use serde_json::Value;

/// Task and `metric,filter` of the measures compared.
pub const KEYS: [(&str, &str); 5] = [
    ("mini_gsm", "exact_match,flexible-extract"),
    ("mini_komath", "exact_match,flexible-extract"),
    ("mini_arc", "acc_norm,none"),
    ("mini_boolq", "acc,none"),
    ("mini_wino", "acc,none"),
];

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn json(path: impl AsRef<Path>) -> Value {
    let path = repository().join("tests/fixtures").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Items of every checkpoint, by its name.
pub fn items() -> BTreeMap<String, Vec<ItemScores>> {
    let recorded: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_value(json("statistics/outcomes.json")).unwrap();
    let of = |outcomes: &BTreeMap<String, String>| {
        let keys = KEYS.iter().map(|(task, key)| {
            let text = &outcomes[&format!("{task}/{key}")];
            ItemScores {
                task: (*task).to_owned(),
                key: (*key).to_owned(),
                values: text.bytes().map(|b| Some(f64::from(b - b'0'))).collect(),
            }
        });
        keys.collect::<Vec<_>>()
    };
    recorded
        .iter()
        .map(|(name, outcomes)| (name.clone(), of(outcomes)))
        .collect()
}

pub fn mean(item: &ItemScores) -> f64 {
    item.values.iter().flatten().sum::<f64>() / item.values.len() as f64
}

/// Rules that score by the mean of four accuracies. The fifth task is a coin toss to every checkpoint.
pub fn contest() -> Contest {
    let source = std::fs::read_to_string(repository().join("deploy/sample/contest.toml")).unwrap();
    let mut contest = Contest::parse(&source).unwrap_or_else(|e| panic!("{e}"));
    let names = KEYS[..4].iter().map(|(task, key)| name(task, key)).collect::<Vec<_>>();
    contest.score.formula = format!("({}) / 4", names.join(" + "));
    contest.score.floors.clear();
    contest
}

pub fn name(task: &str, key: &str) -> String {
    format!("acc.{task}.{}", key.replace(',', "."))
}

/// The board of all checkpoints under [`contest`].
pub fn rows(contest: &Contest, items: &BTreeMap<String, Vec<ItemScores>>) -> Vec<Row> {
    let entry = |(checkpoint, items): (&String, &Vec<ItemScores>)| Entry {
        submission: checkpoint.clone(),
        team: checkpoint.clone(),
        received_at: "2026-05-01T10:00:00+09:00".to_owned(),
        measures: Measures::from_iter(items.iter().map(|item| (name(&item.task, &item.key), mean(item)))),
    };
    board(contest, &items.iter().map(entry).collect::<Vec<_>>())
}

/// The short form holds what the harness's own files hold, where those are kept here.
#[test]
fn outcomes_are_the_harness_s() {
    let mut files = 0;
    for (checkpoint, items) in items() {
        let path = format!("harness/{checkpoint}.plain.json");
        if !repository().join("tests/fixtures").join(&path).is_file() {
            continue;
        }
        files += 1;
        let harness = json(path);
        for item in items {
            let (metric, filter) = item.key.split_once(',').unwrap();
            let docs = harness["tasks"][&item.task]["docs"].as_array().unwrap();
            let values: Vec<Option<f64>> = docs
                .iter()
                .map(|doc| doc["outcomes"][filter][metric].as_f64())
                .collect();
            assert_eq!(item.values, values, "{checkpoint} {}", item.task);
        }
    }
    assert!(files >= 10, "{files}");
}
