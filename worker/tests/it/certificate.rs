//! A grade's certificate: the same for the same work however it is done, another for anything else.

use std::path::Path;

use serde_json::Value;

use crate::support::{Contest, code, copy_checkpoint, fixture, json, run, sha256, stderr, stdout, worker};

const TASKS: &str = r#"["mini_gsm", "mini_arc", "mini_wino"]"#;

/// Grades the quantized fixture in `out`.
fn grade(contest: &Contest, checkpoint: &Path, out: &Path, threads: &str, more: &[&str]) {
    let output = worker()
        .env("ASSAY_THREADS", threads)
        .arg("grade")
        .arg(checkpoint)
        .arg("--contest")
        .arg(contest.file())
        .args(["--device", "cpu", "--out"])
        .arg(out)
        .args(more)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{more:?}: {}{}", stdout(&output), stderr(&output));
}

fn certificate(out: &Path) -> Value {
    let report = json(&out.join("report.json"));
    assert_eq!(report["certificate"]["digest"].as_str().unwrap().len(), 64);
    report["certificate"].clone()
}

/// The files whose bytes are a function of checkpoint and rules, and the reports without their times.
fn assert_same(a: &Path, b: &Path, what: &str) {
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(a), names(b), "{what}");
    for name in names(a).iter().filter(|name| name.ends_with(".jsonl")) {
        let same = std::fs::read(a.join(name)).unwrap() == std::fs::read(b.join(name)).unwrap();
        assert!(same, "{what}: {name}");
    }
    let report = |dir: &Path| {
        let mut report = json(&dir.join("report.json"));
        let fields = report.as_object_mut().unwrap();
        fields.shift_remove("timings");
        fields.shift_remove("device"); // says how many threads there are
        let timed = ["seconds", "memory", "time_", "tokens_per"];
        let measures = fields["measures"].as_object_mut().unwrap();
        measures.retain(|name, _| !timed.iter().any(|part| name.contains(part)));
        report
    };
    assert_eq!(report(a), report(b), "{what}");
    let results = |dir: &Path| {
        let mut results = json(&dir.join("results.json"));
        let fields = results.as_object_mut().unwrap();
        for timed in ["date", "total_evaluation_time_seconds"] {
            fields.shift_remove(timed);
        }
        fields["config"]["device"] = Value::Null;
        results
    };
    assert_eq!(results(a), results(b), "{what}");
}

#[test]
fn threads_batches_cache_order_and_shards_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let contest = Contest::cut(dir.path(), 7, TASKS);
    let checkpoint = fixture("checkpoints/w4a16-gptq");
    let whole = dir.path().join("whole");
    grade(&contest, &checkpoint, &whole, "2", &["--sequences", "32"]);
    let expected = certificate(&whole);
    for (name, threads, more) in [
        ("one-thread", "1", &[][..]),
        ("alone", "2", &["--sequences", "1", "--step-tokens", "48"]),
        ("uncached", "2", &["--no-prefix-cache"]),
        ("shuffled", "2", &["--shuffle", "7"]),
    ] {
        let out = dir.path().join(name);
        grade(&contest, &checkpoint, &out, threads, more);
        assert_eq!(certificate(&out), expected, "{name}");
        assert_same(&out, &whole, name);
    }
    // In three shards, named in any order.
    let mut merge = worker();
    merge.arg("merge").arg("--contest").arg(contest.file());
    for number in [3, 1, 2] {
        let out = dir.path().join(format!("shard-{number}"));
        grade(&contest, &checkpoint, &out, "2", &["--shard", &format!("{number}/3")]);
        assert!(!out.join("report.json").exists(), "a shard has no score");
        merge.arg(&out);
    }
    let merged = dir.path().join("merged");
    let output = merge.arg("--out").arg(&merged).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(certificate(&merged), expected);
    assert_same(&merged, &whole, "merged");
    assert!(
        stdout(&output).contains(expected["digest"].as_str().unwrap()),
        "{}",
        stdout(&output)
    );

    // What does not belong together is not put together.
    let shard = |number: usize| dir.path().join(format!("shard-{number}"));
    let never = dir.path().join("never");
    let refused = |outs: &[&Path], word: &str| {
        let output = worker()
            .args(["merge", "--contest"])
            .arg(contest.file())
            .args(outs)
            .arg("--out")
            .arg(&never)
            .output()
            .unwrap();
        assert_eq!(code(&output), 2, "{}", stdout(&output));
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    };
    refused(&[&shard(1), &shard(3)], "shard-missing");
    refused(&[&shard(1), &shard(2), &shard(2)], "shard-twice");
    refused(&[&whole, &shard(2)], "not-a-shard");
    refused(&[&dir.path().join("nothing")], "outputs-unreadable");
    let record = shard(2).join("outputs.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"seed\": 1234", "\"seed\": 4321")).unwrap();
    refused(&[&shard(1), &shard(2), &shard(3)], "shards-differ");
    assert!(!never.join("report.json").exists());
}

#[test]
fn one_flipped_bit_in_a_scale_is_another_grade() {
    let dir = tempfile::tempdir().unwrap();
    let contest = Contest::cut(dir.path(), 3, TASKS);
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    let checkpoint = copy_checkpoint("w4a16-gptq");
    grade(&contest, checkpoint.path(), &good, "2", &[]);
    let path = checkpoint.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let scale = &tensors["model.layers.0.mlp.down_proj.weight_scale"];
    let begin = scale["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[8 + header + begin] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    grade(&contest, checkpoint.path(), &bad, "2", &[]);
    let (good, bad) = (certificate(&good), certificate(&bad));
    for (part, same) in [
        ("checkpoint", false),
        ("outputs", false),
        ("digest", false),
        ("contest", true),
        ("tasks", true),
        ("engine", true),
        ("device", true),
    ] {
        assert_eq!(good[part] == bad[part], same, "{part}");
    }
}

/// Tasks and contest in a folder of their own, so that they can be changed.
fn own_tasks(dir: &Path) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::write(to, std::fs::read(entry.path()).unwrap()).unwrap();
            }
        }
    }
    std::fs::remove_file(dir.join("tasks")).unwrap();
    copy(&fixture("tasks"), &dir.join("tasks"));
}

#[test]
fn changed_filters_and_metrics_are_rescored_as_a_run_would_score_them() {
    let dir = tempfile::tempdir().unwrap();
    let contest = Contest::cut(dir.path(), 9, TASKS);
    own_tasks(dir.path());
    let checkpoint = fixture("checkpoints/w4a16-gptq");
    let [before, run_after, rescored] = ["before", "run", "rescored"].map(|name| dir.path().join(name));
    grade(&contest, &checkpoint, &before, "2", &[]);

    let task = dir.path().join("tasks/mini_gsm.yaml");
    let original = std::fs::read_to_string(&task).unwrap();
    let strict = "regex_pattern: \"#### (\\\\-?[0-9\\\\.\\\\,]+)\"";
    assert!(original.contains(strict));
    // The strict filter takes another number, the lenient one gets another name, and a fullstop counts.
    let changed = original
        .replace(strict, r#"regex_pattern: "<<([0-9]+)""#)
        .replace("flexible-extract", "last-number")
        .replace("      - \"\\\\.$\"\n", "");
    std::fs::write(&task, &changed).unwrap();
    contest.edit(
        "mini_gsm.exact_match.flexible-extract",
        "mini_gsm.exact_match.last-number",
    );
    grade(&contest, &checkpoint, &run_after, "2", &[]);
    let rescore = |out: &Path| run(&[&"rescore", &before, &"--contest", &contest.file(), &"--out", &out]);
    let output = rescore(&rescored);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_same(&rescored, &run_after, "rescored");
    assert_eq!(certificate(&rescored), certificate(&run_after));
    assert_ne!(certificate(&before)["tasks"], certificate(&rescored)["tasks"]);
    assert_eq!(certificate(&before)["outputs"], certificate(&rescored)["outputs"]);
    let value =
        |out: &Path| json(&out.join("report.json"))["measures"]["acc.mini_gsm.exact_match.strict-match"].clone();
    assert_ne!(value(&before), value(&rescored));

    // A smaller limit is a matter of scoring, a larger one of running.
    let fewer = dir.path().join("fewer");
    let output = run(&[
        &"rescore",
        &before,
        &"--contest",
        &contest.file(),
        &"--limit",
        &"4",
        &"--out",
        &fewer,
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        json(&fewer.join("results.json"))["n-samples"]["mini_gsm"]["effective"],
        4
    );

    let never = dir.path().join("never");
    let needs_a_run = |text: &str, word: &str| {
        std::fs::write(&task, text).unwrap();
        let output = rescore(&never);
        assert_eq!(code(&output), 2, "{}", stdout(&output));
        let said = stderr(&output);
        assert!(
            said.contains("mini_gsm, document 0 [run-needed]") && said.contains(word),
            "{said}"
        );
    };
    let other = "prompt, stop string or token budget";
    needs_a_run(&original.replace("num_fewshot: 5", "num_fewshot: 4"), other);
    needs_a_run(&original.replace("<|im_end|>", "<|endofturn|>"), other);
    needs_a_run(&original.replace("max_gen_toks: 48", "max_gen_toks: 47"), other);
    needs_a_run(&original.replace("repeats: 1", "repeats: 2"), "not everything");
    assert!(!never.join("report.json").exists());

    // What was kept is not believed once it was touched.
    std::fs::write(&task, &original).unwrap();
    let file = before.join("outputs_mini_gsm.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    let digit = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
    bytes[digit] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let output = rescore(&never);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("outputs_mini_gsm.jsonl"),
        "{}",
        stderr(&output)
    );
    // Nor where its digest was mended with it: the certificate is of other outputs.
    let record = before.join("outputs.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let kept: Value = serde_json::from_str(&text).unwrap();
    let mut kept = kept["tasks"].as_array().unwrap().iter();
    let was = kept.find(|kept| kept["task"] == "mini_gsm").unwrap()["sha256"]
        .as_str()
        .unwrap();
    std::fs::write(&record, text.replace(was, &sha256(&std::fs::read(&file).unwrap()))).unwrap();
    let output = rescore(&never);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("certificate"), "{}", stderr(&output));
}

#[test]
fn a_self_check_is_rescored_with_the_checkpoint_that_was_graded() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = format!("{},mini_gsm", fixture("tasks").display());
    let checkpoint = fixture("checkpoints/w4a16-gptq");
    let out = dir.path().join("out");
    let output = run(&[
        &"grade",
        &checkpoint,
        &"--tasks",
        &tasks,
        &"--limit",
        &"3",
        &"--out",
        &out,
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let rescore = |checkpoint: &Path| {
        run(&[
            &"rescore",
            &out,
            &"--tasks",
            &tasks,
            &"--limit",
            &"3",
            &"--checkpoint",
            &checkpoint,
        ])
    };
    let output = rescore(&checkpoint);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let digest = certificate(&out)["digest"].as_str().unwrap().to_string();
    assert!(stdout(&output).contains(&digest), "{}", stdout(&output));
    let output = rescore(&fixture("checkpoints/base"));
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("other-checkpoint"), "{}", stderr(&output));
    let output = run(&[&"rescore", &out, &"--tasks", &tasks]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("checkpoint-needed"), "{}", stderr(&output));
}

#[test]
fn a_grade_of_the_base_says_what_the_contest_needs_to_know_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let contest = Contest::cut(dir.path(), 5, TASKS);
    let base = dir.path().join("graded-base");
    grade(&contest, &fixture("checkpoints/base"), &base, "2", &[]);
    let output = run(&[&"base-rules", &base]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // Pasted where the contest says these things.
    let rules = stdout(&output);
    let (measures, samples) = rules.split_once("[[grading.samples]]").unwrap();
    let source = contest.source();
    let cut = |text: &str, from: &str, to: &str| {
        let start = text.find(from).unwrap();
        let end = start + text[start..].find(to).unwrap();
        (text[..start].to_string(), text[end..].to_string())
    };
    let (head, rest) = cut(&source, "[base.measures]", "[checkpoint]");
    let (middle, tail) = cut(&rest, "[[grading.samples]]", "# Reach the accuracy floor");
    let pasted = format!("{head}{measures}\n{middle}[[grading.samples]]{samples}\n{tail}");
    std::fs::write(contest.file(), pasted).unwrap();
    let out = dir.path().join("out");
    grade(&contest, &fixture("checkpoints/w4a16-gptq"), &out, "2", &[]);
    let (base, report) = (json(&base.join("report.json")), json(&out.join("report.json")));
    for (said, sample) in base["samples"]
        .as_array()
        .unwrap()
        .iter()
        .zip(report["samples"].as_array().unwrap())
    {
        assert_eq!(said["text"], sample["base"]);
        assert_eq!(said["prompt"], sample["prompt"]);
    }
    assert_eq!(report["samples"].as_array().unwrap().len(), 6);
}
