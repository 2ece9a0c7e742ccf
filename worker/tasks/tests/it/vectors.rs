//! Single facts of the harness: filter vectors, few-shot draws of gsm8k, the shapes of its files.

use std::fs;

use assay_tasks::random::Random;
use assay_tasks::results::doc_hash;
use assay_tasks::{
    ChatTemplate, JinjaTemplate, Message, Response, Role, RunInfo, Settings, TaskSet, results_json, samples,
    samples_jsonl,
};
use serde_json::{Value, json};

use crate::{fixtures, json as fixture};

pub const GSM8K: &str = r#####"
task: gsm8k_local
dataset_path: json
dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
training_split: train
fewshot_split: train
test_split: test
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer}}"
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [",", "\\$", "(?s).*#### ", "\\.$"]
generation_kwargs:
  until: ["Question:", "</s>", "<|im_end|>"]
  do_sample: false
  temperature: 0.0
repeats: 1
num_fewshot: 5
filter_list:
  - name: "strict-match"
    filter:
      - function: "regex"
        regex_pattern: "#### (\\-?[0-9\\.\\,]+)"
      - function: "take_first"
  - name: "flexible-extract"
    filter:
      - function: "regex"
        group_select: -1
        regex_pattern: "(-?[$0-9.,]{2,})|(-?[0-9]+)"
      - function: "take_first"
metadata:
  version: 3.0
"#####;

/// gsm8k as it ships, over `test` documents and `train` numbered examples.
pub fn gsm8k(test: &[Value], train: usize) -> (tempfile::TempDir, TaskSet) {
    let folder = tempfile::tempdir().unwrap();
    let lines = |docs: &[Value]| docs.iter().map(|d| format!("{d}\n")).collect::<String>();
    let examples: Vec<Value> = (0..train)
        .map(|i| json!({"question": format!("<{i}>"), "answer": "#### 1"}))
        .collect();
    fs::write(folder.path().join("gsm8k_local.yaml"), GSM8K).unwrap();
    fs::write(folder.path().join("train.jsonl"), lines(&examples)).unwrap();
    fs::write(folder.path().join("test.jsonl"), lines(test)).unwrap();
    let set = TaskSet::load(folder.path(), &["gsm8k_local".to_owned()]).unwrap_or_else(|e| panic!("{e}"));
    (folder, set)
}

#[test]
fn filter_vectors() {
    let vectors = fixture("data/golden/gsm8k_filter_golden.json");
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 26);
    let docs: Vec<Value> = vectors
        .iter()
        .map(|_| json!({"question": "?", "answer": "x\n#### 18"}))
        .collect();
    let (_folder, set) = gsm8k(&docs, 10);
    let responses: Vec<Vec<Response>> = vectors
        .iter()
        .map(|v| vec![Response::Text(v["resp"].as_str().unwrap().to_owned())])
        .collect();
    let outcome = set.tasks()[0].score(&responses).unwrap();
    for (i, vector) in vectors.iter().enumerate() {
        for (filter, text, hit) in [
            ("strict-match", "strict", "strict_em"),
            ("flexible-extract", "flex", "flex_em"),
        ] {
            let row = outcome.doc(i, filter).unwrap();
            assert_eq!(row.filtered, [vector[text].clone()], "{vector}");
            assert_eq!(row.scores["exact_match"].json(), vector[hit], "{vector}");
        }
    }
}

/// The examples of 512 gsm8k prompts: drawn directly, and as they stand in the prompts.
#[test]
fn few_shot_draws_of_gsm8k() {
    let golden = fixture("data/golden/gsm8k_5shot_golden.json");
    let drawn: Vec<Vec<usize>> = serde_json::from_value(golden["fewshot_indices_512_single"].clone()).unwrap();
    assert_eq!(drawn.len(), 512);
    let mut rng = Random::new(1234);
    for expected in &drawn {
        assert_eq!(rng.sample(7473, 5).unwrap(), *expected);
    }
    let docs: Vec<Value> = (0..512)
        .map(|i| json!({"question": format!("q{i}"), "answer": "#### 1"}))
        .collect();
    let (_folder, set) = gsm8k(&docs, 7473);
    let instances = set.tasks()[0].instances(&Settings::default()).unwrap();
    for (i, (instance, expected)) in instances.iter().zip(&drawn).enumerate() {
        let shots: String = expected
            .iter()
            .map(|n| format!("Question: <{n}>\nAnswer: #### 1\n\n"))
            .collect();
        assert_eq!(instance.kind.prompt(), format!("{shots}Question: q{i}\nAnswer:"));
    }
}

#[test]
fn the_results_file_has_the_harness_s_shape() {
    let golden = fixture("data/golden/results_example.json");
    let docs: Vec<Value> = (0..512)
        .map(|i| json!({"question": format!("q{i}"), "answer": "#### 18"}))
        .collect();
    let (_folder, set) = gsm8k(&docs, 10);
    let text = |i| Response::Text(if i < 9 { "#### 18" } else { "" }.to_owned());
    let responses: Vec<Vec<Response>> = (0..512).map(|i| vec![text(i)]).collect();
    let outcome = set.tasks()[0].score(&responses).unwrap();
    let run = RunInfo {
        model: "Rec".into(),
        ..RunInfo::default()
    };
    let ours = results_json(&set, &[outcome], &Settings::default(), &run, &[]);
    // Nine of 512, as in the example: every number to the last digit, and every key in order.
    for key in [
        "results",
        "group_subtasks",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
    ] {
        assert_eq!(ours[key].to_string(), golden[key].to_string(), "{key}");
    }
    assert_eq!(
        ours["n-samples"]["gsm8k_local"],
        json!({"original": 512, "effective": 512})
    );
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours["config"]), keys(&golden["config"]));
}

#[test]
fn the_samples_file_has_the_harness_s_shape() {
    let golden = fixture("data/golden/sample_example.json");
    let (_folder, set) = gsm8k(&[golden["doc"].clone()], 10);
    let task = &set.tasks()[0];
    let mut instances = task.instances(&Settings::default()).unwrap();
    // The example's prompt has the real training set's examples and another chat template; the rest is ours to make.
    if let assay_tasks::InstanceKind::Generate { prompt, .. } = &mut instances[0].kind {
        *prompt = golden["arguments"][0][0].as_str().unwrap().to_owned();
    }
    let responses = vec![vec![Response::Text(golden["resps"][0][0].as_str().unwrap().to_owned())]];
    let outcome = task.score(&responses).unwrap();
    let samples = samples(task, &instances, &responses, &outcome).unwrap();
    assert_eq!(samples.rows.len(), 2);
    assert_eq!(samples.rows[0].to_string(), golden.to_string());
    assert_eq!(samples.rows[1]["filter"], "flexible-extract");

    let lines = samples_jsonl(&samples);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["arguments"]["gen_args_0"]["arg_0"], golden["arguments"][0][0]);
    assert_eq!(line["arguments"]["gen_args_0"]["arg_1"], golden["arguments"][0][1]);
    assert_eq!(line["resps"], json!([["#### 18"]]));
    assert_eq!(lines.lines().count(), 2);
    // json.dumps separates with ", " and ": ", and leaves other scripts as they are.
    assert!(lines.starts_with("{\"doc_id\": 0, \"doc\": {\"question\": \"Janet’s"));
}

#[test]
fn choice_samples_show_pairs() {
    let set = TaskSet::load(&fixtures().join("tasks"), &["mini_boolq".to_owned()]).unwrap();
    let task = &set.tasks()[0];
    let pair = |value, greedy| Response::Loglikelihood { value, greedy };
    let responses = vec![vec![pair(-1.5, false), pair(-0.25, true)]];
    let instances = task.instances(&Settings::default()).unwrap();
    let outcome = task.score(&responses).unwrap();
    let samples = samples(task, &instances, &responses, &outcome).unwrap();
    let row = &samples.rows[0];
    assert_eq!(row["resps"], json!([[[-1.5, false]], [[-0.25, true]]]));
    assert_eq!(row["filtered_resps"], json!([[-1.5, false], [-0.25, true]]));
    assert_eq!(
        (&row["target"], &row["metrics"], &row["acc"]),
        (&json!(1), &json!(["acc"]), &json!(1.0))
    );
    let line: Value = serde_json::from_str(&samples_jsonl(&samples)).unwrap();
    assert_eq!(line["resps"], json!([[["-1.5", "False"]], [["-0.25", "True"]]]));
    assert_eq!(
        (&line["target"], &line["arguments"]["gen_args_1"]["arg_1"]),
        (&json!("1"), &json!(" yes"))
    );
}

#[test]
fn document_hashes() {
    let golden = fixture("data/golden/sample_example.json");
    assert_eq!(doc_hash(&golden["doc"]), golden["doc_hash"].as_str().unwrap());
}

/// EXAONE 4.0's own template: past answers get an empty thought, the start of the answer is kept as it is.
#[test]
fn the_exaone_template() {
    let source = fs::read_to_string(fixtures().join("data/golden/exaone4_no_tools.jinja")).unwrap();
    let template = JinjaTemplate::new(&source).unwrap();
    let message = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    let messages = [
        message(Role::System, "s"),
        message(Role::User, "q "),
        message(Role::Assistant, "<think>x</think>\na"),
        message(Role::User, "r"),
    ];
    assert_eq!(
        template.render(&messages, true).unwrap(),
        "[|system|]\ns[|endofturn|]\n[|user|]\nq [|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\na[|endofturn|]\n\
         [|user|]\nr[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n"
    );
    let golden = fixture("data/golden/sample_example.json");
    let prompt = golden["arguments"][0][0].as_str().unwrap();
    let user = prompt
        .strip_prefix("[|user|]\n")
        .unwrap()
        .split("[|endofturn|]")
        .next()
        .unwrap();
    assert_eq!(template.render(&[message(Role::User, user)], true).unwrap(), prompt);
}
