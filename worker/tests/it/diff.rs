//! `diff`: two grades held against each other.

use std::path::Path;

use serde_json::Value;

use crate::support::{Contest, code, fixture, json, run, stderr, stdout};

#[test]
fn what_differs_between_two_grades_is_told_item_by_item() {
    let dir = tempfile::tempdir().unwrap();
    let contest = Contest::cut(dir.path(), 40, r#"["mini_gsm", "mini_boolq"]"#);
    let grade = |checkpoint: &str, name: &str| {
        let out = dir.path().join(name);
        let checkpoint = fixture("checkpoints").join(checkpoint);
        let output = run(&[&"grade", &checkpoint, &"--contest", &contest.file(), &"--out", &out]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        out
    };
    let (a, b) = (grade("base", "a"), grade("w4a16-channel", "b"));
    let again = grade("base", "again");
    let compare = |a: &Path, b: &Path| run(&[&"diff", &a, &b, &"--json"]);

    let output = compare(&a, &again);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let output = compare(&a, &b);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let parts: Vec<&str> = found["certificate"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(parts, ["checkpoint", "outputs"]);

    // The table counted once more, from the samples.
    let rights = |dir: &Path| -> Vec<bool> {
        let text = std::fs::read_to_string(dir.join("samples_mini_gsm.jsonl")).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["filter"] == "strict-match")
            .map(|row| row["exact_match"] == 1.0)
            .collect()
    };
    let (x, y) = (rights(&a), rights(&b));
    let count = |a: bool, b: bool| x.iter().zip(&y).filter(|(x, y)| **x == a && **y == b).count();
    let tasks = found["tasks"].as_array().unwrap();
    let strict = tasks
        .iter()
        .find(|task| task["task"] == "mini_gsm" && task["key"] == "exact_match,strict-match")
        .unwrap();
    let table = &strict["comparison"]["table"];
    for (cell, expected) in [
        ("both", count(true, true)),
        ("only_a", count(true, false)),
        ("only_b", count(false, true)),
        ("neither", count(false, false)),
    ] {
        assert_eq!(table[cell], expected, "{cell}: {table}");
    }
    // Log-probabilities all differ; what the model would choose hardly does.
    let choices = tasks.iter().find(|task| task["task"] == "mini_boolq").unwrap();
    assert!(choices["other_answers"].as_u64().unwrap() < 20, "{choices}");
    let changed = strict["changed"].as_array().unwrap();
    assert_eq!(changed.len(), count(true, false) + count(false, true));
    for item in changed {
        assert_ne!(item["answer"]["a"], item["answer"]["b"], "{item}");
    }
    let bytes = json(&b.join("report.json"))["measures"]["bytes"].clone();
    assert_eq!(found["measures"]["bytes"]["b"], bytes);

    let output = run(&[&"--lang", &"ko", &"diff", &a, &b]);
    let text = stdout(&output);
    assert!(
        text.contains("인증서에서 다른 부분") && text.contains("exact_match,strict-match"),
        "{text}"
    );

    // A report that was changed afterwards is not taken for the same grade.
    let path = again.join("report.json");
    let report = std::fs::read_to_string(&path).unwrap();
    let mut changed: Value = serde_json::from_str(&report).unwrap();
    changed["items"][0]["values"][0] = Value::from(0.5);
    std::fs::write(&path, changed.to_string()).unwrap();
    assert_eq!(code(&compare(&a, &again)), 1);
    changed["certificate"]["checkpoint"] = Value::from("0".repeat(64));
    std::fs::write(&path, changed.to_string()).unwrap();
    let output = compare(&a, &again);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no-certificate"), "{}", stderr(&output));
    assert_eq!(code(&compare(&a, dir.path())), 2);
}
