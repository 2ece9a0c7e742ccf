//! What was run and what it gave: `outputs.json`, beside the outputs themselves, and the certificate over both.

use std::fs;
use std::path::{Path, PathBuf};

use assay_checkpoint::{Content, Listing};
use assay_contest::Certificate;
use assay_contest::rules::SamplePrompt;
use assay_engine::DeviceClass;
use assay_tasks::results::doc_hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::files;
use crate::grounds::Grounds;
use crate::outcome::Work;

/// The record among a grade's files.
pub const RECORD: &str = "outputs.json";
/// The times among a grade's files.
pub const TIMES: &str = "timings.json";
/// The continuations of the contest's sample prompts.
pub const GENERATIONS: &str = "generations.jsonl";
/// The form of [`Record`].
const VERSION: u32 = 1;

/// What was run.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Record {
    pub version: u32,
    /// Name and version of the engine.
    pub engine: String,
    /// The executor's own description.
    pub device: String,
    pub class: Class,
    pub checkpoint: CheckpointFiles,
    /// The inspection of the checkpoint.
    pub submission: Value,
    /// Positions of the model: longer prompts lose their beginning.
    pub positions: usize,
    pub asked: Asked,
    /// Which share of the items this is; all of them where absent.
    pub shard: Option<Shard>,
    /// The outputs, task by task in the order they ran.
    pub tasks: Vec<Kept>,
    /// The sample prompts and their continuations, outside of a contest absent.
    pub samples: Vec<SamplePrompt>,
    pub generations: Option<Kept>,
    /// Absent in a shard: it certifies nothing alone.
    pub certificate: Option<Certificate>,
}

/// What besides the engine's version decides bits.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Class {
    pub device: String,
    pub precision: String,
    pub shaders: Option<String>,
}

impl From<DeviceClass> for Class {
    fn from(class: DeviceClass) -> Class {
        Class {
            device: class.device,
            precision: class.precision,
            shaders: class.shaders,
        }
    }
}

/// The rules a grade was run by.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Asked {
    /// Digest of the contest's rules; empty in a self-check.
    pub contest: String,
    pub profile: assay_contest::Profile,
    pub limit: Option<u32>,
    pub seed: u64,
    pub enable_thinking: bool,
    pub max_gen_toks: Option<u32>,
}

impl Asked {
    pub fn of(grounds: &Grounds) -> Asked {
        Asked {
            contest: grounds.digest(),
            profile: grounds.profile,
            limit: grounds.limit,
            seed: grounds.seed,
            enable_thinking: grounds.enable_thinking,
            max_gen_toks: grounds.max_gen_toks,
        }
    }
}

/// A file of outputs.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The task; empty for the sample prompts.
    pub task: String,
    pub file: String,
    pub sha256: String,
    /// Lines in it.
    pub requests: usize,
}

/// The files of a checkpoint that are read.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct CheckpointFiles {
    /// Name of its folder.
    pub name: String,
    /// sha256 of a line `sha256 bytes name` for each file.
    pub digest: String,
    /// By name.
    pub files: Vec<FileDigest>,
}

/// One file of a checkpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct FileDigest {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

impl CheckpointFiles {
    /// Reads the files of a checkpoint once more, from the first byte to the last.
    pub fn read(dir: &Path) -> Result<CheckpointFiles, assay_checkpoint::LookError> {
        let mut files = Vec::new();
        for file in Listing::read_dir(dir)?.files {
            if matches!(file.content, Content::Header(_) | Content::Text(_)) {
                let path = dir.join(&file.name);
                let sha256 = files::sha256_file(&path);
                files.push(FileDigest {
                    sha256: sha256.map_err(|source| assay_checkpoint::LookError::Io { path, source })?,
                    name: file.name,
                    bytes: file.bytes,
                });
            }
        }
        let list: String = files
            .iter()
            .map(|file| format!("{} {} {}\n", file.sha256, file.bytes, file.name))
            .collect();
        Ok(CheckpointFiles {
            name: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            digest: hex::encode(Sha256::digest(list)),
            files,
        })
    }
}

/// One share of a grade's items: documents are dealt out one by one, like cards.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// From 1.
    pub number: usize,
    pub of: usize,
}

impl Shard {
    pub fn has(self, doc: usize) -> bool {
        doc % self.of == self.number - 1
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').map(|(number, of)| (number.parse(), of.parse()));
        match parts {
            Some((Ok(number), Ok(of))) if 1 <= number && number <= of => Ok(Shard { number, of }),
            _ => Err(format!("{text:?} is no share such as 1/3")),
        }
    }
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}")]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("{path} has version {found}, this program reads {VERSION}")]
    Version { path: PathBuf, found: u32 },
    #[error("{path} names the file {file:?}, which is no plain name")]
    Name { path: PathBuf, file: String },
    #[error("{path} was changed: its certificate is not of what it says was run and kept")]
    Certificate { path: PathBuf },
}

/// Reads a JSON file of a grade.
pub fn read_json<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<T, RecordError> {
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| RecordError::Json { path, error }),
        Err(error) => Err(RecordError::Io { path, error }),
    }
}

impl Record {
    /// The form this version writes.
    pub const VERSION: u32 = VERSION;

    /// The record of the grade in `dir`.
    pub fn read(dir: &Path) -> Result<Record, RecordError> {
        let path = dir.join(RECORD);
        let record: Record = read_json(path.clone())?;
        if record.version != VERSION {
            let found = record.version;
            return Err(RecordError::Version { path, found });
        }
        // Not a signature: it finds what was damaged or mended by hand, not what was made up whole.
        let stands = |kept: &Certificate| record.certificate_of(kept.tasks.clone()) == *kept;
        if !record.certificate.as_ref().is_none_or(stands) {
            return Err(RecordError::Certificate { path });
        }
        let mut files = record.tasks.iter().chain(&record.generations).map(|kept| &kept.file);
        match files.find(|file| file.contains('/') || !assay_contest::wire::is_safe_path(file)) {
            Some(file) => Err(RecordError::Name {
                file: file.clone(),
                path,
            }),
            None => Ok(record),
        }
    }

    /// sha256 of what `sha256sum` prints of all files of outputs in the order of their names.
    pub fn outputs_digest(&self) -> String {
        let mut lines: Vec<(&str, &str)> = self
            .tasks
            .iter()
            .chain(&self.generations)
            .map(|kept| (kept.file.as_str(), kept.sha256.as_str()))
            .collect();
        lines.sort_unstable();
        let list: String = lines
            .iter()
            .map(|(file, sha256)| format!("{sha256}  {file}\n"))
            .collect();
        hex::encode(Sha256::digest(list))
    }

    /// The certificate of the grade.
    pub fn certify(&self, work: &Work) -> Certificate {
        self.certificate_of(tasks_digest(work, &self.asked))
    }

    fn certificate_of(&self, tasks: String) -> Certificate {
        Certificate {
            checkpoint: self.checkpoint.digest.clone(),
            contest: self.asked.contest.clone(),
            tasks,
            profile: self.asked.profile.name().to_string(),
            engine: self.engine.clone(),
            shaders: self.class.shaders.clone(),
            device: self.class.device.clone(),
            precision: self.class.precision.clone(),
            outputs: self.outputs_digest(),
            ..Certificate::default()
        }
        .seal()
    }
}

/// sha256 of one spelling of what was asked: every task's effective configuration and documents, groups, and what limits them.
fn tasks_digest(work: &Work, asked: &Asked) -> String {
    let task = |task: &assay_tasks::Task| {
        let mut hasher = Sha256::new();
        task.docs().iter().for_each(|doc| hasher.update(doc_hash(doc)));
        let num_fewshot = task.config().num_fewshot.unwrap_or(0);
        json!({
            "task": task.name(),
            "config": task.config().json(num_fewshot, None),
            "documents": hex::encode(hasher.finalize()),
        })
    };
    let group = |group: &assay_tasks::Group| {
        let aggregate = |a: &assay_tasks::group::AggregateMetric| json!([a.metric, a.filters, a.weight_by_size]);
        json!({
            "group": group.name,
            "tasks": group.tasks,
            "aggregates": group.aggregates.iter().map(aggregate).collect::<Vec<_>>(),
        })
    };
    let mut all = json!({
        "tasks": work.set.tasks().iter().map(task).collect::<Vec<_>>(),
        "groups": work.set.groups().iter().map(group).collect::<Vec<_>>(),
        "limit": asked.limit,
        "seed": asked.seed,
        "enable_thinking": asked.enable_thinking,
        "max_gen_toks": asked.max_gen_toks,
    });
    all.sort_all_objects();
    hex::encode(Sha256::digest(all.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_from_one() {
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, of: 3 }));
        for wrong in ["0/3", "4/3", "1", "1/0", "a/b", "1/3/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        let shards: Vec<Shard> = (1..=3).map(|number| Shard { number, of: 3 }).collect();
        assert!((0..20).all(|doc| shards.iter().filter(|shard| shard.has(doc)).count() == 1));
    }
}
