//! Sealed documents: a share of each task that is scored in the same run and kept back until it is revealed.
//!
//! The organizer's key orders the documents of a task by `HMAC-SHA256(key, task ‖ 0x1f ‖ doc_hash)`; the first
//! `round(share · n)` are sealed. The rules publish the digest of the set beforehand. Whoever is given the key later
//! chooses again and finds the same digest: the organizer could not pick documents after having seen results.
//!
//! The key is neither in the rules nor on the wire. Workers report every document; who publishes splits them.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::problem::Text;
use crate::rules::Sealed;

/// Shortest key in bytes. Documents are often public: a key that can be guessed gives the set away.
pub const LEAST_KEY_BYTES: usize = 16;

/// The documents of one task, in the order they are evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskDocuments {
    /// Name of the task.
    pub task: String,
    /// `doc_hash` of each document, as lm-evaluation-harness's samples have it.
    pub hashes: Vec<String>,
}

/// Which documents are sealed. As JSON: by task, the hash of each sealed document by its index.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(transparent)]
pub struct SealedSet {
    /// By task: indices of its sealed documents with their hashes.
    tasks: BTreeMap<String, BTreeMap<usize, String>>,
}

/// Why documents cannot be sealed, or a key is not the one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The key is short enough to be guessed.
    #[error("the key has {0} bytes; it needs {LEAST_KEY_BYTES} or more")]
    ShortKey(usize),
    /// All or none of a task's documents would be sealed: nothing would be left on one side.
    #[error("{sealed} of the {of} documents of {task} would be sealed; some have to be, and some not")]
    Lopsided {
        /// Name of the task.
        task: String,
        /// Documents that would be sealed.
        sealed: usize,
        /// Documents there are.
        of: usize,
    },
    /// The key chooses another set than the one published.
    #[error("the key gives the set {found}, but {published} was published")]
    OtherSet {
        /// Digest in the rules.
        published: String,
        /// Digest of the set the key chooses.
        found: String,
    },
}

impl SealError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            SealError::ShortKey(_) => "seal-short-key",
            SealError::Lopsided { .. } => "seal-lopsided",
            SealError::OtherSet { .. } => "seal-other-set",
        }
    }

    /// The sentence for people.
    pub fn text(&self) -> Text {
        let ko = match self {
            SealError::ShortKey(bytes) => {
                format!("키가 {bytes}바이트입니다. {LEAST_KEY_BYTES}바이트 이상이어야 합니다")
            }
            SealError::Lopsided { task, sealed, of } => format!(
                "{task}의 문항 {of}개 가운데 {sealed}개가 봉인됩니다. 봉인되는 문항과 공개되는 문항이 모두 있어야 합니다"
            ),
            SealError::OtherSet { published, found } => {
                format!("이 키가 고르는 문항의 다이제스트는 {found}인데 공표된 것은 {published}입니다")
            }
        };
        Text::new(self.to_string(), ko)
    }
}

impl SealedSet {
    /// The set that `key` chooses. Neither the order of tasks nor that of a task's documents changes which documents are
    /// in it; of equal documents the earlier ones are.
    ///
    /// # Errors
    /// The key is too short, or a task would be sealed as a whole or not at all.
    pub fn choose(key: &[u8], share: f64, tasks: &[TaskDocuments]) -> Result<Self, SealError> {
        if key.len() < LEAST_KEY_BYTES {
            return Err(SealError::ShortKey(key.len()));
        }
        let mut set = Self::default();
        for TaskDocuments { task, hashes } in tasks {
            let chosen = lowest(key, share, task, hashes);
            if chosen.is_empty() || chosen.len() == hashes.len() {
                return Err(SealError::Lopsided {
                    task: task.clone(),
                    sealed: chosen.len(),
                    of: hashes.len(),
                });
            }
            set.tasks.insert(task.clone(), chosen);
        }
        Ok(set)
    }

    /// The set that `key` chooses, if it is the one the rules published.
    ///
    /// # Errors
    /// As [`SealedSet::choose`], or the set is another one.
    pub fn open(key: &[u8], rules: &Sealed, tasks: &[TaskDocuments]) -> Result<Self, SealError> {
        let set = Self::choose(key, rules.share, tasks)?;
        let found = set.digest();
        if found == rules.digest {
            return Ok(set);
        }
        Err(SealError::OtherSet {
            published: rules.digest.clone(),
            found,
        })
    }

    /// Whether the document with this index, in order of evaluation, is sealed.
    pub fn contains(&self, task: &str, index: usize) -> bool {
        self.tasks.get(task).is_some_and(|chosen| chosen.contains_key(&index))
    }

    /// Every sealed document: task, index, hash; by task, then by index.
    pub fn documents(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        self.tasks.iter().flat_map(|(task, chosen)| {
            chosen
                .iter()
                .map(move |(index, hash)| (task.as_str(), *index, hash.as_str()))
        })
    }

    /// sha256 over the lines `task ⇥ index ⇥ hash ⏎` in order of their bytes, 64 lowercase hex digits.
    pub fn digest(&self) -> String {
        let mut lines: Vec<String> = self
            .documents()
            .map(|(task, index, hash)| format!("{task}\t{index}\t{hash}\n"))
            .collect();
        lines.sort_unstable();
        hex::encode(Sha256::digest(lines.concat()))
    }
}

/// The `round(share · n)` documents of a task that come first under the key, by index.
fn lowest(key: &[u8], share: f64, task: &str, hashes: &[String]) -> BTreeMap<usize, String> {
    let mut ordered: Vec<([u8; 32], usize)> = hashes
        .iter()
        .enumerate()
        .map(|(index, hash)| (authenticated(key, task, hash), index))
        .collect();
    ordered.sort_unstable();
    // A task has far fewer documents than 2^53. A share beyond 1 seals all.
    let count = (share * hashes.len() as f64).round() as usize;
    let chosen = ordered.into_iter().take(count);
    chosen.map(|(_, index)| (index, hashes[index].clone())).collect()
}

fn authenticated(key: &[u8], task: &str, hash: &str) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in [task.as_bytes(), &[0x1f], hash.as_bytes()] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
