use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use assay_contest::wire::{FailureClass, Progress, Stage};
use assay_engine::Device;

use super::*;
use crate::pipeline::{self, Job, Watch};

#[test]
fn base_and_submission_alternate_and_the_first_of_each_is_not_measured() {
    let mut turns = Vec::new();
    let found = rounds(5, &mut |turn| {
        turns.push(turn);
        Ok::<f64, ()>(turns.len() as f64)
    });
    assert_eq!(turns, [Turn::Base, Turn::Submission].repeat(6));
    let seconds: Vec<(f64, f64)> = found
        .unwrap()
        .iter()
        .map(|round| (round.base, round.submission))
        .collect();
    assert_eq!(seconds, [(3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0), (11.0, 12.0)]);
    // An error is the last thing that happens.
    let mut ran = 0;
    let failed = rounds(5, &mut |_| {
        ran += 1;
        if ran == 4 { Err("lost") } else { Ok(1.0) }
    });
    assert_eq!((failed, ran), (Err("lost"), 4));
}

#[test]
fn the_tokens_are_the_seeds() {
    let workload = Workload {
        prompt_tokens: 40,
        generated_tokens: 3,
        sequences: 4,
        rounds: 5,
    };
    let drawn = |seed| Tokens::draw(&workload, seed, 100);
    let (a, b) = (drawn(7), drawn(7));
    assert_eq!((&a.prompt, &a.first, a.generate), (&b.prompt, &b.first, 3));
    assert_eq!((a.prompt.len(), a.first.len()), (40, 4));
    assert_ne!(a.prompt, drawn(8).prompt);
    assert!(a.prompt.iter().chain(&a.first).all(|token| *token < 100));
}

/// The sample contest with a time track, cut down to a document of a task.
fn grounds(workload: Workload) -> Grounds {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sample/contest.toml");
    let mut grounds = Grounds::contest(&sample).unwrap();
    (grounds.tasks, grounds.limit) = (vec!["mini_wino".into()], Some(1));
    let grading = &mut grounds.rules.as_mut().unwrap().contest.grading;
    grading.samples.clear();
    grading.time = Some(workload);
    grounds
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/checkpoints")
        .join(name)
}

fn options() -> Options {
    Options {
        device: Device::Cpu,
        threads: 1,
        ..Options::default()
    }
}

const SMALL: Workload = Workload {
    prompt_tokens: 70,
    generated_tokens: 5,
    sequences: 2,
    rounds: 5,
};

/// Of two steps for the prompt and five tokens, each of the twelve runs asks whether to go on seven times.
#[test]
fn whoever_waits_is_asked_before_every_step_and_told_of_every_run() {
    let (grounds, dir) = (grounds(SMALL), fixture("w4a16-gptq"));
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let track = Track::prepare(&grounds, &checkpoint).unwrap().unwrap();
    assert_eq!(track.runs(), 12);
    let options = Options {
        step_tokens: 64,
        ..options()
    };
    let mut asked = BTreeMap::new();
    let mut go_on = |over| {
        *asked.entry(over).or_insert(0) += 1;
        Ok(())
    };
    let found = track.run(&dir, &options, &mut go_on).unwrap();
    assert_eq!((found.workload, found.rounds.len()), (SMALL, 5));
    assert!(found.device.starts_with("cpu (") && !found.host.is_empty());
    assert!(
        found
            .rounds
            .iter()
            .all(|round| round.base > 0.0 && round.submission > 0.0)
    );
    // Twice more while the models are loaded, and once at the end.
    let mut expected: BTreeMap<u64, i32> = (0..12).map(|run| (run, 7)).collect();
    expected.insert(0, 9);
    expected.insert(12, 1);
    assert_eq!(asked, expected);

    // In the middle of the third round: no further step, and no times.
    let mut left = 40;
    let mut go_on = |_| {
        left -= 1;
        if left == 0 { Err(Halt::Stopped) } else { Ok(()) }
    };
    assert!(matches!(track.run(&dir, &options, &mut go_on), Err(Halt::Stopped)));
    assert_eq!(left, 0);
}

#[test]
fn a_grade_that_is_stopped_in_its_time_track_ends_there() {
    let out = tempfile::tempdir().unwrap();
    let job = Job {
        checkpoint: fixture("w4a16-gptq"),
        grounds: grounds(SMALL),
        options: options(),
        shard: None,
        out: out.path().into(),
    };
    let abort = Arc::new(AtomicBool::new(false));
    let runs = Arc::new(AtomicUsize::new(0));
    let mut watch = Watch {
        abort: abort.clone(),
        report: Box::new({
            let runs = runs.clone();
            move |progress: &Progress| {
                if progress.stage == Stage::Time && progress.done > 0 {
                    assert_eq!(progress.total, 12);
                    runs.store(progress.done as usize, Ordering::Relaxed);
                    abort.store(progress.done == 3, Ordering::Relaxed);
                }
            }
        }),
    };
    assert!(matches!(pipeline::run(&job, &mut watch), Err(Halt::Stopped)));
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    assert!(!out.path().join("report.json").exists());
}

#[test]
fn what_cannot_be_run_is_said_before_a_task_is() {
    let submission = Checkpoint::open(&fixture("w4a16-gptq")).unwrap();
    let refused = |grounds: &Grounds| match Track::prepare(grounds, &submission) {
        Err(Halt::Failed { class, problem }) => (class, problem),
        _ => panic!("it is prepared"),
    };
    // The base came without its weights.
    let bare = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "chat_template.jinja"] {
        std::fs::copy(fixture("base").join(name), bare.path().join(name)).unwrap();
    }
    let mut without = grounds(SMALL);
    without.rules.as_mut().unwrap().base = bare.path().into();
    let (class, problem) = refused(&without);
    assert_eq!((class, problem.place.as_str()), (FailureClass::Infra, "base"));
    assert!(problem.message.en.contains("weights"), "{}", problem.message.en);

    // The base has too few positions: the rules are wrong.
    let positions = submission.config().max_positions as u32;
    let long = |prompt_tokens| grounds(Workload { prompt_tokens, ..SMALL });
    assert!(Track::prepare(&long(positions - 5), &submission).is_ok());
    let (class, problem) = refused(&long(positions - 4));
    assert_eq!((class, problem.place.as_str()), (FailureClass::Infra, "grading.time"));

    // Without a time track there is nothing to prepare.
    let mut none = grounds(SMALL);
    none.rules.as_mut().unwrap().contest.grading.time = None;
    assert!(Track::prepare(&none, &submission).unwrap().is_none());
}

/// A submission whose own context is shorter than the base's: its own fault.
#[test]
fn a_submission_too_short_for_the_workload_is_at_fault() {
    let short = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("w4a16-gptq")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), short.path().join(entry.file_name())).unwrap();
    }
    let path = short.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = 64.into();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, config.to_string()).unwrap();
    let checkpoint = Checkpoint::open(short.path()).unwrap();
    let grounds = grounds(SMALL);
    let Err(Halt::Failed { class, problem }) = Track::prepare(&grounds, &checkpoint) else {
        panic!("it is prepared");
    };
    assert_eq!(
        (class, problem.code.as_str()),
        (FailureClass::Submission, "context-too-short")
    );
}

/// A fault of the base is the organizer's; numbers that are none are the submission's.
#[test]
fn who_has_to_act_depends_on_whose_run_it_was() {
    let class = |turn, error| match failed(turn, Ended::Step(error)) {
        Halt::Failed { class, .. } => class,
        Halt::Stopped => panic!("nobody stopped it"),
    };
    let not_finite = || StepError::NotFinite { output: 0 };
    assert_eq!(class(Turn::Base, not_finite()), FailureClass::Infra);
    assert_eq!(class(Turn::Submission, not_finite()), FailureClass::Submission);
    assert_eq!(class(Turn::Submission, StepError::CacheLost), FailureClass::Infra);
}
