//! Task files: includes, groups, tags, overrides, and what is refused.

use std::fs;
use std::path::Path;

use assay_tasks::{Group, Response, Settings, Task, TaskError, TaskSet};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with these files, and a small data set.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..4)
        .map(|i| format!("{}\n", json!({"q": format!("q{i}"), "a": "x", "n": i % 2})))
        .collect();
    for (name, text) in files.iter().copied().chain([("d.jsonl", rows.as_str())]) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

pub fn load(folder: &TempDir, names: &[&str]) -> Result<TaskSet, TaskError> {
    TaskSet::load(
        folder.path(),
        &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
    )
}

/// Keys every task needs.
pub const BASE: &str = "dataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
                        doc_to_text: q\ndoc_to_target: a\n";

pub fn task(name: &str, more: &str) -> String {
    format!("task: {name}\n{BASE}{more}")
}

fn names(set: &TaskSet) -> Vec<&str> {
    set.tasks().iter().map(Task::name).collect()
}

fn prompt(set: &TaskSet, name: &str) -> String {
    set.task(name).unwrap().instances(&Settings::default()).unwrap()[0]
        .kind
        .prompt()
        .to_owned()
}

#[test]
fn includes_replace_whole_values() {
    let folder = folder(&[
        ("sub/a.yaml", "include: [../one, ../two]\ntask: a\ndescription: own\n"),
        (
            "one",
            &format!(
                "{BASE}target_delimiter: '1'\ngeneration_kwargs: {{until: [x], max_gen_toks: 5}}\ntask_list: [1]\n"
            ),
        ),
        (
            "two",
            "description: two\ngeneration_kwargs: {until: [y]}\ntarget_delimiter: '2'\n",
        ),
    ]);
    let set = load(&folder, &["a"]).unwrap();
    let config = set.tasks()[0].config();
    assert_eq!(
        (config.generation.until.clone(), config.generation.max_tokens),
        (vec!["y".to_owned()], None)
    );
    assert_eq!(config.target_delimiter, "2");
    assert_eq!(prompt(&set, "a"), "ownq0");
}

#[test]
fn groups_tags_and_overrides() {
    let folder = folder(&[
        ("b.yaml", &task("b", "tag: [t, u]\n")),
        ("a.yaml", &task("a", "tag: t\ndescription: A\n")),
        ("c.yaml", &task("c", "num_fewshot: 0\n")),
        (
            "g.yaml",
            "group: g\ngroup_alias: The group\ntask:\n  - a\n  - task: c\n    task_alias: sea\n  - group: inner\n    \
             task: [{task: b, description: B}]\n  - group: h\n    target_delimiter: '!'\ndescription: G\n\
             aggregate_metric_list:\n  - metric: exact_match\n    weight_by_size: false\nmetadata: {version: 2.0}\n",
        ),
        (
            "h.yaml",
            &format!(
                "group: h\ntask:\n  - task: written\n    {}\n",
                BASE.replace('\n', "\n    ")
            ),
        ),
    ]);
    let set = load(&folder, &["g"]).unwrap();
    assert_eq!(names(&set), ["a", "c", "b", "h::written"]);
    assert_eq!(set.task("c").unwrap().alias(), "sea");
    // The group's description wins over a task's own, an item's over the group's.
    assert_eq!((prompt(&set, "a").as_str(), prompt(&set, "b").as_str()), ("Gq0", "Bq0"));
    assert_eq!(set.task("h::written").unwrap().config().target_delimiter, "!");
    let group = |name: &str| set.groups().iter().find(|g| g.name == name).unwrap();
    assert_eq!(
        set.groups().iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
        ["g::inner", "h", "g"]
    );
    assert_eq!(group("g").members, ["a", "c", "g::inner", "h"]);
    assert_eq!(group("g").tasks, ["a", "c", "b", "h::written"]);
    assert_eq!(
        (group("g").alias.as_str(), group("g").version.as_str()),
        ("The group", "2.0")
    );
    assert!(set.measure_names().contains(&"acc.g.exact_match.none".to_owned()));

    assert_eq!(names(&load(&folder, &["t"]).unwrap()), ["a", "b"]);
    assert_eq!(names(&load(&folder, &["u", "c", "c"]).unwrap()), ["b", "c"]);
    let error = load(&folder, &["t", "g"]).unwrap_err();
    assert_eq!(error.code(), "task-duplicate");
}

#[test]
fn group_scores_reach_the_results() {
    let folder = folder(&[
        ("a.yaml", &task("a", "")),
        ("b.yaml", &task("b", "")),
        (
            "g.yaml",
            "group: g\ntask: [a, b]\naggregate_metric_list: {metric: exact_match, filter_list: none}\n",
        ),
    ]);
    let set = load(&folder, &["g"]).unwrap();
    let answers = |hits: usize, n: usize| -> Vec<Vec<Response>> {
        (0..n)
            .map(|i| vec![Response::Text(if i < hits { "x" } else { "-" }.into())])
            .collect()
    };
    let outcomes = [
        set.tasks()[0].score(&answers(1, 2)).unwrap(),
        set.tasks()[1].score(&answers(1, 4)).unwrap(),
    ];
    let results = assay_tasks::results_json(&set, &outcomes, &Settings::default(), &Default::default(), &[]);
    let group = &results["groups"]["g"];
    assert_eq!(group["exact_match,none"].as_f64(), Some(2.0 / 6.0));
    assert_eq!(
        (&group["sample_len"], &group["sample_count"]),
        (&json!(6), &json!({"exact_match,none": 6}))
    );
    let pooled = assay_tasks::stats::pooled_stderr(&[0.5, 0.25], &[2, 4]);
    assert_eq!(group["exact_match_stderr,none"].as_f64(), Some(pooled));
    assert_eq!(results["results"]["g"], *group);
    assert_eq!(results["higher_is_better"]["g"], json!({"exact_match": true}));
    assert_eq!(
        (&results["versions"]["g"], &results["n-shot"]["g"]),
        (&json!("N/A"), &json!(0))
    );
    let _: &Group = &set.groups()[0];
}

#[test]
fn fewshot_examples_from_the_task_itself() {
    let more = "num_fewshot: 1\nfewshot_delimiter: '|'\nfewshot_config:\n  sampler: first_n\n  samples:\n    \
                - {q: one, a: yes, b: 'two'}\n  doc_to_target: b\n  doc_to_text: 'Q {{q}}'\n  target_delimiter: '='\n";
    let folder = folder(&[("a.yaml", &task("a", more))]);
    assert_eq!(prompt(&load(&folder, &["a"]).unwrap(), "a"), "Q one=b|q0");
}

#[test]
fn examples_from_the_evaluated_split_leave_the_document_out() {
    let shots = |more: &str| task("a", &format!("num_fewshot: 3\nfewshot_delimiter: ','\n{more}"));
    let folder = folder(&[("a.yaml", &shots("fewshot_split: test\n"))]);
    let set = load(&folder, &["a"]).unwrap();
    for (i, instance) in set.tasks()[0]
        .instances(&Settings::default())
        .unwrap()
        .iter()
        .enumerate()
    {
        let prompt = instance.kind.prompt();
        assert!(
            prompt.ends_with(&format!(",q{i}")) && prompt.matches(&format!("q{i}")).count() == 1,
            "{prompt}"
        );
    }
}

#[test]
fn loglikelihood_tasks_add_no_delimiter() {
    let folder = folder(&[(
        "a.yaml",
        &task(
            "a",
            "output_type: loglikelihood\nmetric_list: [{metric: acc}, {metric: perplexity}]\n",
        ),
    )]);
    let set = load(&folder, &["a"]).unwrap();
    let task = &set.tasks()[0];
    let instances = task.instances(&Settings::default()).unwrap();
    let assay_tasks::InstanceKind::Loglikelihood { context, continuation } = &instances[0].kind else {
        panic!("{:?}", instances[0]);
    };
    assert_eq!((context.as_str(), continuation.as_str()), ("q0", "x"));
    let pair = |value, greedy| vec![Response::Loglikelihood { value, greedy }];
    let outcome = task.score_with(&[pair(-1.0, true), pair(-3.0, false)], 10).unwrap();
    assert_eq!(outcome.measure("acc", "none").unwrap().value, 0.5);
    assert!((outcome.measure("perplexity", "none").unwrap().value - 2f64.exp()).abs() < 1e-12);
    assert_eq!(outcome.docs[0].scores.keys().collect::<Vec<_>>(), ["perplexity", "acc"]);
}

#[test]
fn choice_metrics() {
    let more = "output_type: multiple_choice\ndoc_to_choice: [a, bbbb, 'é']\ndoc_to_target: n\nmetric_list:\n  \
                - {metric: acc}\n  - {metric: acc_norm}\n  - {metric: acc_bytes}\n  - {metric: acc_mutual_info}\n  \
                - {metric: f1}\n  - {metric: mcc}\n  - {metric: brier_score}\n  - {metric: exact_match}\n";
    let text = task("a", more).replace("doc_to_target: a\n", "");
    let folder = folder(&[("a.yaml", &text)]);
    let set = load(&folder, &["a"]).unwrap();
    let task = &set.tasks()[0];
    assert_eq!(task.instances(&Settings::default()).unwrap().len(), 4 * 6);
    let pairs = |lls: [f64; 6]| {
        lls.iter()
            .map(|ll| Response::Loglikelihood {
                value: *ll,
                greedy: *ll > -1.0,
            })
            .collect()
    };
    let outcome = task
        .score_with(
            &[
                pairs([-2.0, -4.0, -2.5, -1.5, -9.0, -4.0]),
                pairs([-3.0, -0.5, -5.0, -9.0, -0.1, -9.0]),
            ],
            10,
        )
        .unwrap();
    let row = &outcome.docs[0];
    // Divided: -2, -1, -2.5 by characters; -2, -1, -1.25 by bytes; gains -0.5, 5, 1.5. Gold is 0, then 1.
    let expected = [
        ("acc", json!(1.0)),
        ("f1", json!([0, 0])),
        ("mcc", json!([0, 0])),
        ("acc_norm", json!(0.0)),
        ("acc_bytes", json!(0.0)),
        ("exact_match", json!(0)),
    ];
    for (metric, value) in expected {
        assert_eq!(row.scores[metric].json(), value, "{metric}");
    }
    let order: Vec<&str> = row.scores.keys().map(String::as_str).collect();
    assert_eq!(
        order,
        [
            "acc",
            "f1",
            "mcc",
            "acc_norm",
            "acc_bytes",
            "exact_match",
            "brier_score",
            "acc_mutual_info"
        ]
    );
    assert_eq!(outcome.docs[1].scores["exact_match"].json(), json!(1));
    assert_eq!(outcome.measure("f1", "none").unwrap().value, 1.0);
    assert_eq!(outcome.measure("brier_score", "none").unwrap().stderr, None);
}

#[test]
fn several_right_answers_and_choices_by_name() {
    let rows = "{\"q\": \"1\", \"golds\": [\"x\", \"y\"], \"opts\": [\"a\", \"b\"], \"g\": [1]}\n\
                {\"q\": \"2\", \"golds\": [\"z\"], \"opts\": [\"a\", \"b\"], \"g\": [0, 1]}\n";
    let base = BASE.replace("d.jsonl", "e.jsonl").replace("doc_to_target: a\n", "");
    let folder = folder(&[
        ("e.jsonl", rows),
        ("a.yaml", &format!("task: a\n{base}doc_to_target: golds\n")),
        ("b.yaml", &format!("task: b\n{base}output_type: multiple_choice\ndoc_to_target: g\ndoc_to_choice: opts\n").replace("doc_to_text: q", "doc_to_text: 'Q{{q}}'")),
        ("c.yaml", &format!("task: c\n{base}output_type: multiple_choice\ndoc_to_target: '{{{{opts[1]}}}}'\ndoc_to_choice: '{{{{opts}}}}'\n").replace("doc_to_text: q", "doc_to_text: 'Q{{q}}'")),
    ]);
    let set = load(&folder, &["a", "b", "c"]).unwrap();
    let text = |t: &str| vec![Response::Text(t.into())];
    let outcome = set.task("a").unwrap().score(&[text("y"), text("x")]).unwrap();
    assert_eq!(outcome.measures[0].value, 0.5);
    let pairs = |a, b| {
        [a, b]
            .map(|value| Response::Loglikelihood { value, greedy: false })
            .to_vec()
    };
    let outcome = set
        .task("b")
        .unwrap()
        .score(&[pairs(-1.0, -2.0), pairs(-1.0, -2.0)])
        .unwrap();
    assert_eq!(outcome.measure("acc", "none").unwrap().value, 0.5);
    let outcome = set
        .task("c")
        .unwrap()
        .score(&[pairs(-2.0, -1.0), pairs(-2.0, -1.0)])
        .unwrap();
    assert_eq!(outcome.measure("acc", "none").unwrap().value, 1.0);
}

#[test]
fn responses_must_fit() {
    let folder = folder(&[("a.yaml", &task("a", "repeats: 2\n"))]);
    let set = load(&folder, &["a"]).unwrap();
    let text = || Response::Text("x".into());
    assert_eq!(set.tasks()[0].instances(&Settings::default()).unwrap().len(), 8);
    assert_eq!(
        set.tasks()[0].score(&[vec![text(), text()]]).unwrap().measures[0].value,
        1.0
    );
    for wrong in [
        vec![text()],
        vec![
            text(),
            Response::Loglikelihood {
                value: 0.0,
                greedy: true,
            },
        ],
    ] {
        assert_eq!(set.tasks()[0].score(&[wrong]).unwrap_err().code(), "task-responses");
    }
}

/// Every refusal has its code, its line, and both languages.
#[test]
fn mistakes_are_refused_with_their_line() {
    let cases: &[(&str, &str, Option<u32>)] = &[
        ("nonsense: 1\n", "task-unknown-key", Some(7)),
        ("process_docs: !function utils.process_docs\n", "task-function", Some(7)),
        (
            "process_results: !function utils.process_results\n",
            "task-function",
            Some(7),
        ),
        ("custom_dataset: !function utils.load\n", "task-function", Some(7)),
        ("description: !function utils.describe\n", "task-function", Some(7)),
        (
            "fewshot_config: {samples: !function utils.samples}\n",
            "task-function",
            Some(7),
        ),
        ("class: !function task.Task\n", "task-unknown", None),
        ("unsafe_code: true\n", "task-not-supported", Some(7)),
        ("doc_to_image: image\n", "task-not-supported", Some(7)),
        ("output_type: loglikelihood_rolling\n", "task-not-supported", Some(7)),
        ("output_type: chat\n", "task-unknown-value", Some(7)),
        ("output_type: multiple_choice\n", "task-missing-key", Some(1)),
        ("generation_kwargs: {do_sample: true}\n", "task-not-supported", Some(7)),
        ("generation_kwargs: {temperature: 0.7}\n", "task-not-supported", Some(7)),
        ("generation_kwargs: {until: 1}\n", "task-wrong-kind", Some(7)),
        ("generation_kwargs: {max_gen_toks: -1}\n", "task-wrong-kind", Some(7)),
        ("repeats: 1000000\n", "task-wrong-kind", Some(7)),
        ("num_fewshot: -1\n", "task-wrong-kind", Some(7)),
        ("fewshot_split: dev\n", "task-unknown-split", Some(2)),
        ("fewshot_config: {sampler: balanced}\n", "task-unknown-value", Some(7)),
        ("fewshot_config: {what: 1}\n", "task-unknown-key", Some(7)),
        ("description: '{{ q'\n", "task-template", Some(7)),
        ("metric_list: [{metric: bleu}]\n", "task-not-supported", Some(7)),
        (
            "filter_list: [{name: x, filter: [{function: regex, regex_pattern: '['}]}]\n",
            "task-pattern",
            Some(7),
        ),
        (
            "filter_list: [{name: x, filter: [{function: !function utils.F}]}]\n",
            "task-function",
            Some(7),
        ),
        ("filter_list: []\n", "task-wrong-kind", Some(7)),
    ];
    for (more, code, line) in cases {
        let folder = folder(&[("a.yaml", &task("a", more))]);
        let error = load(&folder, &["a"]).err().unwrap_or_else(|| panic!("{more}"));
        if *code != "task-unknown" {
            assert_eq!((error.code(), error.place.line), (*code, *line), "{more}: {error}");
        }
        let problem = error.problem();
        assert!(
            problem.message.ko.chars().any(|c| ('가'..='힣').contains(&c)),
            "{problem}"
        );
        assert!(problem.fix.ko.chars().any(|c| ('가'..='힣').contains(&c)), "{problem}");
    }
}

#[test]
fn data_that_is_not_there_is_refused() {
    let with = |dataset: &str| format!("task: a\n{dataset}test_split: test\ndoc_to_text: q\ndoc_to_target: a\n");
    let files = |path: &str| {
        with(&format!(
            "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {path}}}}}\n"
        ))
    };
    let cases = [
        (with("dataset_path: openai/gsm8k\n"), "task-dataset-not-local", 2),
        (
            with("dataset_path: csv\ndataset_kwargs: {data_files: x.csv}\n"),
            "task-not-supported",
            2,
        ),
        (with("dataset_path: json\n"), "task-missing-key", 2),
        (with(""), "task-missing-key", 1),
        (
            with("dataset_path: json\ndataset_kwargs: {data_files: {train: d.jsonl}}\n"),
            "task-unknown-split",
            2,
        ),
        (
            with("dataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}, streaming: true}\n"),
            "task-unknown-key",
            3,
        ),
        (files("missing.jsonl"), "task-file-not-readable", 3),
        (files("../d.jsonl"), "task-path-outside", 3),
        (files("/etc/hostname"), "task-path-outside", 3),
        (files("empty.jsonl"), "task-no-documents", 2),
        (files("broken.jsonl"), "task-data", 2),
    ];
    for (text, code, line) in cases {
        let folder = folder(&[
            ("a.yaml", &text),
            ("empty.jsonl", ""),
            ("broken.jsonl", "{\"q\": 1}\n{\n"),
        ]);
        let error = load(&folder, &["a"]).unwrap_err();
        assert_eq!((error.code(), error.place.line), (code, Some(line)), "{text}: {error}");
    }
    assert_eq!(
        TaskSet::load(Path::new("/nonexistent"), &[]).unwrap_err().code(),
        "task-file-not-readable"
    );
}

#[test]
fn documents_that_do_not_fit_name_themselves() {
    let folder = folder(&[
        ("bad.jsonl", "{\"q\": \"x\", \"a\": \"1\"}\n{\"q\": 7, \"a\": \"1\"}\n"),
        ("a.yaml", &task("a", "").replace("d.jsonl", "bad.jsonl")),
        (
            "b.yaml",
            &task("b", "output_type: multiple_choice\ndoc_to_choice: '{{q}}'\n"),
        ),
        ("c.yaml", &task("c", "num_fewshot: 9\n")),
    ]);
    let set = load(&folder, &["a"]).unwrap();
    let error = set.tasks()[0].instances(&Settings::default()).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("Document 1")),
        ("task-document", true),
        "{error}"
    );
    assert_eq!(load(&folder, &["b"]).unwrap_err().code(), "task-document");
    let error = load(&folder, &["c"]).unwrap().tasks()[0]
        .instances(&Settings::default())
        .unwrap_err();
    assert_eq!(error.code(), "task-few-shot-pool");
}

#[test]
fn results_show_the_configuration_as_written() {
    let folder = folder(&[(
        "sub/a.yaml",
        &task("a", "task_alias: Alias\nmetadata: {version: 1, note: [x]}\n"),
    )]);
    let set = load(&folder, &["a"]).unwrap();
    let config = set.tasks()[0].config().json(3, None);
    assert_eq!(
        config["metadata"],
        json!({"version": 1, "note": ["x"], "config_source": "sub/a.yaml"})
    );
    assert_eq!(
        (&config["num_fewshot"], &config["task_alias"]),
        (&json!(3), &json!("Alias"))
    );
    let until: Value = json!({"temperature": 0.0, "do_sample": false, "max_gen_toks": 256, "until": ["\n\n"]});
    assert_eq!(config["generation_kwargs"], until);
}
