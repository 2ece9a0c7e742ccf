//! Ways in that start on the server itself (a contest, a sample submission), and the one gate every submission passes:
//! [`submit`].

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use assay_checkpoint::config::ModelConfig;
use assay_checkpoint::listing::text_limit;
use assay_checkpoint::safetensors::{MAX_HEADER_BYTES, header_len};
use assay_checkpoint::{Content, Inspection, ListedFile, Listing};
use assay_contest::measure::{Kind, Name, PLAIN};
use assay_contest::sealed::TaskDocuments;
use assay_contest::wire::{CONTEST_BASE, CONTEST_FILE, CONTEST_TASKS, RemoteFile, is_safe_path};
use assay_contest::{Contest, LineageRule, Problem};
use assay_tasks::TaskSet;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::db::contests::{self, StoredContest};
use crate::db::ids::{FileId, SubmissionId};
use crate::db::receipt::{self, Sent};
use crate::db::submissions::{self, Declared, State};
use crate::db::teams;
use crate::db::uploads::{self, Settled, UploadFile};
use crate::domain::{InviteCode, TeamName};
use crate::precheck;
use crate::sealing;
use crate::storage::{FileName, Storage};
use crate::uploader::{blocking, settle};

/// What of the base model every grade needs, beside its weights.
const BASE_FILES: [&str; 4] = [
    "config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "generation_config.json",
];
/// Says which tensor is in which of the base's files, where it has several.
const INDEX: &str = "model.safetensors.index.json";
/// Most files below tasks_dir.
const TASK_FILES: usize = 2000;
/// Most bytes of one contest file.
const FILE_BYTES: u64 = 512 << 20;

/// An imported contest, as told to the operator.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its slug.
    pub id: String,
    /// Its version now.
    pub version: i32,
    /// How many files were stored.
    pub files: usize,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "contest {} version {} with {} files",
            self.id, self.version, self.files
        )
    }
}

/// Reads a contest with everything a grade needs beside a submission, checks it, and stores it. Repeating it with the same
/// files changes nothing. `key_file` holds the key of a contest that seals documents; once given, it is remembered.
///
/// # Errors
/// The first thing that is wrong, with its file.
pub async fn import_contest(
    pool: &PgPool,
    storage: &Storage,
    file: &Path,
    key_file: Option<&Path>,
) -> anyhow::Result<Imported> {
    let key = key_file.map(sealing::read_key).transpose()?;
    let (storage, file) = (storage.clone(), file.to_owned());
    let read = tokio::task::spawn_blocking(move || read_contest(&storage, &file));
    let Source {
        rules,
        source,
        files,
        documents,
    } = read.await??;
    let mut transaction = pool.begin().await?;
    let version = contests::store(&mut transaction, &rules, &source, &files, None).await?;
    sealing::keep(&mut transaction, &rules, key.as_deref(), &documents).await?;
    transaction.commit().await?;
    Ok(Imported {
        id: rules.id,
        version,
        files: files.len(),
    })
}

/// A contest as it was read.
struct Source {
    rules: Contest,
    /// contest.toml.
    source: String,
    files: Vec<RemoteFile>,
    /// What can be sealed.
    documents: Vec<TaskDocuments>,
}

fn read_contest(storage: &Storage, file: &Path) -> anyhow::Result<Source> {
    let source = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let rules = Contest::parse(&source).map_err(|errors| anyhow::anyhow!("{}:\n{errors}", file.display()))?;
    let here = file.parent().unwrap_or(Path::new("."));
    let base = here.join(&rules.base.dir);
    let tasks = here.join(&rules.grading.tasks_dir);

    let mut files = vec![stored(storage, CONTEST_FILE.to_owned(), source.as_bytes())?];
    let pinned = [
        ("config.json", &rules.base.config_sha256),
        ("tokenizer.json", &rules.base.tokenizer_sha256),
        ("chat_template.jinja", &rules.base.chat_template_sha256),
    ];
    for name in BASE_FILES {
        let path = base.join(name);
        let bytes = match read_bounded(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && name == "generation_config.json" => continue,
            other => other.with_context(|| format!("cannot read the base's {}", path.display()))?,
        };
        if let Some((_, expected)) = pinned.iter().find(|(pinned, _)| *pinned == name) {
            let actual = hex::encode(Sha256::digest(&bytes));
            ensure!(
                actual == **expected,
                "{} has sha256 {actual}, the contest pins {expected}",
                path.display()
            );
        }
        files.push(stored(storage, format!("{CONTEST_BASE}/{name}"), &bytes)?);
    }
    // Workers compare submissions with them, so they travel with the contest where they are here.
    let weights = weights_in(&base)?;
    let weight: u64 = weights.iter().map(|(_, bytes)| bytes).sum();
    ensure!(
        weights.is_empty() || weight == rules.base.bytes,
        "the base's safetensors files have {weight} bytes, the contest says {}",
        rules.base.bytes
    );
    ensure!(
        !weights.is_empty() || rules.checkpoint.lineage != LineageRule::Required,
        "lineage is \"required\", but there are no safetensors files of the base in {} to compare with",
        base.display()
    );
    check_time_track(&rules, &base, !weights.is_empty())?;
    let index = (!weights.is_empty() && base.join(INDEX).exists()).then_some(INDEX);
    for name in weights.iter().map(|(name, _)| name.as_str()).chain(index) {
        let path = base.join(name);
        let (bytes, sha256) = storage
            .put_blob_file(&path)
            .with_context(|| format!("cannot store {}", path.display()))?;
        let name = format!("{CONTEST_BASE}/{name}");
        files.push(RemoteFile { name, bytes, sha256 });
    }
    for relative in plain_files(&tasks).with_context(|| format!("cannot read {}", tasks.display()))? {
        let path = tasks.join(&relative);
        let name = format!("{CONTEST_TASKS}/{relative}");
        ensure!(
            is_safe_path(&name),
            "{} has a name that cannot be sent to workers",
            path.display()
        );
        let bytes = read_bounded(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push(stored(storage, name, &bytes)?);
    }
    // A task that does not load would fail every grade, a measure nobody gives would leave every submission without a score:
    // better to fail here, with the name.
    let set = TaskSet::load(&tasks, &rules.grading.tasks)
        .with_context(|| format!("the tasks in {} do not load", tasks.display()))?;
    let unknown: Vec<String> = unknown_measures(&set, &rules).iter().map(ToString::to_string).collect();
    ensure!(unknown.is_empty(), "{}:\n{}", file.display(), unknown.join("\n"));
    if rules.grading.sealed.is_some() {
        let hidden = sealing::unscorable(&set, &rules);
        ensure!(
            hidden.is_empty(),
            "{}: score and floors use {}, which cannot be computed over the public documents alone; a contest with sealed \
             documents cannot score by them",
            file.display(),
            hidden.join(", ")
        );
    }
    let documents = sealing::documents(&set, &rules);
    Ok(Source {
        rules,
        source,
        files,
        documents,
    })
}

/// The time track runs the base beside every submission: its weights have to be here, its context has to hold the workload.
fn check_time_track(rules: &Contest, base: &Path, has_weights: bool) -> anyhow::Result<()> {
    let Some(workload) = rules.grading.time else {
        return Ok(());
    };
    ensure!(
        has_weights,
        "[grading.time] runs the base beside every submission, but there are no safetensors files of the base in {}",
        base.display()
    );
    let config = ModelConfig::from_bytes(&read_bounded(&base.join("config.json"))?);
    let config =
        config.map_err(|_| anyhow::anyhow!("[grading.time] runs the base, whose config.json is not usable"))?;
    let (needed, positions) = (workload.positions(), config.max_positions);
    ensure!(
        needed <= positions,
        "[grading.time] takes {needed} positions, prompt and generated tokens together; the base has {positions}"
    );
    Ok(())
}

/// The measures that rules name and that none of the tasks gives.
pub fn unknown_measures(tasks: &TaskSet, rules: &Contest) -> Vec<Problem> {
    let given = tasks.measure_names();
    let known = |name: &str| {
        let of = name.strip_prefix("acc_stderr.").map(|rest| format!("acc.{rest}"));
        let task = match Name::parse(name).map(|name| name.kind) {
            Some(Kind::Items { task } | Kind::Rate { task, .. }) => Some(task),
            _ => None,
        };
        let given = |name: &str| given.iter().any(|given| given == name);
        let has = |task: &str| tasks.task(task).is_some() || tasks.groups().iter().any(|group| group.name == task);
        PLAIN.contains(&name) || given(of.as_deref().unwrap_or(name)) || task.is_some_and(has)
    };
    rules.check_measures(&known)
}

fn stored(storage: &Storage, name: String, bytes: &[u8]) -> anyhow::Result<RemoteFile> {
    let sha256 = storage
        .put_blob(bytes)
        .with_context(|| format!("cannot store {name}"))?;
    Ok(RemoteFile {
        name,
        bytes: bytes.len() as u64,
        sha256,
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > FILE_BYTES {
        return Err(io::Error::other(format!(
            "{length} bytes are more than a contest file may have ({FILE_BYTES})"
        )));
    }
    fs::read(path)
}

/// The safetensors files of a folder, by name, with their lengths.
fn weights_in(folder: &Path) -> anyhow::Result<Vec<(FileName, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(".safetensors") {
            continue;
        }
        let name = FileName::parse(&name)
            .with_context(|| format!("{} has a name that cannot be sent to workers", entry.path().display()))?;
        // Through links: model caches are full of them.
        found.push((name, fs::metadata(entry.path())?.len()));
    }
    found.sort();
    Ok(found)
}

/// Plain files below `root` as `/` separated relative paths, sorted; links are not followed, dotfiles left out.
fn plain_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                bail!("{} has a name that is not UTF-8", entry.path().display())
            };
            if name.starts_with('.') || name == "__pycache__" {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
            } else if kind.is_file() {
                found.push(format!("{prefix}{name}"));
                ensure!(found.len() <= TASK_FILES, "more than {TASK_FILES} files");
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What became of sending a draft.
#[derive(Debug)]
pub enum Submitted {
    /// The database's answer; `Queued` is the good one.
    Sent(Sent),
    /// It is against the rules; the draft stays a draft.
    Rejected(Box<Inspection>),
    /// These files are not whole yet, or corrupt.
    Incomplete(Vec<UploadFile>),
}

/// The gate: settles what is still unsettled, verifies the stored files' headers, and sends the draft in one transaction.
/// The caller has checked whose draft it is.
///
/// # Errors
/// The disk, the database, or the base model's files.
pub async fn submit(
    pool: &PgPool,
    storage: &Storage,
    contest: &StoredContest,
    draft: SubmissionId,
) -> anyhow::Result<Submitted> {
    let mut files = uploads::of_submission(pool, draft).await?;
    for file in &files {
        // A crash may have come between the last byte and the verdict on the whole; an empty file has no last byte.
        if file.state == uploads::FileState::Open && file.received == file.length {
            let slot = storage.slots().take(file.id).await?;
            let _: Settled = settle(pool, storage, file, &slot).await?;
        }
    }
    files = uploads::of_submission(pool, draft).await?;
    let missing: Vec<UploadFile> = files
        .iter()
        .filter(|file| file.state != uploads::FileState::Complete)
        .cloned()
        .collect();
    if !missing.is_empty() || files.is_empty() {
        return Ok(Submitted::Incomplete(missing));
    }
    let folder = storage.submission_dir(draft);
    let elsewhere = look_elsewhere(storage, &files).await?;
    let inspection = precheck::inspect(pool, storage, contest, move || {
        let mut listing = match folder.try_exists()? {
            true => Listing::read_dir(&folder).map_err(io::Error::other)?,
            false => Listing::default(),
        };
        listing.files.extend(elsewhere);
        listing.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    })
    .await?;
    let verdict = json!(inspection);
    if !inspection.accepted() {
        submissions::keep_verdict(pool, draft, &verdict).await?;
        return Ok(Submitted::Rejected(Box::new(inspection)));
    }
    let verified: Vec<FileId> = files.iter().map(|file| file.id).collect();
    let mut transaction = pool.begin().await?;
    let sent = receipt::send(&mut transaction, draft, &contest.rules, &verified, &verdict).await?;
    transaction.commit().await?;
    Ok(Submitted::Sent(sent))
}

/// What `verify` wants of the files that lie in the object store: those that the team had sent before.
async fn look_elsewhere(storage: &Storage, files: &[UploadFile]) -> io::Result<Vec<ListedFile>> {
    let mut listed = Vec::new();
    for file in files.iter().filter(|file| file.stored_as.is_some()) {
        let object = storage.find(&file.key()).await?;
        let bytes = object.length();
        let content = if file.name.ends_with(".safetensors") {
            let mut header = object.read(0, bytes.min(8)).await?.to_vec();
            if let Some(n) = header.first_chunk().and_then(|first| header_len(first, bytes).ok()) {
                header = object.read(0, bytes.min(8 + n.min(MAX_HEADER_BYTES))).await?.to_vec();
            }
            Content::Header(header)
        } else if text_limit(&file.name).is_some_and(|limit| bytes <= limit) {
            Content::Text(object.read(0, bytes).await?.to_vec())
        } else {
            Content::Absent
        };
        listed.push(ListedFile {
            name: file.name.clone(),
            bytes,
            content,
        });
    }
    Ok(listed)
}

/// A sample submission, as told to the operator.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The submission.
    pub id: SubmissionId,
    /// False when it was there before.
    pub new: bool,
    /// Where it stands.
    pub state: State,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = if self.new { "" } else { ", there before" };
        write!(f, "submission {} {}{known}", self.id, self.state.name())
    }
}

/// Takes a folder on this machine as a team's submission to the current contest, through the same verification and the
/// same transaction as an upload. The team is made if there is none of that name; the same team and title a second time
/// change nothing.
///
/// # Errors
/// The folder holds something a submission may not have, is rejected, or the contest takes no submissions now.
pub async fn submit_sample(
    pool: &PgPool,
    storage: &Storage,
    team: &str,
    title: &str,
    folder: &Path,
) -> anyhow::Result<Sample> {
    let contest = contests::current(pool).await?.context("import a contest first")?;
    let rules = &contest.rules;
    let team = TeamName::parse(team).map_err(|refused| anyhow::anyhow!("{}", refused.message))?;
    let mut transaction = pool.begin().await?;
    let team_id = match teams::by_name(&mut *transaction, &rules.id, &team).await? {
        Some(id) => id,
        None => teams::insert(&mut *transaction, &rules.id, &team, &InviteCode::random()).await?,
    };
    transaction.commit().await?;

    if let Some((id, state)) = submissions::titled(pool, team_id, title).await? {
        if state != State::Draft {
            return Ok(Sample { id, new: false, state });
        }
        // A draft of that name is what a crash left of an earlier try.
        submissions::discard(pool, id).await?;
        let (storage, none) = (storage.clone(), Vec::<FileId>::new());
        blocking(move || storage.remove_draft(id, &none)).await?;
    }

    let sources = folder_files(folder)?;
    let hashed = {
        let sources = sources.clone();
        blocking(move || {
            sources
                .iter()
                .map(|(_, path)| crate::storage::sha256_file(path))
                .collect::<io::Result<Vec<_>>>()
        })
        .await?
    };
    let declared: Vec<Declared> = sources
        .iter()
        .zip(&hashed)
        .map(|((name, _), (bytes, sha256))| {
            Ok(Declared {
                name: name.clone(),
                bytes: i64::try_from(*bytes)?,
                sha256: sha256.clone(),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut transaction = pool.begin().await?;
    let (id, files) = submissions::create_draft(&mut transaction, &rules.id, team_id, None, title, &declared).await?;
    transaction.commit().await?;

    for (((name, path), file), (bytes, sha256)) in sources.iter().zip(&files).zip(&hashed) {
        let (storage, name, path) = (storage.clone(), name.clone(), path.clone());
        let adopted = blocking(move || storage.adopt(&path, id, &name)).await?;
        ensure!(
            adopted == (*bytes, sha256.clone()),
            "a file changed while it was being read"
        );
        uploads::adopted(pool, *file, None).await?;
    }
    match submit(pool, storage, &contest, id).await? {
        Submitted::Sent(Sent::Queued(_)) => Ok(Sample {
            id,
            new: true,
            state: State::Queued,
        }),
        Submitted::Sent(Sent::Closed) => bail!("no phase of the contest is open now"),
        Submitted::Sent(Sent::QuotaReached(_)) => bail!("the team's quota of the day is used up"),
        Submitted::Rejected(inspection) => {
            let problems: Vec<String> = inspection.problems.iter().map(ToString::to_string).collect();
            bail!("the checkpoint is rejected:\n{}", problems.join("\n"))
        }
        Submitted::Sent(other @ (Sent::Already(_) | Sent::Incomplete)) => bail!("not sent: {other:?}"),
        Submitted::Incomplete(_) => bail!("not sent: files are missing"),
    }
}

/// The files of a folder under the names a submission may have.
fn folder_files(folder: &Path) -> anyhow::Result<Vec<(FileName, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let shown = entry.file_name().to_string_lossy().into_owned();
        let name = FileName::parse(&shown).with_context(|| format!("{shown} cannot be part of a submission"))?;
        ensure!(entry.file_type()?.is_file(), "{shown} is not a plain file");
        found.push((name, entry.path()));
    }
    found.sort();
    Ok(found)
}
