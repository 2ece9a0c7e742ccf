//! The time track of a contest, from the rules to the report: what is measured, what it is kept through, and where it is missing.

use std::path::Path;

use serde_json::Value;

use crate::support::{Contest, code, fixture, json, run, stderr, stdout, worker};

const TIMED: &str = "\n[grading.time]\nprompt_tokens = 70\ngenerated_tokens = 3\nsequences = 2\nrounds = 5\n";

/// The sample contest cut down, scored by time.
fn contest(dir: &Path) -> Contest {
    let contest = Contest::cut(dir, 3, r#"["mini_gsm", "mini_wino"]"#);
    contest.edit("at_least = 0.75", "at_least = 0.0");
    contest.edit("formula = \"base.bytes / bytes\"", "formula = \"1 / time_ratio\"");
    std::fs::write(contest.file(), contest.source() + TIMED).unwrap();
    contest
}

fn grade(contest: &Contest, checkpoint: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    let mut command = worker();
    command
        .arg("grade")
        .arg(checkpoint)
        .arg("--contest")
        .arg(contest.file());
    command.args(["--device", "cpu", "--out"]).arg(out).args(more);
    command.output().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

/// What anybody who has the rounds comes to.
fn check(report: &Value) {
    let rounds = report["time_track"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 5);
    let ratio = |round: &Value| number(&round["submission"]) / number(&round["base"]);
    let mut ratios: Vec<f64> = rounds.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let measures = &report["measures"];
    for (name, value) in [
        ("time_ratio_low", ratios[0]),
        ("time_ratio", ratios[2]),
        ("time_ratio_high", ratios[4]),
    ] {
        assert_eq!(number(&measures[name]), value, "{name}");
    }
    let median = |who: &str| {
        let mut seconds: Vec<f64> = rounds.iter().map(|round| number(&round[who])).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[2]
    };
    assert_eq!(number(&measures["time_track_seconds"]), median("submission"));
    assert_eq!(number(&measures["time_track_base_seconds"]), median("base"));
}

#[test]
fn a_grade_has_the_rounds_and_the_score_they_give_and_rescoring_keeps_both() {
    let dir = tempfile::tempdir().unwrap();
    let contest = contest(dir.path());
    let [out, again, never] = ["out", "again", "never"].map(|name| dir.path().join(name));
    let output = grade(&contest, &fixture("checkpoints/w4a16-gptq"), &out, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = json(&out.join("report.json"));
    check(&report);
    let track = &report["time_track"];
    let workload = serde_json::json!({"prompt_tokens": 70, "generated_tokens": 3, "sequences": 2, "rounds": 5});
    assert_eq!(track["workload"], workload);
    assert_eq!(track["device"], report["device"]);
    assert!(!track["host"].as_str().unwrap().is_empty());
    assert!(report["timings"]["time"].is_number(), "{}", report["timings"]);
    let text = stdout(&output);
    let shown = |name: &str| format!("{:.4}", number(&report["measures"][name]));
    let spread = format!(
        "{} ({} – {} in 5 rounds",
        shown("time_ratio"),
        shown("time_ratio_low"),
        shown("time_ratio_high")
    );
    assert!(text.contains(&spread), "{spread}: {text}");
    let score = format!("{:.4}", 1.0 / number(&report["measures"]["time_ratio"]));
    assert!(text.contains(&format!("Score        {score}")), "{text}");

    let rescore = |out: &Path| {
        run(&[
            &"rescore",
            &dir.path().join("out"),
            &"--contest",
            &contest.file(),
            &"--out",
            &out,
        ])
    };
    contest.edit("at_least = 0.0", "at_least = 0.1");
    let output = rescore(&again);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let rescored = json(&again.join("report.json"));
    assert_eq!(&rescored["time_track"], track);
    check(&rescored);
    contest.edit("rounds = 5", "rounds = 7");
    let output = rescore(&never);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("grading.time [run-needed]"),
        "{}",
        stderr(&output)
    );

    // What a contest states of its base are no times of some other day.
    let output = run(&[&"base-rules", &out]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("wall_seconds") && !stdout(&output).contains("time_ratio"));
}

#[test]
fn shards_have_no_time_and_merging_measures_it_where_the_checkpoint_is() {
    let dir = tempfile::tempdir().unwrap();
    let contest = contest(dir.path());
    let checkpoint = fixture("checkpoints/w4a16-gptq");
    let at = |name: &str| dir.path().join(name);
    let output = grade(&contest, &checkpoint, &at("whole"), &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for shard in ["1/2", "2/2"] {
        let out = at(&shard.replace('/', "-"));
        let output = grade(&contest, &checkpoint, &out, &["--shard", shard]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(json(&out.join("timings.json"))["track"].is_null());
    }
    let merge = |out: &str, more: &[&Path]| {
        let mut command = worker();
        command.arg("merge").args([at("1-2"), at("2-2")]);
        command.arg("--contest").arg(contest.file()).arg("--out").arg(at(out));
        if let [checkpoint] = more {
            command.args(["--device", "cpu", "--checkpoint"]).arg(checkpoint);
        }
        command.output().unwrap()
    };
    let output = merge("untimed", &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("--checkpoint"), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("time_ratio"),
        "why there is no score: {}",
        stdout(&output)
    );
    let untimed = json(&at("untimed").join("report.json"));
    assert!(untimed["measures"]["time_ratio"].is_null() && untimed["time_track"].is_null());

    let output = merge("timed", &[&checkpoint]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let timed = json(&at("timed").join("report.json"));
    check(&timed);
    let whole = json(&at("whole").join("report.json"));
    assert!(whole["certificate"]["digest"].is_string());
    assert_eq!(timed["certificate"], whole["certificate"]);
    assert_eq!(untimed["certificate"], whole["certificate"]);
    let task = "outputs_mini_gsm.jsonl";
    let bytes = |out: &str| std::fs::read(at(out).join(task)).unwrap();
    assert!(bytes("timed") == bytes("whole"), "the same answers");

    let output = merge("other", &[&fixture("checkpoints/base")]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("other-checkpoint"), "{}", stderr(&output));
    assert!(!at("other").exists());
}

#[test]
fn a_base_without_weights_is_the_organizers_fault_and_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let contest = contest(dir.path());
    std::fs::remove_file(dir.path().join("base")).unwrap();
    std::fs::create_dir(dir.path().join("base")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        let from = fixture("checkpoints/base").join(name);
        if from.exists() {
            std::fs::copy(from, dir.path().join("base").join(name)).unwrap();
        }
    }
    let out = dir.path().join("out");
    let output = grade(&contest, &fixture("checkpoints/w4a16-gptq"), &out, &[]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    let said = stderr(&output);
    assert!(
        said.contains("platform-failed") && said.contains("the contest's time track runs the base"),
        "{said}"
    );
    assert!(!out.join("outputs_mini_gsm.jsonl").exists(), "no task was run in vain");
}

#[test]
fn the_wall_clock_ends_the_time_track_between_two_steps() {
    let dir = tempfile::tempdir().unwrap();
    let contest = contest(dir.path());
    contest.edit("wall_seconds = 1800", "wall_seconds = 5");
    contest.edit("prompt_tokens = 70", "prompt_tokens = 200");
    contest.edit("generated_tokens = 3", "generated_tokens = 300");
    contest.edit("sequences = 2", "sequences = 16");
    contest.edit("rounds = 5", "rounds = 99"); // minutes
    let out = dir.path().join("out");
    let started = std::time::Instant::now();
    let output = grade(&contest, &fixture("checkpoints/w4a16-gptq"), &out, &[]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("wall-time") && said.contains("time"), "{said}");
    assert!(
        out.join("outputs_mini_gsm.jsonl").exists(),
        "the tasks were done: {said}"
    );
    assert!(
        started.elapsed() < std::time::Duration::from_secs(60),
        "nothing holds it up"
    );
    assert!(!out.join("report.json").exists());
}
