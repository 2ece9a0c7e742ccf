//! The four profiles, as the harness's own versions build them: 0.4.9.2 and 0.4.13.
//!
//! `profiles/golden.json` holds, for the tasks beside it, what `task.build_all_requests(apply_chat_template=…,
//! fewshot_as_multiturn=…, chat_template=…)` put into `task.instances` after `task.set_fewshot_seed(1234)`, with the
//! fixtures' tokenizer and `enable_thinking=False`: for each request its prompt (where it differs from the one before)
//! and continuation. `mini` are the sha256 of the prompts of the first 60 documents of the mini tasks.

use std::path::Path;

use assay_contest::Profile;
use assay_tasks::results::hash;
use assay_tasks::{ChatTemplate, Instance, InstanceKind, JinjaTemplate, Limit, Settings, TaskSet};
use serde_json::Value;

use crate::vectors::{GSM8K, gsm8k};
use crate::{fixtures, json};

fn template(path: &str) -> JinjaTemplate {
    JinjaTemplate::new(&std::fs::read_to_string(fixtures().join(path)).unwrap()).unwrap()
}

fn settings(profile: Profile, chat: &JinjaTemplate) -> Settings<'_> {
    Settings {
        profile,
        chat: Some(chat as &dyn ChatTemplate),
        ..Settings::default()
    }
}

/// Examples drawn twice, dropped and replaced, started answers, descriptions, several inputs, empty and listed answers:
/// byte for byte in every profile.
#[test]
fn requests_are_those_of_each_version() {
    let golden = json("profiles/golden.json");
    let set = TaskSet::load(&fixtures().join("profiles"), &["profiles".to_owned()]).unwrap_or_else(|e| panic!("{e}"));
    let chat = template("checkpoints/base/chat_template.jinja");
    let mut requests = 0;
    for profile in Profile::ALL {
        let tasks = golden[profile.name()]["tasks"].as_object().unwrap();
        assert_eq!(tasks.len(), set.tasks().len());
        for task in set.tasks() {
            let instances = task
                .instances(&settings(profile, &chat))
                .unwrap_or_else(|e| panic!("{profile} {}: {e}", task.name()));
            let rows = tasks[task.name()].as_array().unwrap();
            assert_eq!(instances.len(), rows.len(), "{profile} {}", task.name());
            let mut prompt = "";
            for (instance, row) in instances.iter().zip(rows) {
                let place = format!("{profile} {} doc {}", task.name(), instance.doc);
                prompt = row["prompt"].as_str().unwrap_or(prompt);
                assert_eq!(instance.doc as u64, row["doc"].as_u64().unwrap(), "{place}");
                assert_eq!(instance.kind.prompt(), prompt, "{place}");
                assert_eq!(continuation(instance), row["continuation"].as_str(), "{place}");
                requests += 1;
            }
        }
    }
    assert_eq!(requests, 4 * 319);
}

fn continuation(instance: &Instance) -> Option<&str> {
    match &instance.kind {
        InstanceKind::Generate { .. } => None,
        InstanceKind::Loglikelihood { continuation, .. } => Some(continuation),
    }
}

#[test]
fn the_mini_tasks_as_0_4_9_asks_them() {
    let golden = json("profiles/golden.json");
    let golden = golden["chat-single-0.4.9"]["mini"].as_object().unwrap();
    let set = TaskSet::load(&fixtures().join("tasks"), &["mini".to_owned()]).unwrap();
    let chat = template("checkpoints/base/chat_template.jinja");
    for task in set.tasks() {
        let limited = Settings {
            limit: Some(Limit::Docs(60)),
            ..settings(Profile::ChatSingle049, &chat)
        };
        let hashes: Vec<String> = task
            .instances(&limited)
            .unwrap()
            .iter()
            .map(|instance| hash(instance.kind.prompt()))
            .collect();
        let recorded: Vec<String> = serde_json::from_value(golden[task.name()].clone()).unwrap();
        assert_eq!(hashes, recorded, "{}", task.name());
    }
}

/// The examples of 512 gsm8k prompts, as the second of two draws for each document.
#[test]
fn the_double_draw_of_gsm8k() {
    let golden = json("data/golden/gsm8k_5shot_golden.json");
    let drawn: Vec<Vec<usize>> = serde_json::from_value(golden["fewshot_indices_512_double_second"].clone()).unwrap();
    assert_eq!(drawn.len(), 512);
    let docs: Vec<Value> = (0..512)
        .map(|i| serde_json::json!({"question": format!("q{i}"), "answer": "#### 1"}))
        .collect();
    let (_folder, set) = gsm8k(&docs, 7473);
    let chat = template("checkpoints/base/chat_template.jinja");
    let instances = set.tasks()[0]
        .instances(&settings(Profile::ChatSingle049, &chat))
        .unwrap();
    for (i, (instance, expected)) in instances.iter().zip(&drawn).enumerate() {
        let shots: String = expected
            .iter()
            .map(|n| format!("Question: <{n}>\nAnswer: #### 1\n\n"))
            .collect();
        let user = format!("[|user|]\n{shots}Question: q{i}\nAnswer:[|endofturn|]\n");
        assert!(instance.kind.prompt().starts_with(&user), "{i}");
    }
}

/// `enable_thinking` opens a thought at the end of the prompt; only 0.4.9 then still asked for log-likelihoods.
#[test]
fn thinking_is_for_answers_in_text() {
    let set = TaskSet::load(
        &fixtures().join("tasks"),
        &["mini_gsm".to_owned(), "mini_arc".to_owned()],
    )
    .unwrap();
    let chat = template("data/golden/exaone4_no_tools.jinja").with_thinking(true);
    for profile in Profile::ALL {
        let thinking = Settings {
            thinking: true,
            ..settings(profile, &chat)
        };
        let text = set.task("mini_gsm").unwrap().instances(&thinking).unwrap();
        let opened = text[0].kind.prompt().ends_with("[|assistant|]\n<think>\n");
        assert_eq!(opened, profile != Profile::Plain, "{profile}");
        let choices = set.task("mini_arc").unwrap().instances(&thinking);
        match profile {
            Profile::ChatSingle049 => assert!(choices.is_ok()),
            _ => assert_eq!(choices.unwrap_err().code(), "task-thinking-choices", "{profile}"),
        }
    }
}

/// The task's budget in any of the harness's spellings, or the contest's instead of it.
#[test]
fn a_budget_is_the_task_s_or_the_contest_s() {
    let set = TaskSet::load(&fixtures().join("profiles"), &["prefix".to_owned(), "lists".to_owned()]).unwrap();
    let budget = |name: &str, max_gen_toks| {
        let asked = Settings {
            max_gen_toks,
            ..Settings::default()
        };
        let instances = set.task(name).unwrap().instances(&asked).unwrap();
        match instances[0].kind {
            InstanceKind::Generate { max_tokens, .. } => max_tokens,
            InstanceKind::Loglikelihood { .. } => panic!("{name} generates"),
        }
    };
    assert_eq!(
        (budget("prefix", None), budget("prefix", Some(700))),
        (Some(12), Some(700))
    );
    assert_eq!(
        (budget("lists", None), budget("lists", Some(700))),
        (Some(256), Some(700))
    );
}

/// A key that 0.4.9 does not read would quietly mean another pool there.
#[test]
fn a_split_0_4_9_would_not_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = GSM8K.replace("fewshot_split: train", "fewshot_config: {split: train}");
    std::fs::write(folder.path().join("t.yaml"), yaml).unwrap();
    for split in ["train.jsonl", "test.jsonl"] {
        let docs = "{\"question\": \"q\", \"answer\": \"a\"}\n".repeat(8);
        std::fs::write(folder.path().join(split), docs).unwrap();
    }
    let set = TaskSet::load(folder.path(), &["gsm8k_local".to_owned()]).unwrap();
    let chat = template("checkpoints/base/chat_template.jinja");
    let asked = |profile| set.tasks()[0].instances(&settings(profile, &chat));
    assert!(asked(Profile::ChatSingle).is_ok());
    let error = asked(Profile::ChatSingle049).unwrap_err();
    assert_eq!(error.code(), "task-not-supported");
    assert!(error.to_string().contains("fewshot_config.split"), "{error}");
}

/// gsm8k's own documents under EXAONE 4.0's template: the digests of all 512 prompts in all four profiles.
///
/// The documents are not part of this repository; `ASSAY_TEST_DATA` names a folder with `gsm8k/train.jsonl` and
/// `gsm8k/test.jsonl` of openai/grade-school-math.
#[test]
fn gsm8k_prompts_have_the_golden_digests() {
    let Some(data) = std::env::var_os("ASSAY_TEST_DATA") else {
        eprintln!("not run: ASSAY_TEST_DATA names no folder with gsm8k's documents");
        return;
    };
    let golden = json("data/golden/gsm8k_5shot_golden.json");
    let folder = tempfile::tempdir().unwrap();
    for split in ["train.jsonl", "test.jsonl"] {
        let from = Path::new(&data).join("gsm8k").join(split);
        std::fs::copy(&from, folder.path().join(split)).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
    std::fs::write(folder.path().join("gsm8k_local.yaml"), GSM8K).unwrap();
    let set = TaskSet::load(folder.path(), &["gsm8k_local".to_owned()]).unwrap();
    let chat = template("data/golden/exaone4_no_tools.jinja");
    let modes = [
        (Profile::Plain, "plain"),
        (Profile::Chat, "chat_multiturn"),
        (Profile::ChatSingle, "chat_singleturn_0_4_10_plus"),
        (Profile::ChatSingle049, "chat_singleturn_0_4_9"),
    ];
    for (profile, mode) in modes {
        let limited = Settings {
            limit: Some(Limit::Docs(512)),
            ..settings(profile, &chat)
        };
        let instances = set.tasks()[0].instances(&limited).unwrap();
        let prompts: Vec<&str> = instances.iter().map(|instance| instance.kind.prompt()).collect();
        let golden: &Value = &golden["modes"][mode];
        assert_eq!(prompts.len(), 512);
        assert_eq!(
            hash(&prompts.join("\0")),
            golden["all512_sha256"].as_str().unwrap(),
            "{mode}"
        );
    }
}
