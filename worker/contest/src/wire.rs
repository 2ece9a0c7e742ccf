//! What web and worker say to each other, as JSON. Unknown fields are ignored, so either side may be the older one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

mod report;
mod session;
mod time_track;

pub use report::{Generation, ItemScores, Report, TaskReport};
pub use session::{
    Challenge, Challenged, ClaimAsk, Doorbell, Enrol, Enrolled, OpenSession, Ring, Session, enrolment_statement,
    session_statement,
};
pub use time_track::{Round, TimeTrack};

/// Codes of failures that point at the worker's machine, not at the contest's files or the submission.
pub const MACHINE_FAULTS: [&str; 3] = ["fetch-failed", "platform-failed", "worker-crashed"];

/// Folder, among a claim's contest files, of the base's own files (`base/config.json`, …), wherever `base.dir` points.
pub const CONTEST_BASE: &str = "base";
/// Folder, among a claim's contest files, of the task files (`tasks/mini.yaml`, …), wherever `tasks_dir` points.
pub const CONTEST_TASKS: &str = "tasks";
/// The rules themselves among a claim's contest files.
pub const CONTEST_FILE: &str = "contest.toml";

/// Whether `name` is a plain relative path: `/` separated, no empty, `.` or `..` part, no control character, no
/// backslash or colon, at most 255 bytes. Both sides ask before a name from the wire touches a disk.
pub fn is_safe_path(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.chars().any(|c| c.is_control() || c == '\\' || c == ':')
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// What a worker computes on.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// Make and model.
    pub name: String,
    /// `cpu`, `gpu` or `reference`.
    pub kind: String,
}

/// One attempt at grading one submission, handed to one worker.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Id of the attempt.
    pub attempt_id: String,
    /// Id of the job.
    pub job_id: String,
    /// Id of the submission.
    pub submission_id: String,
    /// Rises with every attempt at the job; only the highest may write a result.
    pub fence: i64,
    /// The attempt is lost when no heartbeat arrives for so long.
    pub lease_seconds: u64,
    /// The job token: a bearer token for this attempt only.
    pub token: String,
    /// Id of the contest.
    pub contest_id: String,
    /// [`crate::Contest::digest`] of the rules to grade by.
    pub contest_digest: String,
    /// The uploaded files.
    pub submission_files: Vec<RemoteFile>,
    /// What grading needs besides: [`CONTEST_FILE`], files under [`CONTEST_BASE`] and under [`CONTEST_TASKS`].
    pub contest_files: Vec<RemoteFile>,
}

// Tokens and keys stay out of logs: what is printed of these says who and what, never by which secret.

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("attempt_id", &self.attempt_id)
            .field("job_id", &self.job_id)
            .field("submission_id", &self.submission_id)
            .field("fence", &self.fence)
            .field("contest_id", &self.contest_id)
            .finish_non_exhaustive()
    }
}

/// A file to fetch.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct RemoteFile {
    /// Relative path, `/` separated; see [`is_safe_path`].
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// 64 lowercase hex digits.
    pub sha256: String,
}

/// The worker is alive and this far.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Heartbeat {
    /// Fence of the claim.
    pub fence: i64,
    /// How far it is.
    pub progress: Progress,
}

/// How far an attempt is.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// The task being evaluated.
    #[serde(default)]
    pub task: Option<String>,
    /// Units done in this stage: bytes fetched, requests answered, runs of the time track.
    pub done: u64,
    /// Units in this stage; 0 when not known.
    pub total: u64,
    /// Measures known so far. They are not final and never rank.
    #[serde(default)]
    pub measures: BTreeMap<String, f64>,
    /// Seconds the stages took that are over, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timings: BTreeMap<String, f64>,
    /// Rises with every report of an attempt, so that a late one is recognised.
    pub step: u64,
}

/// Named stages of a grade, in their order.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Files are being fetched and their digests checked.
    #[default]
    Fetch,
    /// The checkpoint is held against the rules.
    Verify,
    /// Bytes are counted.
    Weigh,
    /// Weights are read into memory.
    Load,
    /// Tasks are running.
    Evaluate,
    /// Sample prompts are continued.
    Samples,
    /// Base and submission run the time track's workload in turn.
    Time,
    /// The report is written and sent.
    Report,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 8] = [
        Stage::Fetch,
        Stage::Verify,
        Stage::Weigh,
        Stage::Load,
        Stage::Evaluate,
        Stage::Samples,
        Stage::Time,
        Stage::Report,
    ];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Fetch => "fetch",
            Stage::Verify => "verify",
            Stage::Weigh => "weigh",
            Stage::Load => "load",
            Stage::Evaluate => "evaluate",
            Stage::Samples => "samples",
            Stage::Time => "time",
            Stage::Report => "report",
        }
    }
}

/// The answer to [`Heartbeat`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatAnswer {
    /// What to do now.
    pub directive: Directive,
    /// The lease, counted from this answer.
    pub lease_seconds: u64,
}

/// What a worker is told to do.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Directive {
    /// Go on.
    #[default]
    Continue,
    /// Stop this attempt: nobody waits for its result.
    Cancel,
    /// Finish this attempt, then take no other.
    Drain,
}

/// The worker gives an attempt back without a result.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Fence of the claim.
    pub fence: i64,
    /// Why, for the organizer's log.
    pub reason: String,
}

/// What came of an attempt.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct ResultBody {
    /// Fence of the claim.
    pub fence: i64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// Every task ran; the board takes the measures from the report.
    Graded {
        /// What was measured.
        report: Report,
    },
    /// The checkpoint is against the rules; it was not run.
    Rejected {
        /// Why, at least one.
        problems: Vec<Problem>,
        /// What was found before it was turned away; no accuracy in it.
        report: Report,
    },
    /// No score could be found.
    Failed {
        /// Who has to act.
        class: FailureClass,
        /// What happened.
        problem: Problem,
    },
}

/// Whose failure it is, which decides about another attempt and the quota.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The platform's: tried again, costs the team nothing.
    Infra,
    /// The wall clock ran out.
    Timeout,
    /// The submission's: the same bytes would fail again.
    Submission,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Text;
    use serde_json::json;

    #[test]
    fn outcomes_are_told_apart_by_kind() {
        let body = ResultBody {
            fence: 3,
            outcome: Outcome::Graded {
                report: Report::default(),
            },
        };
        let value = serde_json::to_value(&body).unwrap();
        assert_eq!(value["outcome"]["kind"], "graded");
        assert_eq!(serde_json::from_value::<ResultBody>(value).unwrap(), body);

        let problem = Problem::new(
            "wall-time",
            "evaluate",
            Text::new("late", "초과"),
            Text::new("wait", "대기"),
        );
        let body = ResultBody {
            fence: 4,
            outcome: Outcome::Failed {
                class: FailureClass::Timeout,
                problem,
            },
        };
        let value = serde_json::to_value(&body).unwrap();
        assert_eq!(value["outcome"]["kind"], "failed");
        assert_eq!(value["outcome"]["class"], "timeout");
        assert_eq!(serde_json::from_value::<ResultBody>(value).unwrap(), body);
    }

    #[test]
    fn a_newer_peer_may_say_more() {
        let answer = json!({"directive": "drain", "lease_seconds": 60, "mood": "sunny"});
        let answer: HeartbeatAnswer = serde_json::from_value(answer).unwrap();
        assert_eq!(
            answer,
            HeartbeatAnswer {
                directive: Directive::Drain,
                lease_seconds: 60
            }
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let claim = Claim {
            attempt_id: "a1".into(),
            job_id: "j1".into(),
            submission_id: "s1".into(),
            fence: 1,
            lease_seconds: 60,
            token: "hush".into(),
            contest_id: "c1".into(),
            contest_digest: String::new(),
            submission_files: vec![],
            contest_files: vec![],
        };
        let printed = format!("{claim:?}");
        assert!(!printed.contains("hush") && printed.contains("a1"), "{printed}");
        // On the wire they are there.
        assert_eq!(serde_json::to_value(&claim).unwrap()["token"], "hush");
    }

    #[test]
    fn stage_names_are_the_wire_names() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
        assert!(Stage::ALL.is_sorted());
    }

    #[test]
    fn paths_that_leave_the_folder_are_not_safe() {
        for safe in ["contest.toml", "base/config.json", "tasks/gsm/test.jsonl", "..a/b.."] {
            assert!(is_safe_path(safe), "{safe}");
        }
        let long = "x".repeat(256);
        for unsafe_ in [
            "",
            "/etc/passwd",
            "a//b",
            "../a",
            "a/..",
            "./a",
            "a/",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            &long,
        ] {
            assert!(!is_safe_path(unsafe_), "{unsafe_}");
        }
    }
}
