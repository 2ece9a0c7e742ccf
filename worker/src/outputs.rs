//! Every output of a grade, kept: one line a request, in the order of documents, requests and repetitions.
//!
//! A score is a pure function of tasks, profile and these lines, so that they are what is rescored under changed rules,
//! merged from shards, compared between grades and certified. Times are kept apart (see [`crate::times`]): the same
//! checkpoint gives the same bytes here on every machine of a class.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use assay_engine::Answer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::evaluate::Prepared;

/// One request's output.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Line {
    /// The document's row in the evaluated split.
    pub doc: usize,
    /// Which of the document's requests.
    pub index: usize,
    /// Which repetition of it.
    pub repeat: usize,
    /// [`digest`] of what was asked.
    pub prompt: String,
    /// `tokens` and `finish`, or `logprobs` and `greedy`.
    #[serde(flatten)]
    pub answer: Answer,
}

/// Where a line stands: document, request, repetition.
pub type Place = (usize, usize, usize);

impl Line {
    /// Where it stands.
    pub fn place(&self) -> Place {
        (self.doc, self.index, self.repeat)
    }
}

/// sha256 of everything about a request that decides its output: token ids, stop strings, most tokens, ends of sequence.
pub fn digest(asked: &Prepared, eos: &[u32]) -> String {
    let mut hasher = Sha256::new();
    let mut numbers = |kind: &[u8], numbers: &mut dyn ExactSizeIterator<Item = u64>| {
        hasher.update(kind);
        hasher.update((numbers.len() as u64).to_le_bytes());
        numbers.for_each(|number| hasher.update(number.to_le_bytes()));
    };
    let wide = |ids: &[u32]| ids.iter().map(|id| u64::from(*id)).collect::<Vec<_>>().into_iter();
    match asked {
        Prepared::Generate {
            prompt,
            max_tokens,
            stops,
        } => {
            numbers(b"generate", &mut wide(prompt));
            numbers(b"most", &mut std::iter::once(*max_tokens as u64));
            numbers(b"eos", &mut wide(eos));
            for stop in stops.iter() {
                numbers(
                    b"stop",
                    &mut stop.bytes().map(u64::from).collect::<Vec<_>>().into_iter(),
                );
            }
        }
        Prepared::Score { context, continuation } => {
            numbers(b"score", &mut wide(context));
            numbers(b"continuation", &mut wide(continuation));
        }
    }
    hex::encode(hasher.finalize())
}

/// The lines as a file's bytes.
pub fn to_bytes(lines: &[Line]) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Kept outputs that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}:{line}: {error}")]
    Line {
        path: PathBuf,
        line: usize,
        error: serde_json::Error,
    },
    #[error("{path}:{line}: document {doc}, request {index}, repetition {repeat} is there twice")]
    Twice {
        path: PathBuf,
        line: usize,
        doc: usize,
        index: usize,
        repeat: usize,
    },
    #[error("{path} has sha256 {found}, but outputs.json says {expected}: it was changed after the run")]
    Changed {
        path: PathBuf,
        expected: String,
        found: String,
    },
}

/// Reads a file of lines whose sha256 is known.
pub fn read(path: &Path, sha256: &str) -> Result<BTreeMap<Place, Line>, ReadError> {
    let io = |error| ReadError::Io {
        path: path.to_path_buf(),
        error,
    };
    let found = crate::files::sha256_file(path).map_err(io)?;
    if found != sha256 {
        return Err(ReadError::Changed {
            path: path.to_path_buf(),
            expected: sha256.to_string(),
            found,
        });
    }
    let mut lines = BTreeMap::new();
    for (number, text) in BufReader::new(File::open(path).map_err(io)?).lines().enumerate() {
        let text = text.map_err(io)?;
        let line: Line = serde_json::from_str(&text).map_err(|error| ReadError::Line {
            path: path.to_path_buf(),
            line: number + 1,
            error,
        })?;
        let (doc, index, repeat) = line.place();
        if lines.insert(line.place(), line).is_some() {
            return Err(ReadError::Twice {
                path: path.to_path_buf(),
                line: number + 1,
                doc,
                index,
                repeat,
            });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_engine::Finish;

    #[test]
    fn lines_come_back_bit_by_bit() {
        let lines = vec![
            Line {
                doc: 0,
                index: 0,
                repeat: 0,
                prompt: "ab".into(),
                answer: Answer::Generated {
                    tokens: vec![1, 610],
                    finish: Finish::Eos,
                },
            },
            Line {
                doc: 1,
                index: 3,
                repeat: 2,
                prompt: "cd".into(),
                answer: Answer::Scored {
                    logprobs: vec![-0.1 - 0.2, -1e-300, -12.000000000000002],
                    greedy: false,
                },
            },
        ];
        let bytes = to_bytes(&lines).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with(r#"{"doc":0,"index":0,"repeat":0,"prompt":"ab","tokens":[1,610],"finish":"eos"}"#));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outputs_t.jsonl");
        std::fs::write(&path, &bytes).unwrap();
        let sha256 = crate::files::sha256_file(&path).unwrap();
        let read = read(&path, &sha256).unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_changed_or_repeated_line_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outputs_t.jsonl");
        let line = r#"{"doc":0,"index":0,"repeat":0,"prompt":"","logprobs":[-1.0],"greedy":true}"#;
        let keep = |text: &str| {
            std::fs::write(&path, text).unwrap();
            crate::files::sha256_file(&path).unwrap()
        };
        let sha256 = keep(&format!("{line}\n"));
        assert_eq!(read(&path, &sha256).unwrap().len(), 1);
        keep(&format!("{}\n", line.replace("-1.0", "-1.5")));
        assert!(matches!(read(&path, &sha256), Err(ReadError::Changed { .. })));
        let sha256 = keep(&format!("{line}\n{line}\n"));
        assert!(matches!(read(&path, &sha256), Err(ReadError::Twice { line: 2, .. })));
        let sha256 = keep("{}\n");
        assert!(matches!(read(&path, &sha256), Err(ReadError::Line { line: 1, .. })));
    }

    #[test]
    fn everything_asked_is_in_the_digest() {
        let ask = |prompt: &[u32], max_tokens, stops: &[&str]| {
            let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
            let asked = Prepared::Generate {
                prompt: prompt.to_vec(),
                max_tokens,
                stops: stops.into(),
            };
            digest(&asked, &[7])
        };
        let score = |context: &[u32], continuation: &[u32]| {
            let asked = Prepared::Score {
                context: context.to_vec(),
                continuation: continuation.to_vec(),
            };
            digest(&asked, &[7])
        };
        let all = [
            ask(&[1, 2], 3, &["ab"]),
            ask(&[1, 2], 4, &["ab"]),
            ask(&[1, 2], 3, &["a", "b"]),
            ask(&[1, 2], 3, &[]),
            ask(&[1], 3, &["ab"]),
            score(&[1, 2], &[3]),
            score(&[1], &[2, 3]),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], ask(&[1, 2], 3, &["ab"]));
    }
}
