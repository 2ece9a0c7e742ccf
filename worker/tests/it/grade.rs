//! `grade` against what lm-evaluation-harness made of the same checkpoints, document by document.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{Contest, code, copy_checkpoint, fixture, json, run, sample_contest, stderr, stdout};

/// Documents of each task that the tests run; `fidelity` runs all of them.
const LIMIT: usize = 60;

/// Rows of a samples file by document and filter.
fn rows(path: &Path) -> BTreeMap<(u64, String), Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| {
        (
            (
                row["doc_id"].as_u64().unwrap(),
                row["filter"].as_str().unwrap().to_string(),
            ),
            row,
        )
    })
    .collect()
}

/// Grades the mini tasks and compares every document with the harness's file: prompts, texts, outcomes.
fn compare(name: &str, profile: &str, device: &str, limit: usize) {
    let out = tempfile::tempdir().unwrap();
    let tasks = format!("{},mini", fixture("tasks").display());
    let limit_text = limit.to_string();
    let output = run(&[
        &"grade",
        &fixture("checkpoints").join(name),
        &"--tasks",
        &tasks,
        &"--profile",
        &profile,
        &"--device",
        &device,
        &"--limit",
        &limit_text,
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let harness = json(&fixture(&format!("harness/{name}.{profile}.json")));
    let report = json(&out.path().join("report.json"));
    for (task, recorded) in harness["tasks"].as_object().unwrap() {
        let rows = rows(&out.path().join(format!("samples_{task}.jsonl")));
        let docs = &recorded["docs"].as_array().unwrap()[..limit];
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for doc in docs {
            for (filter, metrics) in doc["outcomes"].as_object().unwrap() {
                let what = format!("{name} {profile} {task} document {} {filter}", doc["doc_id"]);
                let row = &rows[&(doc["doc_id"].as_u64().unwrap(), filter.clone())];
                assert_eq!(row["prompt_hash"], doc["prompt_hash"], "{what}");
                for (metric, value) in metrics.as_object().unwrap() {
                    assert_eq!(
                        row[metric], *value,
                        "{what} {metric}: ours {}, theirs {}",
                        row["resps"], doc["responses"]
                    );
                    *sums.entry(format!("acc.{task}.{metric}.{filter}")).or_default() += value.as_f64().unwrap();
                }
                if let Some(text) = doc["responses"][0].as_str() {
                    assert_eq!(row["resps"][0][0], *text, "{what}");
                }
            }
        }
        for (measure, sum) in sums {
            let found = report["measures"][&measure].as_f64().unwrap();
            assert!((found - sum / docs.len() as f64).abs() < 1e-12, "{measure}: {found}");
        }
    }
}

#[test]
fn every_document_of_the_base_comes_out_as_in_the_harness() {
    compare("base", "plain", "cpu", LIMIT);
}

#[test]
fn every_document_of_a_quantized_checkpoint_comes_out_as_in_the_harness() {
    compare("w4a16-gptq", "plain", "cpu", LIMIT);
}

#[test]
fn the_oracle_agrees_too() {
    compare("w4a16-gptq", "plain", "reference", 6);
}

#[test]
fn chat_prompts_come_out_as_in_the_harness() {
    compare("base", "chat", "cpu", 20);
    compare("base", "chat-single", "cpu", 20);
}

#[test]
fn a_contest_grade_has_a_score_and_every_measure_its_formula_names() {
    let out = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The grounds a service job stands on.
    let all = r#"["mini_gsm", "mini_komath", "mini_arc", "mini_boolq", "mini_wino"]"#;
    let contest = Contest::cut(dir.path(), 8, all);
    let output = run(&[
        &"--lang",
        &"ko",
        &"grade",
        &fixture("checkpoints/w4a16-gptq"),
        &"--contest",
        &contest.file(),
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    // base.bytes / bytes
    assert!(text.contains("점수") && text.contains("3.2606"), "{text}");
    let report = json(&out.path().join("report.json"));
    assert_eq!(report["submission"]["verdict"], "accepted");
    assert_eq!(report["measures"]["bytes"], 1_546_352.0);
    assert_eq!(report["contest_digest"].as_str().unwrap().len(), 64);
    assert_eq!(report["samples"].as_array().unwrap().len(), 6);
    for sample in report["samples"].as_array().unwrap() {
        assert!(!sample["text"].as_str().unwrap().ends_with('\u{fffd}'), "{sample}");
    }
    let measures = &report["measures"];
    for name in [
        "rate.truncated.mini_gsm",
        "rate.no_answer.mini_komath",
        "rate.repetition.mini_gsm",
        "generated_tokens",
        "tokens_per_second",
        "item_seconds_mean",
        "item_seconds_p99",
        "load_seconds",
        "wall_seconds",
        "peak_memory",
        "items.mini_arc",
    ] {
        assert!(measures[name].is_number(), "{name}: {measures}");
    }
    assert!(measures["rate.truncated.mini_arc"].is_null(), "it generates nothing");
    let items = report["items"].as_array().unwrap();
    let strict = |item: &&Value| item["task"] == "mini_gsm" && item["key"] == "exact_match,strict-match";
    let values = items.iter().find(strict).unwrap()["values"].as_array().unwrap();
    let mean = values.iter().map(|value| value.as_f64().unwrap()).sum::<f64>() / values.len() as f64;
    assert_eq!(measures["acc.mini_gsm.exact_match.strict-match"], mean);
    for stage in ["verify", "weigh", "load", "evaluate", "samples", "report"] {
        assert!(report["timings"][stage].is_number(), "{stage}");
    }
    let results = json(&out.path().join("results.json"));
    assert_eq!(results["n-samples"]["mini_gsm"]["effective"], 8);
}

#[test]
fn a_checkpoint_that_was_tampered_with_is_not_run() {
    let dir = copy_checkpoint("w4a16-gptq");
    // The tokenizer swaps two words: every prompt would mean something else.
    let path = dir.path().join("tokenizer.json");
    let mut tokenizer: Value = json(&path);
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let names: Vec<String> = vocabulary.keys().rev().take(2).cloned().collect();
    let (a, b) = (vocabulary[&names[0]].clone(), vocabulary[&names[1]].clone());
    vocabulary.insert(names[0].clone(), b);
    vocabulary.insert(names[1].clone(), a);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = run(&[
        &"grade",
        &dir.path(),
        &"--contest",
        &sample_contest(),
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stdout(&output).contains("tokenizer.json"), "{}", stdout(&output));
    let report = json(&out.path().join("report.json"));
    assert_eq!(report["submission"]["verdict"], "rejected");
    assert!(report["tasks"].as_array().unwrap().is_empty());
    assert!(!out.path().join("results.json").exists());
}

#[test]
fn weights_that_are_no_numbers_are_turned_away() {
    let dir = copy_checkpoint("base");
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    // bf16 NaN, in the last tensor of the file
    bytes[end - 2..].copy_from_slice(&0x7fc0u16.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let out = tempfile::tempdir().unwrap();
    let tasks = format!("{},mini_wino", fixture("tasks").display());
    let output = run(&[
        &"grade",
        &dir.path(),
        &"--tasks",
        &tasks,
        &"--limit",
        &"1",
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 1, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn a_grade_that_takes_too_long_is_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let contest = dir.path().join("contest.toml");
    let source = std::fs::read_to_string(sample_contest()).unwrap();
    let source = source.replace("wall_seconds = 1800", "wall_seconds = 1");
    let source = source
        .replace("../../tests/fixtures/checkpoints/base", "base")
        .replace("../../tests/fixtures/tasks", "tasks");
    std::fs::write(&contest, source).unwrap();
    std::os::unix::fs::symlink(fixture("checkpoints/base"), dir.path().join("base")).unwrap();
    std::os::unix::fs::symlink(fixture("tasks"), dir.path().join("tasks")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let output = run(&[
        &"grade",
        &fixture("checkpoints/base"),
        &"--contest",
        &contest,
        &"--device",
        &"reference",
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    assert!(stderr(&output).contains("wall-time"), "{}", stderr(&output));
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    assert!(!out.path().join("report.json").exists());
}

#[test]
fn what_to_grade_by_has_to_be_said_once() {
    let base = fixture("checkpoints/base");
    assert_eq!(code(&run(&[&"grade", &base, &"--out", &"/tmp/never"])), 2);
    let tasks = fixture("tasks");
    assert_eq!(
        code(&run(&[
            &"grade",
            &base,
            &"--out",
            &"/tmp/never",
            &"--tasks",
            &tasks,
            &"--contest",
            &sample_contest()
        ])),
        2
    );
    let out = tempfile::tempdir().unwrap();
    let tasks = format!("{},no_such_task", tasks.display());
    let output = run(&[&"grade", &base, &"--out", &out.path(), &"--tasks", &tasks]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no_such_task"), "{}", stderr(&output));
}
