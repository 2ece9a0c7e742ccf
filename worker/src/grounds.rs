//! What a checkpoint is graded against: a contest, or a folder of tasks for a self-check.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_contest::wire::{CONTEST_BASE, CONTEST_FILE, CONTEST_TASKS};
use assay_contest::{Contest, ContestErrors, Problem, Profile, Text, Workload};

use crate::files;

/// Why the rules or what they point at cannot be used. Never the submission's fault.
#[derive(Debug, thiserror::Error)]
pub enum GroundsError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path} is not a valid contest:\n{errors}")]
    Contest { path: PathBuf, errors: ContestErrors },
    #[error("the contest's rules have digest {found}, the job was made for {expected}")]
    Digest { expected: String, found: String },
    #[error("{path} is not the file the contest pins: its sha256 is {found}, the contest says {expected}")]
    Pin {
        path: PathBuf,
        expected: String,
        found: String,
    },
}

impl GroundsError {
    /// The same for a person; at least one.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |code: &str, path: &Path, message: Text, fix: Text| {
            vec![Problem::new(code, path.display().to_string(), message, fix)]
        };
        match self {
            GroundsError::Read { path, error } => problem(
                "cannot-read",
                path,
                Text::new(
                    format!("The file cannot be read: {error}."),
                    format!("파일을 읽을 수 없습니다: {error}."),
                ),
                Text::new("Check the path and its permissions.", "경로와 권한을 확인하십시오."),
            ),
            GroundsError::Contest { errors, .. } => errors.problems(),
            GroundsError::Digest { expected, found } => problem(
                "contest-changed",
                Path::new(CONTEST_FILE),
                Text::new(
                    format!("The rules that arrived have digest {found}; the job was made for {expected}."),
                    format!("도착한 규칙의 다이제스트는 {found}인데 작업은 {expected}에 대한 것입니다."),
                ),
                Text::new(
                    "Run the submission again under the current rules.",
                    "현재 규칙으로 다시 채점하십시오.",
                ),
            ),
            GroundsError::Pin { path, expected, found } => problem(
                "pin-mismatch",
                path,
                Text::new(
                    format!(
                        "This is not the file the contest pins: its sha256 is {found}, the contest says {expected}."
                    ),
                    format!("대회가 고정한 파일이 아닙니다: sha256이 {found}이고 대회 설정은 {expected}입니다."),
                ),
                Text::new(
                    "Restore the base's file, or write its sha256 into the contest.",
                    "기준 모델의 파일을 되돌리거나 그 sha256을 대회 설정에 적으십시오.",
                ),
            ),
        }
    }
}

/// A contest with the folders its files are in.
pub struct Rules {
    pub contest: Contest,
    /// Folder of the base's config, tokenizer and chat template, each checked against its pin, and of its weights, where the
    /// contest came with them.
    pub base: PathBuf,
}

/// What is run, on what grounds.
pub struct Grounds {
    /// None: a self-check outside any contest.
    pub rules: Option<Rules>,
    /// Folder of the task files.
    pub tasks_dir: PathBuf,
    /// Tasks, groups or tags.
    pub tasks: Vec<String>,
    pub profile: Profile,
    /// Only the first so many documents of each task.
    pub limit: Option<u32>,
    pub seed: u64,
    /// Whether the chat template lets the model think first.
    pub enable_thinking: bool,
    /// Most tokens of an answer, instead of the tasks' own budgets.
    pub max_gen_toks: Option<u32>,
}

impl Grounds {
    /// A contest file in place: its folders are where it says.
    pub fn contest(file: &Path) -> Result<Grounds, GroundsError> {
        let contest = parse(file)?;
        let root = file.parent().unwrap_or(Path::new("."));
        let (base, tasks) = (root.join(&contest.base.dir), root.join(&contest.grading.tasks_dir));
        Grounds::of(contest, base, tasks)
    }

    /// A contest fetched for an attempt into `dir`: its folders are where the wire puts them.
    pub fn fetched(dir: &Path, digest: &str) -> Result<Grounds, GroundsError> {
        let contest = parse(&dir.join(CONTEST_FILE))?;
        let found = contest.digest();
        if found != digest {
            return Err(GroundsError::Digest {
                expected: digest.to_string(),
                found,
            });
        }
        Grounds::of(contest, dir.join(CONTEST_BASE), dir.join(CONTEST_TASKS))
    }

    /// `PATH[,NAME…]`: a folder of task files and what of it to run, or one task file.
    pub fn tasks(spec: &str) -> Result<Grounds, GroundsError> {
        let mut parts = spec.split(',').map(str::trim).filter(|part| !part.is_empty());
        let path = PathBuf::from(parts.next().unwrap_or("."));
        let mut tasks: Vec<String> = parts.map(String::from).collect();
        let meta = fs::metadata(&path).map_err(|error| GroundsError::Read {
            path: path.clone(),
            error,
        })?;
        let tasks_dir = if meta.is_dir() {
            if tasks.is_empty() {
                tasks = top_files(&path)?;
            }
            path
        } else {
            if tasks.is_empty() {
                tasks.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
            path.parent().unwrap_or(Path::new(".")).to_path_buf()
        };
        Ok(Grounds {
            rules: None,
            tasks_dir,
            tasks,
            profile: Profile::Plain,
            limit: None,
            seed: 1234,
            enable_thinking: false,
            max_gen_toks: None,
        })
    }

    fn of(contest: Contest, base: PathBuf, tasks_dir: PathBuf) -> Result<Grounds, GroundsError> {
        let pins = [
            ("config.json", &contest.base.config_sha256),
            ("tokenizer.json", &contest.base.tokenizer_sha256),
            ("chat_template.jinja", &contest.base.chat_template_sha256),
        ];
        for (name, expected) in pins {
            let path = base.join(name);
            let found = files::sha256_file(&path).map_err(|error| GroundsError::Read {
                path: path.clone(),
                error,
            })?;
            if found != *expected {
                return Err(GroundsError::Pin {
                    path,
                    expected: expected.clone(),
                    found,
                });
            }
        }
        Ok(Grounds {
            tasks: contest.grading.tasks.clone(),
            profile: contest.grading.profile,
            limit: contest.grading.limit,
            seed: contest.grading.seed,
            enable_thinking: contest.grading.enable_thinking,
            max_gen_toks: contest.grading.max_gen_toks,
            tasks_dir,
            rules: Some(Rules { contest, base }),
        })
    }

    /// Where tokenizer and chat template come from: the base's pinned ones, or in a self-check the checkpoint's own.
    pub fn texts_dir<'a>(&'a self, checkpoint: &'a Path) -> &'a Path {
        self.rules.as_ref().map_or(checkpoint, |rules| &rules.base)
    }

    /// Longest a grade may take.
    pub fn wall(&self) -> Option<Duration> {
        self.rules
            .as_ref()
            .map(|rules| Duration::from_secs(rules.contest.grading.wall_seconds))
    }

    /// What the time track runs, with the rules that say so; none outside a contest.
    pub fn workload(&self) -> Option<(&Rules, Workload)> {
        let rules = self.rules.as_ref()?;
        Some((rules, rules.contest.grading.time?))
    }

    /// Digest of the contest's rules; empty in a self-check.
    pub fn digest(&self) -> String {
        self.rules
            .as_ref()
            .map(|rules| rules.contest.digest())
            .unwrap_or_default()
    }
}

fn parse(file: &Path) -> Result<Contest, GroundsError> {
    let path = || file.to_path_buf();
    let source = fs::read_to_string(file).map_err(|error| GroundsError::Read { path: path(), error })?;
    Contest::parse(&source).map_err(|errors| GroundsError::Contest { path: path(), errors })
}

/// Names of the task files at the top of a folder: what runs when no name is given.
fn top_files(dir: &Path) -> Result<Vec<String>, GroundsError> {
    let read = |error| GroundsError::Read {
        path: dir.to_path_buf(),
        error,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
