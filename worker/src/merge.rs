//! Merging: the outputs of all shards of one grade, as if they had been run together.

use std::collections::BTreeSet;

use assay_contest::{Problem, Text};

use crate::record::{Record, Shard};
use crate::rescore::Kept;

/// Why outputs do not belong together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    #[error("output {0} is a whole grade, not a shard")]
    Whole(usize),
    /// Outputs are counted from 1 in the order they were named.
    #[error("outputs 1 and {output} differ in {what}")]
    Differ { output: usize, what: &'static str },
    #[error("shard {0} is there twice")]
    Twice(Shard),
    #[error("shard {0} is missing")]
    Missing(Shard),
    #[error("document {doc} of {task} is in shard {shard}, where it does not belong")]
    Misplaced { task: String, doc: usize, shard: Shard },
    #[error("there is nothing to merge")]
    Nothing,
}

/// Puts shards together. The result is what the unsharded run would have kept.
pub fn merge(shards: Vec<Kept>) -> Result<Kept, MergeError> {
    let mut seen = BTreeSet::new();
    let mut whole: Option<Kept> = None;
    let mut of = 0;
    for (index, kept) in shards.into_iter().enumerate() {
        let shard = kept.record.shard.ok_or(MergeError::Whole(index + 1))?;
        if let Some(first) = &whole {
            let differs = (shard.of != of).then_some("the number of shards");
            if let Some(what) = differs.or_else(|| difference(&first.record, &kept.record)) {
                return Err(MergeError::Differ {
                    output: index + 1,
                    what,
                });
            }
        }
        of = shard.of;
        if !seen.insert(shard.number) {
            return Err(MergeError::Twice(shard));
        }
        for (task, lines) in &kept.tasks {
            if let Some(line) = lines.values().find(|line| !shard.has(line.doc)) {
                return Err(MergeError::Misplaced {
                    task: task.clone(),
                    doc: line.doc,
                    shard,
                });
            }
        }
        whole = Some(match whole {
            None => kept,
            Some(mut first) => {
                for (task, lines) in kept.tasks {
                    first.tasks.entry(task).or_default().extend(lines);
                }
                first.generations.extend(kept.generations);
                first.times.add(kept.times);
                first
            }
        });
    }
    let mut whole = whole.ok_or(MergeError::Nothing)?;
    if let Some(number) = (1..=of).find(|number| !seen.contains(number)) {
        return Err(MergeError::Missing(Shard { number, of }));
    }
    whole.record.shard = None;
    Ok(whole)
}

/// What two shards of one grade have in common, and these have not.
fn difference(a: &Record, b: &Record) -> Option<&'static str> {
    let names = |record: &Record| record.tasks.iter().map(|kept| kept.task.clone()).collect::<Vec<_>>();
    [
        (a.checkpoint.digest != b.checkpoint.digest, "the checkpoint"),
        (a.asked.contest != b.asked.contest, "the contest"),
        (a.asked != b.asked, "profile, limit, seed or budget"),
        (names(a) != names(b), "the tasks"),
        (a.engine != b.engine, "the engine"),
        (a.class != b.class, "the device class"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

impl MergeError {
    /// The same for a person.
    pub fn problem(&self) -> Problem {
        let (code, ko, fix) = match self {
            MergeError::Whole(output) => (
                "not-a-shard",
                format!("{output}번째 출력은 분할이 아니라 전체 채점입니다"),
                Text::new(
                    "Merge only what `grade --shard` gave.",
                    "`grade --shard`의 결과만 합치십시오.",
                ),
            ),
            MergeError::Differ { output, what } => (
                "shards-differ",
                format!("1번째와 {output}번째 출력은 다음이 서로 다릅니다: {}", korean(what)),
                Text::new(
                    "Run every shard of one grade with the same checkpoint, rules and program on machines of one class.",
                    "한 채점의 모든 분할은 같은 체크포인트, 규칙, 프로그램으로 같은 종류의 장치에서 실행하십시오.",
                ),
            ),
            MergeError::Twice(shard) => (
                "shard-twice",
                format!("분할 {shard}이(가) 두 번 있습니다"),
                Text::new("Name every shard once.", "각 분할을 한 번만 지정하십시오."),
            ),
            MergeError::Missing(shard) => (
                "shard-missing",
                format!("분할 {shard}이(가) 없습니다"),
                Text::new(
                    format!("Run it with `grade --shard {shard}` and merge again."),
                    format!("`grade --shard {shard}`로 실행한 뒤 다시 합치십시오."),
                ),
            ),
            MergeError::Misplaced { task, doc, shard } => (
                "shard-misplaced",
                format!("{task} 과제의 {doc}번 문항은 분할 {shard}에 속하지 않습니다"),
                Text::new("Run the shard again.", "그 분할을 다시 실행하십시오."),
            ),
            MergeError::Nothing => (
                "nothing-to-merge",
                "합칠 것이 없습니다".to_string(),
                Text::new("Name the shards' folders.", "분할 폴더들을 지정하십시오."),
            ),
        };
        let mut en = self.to_string();
        en[..1].make_ascii_uppercase();
        Problem::new(code, "merge", Text::new(format!("{en}."), format!("{ko}.")), fix)
    }
}

fn korean(what: &str) -> &str {
    match what {
        "the number of shards" => "분할 개수",
        "the checkpoint" => "체크포인트",
        "the contest" => "대회 규칙",
        "profile, limit, seed or budget" => "프로파일, 문항 수, 시드 또는 토큰 한도",
        "the tasks" => "과제",
        "the engine" => "엔진",
        "the device class" => "장치 종류",
        other => other,
    }
}
