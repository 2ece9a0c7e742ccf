//! Rescoring: kept outputs under rules that may have changed, as long as the model would be asked the very same things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assay_checkpoint::{BaseModel, Checkpoint};
use assay_contest::wire::{Report, TimeTrack};
use assay_contest::{Problem, Text};
use assay_engine::{Answer, Options};
use assay_tasks::TaskSet;

use crate::assemble::Assembly;
use crate::evaluate::Prepared;
use crate::grounds::Grounds;
use crate::halt::{self, Halt, infra, open_failed, task_failed};
use crate::outcome::{Planned, Work};
use crate::outputs::{self, Line, Place, ReadError};
use crate::pipeline::not_prepared;
use crate::record::{Asked, CheckpointFiles, Record, RecordError, Shard, TIMES, read_json};
use crate::texts::{Texts, base_config};
use crate::time_track::Track;
use crate::times::Times;

/// A grade's outputs, read back.
pub struct Kept {
    pub record: Record,
    pub times: Times,
    pub tasks: BTreeMap<String, BTreeMap<Place, Line>>,
    pub generations: BTreeMap<Place, Line>,
}

impl Kept {
    /// Reads what `grade` left in `dir`.
    pub fn read(dir: &Path) -> Result<Kept, RescoreError> {
        let record = Record::read(dir)?;
        let times = read_json(dir.join(TIMES))?;
        let mut tasks = BTreeMap::new();
        for kept in &record.tasks {
            tasks.insert(kept.task.clone(), outputs::read(&dir.join(&kept.file), &kept.sha256)?);
        }
        let generations = match &record.generations {
            Some(kept) => outputs::read(&dir.join(&kept.file), &kept.sha256)?,
            None => BTreeMap::new(),
        };
        Ok(Kept {
            record,
            times,
            tasks,
            generations,
        })
    }

    /// The answers to one task's requests.
    fn answers(&self, task: &str, planned: &Planned, eos: &[u32]) -> Result<Vec<Answer>, RescoreError> {
        let needed = |doc, change| RescoreError::Needed {
            task: task.to_string(),
            doc,
            change,
        };
        let lines = self.tasks.get(task).ok_or_else(|| needed(0, Change::NoTask))?;
        let requests = planned.instances.iter().zip(&planned.prepared);
        let answer = |(instance, asked): (&assay_tasks::Instance, &Prepared)| {
            let line = lines.get(&(instance.doc, instance.index, instance.repeat));
            let line = line.ok_or_else(|| needed(instance.doc, Change::NotAsked))?;
            if line.prompt != outputs::digest(asked, eos) {
                return Err(needed(instance.doc, Change::Prompt));
            }
            Ok(line.answer.clone())
        };
        requests.map(answer).collect()
    }

    /// The answers to the contest's sample prompts, in whatever order they were asked then.
    fn generations(&self, asked: &[Prepared], eos: &[u32]) -> Result<Vec<Answer>, RescoreError> {
        let answer = |(number, asked): (usize, &Prepared)| {
            let digest = outputs::digest(asked, eos);
            let line = self.generations.values().find(|line| line.prompt == digest);
            line.map(|line| line.answer.clone())
                .ok_or(RescoreError::Sample { number: number + 1 })
        };
        asked.iter().enumerate().map(answer).collect()
    }
}

/// Scores kept outputs by `grounds`, exactly as a run by them would be. In a self-check, tokenizer and chat template come
/// from the checkpoint, which then has to be at hand. Without `out` nothing is written.
pub fn rescore(
    kept: &Kept,
    grounds: &Grounds,
    checkpoint: Option<&Path>,
    out: Option<&Path>,
) -> Result<Report, RescoreError> {
    if let Some(shard) = kept.record.shard {
        return Err(RescoreError::Shard(shard));
    }
    // A workload that was never run is missing, and the measures say so; one that is another now gave other times.
    if let (Some(track), Some((_, workload))) = (&kept.times.track, grounds.workload())
        && track.workload != workload
    {
        return Err(RescoreError::Workload);
    }
    let texts = texts(&kept.record, grounds, checkpoint)?;
    let set = TaskSet::load(&grounds.tasks_dir, &grounds.tasks).map_err(|error| task_failed(&error))?;
    let work = Work::prepare(set, &texts.settings(grounds), &texts.voice).map_err(not_prepared)?;
    let record = Record {
        asked: Asked::of(grounds),
        ..kept.record.clone()
    };
    let eos = &texts.voice.eos;
    let mut answers = Vec::new();
    for planned in &work.planned {
        answers.push(kept.answers(work.task(planned).name(), planned, eos)?);
    }
    let samples = match &grounds.rules {
        Some(rules) => {
            let asked = texts.samples(&rules.contest.grading.samples)?;
            let answers = kept.generations(&asked, eos)?;
            Some((asked, answers))
        }
        None => None,
    };
    // Nothing is written before everything is known to be there.
    let mut assembly = Assembly::new(out, grounds, &texts, &work, record);
    for (planned, answers) in work.planned.iter().zip(&answers) {
        assembly.task(planned, answers)?;
    }
    if let Some((asked, answers)) = samples {
        assembly.samples(&asked, &answers)?;
    }
    let report = assembly.finish(&kept.times)?;
    report.ok_or_else(|| infra("report", "a whole grade gave no report").into())
}

/// What the prompts are written with: the contest's, or the checkpoint's own if it is still the one that was graded.
fn texts(record: &Record, grounds: &Grounds, checkpoint: Option<&Path>) -> Result<Texts, RescoreError> {
    if let Some(rules) = &grounds.rules {
        let base = BaseModel::read_dir(&rules.base).map_err(|error| infra("base", error.to_string()))?;
        let special = base_config(&base)?;
        return Ok(Texts::read(&rules.base, grounds, &special, record.positions)?);
    }
    let dir = checkpoint.ok_or(RescoreError::NoCheckpoint)?;
    let checkpoint = graded(record, dir)?;
    Ok(Texts::read(dir, grounds, checkpoint.config(), record.positions)?)
}

/// The checkpoint in `dir`, if it is still the one that was graded.
fn graded(record: &Record, dir: &Path) -> Result<Checkpoint, RescoreError> {
    let files = CheckpointFiles::read(dir).map_err(halt::not_looked_at)?;
    if files.digest != record.checkpoint.digest {
        return Err(RescoreError::OtherCheckpoint {
            path: dir.to_path_buf(),
        });
    }
    Ok(Checkpoint::open(dir).map_err(open_failed)?)
}

/// Runs the time track on this machine for outputs that have none, as those of shards; none where the rules have none.
pub fn time(
    record: &Record,
    grounds: &Grounds,
    dir: &Path,
    options: &Options,
) -> Result<Option<TimeTrack>, RescoreError> {
    if grounds.workload().is_none() {
        return Ok(None);
    }
    let checkpoint = graded(record, dir)?;
    let track = Track::prepare(grounds, &checkpoint)?;
    let run = |track: Track<'_>| track.run(dir, options, &mut |_| Ok(()));
    Ok(track.map(run).transpose()?)
}

/// What would have to be asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The task was not run.
    NoTask,
    /// The document, or one of its requests, was not asked.
    NotAsked,
    /// Its prompt, stop strings or budget are others.
    Prompt,
}

/// Why kept outputs cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum RescoreError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Outputs(#[from] ReadError),
    /// Another prompt would give another output.
    #[error("document {doc} of {task} needs a run: {change:?}")]
    Needed { task: String, doc: usize, change: Change },
    #[error("sample prompt {number} needs a run")]
    Sample { number: usize },
    #[error("the time track needs a run")]
    Workload,
    #[error("this is shard {0}")]
    Shard(Shard),
    #[error("the checkpoint's tokenizer is needed")]
    NoCheckpoint,
    #[error("{path} is not the checkpoint that was graded")]
    OtherCheckpoint { path: PathBuf },
    #[error("{0}")]
    Grade(Box<Problem>),
    #[error("stopped")]
    Stopped,
}

impl From<Halt> for RescoreError {
    fn from(halt: Halt) -> RescoreError {
        match halt {
            Halt::Failed { problem, .. } => RescoreError::Grade(problem),
            Halt::Stopped => RescoreError::Stopped,
        }
    }
}

impl RescoreError {
    /// The same for a person.
    pub fn problem(&self) -> Problem {
        let run = || {
            Text::new(
                "The changed rules ask the model something else: grade the checkpoint again.",
                "바뀐 규칙은 모델에 다른 것을 묻습니다. 체크포인트를 다시 채점하십시오.",
            )
        };
        let again = || {
            Text::new(
                "Use the folder as `assay-worker grade` left it, or grade again.",
                "`assay-worker grade`가 만든 그대로의 폴더를 쓰거나 다시 채점하십시오.",
            )
        };
        let (code, place, message, fix) = match self {
            RescoreError::Record(_) | RescoreError::Outputs(_) => (
                "outputs-unreadable",
                "outputs".to_string(),
                Text::new(
                    format!("The kept outputs cannot be used: {self}."),
                    format!("보관된 출력을 사용할 수 없습니다: {self}."),
                ),
                again(),
            ),
            RescoreError::Needed { task, doc, change } => (
                "run-needed",
                format!("{task}, document {doc}"),
                match change {
                    Change::NoTask => Text::new(
                        format!("The task {task} was not run: a run is needed."),
                        format!("{task} 과제는 실행된 적이 없으므로 새로 실행해야 합니다."),
                    ),
                    Change::NotAsked => Text::new(
                        format!("Document {doc} of {task} was not asked, or not everything about it: a run is needed."),
                        format!(
                            "{task} 과제의 {doc}번 문항은 전부 또는 일부가 질문된 적이 없으므로 새로 실행해야 합니다."
                        ),
                    ),
                    Change::Prompt => Text::new(
                        format!(
                            "Document {doc} of {task} has another prompt, stop string or token budget now: a run is needed."
                        ),
                        format!(
                            "{task} 과제의 {doc}번 문항은 프롬프트, 종료 문자열 또는 토큰 한도가 달라졌으므로 새로 실행해야 합니다."
                        ),
                    ),
                },
                run(),
            ),
            RescoreError::Sample { number } => (
                "run-needed",
                format!("grading.samples {number}"),
                Text::new(
                    format!("Sample prompt {number} is another one now: a run is needed."),
                    format!("{number}번째 예시 프롬프트가 달라졌으므로 새로 실행해야 합니다."),
                ),
                run(),
            ),
            RescoreError::Workload => (
                "run-needed",
                "grading.time".to_string(),
                Text::new(
                    "The time track's workload is another one now: a run is needed.",
                    "시간 트랙의 작업량이 달라졌으므로 새로 실행해야 합니다.",
                ),
                run(),
            ),
            RescoreError::Shard(shard) => (
                "only-a-shard",
                "outputs.json".to_string(),
                Text::new(
                    format!("These are the outputs of shard {shard} alone."),
                    format!("분할 {shard}의 출력뿐입니다."),
                ),
                Text::new(
                    "Merge all shards first: `assay-worker merge`.",
                    "먼저 `assay-worker merge`로 모든 분할을 합치십시오.",
                ),
            ),
            RescoreError::NoCheckpoint => (
                "checkpoint-needed",
                "--checkpoint".to_string(),
                Text::new(
                    "Outside a contest the prompts are written with the checkpoint's own tokenizer and chat template.",
                    "대회 밖에서는 체크포인트에 들어 있는 토크나이저와 채팅 템플릿으로 프롬프트를 만듭니다.",
                ),
                Text::new(
                    "Name the checkpoint's folder with --checkpoint.",
                    "--checkpoint로 체크포인트 폴더를 지정하십시오.",
                ),
            ),
            RescoreError::OtherCheckpoint { path } => (
                "other-checkpoint",
                path.display().to_string(),
                Text::new(
                    "This is not the checkpoint that was graded.",
                    "채점했던 체크포인트가 아닙니다.",
                ),
                Text::new(
                    "Name the very files that were graded.",
                    "채점했던 바로 그 파일들을 지정하십시오.",
                ),
            ),
            RescoreError::Grade(problem) => return (**problem).clone(),
            RescoreError::Stopped => (
                "stopped",
                "rescore".to_string(),
                Text::new("Stopped.", "중단되었습니다."),
                Text::new("Start again.", "다시 시작하십시오."),
            ),
        };
        Problem::new(code, place, message, fix)
    }
}
