//! The way of a submission, step by step.

use super::samples::facts;
use crate::i18n::Locale;
use crate::views::{STEPS, StageFacts, StagesFragment, StepStatus, SubmissionState};

fn statuses(state: SubmissionState, stage: &str) -> Vec<(&'static str, StepStatus)> {
    let facts = StageFacts {
        stage: stage.into(),
        timed: true,
        ..facts(state)
    };
    StagesFragment::new(Locale::En, facts)
        .steps
        .iter()
        .map(|step| (step.name, step.status))
        .collect()
}

fn status_of(state: SubmissionState, stage: &str, step: &str) -> StepStatus {
    statuses(state, stage)
        .into_iter()
        .find(|(name, _)| *name == step)
        .map(|(_, status)| status)
        .expect("step")
}

#[test]
fn one_step_is_running_while_it_is_graded() {
    for (at, stage) in STEPS.iter().enumerate().skip(2) {
        let steps = statuses(SubmissionState::Running, stage);
        let running: Vec<usize> = (0..steps.len())
            .filter(|i| steps[*i].1 == StepStatus::Running)
            .collect();
        assert_eq!(running, [at], "{stage}");
        assert!(steps[..at].iter().all(|(_, status)| *status == StepStatus::Done));
        assert!(steps[at + 1..].iter().all(|(_, status)| *status == StepStatus::Waiting));
    }
}

#[test]
fn a_contest_without_a_time_track_has_no_such_step() {
    for state in [SubmissionState::Running, SubmissionState::Graded] {
        let untimed = StageFacts {
            stage: "report".into(),
            ..facts(state)
        };
        let steps: Vec<_> = StagesFragment::new(Locale::En, untimed).steps;
        let others: Vec<_> = statuses(state, "report")
            .into_iter()
            .filter(|(name, _)| *name != "time")
            .collect();
        assert_eq!(steps.len(), STEPS.len() - 1);
        assert_eq!(
            steps.iter().map(|step| (step.name, step.status)).collect::<Vec<_>>(),
            others
        );
    }
}

#[test]
fn an_unknown_stage_is_the_first_of_the_worker_and_never_a_panic() {
    assert_eq!(
        status_of(SubmissionState::Running, "polish", "fetch"),
        StepStatus::Running
    );
    assert_eq!(status_of(SubmissionState::Running, "", "fetch"), StepStatus::Running);
}

#[test]
fn a_graded_submission_has_every_step_done() {
    assert!(
        statuses(SubmissionState::Graded, "report")
            .iter()
            .all(|(_, status)| *status == StepStatus::Done)
    );
}

#[test]
fn a_rejected_one_stops_where_it_was_verified() {
    assert_eq!(status_of(SubmissionState::Rejected, "", "verify"), StepStatus::Stopped);
    assert_eq!(
        status_of(SubmissionState::Rejected, "fetch", "verify"),
        StepStatus::Stopped
    );
    assert_eq!(
        status_of(SubmissionState::Rejected, "verify", "weigh"),
        StepStatus::Skipped
    );
}

#[test]
fn a_failed_one_stops_where_it_was() {
    assert_eq!(status_of(SubmissionState::Failed, "load", "load"), StepStatus::Stopped);
    assert_eq!(status_of(SubmissionState::Failed, "load", "weigh"), StepStatus::Done);
    // a worker had it, and never spoke of it
    assert_eq!(status_of(SubmissionState::Failed, "", "fetch"), StepStatus::Stopped);
    let untried = StageFacts {
        attempt: 0,
        ..facts(SubmissionState::Cancelled)
    };
    let steps = StagesFragment::new(Locale::En, untried).steps;
    assert_eq!((steps[1].name, steps[1].status), ("queued", StepStatus::Stopped));
}

#[test]
fn progress_never_exceeds_the_whole() {
    let of = |done, total| {
        StagesFragment::new(
            Locale::En,
            StageFacts {
                done,
                total,
                ..facts(SubmissionState::Running)
            },
        )
        .percent()
    };
    assert_eq!(of(83, 200), Some(41));
    assert_eq!(of(500, 200), Some(100));
    assert_eq!(of(5, 0), None);
    assert!(of(u64::MAX, u64::MAX).is_some_and(|percent| percent <= 100));
}
