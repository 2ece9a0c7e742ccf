//! What a profile, a thought and a budget do to a grade, from the command line to the files it leaves.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{code, fixture, run, stderr};

fn results(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap()
}

fn samples(out: &Path, task: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join(format!("samples_{task}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_thought_and_a_budget_reach_prompts_answers_and_files() {
    let out = tempfile::tempdir().unwrap();
    let tasks = format!("{},mini_gsm", fixture("tasks").display());
    let output = run(&[
        &"grade",
        &fixture("checkpoints/base"),
        &"--tasks",
        &tasks,
        &"--profile",
        &"chat-single-0.4.9",
        &"--enable-thinking",
        &"--max-gen-toks",
        &"3",
        &"--limit",
        &"4",
        &"--device",
        &"cpu",
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let results = results(out.path());
    assert_eq!(results["lm_eval_version"], "0.4.9.2");
    assert_eq!(results["config"]["gen_kwargs"], json!({"max_gen_toks": 3}));
    assert_eq!(
        results["config"]["model_args"],
        "enable_thinking=True,think_end_token=</think>"
    );
    assert_eq!(results["configs"]["mini_gsm"]["generation_kwargs"]["max_gen_toks"], 3);
    let rows = samples(out.path(), "mini_gsm");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let arguments = &row["arguments"]["gen_args_0"];
        let prompt = arguments["arg_0"].as_str().unwrap();
        assert!(prompt.ends_with("[|assistant|]\n<think>\n"), "{prompt}");
        assert_eq!(arguments["arg_1"]["max_gen_toks"], 3);
        let answer = row["resps"][0][0].as_str().unwrap();
        assert!(answer.chars().count() < 30, "three tokens: {answer:?}");
    }
}

/// The harness refuses it too: a choice is no thought.
#[test]
fn choices_cannot_be_thought_about() {
    let out = tempfile::tempdir().unwrap();
    let tasks = format!("{},mini_arc", fixture("tasks").display());
    let output = run(&[
        &"grade",
        &fixture("checkpoints/base"),
        &"--tasks",
        &tasks,
        &"--profile",
        &"chat",
        &"--enable-thinking",
        &"--limit",
        &"2",
        &"--device",
        &"cpu",
        &"--out",
        &out.path(),
    ]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("enable_thinking"), "{}", stderr(&output));
}
