//! Prompts, outcomes and statistics of the mini tasks, as the harness wrote them for ten checkpoints and three profiles.

use assay_contest::Profile;
use assay_tasks::results::hash;
use assay_tasks::{
    ChatTemplate, InstanceKind, JinjaTemplate, Response, Settings, Task, TaskOutcome, TaskSet, results_json,
};
use serde_json::Value;

use crate::{MINI, fixtures, json};

fn mini() -> TaskSet {
    let set = TaskSet::load(&fixtures().join("tasks"), &["mini".to_owned()]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(set.tasks().iter().map(Task::name).collect::<Vec<_>>(), MINI);
    set
}

fn template() -> JinjaTemplate {
    let source = std::fs::read_to_string(fixtures().join("checkpoints/base/chat_template.jinja")).unwrap();
    JinjaTemplate::new(&source).unwrap()
}

fn responses(doc: &Value) -> Vec<Response> {
    let one = |response: &Value| match response {
        Value::String(text) => Response::Text(text.clone()),
        pair => Response::Loglikelihood {
            value: pair[0].as_f64().unwrap(),
            greedy: pair[1].as_bool().unwrap(),
        },
    };
    doc["responses"].as_array().unwrap().iter().map(one).collect()
}

/// Every prompt, continuation, stop string and hash of the base model's runs, in every profile.
#[test]
fn prompts_are_the_harness_s_byte_for_byte() {
    let set = mini();
    let template = template();
    let profiles = [
        ("plain", Profile::Plain),
        ("chat", Profile::Chat),
        ("chat-single", Profile::ChatSingle),
    ];
    for (name, profile) in profiles {
        let golden = json(format!("harness/base.{name}.json"));
        let settings = Settings {
            profile,
            chat: Some(&template as &dyn ChatTemplate),
            ..Settings::default()
        };
        for task in set.tasks() {
            let docs = golden["tasks"][task.name()]["docs"].as_array().unwrap();
            let instances = task.instances(&settings).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(task.docs().len(), docs.len());
            let mut at = instances.iter();
            for doc in docs {
                let id = doc["doc_id"].as_u64().unwrap() as usize;
                for (index, arguments) in doc["arguments"].as_array().unwrap().iter().enumerate() {
                    let instance = at.next().unwrap();
                    let place = format!("{name} {} doc {id} request {index}", task.name());
                    assert_eq!(
                        (instance.doc, instance.index, instance.repeat),
                        (id, index, 0),
                        "{place}"
                    );
                    assert_eq!(instance.kind.prompt(), arguments[0].as_str().unwrap(), "{place}");
                    match &instance.kind {
                        InstanceKind::Generate { until, max_tokens, .. } => {
                            assert_eq!(serde_json::json!(until), arguments[1]["until"], "{place}");
                            assert_eq!(serde_json::json!(max_tokens), arguments[1]["max_gen_toks"], "{place}");
                        }
                        InstanceKind::Loglikelihood { continuation, .. } => {
                            assert_eq!(continuation, arguments[1].as_str().unwrap(), "{place}");
                        }
                    }
                    if index == 0 {
                        assert_eq!(
                            hash(instance.kind.prompt()),
                            doc["prompt_hash"].as_str().unwrap(),
                            "{place}"
                        );
                    }
                }
            }
            assert_eq!(at.next(), None, "{name} {}", task.name());
        }
    }
}

/// All recorded responses of all recorded runs give the recorded outcomes, means and standard errors.
#[test]
fn outcomes_and_statistics_are_the_harness_s() {
    let set = mini();
    let mut files: Vec<_> = std::fs::read_dir(fixtures().join("harness"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 17);
    let mut documents = 0;
    for file in files {
        let golden = json(&file);
        let mut outcomes = Vec::new();
        for task in set.tasks() {
            let recorded = &golden["tasks"][task.name()];
            let docs = recorded["docs"].as_array().unwrap();
            documents += docs.len();
            let all: Vec<Vec<Response>> = docs.iter().map(responses).collect();
            let outcome = task.score(&all).unwrap_or_else(|e| panic!("{e}"));
            for doc in docs {
                check_doc(task, &outcome, doc, &file);
            }
            let results = &recorded["results"];
            assert_eq!(outcome.n as u64, results["sample_len"].as_u64().unwrap());
            for measure in &outcome.measures {
                let place = format!("{} {} {}", file.display(), task.name(), measure.key());
                let value = results[measure.key()].as_f64().unwrap_or_else(|| panic!("{place}"));
                let stderr = results[format!("{}_stderr,{}", measure.metric, measure.filter)].as_f64();
                assert_eq!(measure.value, value, "{place}");
                assert_eq!(measure.stderr, stderr, "{place}");
            }
            let keys = results.as_object().unwrap().keys().filter(|k| k.contains(',')).count();
            assert_eq!(keys, 2 * outcome.measures.len(), "every number of the harness is made");
            let ordered: Vec<String> = outcome.measures.iter().map(|m| m.key()).collect();
            let expected: Vec<&String> = results
                .as_object()
                .unwrap()
                .keys()
                .filter(|k| k.contains(',') && !k.contains("_stderr"))
                .collect();
            assert_eq!(ordered.iter().collect::<Vec<_>>(), expected, "in the harness's order");
            outcomes.push(outcome);
        }
        let results = results_json(&set, &outcomes, &Settings::default(), &Default::default(), &[]);
        assert_eq!(
            results["results"]["mini"],
            serde_json::json!({"alias": "mini", "name": "mini"})
        );
    }
    assert_eq!(documents, 17 * 1400);
}

fn check_doc(task: &Task, outcome: &TaskOutcome, doc: &Value, file: &std::path::Path) {
    let id = doc["doc_id"].as_u64().unwrap() as usize;
    assert_eq!(task.target(id).unwrap(), doc["target"], "{} doc {id}", task.name());
    for (filter, recorded) in doc["outcomes"].as_object().unwrap() {
        let row = outcome.doc(id, filter).unwrap();
        let place = format!("{} {} doc {id} {filter}", file.display(), task.name());
        let scores: serde_json::Map<String, Value> = row.scores.iter().map(|(k, v)| (k.clone(), v.json())).collect();
        assert_eq!(Value::Object(scores), *recorded, "{place}");
        if let Some(filtered) = doc.get("filtered") {
            assert_eq!(Value::from(row.filtered.clone()), filtered[filter], "{place}");
        }
    }
}

/// A limit takes the first documents and draws the same examples for them.
#[test]
fn a_limit_takes_the_first_documents() {
    let set = mini();
    let task = set.task("mini_gsm").unwrap();
    let all = task.instances(&Settings::default()).unwrap();
    let with = |limit| Settings {
        limit: Some(limit),
        ..Settings::default()
    };
    assert_eq!(task.instances(&with(assay_tasks::Limit::Docs(7))).unwrap(), all[..7]);
    assert_eq!(
        task.instances(&with(assay_tasks::Limit::Share(0.011))).unwrap(),
        all[..5]
    );
    assert_eq!(task.doc_count(Some(assay_tasks::Limit::Docs(10_000))), 400);
    let other = task
        .instances(&Settings {
            seed: 1,
            ..Settings::default()
        })
        .unwrap();
    assert_ne!(other[0], all[0]);
    let none = Settings {
        num_fewshot: Some(0),
        ..Settings::default()
    };
    assert!(!task.instances(&none).unwrap()[0].kind.prompt().contains("\n\n"));
    // mini_arc has no number of its own, so it can be given one; a task that says 0 could not.
    let two = Settings {
        num_fewshot: Some(2),
        ..Settings::default()
    };
    let arc = set.task("mini_arc").unwrap();
    assert_eq!(
        arc.instances(&two).unwrap()[0].kind.prompt().matches("Answer:").count(),
        3
    );
}

#[test]
fn a_chat_profile_needs_a_template() {
    let set = mini();
    let settings = Settings {
        profile: Profile::Chat,
        ..Settings::default()
    };
    let error = set.tasks()[0].instances(&settings).unwrap_err();
    assert_eq!(error.code(), "task-no-chat-template");
}
