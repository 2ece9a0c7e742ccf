//! Two grades explained item by item: what differs in what was done, and in what came of it.

mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use assay_contest::statistics::{Comparison, compare};
use assay_contest::wire::{ItemScores, Report};
use assay_contest::{Certificate, Problem, Text};
use serde::Serialize;
use serde_json::Value;

use crate::record::{Record, RecordError, read_json};
use crate::report::parts;

pub use tell::tell;

/// Confidence of the intervals.
const CONFIDENCE: f64 = assay_contest::rules::CONFIDENCE;
/// How often documents are drawn for an interval.
const RESAMPLES: u32 = assay_contest::rules::RESAMPLES;

/// How grade `b` differs from grade `a`.
#[derive(Serialize, Debug)]
pub struct Diff {
    /// The same certificate, and the same score of every item.
    pub equal: bool,
    /// Components of the certificate that differ.
    pub certificate: Vec<Part>,
    /// Every mean over documents that both have.
    pub tasks: Vec<TaskDiff>,
    /// `task metric,filter` that only one has.
    pub only_a: Vec<String>,
    pub only_b: Vec<String>,
    /// All measures by name.
    pub measures: BTreeMap<String, Pair<f64>>,
}

/// A value of each.
#[derive(Serialize, Debug)]
pub struct Pair<T> {
    pub a: Option<T>,
    pub b: Option<T>,
}

/// A component of the certificate.
#[derive(Serialize, Debug)]
pub struct Part {
    pub name: &'static str,
    pub a: Option<String>,
    pub b: Option<String>,
}

/// One task's measure.
#[derive(Serialize, Debug)]
pub struct TaskDiff {
    pub task: String,
    /// `metric,filter`.
    pub key: String,
    /// Documents of one that are not among those of the other, or are other documents there.
    pub unpaired: usize,
    /// Documents where the filter left another text, or another choice is the likeliest, whatever it is worth.
    pub other_answers: usize,
    /// None where no document is in both.
    pub comparison: Option<Comparison>,
    /// Documents with another value.
    pub changed: Vec<Item>,
}

/// One document.
#[derive(Serialize, Debug)]
pub struct Item {
    pub doc: usize,
    pub value: Pair<f64>,
    pub answer: Pair<String>,
}

/// A grade as `diff` sees it.
struct Grade {
    report: Report,
    certificate: Certificate,
    /// By task, then document and filter.
    rows: BTreeMap<String, BTreeMap<(usize, String), Row>>,
}

/// What a samples file says of a document.
struct Row {
    doc_hash: String,
    /// What the filter left; of choices, the likeliest.
    left: String,
    /// The same with everything the model said.
    answer: String,
}

/// Compares what `grade` left in two folders.
pub fn diff(a: &Path, b: &Path) -> Result<Diff, DiffError> {
    let (a, b) = (Grade::read(a)?, Grade::read(b)?);
    let own = |part: (_, Option<&str>)| part.1.map(String::from);
    let certificate = parts(&a.certificate).into_iter().zip(parts(&b.certificate));
    let certificate: Vec<Part> = certificate
        .filter(|(a, b)| a != b)
        .map(|(a, b)| Part {
            name: a.0,
            a: own(a),
            b: own(b),
        })
        .collect();
    let mut tasks = Vec::new();
    let mut only_a = Vec::new();
    for item in &a.report.items {
        match b.report.items.iter().find(|other| same(other, item)) {
            Some(other) => tasks.push(task_diff(&a, &b, item, other)),
            None => only_a.push(format!("{} {}", item.task, item.key)),
        }
    }
    let alone = |item: &&ItemScores| !a.report.items.iter().any(|other| same(other, item));
    let only_b: Vec<String> = (b.report.items.iter().filter(alone))
        .map(|item| format!("{} {}", item.task, item.key))
        .collect();
    let names: BTreeSet<&String> = a.report.measures.keys().chain(b.report.measures.keys()).collect();
    let measures = names.into_iter().map(|name| {
        let (a, b) = (
            a.report.measures.get(name).copied(),
            b.report.measures.get(name).copied(),
        );
        (name.clone(), Pair { a, b })
    });
    Ok(Diff {
        equal: a.certificate.digest == b.certificate.digest && a.report.items == b.report.items,
        certificate,
        tasks,
        only_a,
        only_b,
        measures: measures.collect(),
    })
}

fn same(a: &ItemScores, b: &ItemScores) -> bool {
    (&a.task, &a.key) == (&b.task, &b.key)
}

fn task_diff(a: &Grade, b: &Grade, ours: &ItemScores, theirs: &ItemScores) -> TaskDiff {
    let filter = ours.key.split_once(',').map_or("none", |(_, filter)| filter);
    let all = ours.values.len().max(theirs.values.len());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut unpaired, mut other_answers, mut changed) = (0, 0, Vec::new());
    for doc in 0..all {
        let (Some(said), Some(other)) = (a.row(&ours.task, doc, filter), b.row(&ours.task, doc, filter)) else {
            unpaired += 1;
            continue;
        };
        if said.doc_hash != other.doc_hash {
            unpaired += 1;
            continue;
        }
        other_answers += usize::from(said.left != other.left);
        let value = |item: &ItemScores| item.values.get(doc).copied().flatten();
        let (x, y) = (value(ours), value(theirs));
        left.push(x);
        right.push(y);
        if x != y {
            changed.push(Item {
                doc,
                value: Pair { a: x, b: y },
                answer: Pair {
                    a: Some(said.answer.clone()),
                    b: Some(other.answer.clone()),
                },
            });
        }
    }
    TaskDiff {
        task: ours.task.clone(),
        key: ours.key.clone(),
        unpaired,
        other_answers,
        comparison: compare(&ours.task, &left, &right, CONFIDENCE, RESAMPLES),
        changed,
    }
}

impl Grade {
    fn row(&self, task: &str, doc: usize, filter: &str) -> Option<&Row> {
        self.rows.get(task)?.get(&(doc, filter.to_string()))
    }

    fn read(dir: &Path) -> Result<Grade, DiffError> {
        let record = Record::read(dir)?;
        if let Some(shard) = record.shard {
            return Err(DiffError::Shard {
                path: dir.to_path_buf(),
                shard: shard.to_string(),
            });
        }
        let report: Report = read_json(dir.join("report.json"))?;
        let certificate = report.certificate.clone().filter(Certificate::verify);
        let certificate = certificate.ok_or_else(|| DiffError::Certificate {
            path: dir.to_path_buf(),
        })?;
        let mut rows = BTreeMap::new();
        for kept in &record.tasks {
            let path = dir.join(kept.file.replacen("outputs_", "samples_", 1));
            rows.insert(kept.task.clone(), read_rows(path)?);
        }
        Ok(Grade {
            report,
            certificate,
            rows,
        })
    }
}

fn read_rows(path: PathBuf) -> Result<BTreeMap<(usize, String), Row>, DiffError> {
    let text = std::fs::read_to_string(&path).map_err(|error| RecordError::Io {
        path: path.clone(),
        error,
    })?;
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).map_err(|error| RecordError::Json {
            path: path.clone(),
            error,
        })?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
        // A row without a number belongs to no document.
        let Some(doc) = row["doc_id"].as_u64().and_then(|doc| usize::try_from(doc).ok()) else {
            continue;
        };
        let (said, left) = (flat(&row["resps"]), left(&row["filtered_resps"]));
        let answer = match said == left {
            true => said,
            false => format!("{left} ← {said}"),
        };
        let doc_hash = text("doc_hash");
        rows.insert((doc, text("filter")), Row { doc_hash, left, answer });
    }
    Ok(rows)
}

/// What the filter left: a text, or of several choices the number of the likeliest, from 0.
fn left(filtered: &Value) -> String {
    let likelihood = |choice: &Value| choice.get(0)?.as_str()?.parse::<f64>().ok();
    let choices = filtered.as_array().filter(|choices| choices.len() > 1);
    let all: Option<Vec<f64>> = choices.and_then(|choices| choices.iter().map(likelihood).collect());
    match all {
        Some(all) => {
            let likelier = |best: usize, next: usize| if all[next] > all[best] { next } else { best };
            format!("({})", (1..all.len()).fold(0, likelier))
        }
        None => flat(filtered),
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(" | "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Why two folders cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{path} holds shard {shard} alone")]
    Shard { path: PathBuf, shard: String },
    #[error("{path} has no valid certificate")]
    Certificate { path: PathBuf },
}

impl DiffError {
    /// The same for a person.
    pub fn problem(&self) -> Problem {
        let (code, place, message) = match self {
            DiffError::Record(error) => (
                "outputs-unreadable",
                "diff".to_string(),
                Text::new(
                    format!("A grade's files cannot be used: {error}."),
                    format!("채점 파일을 사용할 수 없습니다: {error}."),
                ),
            ),
            DiffError::Shard { path, shard } => (
                "only-a-shard",
                path.display().to_string(),
                Text::new(
                    format!("This is shard {shard} alone: it has no scores yet."),
                    format!("분할 {shard}뿐이어서 아직 점수가 없습니다."),
                ),
            ),
            DiffError::Certificate { path } => (
                "no-certificate",
                path.display().to_string(),
                Text::new(
                    "report.json has no certificate, or one that does not fit its own digest.",
                    "report.json에 인증서가 없거나 인증서가 자신의 다이제스트와 맞지 않습니다.",
                ),
            ),
        };
        let fix = Text::new(
            "Compare two folders that `assay-worker grade`, `rescore` or `merge` wrote.",
            "`assay-worker grade`, `rescore`, `merge`가 만든 두 폴더를 비교하십시오.",
        );
        Problem::new(code, place, message, fix)
    }
}
