//! Why a grade ends without a verdict, and who has to act: each failure with its class, code, sentence and fix.

use std::time::Duration;

use assay_checkpoint::{LookError, OpenError};
use assay_contest::wire::{FailureClass, Stage};
use assay_contest::{Problem, Text};
use assay_engine::EngineError;
use assay_tasks::TaskError;

/// Why there is no verdict.
#[derive(Debug)]
pub enum Halt {
    /// No score could be found.
    Failed { class: FailureClass, problem: Box<Problem> },
    /// Someone asked to stop.
    Stopped,
}

fn failed(class: FailureClass, code: &str, place: &str, message: Text, fix: Text) -> Halt {
    Halt::Failed {
        class,
        problem: Box::new(Problem::new(code, place, message, fix)),
    }
}

/// A failure of this platform.
pub fn infra(place: &str, detail: impl Into<String>) -> Halt {
    let detail = detail.into();
    failed(
        FailureClass::Infra,
        "platform-failed",
        place,
        Text::new(
            format!("The grader could not do its work: {detail}."),
            format!("채점기가 작업을 수행하지 못했습니다: {detail}."),
        ),
        Text::new(
            "Nothing to do for the team: it is graded again, free of charge.",
            "팀이 조치할 것은 없습니다. 추가 비용 없이 다시 채점됩니다.",
        ),
    )
}

/// A failure of the contest's tasks: the organizer's, not the team's.
pub fn task_failed(error: &TaskError) -> Halt {
    Halt::Failed {
        class: FailureClass::Infra,
        problem: Box::new(error.problem()),
    }
}

/// A failure of the submission that the rules did not foresee.
pub fn broken(code: &str, detail: &str) -> Halt {
    failed(
        FailureClass::Submission,
        code,
        "checkpoint",
        Text::new(
            format!("The checkpoint cannot be run: {detail}."),
            format!("체크포인트를 실행할 수 없습니다: {detail}."),
        ),
        Text::new(
            "Run `assay-worker grade` on it before submitting again.",
            "다시 제출하기 전에 `assay-worker grade`로 실행해 보십시오.",
        ),
    )
}

/// The submission's context does not hold a task's prompt.
pub fn no_room(detail: &str) -> Halt {
    failed(
        FailureClass::Submission,
        "context-too-short",
        "config.json",
        Text::new(
            format!("The model's context is too short for the tasks: {detail}."),
            format!("모델의 문맥 길이가 과제를 담기에 너무 짧습니다: {detail}."),
        ),
        Text::new(
            "Keep the base's max_position_embeddings.",
            "기준 모델의 max_position_embeddings를 그대로 두십시오.",
        ),
    )
}

/// The wall clock ran out.
pub fn too_slow(stage: Stage, wall: Duration) -> Halt {
    let seconds = wall.as_secs();
    failed(
        FailureClass::Timeout,
        "wall-time",
        stage.name(),
        Text::new(
            format!("Grading took longer than the {seconds} seconds the contest allows."),
            format!("채점이 대회의 제한 시간 {seconds}초를 넘겼습니다."),
        ),
        Text::new(
            "Make the model faster, or have it stop on its own: endless answers take the most time.",
            "모델을 더 빠르게 하거나 답이 스스로 끝나게 하십시오. 끝나지 않는 답이 시간을 가장 많이 씁니다.",
        ),
    )
}

/// The folder could not be listed.
pub fn not_looked_at(error: LookError) -> Halt {
    match error {
        LookError::TooManyEntries { .. } => failed(
            FailureClass::Submission,
            "too-many-files",
            "checkpoint",
            Text::new(
                "The submission has thousands of files.",
                "제출물에 파일이 수천 개 있습니다.",
            ),
            Text::new(
                "Upload only the checkpoint's own files.",
                "체크포인트의 파일만 올리십시오.",
            ),
        ),
        error @ (LookError::Io { .. } | LookError::Base { .. }) => infra("checkpoint", error.to_string()),
    }
}

/// A tensor could not be had: the disk's fault, or that of a checkpoint which passed all the same.
pub fn open_failed(error: OpenError) -> Halt {
    match error {
        OpenError::Look(_) | OpenError::Read { .. } => infra("checkpoint", error.to_string()),
        OpenError::Rejected(_) | OpenError::Tensor { .. } => broken("cannot-load", &error.to_string()),
    }
}

/// The engine gave up: on what the model computed, or on what it was asked.
pub fn engine_failed(error: EngineError) -> Halt {
    match error {
        EngineError::NotFinite { .. } => broken("not-finite", &error.to_string()),
        EngineError::UnknownToken { .. } | EngineError::TooLong { .. } => broken("cannot-run", &error.to_string()),
        EngineError::EmptyPrompt { .. } | EngineError::TooLongForCache { .. } | EngineError::Step(_) => {
            infra("engine", error.to_string())
        }
        EngineError::Cancelled => Halt::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(halt: Halt) -> Option<FailureClass> {
        match halt {
            Halt::Failed { class, problem } => {
                assert!(!problem.message.ko.is_empty() && !problem.fix.ko.is_empty());
                Some(class)
            }
            Halt::Stopped => None,
        }
    }

    #[test]
    fn the_team_pays_only_for_what_is_its_own() {
        let not_finite = EngineError::NotFinite { request: 0, tokens: 3 };
        assert_eq!(class(engine_failed(not_finite)), Some(FailureClass::Submission));
        let cache = EngineError::TooLongForCache {
            request: 0,
            tokens: 3,
            capacity: 2,
        };
        assert_eq!(class(engine_failed(cache)), Some(FailureClass::Infra));
        assert_eq!(class(engine_failed(EngineError::Cancelled)), None);
        let read = OpenError::Read {
            tensor: "x".into(),
            source: std::io::Error::other("disk"),
        };
        assert_eq!(class(open_failed(read)), Some(FailureClass::Infra));
        assert_eq!(
            class(open_failed(OpenError::Rejected(Vec::new()))),
            Some(FailureClass::Submission)
        );
        assert_eq!(
            class(too_slow(Stage::Evaluate, Duration::from_secs(3))),
            Some(FailureClass::Timeout)
        );
    }
}
