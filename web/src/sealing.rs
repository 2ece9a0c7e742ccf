//! Sealing a contest's documents: the key that chooses them, the digest that announces them, and the check at import that
//! the two belong together. The key stays on this side: it is in no contest.toml and goes to no worker.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use assay_contest::Contest;
use assay_contest::sealed::{SealedSet, TaskDocuments};
use assay_tasks::results::doc_hash;
use assay_tasks::{Limit, TaskSet, restrictable};
use sqlx::PgConnection;

use crate::auth::token::random_bytes;
use crate::db::seals;
use crate::outcomes::COSTS;
use crate::scoreboard::counting;

/// Length of a key we make: as long as the output of the hash it keys.
const KEY_BYTES: usize = 32;

/// The documents a contest evaluates, by task, as a key chooses among them.
#[must_use]
pub fn documents(tasks: &TaskSet, rules: &Contest) -> Vec<TaskDocuments> {
    let limit = rules.grading.limit.map(|limit| Limit::Docs(limit as usize));
    let of = |task: &assay_tasks::Task| TaskDocuments {
        task: task.name().to_owned(),
        hashes: task.docs().iter().take(task.doc_count(limit)).map(doc_hash).collect(),
    };
    tasks.tasks().iter().map(of).collect()
}

/// Measures that score or floors read and that nobody can compute over a part of the documents.
#[must_use]
pub fn unscorable(tasks: &TaskSet, rules: &Contest) -> Vec<String> {
    let known = restrictable(tasks);
    let read = counting(rules).into_iter().filter(|name| !name.starts_with("base."));
    read.filter(|name| !COSTS.contains(&name.as_str()) && !known.contains(name))
        .collect()
}

/// Chooses the documents to seal and says what to write into contest.toml. Makes the key where there is none yet.
///
/// # Errors
/// The rules or tasks do not load, the share leaves a task without sealed or without public documents, or the key file
/// cannot be used.
pub fn seal(file: &Path, share: Option<f64>, key_file: &Path) -> anyhow::Result<String> {
    let source = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let rules = Contest::parse(&source).map_err(|errors| anyhow::anyhow!("{}:\n{errors}", file.display()))?;
    let announced = rules.grading.sealed.as_ref();
    let share = share.or(announced.map(|sealed| sealed.share));
    let share = share.context("say how much to seal: --share 0.3 seals three documents of ten")?;
    ensure!(
        share > 0.0 && share < 1.0,
        "a share lies between 0 and 1, {share} does not"
    );
    let folder = file.parent().unwrap_or(Path::new(".")).join(&rules.grading.tasks_dir);
    let tasks = TaskSet::load(&folder, &rules.grading.tasks)
        .with_context(|| format!("the tasks in {} do not load", folder.display()))?;
    if !key_file.exists() {
        make_key(key_file).with_context(|| format!("cannot write {}", key_file.display()))?;
    }
    let set = SealedSet::choose(&read_key(key_file)?, share, &documents(&tasks, &rules))?;
    let after = announced.map(|sealed| sealed.after).unwrap_or_default();
    let after = serde_json::to_string(&after)?;
    let digest = set.digest();
    Ok(format!(
        "[grading.sealed]\nshare = {share}\ndigest = \"{digest}\"\nafter = {after}"
    ))
}

/// Reads a key: hexadecimal digits, in a file that is its owner's alone.
///
/// # Errors
/// It cannot be read, others may read it, or it is not hexadecimal.
pub fn read_key(file: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot use the key file {}", file.display());
    let text = fs::read_to_string(file).with_context(context)?;
    let mode = fs::metadata(file).with_context(context)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} may be read by others: chmod 600 it",
        file.display()
    );
    hex::decode(text.trim()).with_context(context)
}

fn make_key(file: &Path) -> io::Result<()> {
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(out, "{}", hex::encode(random_bytes::<KEY_BYTES>()))?;
    out.sync_all()
}

/// Keeps the seal of a contest that is being imported. `key` is what the operator gave; without one the key of the last
/// import serves again.
///
/// # Errors
/// No key, or one that does not choose what the rules announce; a seal would be lifted or changed behind the back of those
/// who were graded under it.
pub async fn keep(
    tx: &mut PgConnection,
    rules: &Contest,
    key: Option<&[u8]>,
    documents: &[TaskDocuments],
) -> anyhow::Result<()> {
    let id = &rules.id;
    let stored = seals::secret(&mut *tx, id).await?;
    let Some(announced) = &rules.grading.sealed else {
        ensure!(
            key.is_none(),
            "the rules seal nothing, so there is nothing the key could open"
        );
        ensure!(
            stored.is_none() || seals::forget(&mut *tx, id).await?,
            "contest {id} was graded with sealed documents: its rules must keep them sealed"
        );
        return Ok(());
    };
    let Some(key) = key.or(stored.as_ref().map(|(key, _)| key.as_slice())) else {
        bail!("contest {id} seals documents: give the key that chooses them with --sealed-key-file")
    };
    let set = SealedSet::open(key, announced, documents)?;
    if seals::store(&mut *tx, id, key, &set).await? {
        return Ok(());
    }
    bail!("the sealed documents of contest {id} are revealed: which ones they were cannot change any more")
}
