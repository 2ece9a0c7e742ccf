//! Moves finished files from the data folder to the object store, and keeps the two and the database of one mind.
//!
//! Only files of sent submissions move, and outputs of accepted results: their bytes never change, so a move can be repeated
//! at any point. The order is: send, read back and compare length and sha256, note it in the database, delete here. Whatever
//! is killed in between, the bytes are in at least one of the two places, and the next round finds out which.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Data;
use anyhow::{Context as _, bail};
use chrono::Utc;
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut, stream};
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, PgPool};

use crate::db;
use crate::db::ids::FileId;
use crate::db::objects::{self, Staged};
use crate::health::Peer;
use crate::state::AppState;
use crate::storage::{Bucket, Greeting, Key, PART, Storage, ignore_missing, move_into_place, sha256_file};
use crate::uploader::blocking;

/// How often the tables are asked for files to move.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Wait after the store or the database failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Wait before a file is tried again that is not what it should be.
const UNFIT_WAIT: Duration = Duration::from_secs(60);
/// How often contest files are held against the store, and copies deleted that a crash left.
const TEND_EVERY: Duration = Duration::from_secs(30);
/// How often the store's whole listing is held against the table.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Objects without a row this old are nobody's. Long, for after a database was restored from an older copy the newest
/// objects look like this.
const ORPHAN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Files on their way at once.
const FILES_AT_ONCE: usize = 2;
/// Rows asked for at once.
const BATCH: i64 = 32;
/// Keys held against the table in one statement.
const PAGE: usize = 1000;

/// Refuses a store that cannot work: a first start with any fault, a later one with a fault that waiting does not heal. A
/// store that worked before and is away now is no reason to stay away ourselves.
///
/// # Errors
/// One sentence that says what is wrong.
pub async fn check(pool: &PgPool, storage: &Storage) -> anyhow::Result<()> {
    let newest = objects::newest(pool).await?;
    let Some(bucket) = storage.bucket() else {
        // Unless they were all copied back.
        if let Some(key) = newest
            && !storage.place(&Key::known(key)).exists()
        {
            bail!("files of this installation are in an object store, but --object-store-url names none");
        }
        return Ok(());
    };
    let away = |error: anyhow::Error| {
        tracing::error!(error = format!("{error:#}"), "starting without the object store");
        Ok(())
    };
    match bucket.greet(objects::installation(pool).await?).await {
        Greeting::Works => {}
        Greeting::Unreachable(error) if newest.is_some() => return away(error),
        Greeting::Refused(error) | Greeting::Unreachable(error) => return Err(error),
    }
    if let Some(key) = newest {
        match bucket.length(&Key::known(key.clone())).await {
            Ok(Some(_)) => {}
            Ok(None) => bail!(
                "the object store {} lacks {key}, the last file that was stored: is it the right one?",
                bucket.url()
            ),
            Err(error) => return away(error.into()),
        }
    }
    tracing::info!(store = bucket.url(), "the object store works");
    Ok(())
}

/// Starts moving, if a store is set; ends when the process stops.
pub fn start(state: Data<AppState>) {
    let Some(bucket) = state.storage.bucket().cloned() else {
        return;
    };
    tokio::spawn(async move {
        let mover = Mover {
            pool: state.pool.clone(),
            storage: state.storage.clone(),
            bucket,
        };
        while !state.stopping.is_cancelled() && !state.pool.is_closed() {
            tokio::select! {
                () = state.stopping.cancelled() => return,
                led = mover.lead() => if let Err(error) = led {
                    tracing::warn!(error = format!("{error:#}"), "files are not moved to the object store now");
                }
            }
            tokio::select! {
                () = state.stopping.cancelled() => return,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
    });
}

/// What moving takes.
pub struct Mover {
    /// Database connections.
    pub pool: PgPool,
    /// The data folder.
    pub storage: Storage,
    /// Where files go.
    pub bucket: Bucket,
}

impl Mover {
    /// Moves files for as long as this process is the one that does, and nothing fails.
    async fn lead(&self) -> anyhow::Result<()> {
        let mut session = self.pool.connect_options().connect().await?;
        if !objects::lead(&mut session).await? {
            return Ok(());
        }
        let mut unfit: HashMap<FileId, Instant> = HashMap::new();
        let (mut tended, mut swept) = (None::<Instant>, None::<Instant>);
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        loop {
            // Whoever lost the session has lost the lock.
            db::ping(&mut session).await?;
            let moved = self.files(&mut unfit).await? + self.outputs().await?;
            if due(tended, TEND_EVERY) {
                self.tend().await?;
                tended = Some(Instant::now());
            }
            if due(swept, SWEEP_EVERY) {
                self.sweep(ORPHAN_AFTER).await?;
                swept = Some(Instant::now());
            }
            if moved == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Moves some of the files that wait. Returns how many it moved.
    async fn files(&self, unfit: &mut HashMap<FileId, Instant>) -> anyhow::Result<usize> {
        unfit.retain(|_, since| since.elapsed() < UNFIT_WAIT);
        let but: Vec<_> = unfit.keys().map(|id| id.0).collect();
        let staged = objects::staged(&self.pool, &but, BATCH).await?;
        let moves = stream::iter(staged).map(|file| async move {
            let moved = self.file(&file).await?;
            anyhow::Ok((file.id, moved))
        });
        let moves = moves.buffer_unordered(FILES_AT_ONCE);
        pin_mut!(moves);
        let mut count = 0;
        // The first failure of the store ends the round; what was on its way is picked up by the next.
        while let Some((id, moved)) = moves.try_next().await? {
            match moved {
                true => count += 1,
                false => drop(unfit.insert(id, Instant::now())),
            }
        }
        Ok(count)
    }

    async fn file(&self, file: &Staged) -> anyhow::Result<bool> {
        let key = Key::submission(file.submission, &file.name);
        let place = self.storage.place(&key);
        if !self.transfer(&key, &place, file.length, &file.sha256).await? {
            return Ok(false);
        }
        let mut transaction = self.pool.begin().await?;
        objects::record(&mut *transaction, key.as_str(), file.length, &file.sha256).await?;
        objects::file_moved(&mut *transaction, file.id, key.as_str()).await?;
        transaction.commit().await?;
        blocking(move || remove_with_folder(&place)).await?;
        Ok(true)
    }

    /// Moves outputs of accepted results. Returns of how many results.
    async fn outputs(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for (job, fence) in objects::staged_outputs(&self.pool, BATCH).await? {
            let folder = self.storage.output_dir(job, fence);
            let listed = folder.clone();
            let found = blocking(move || digests(&listed)).await?;
            let mut whole = true;
            for (name, bytes, sha256) in found {
                let (key, bytes) = (Key::output(job, fence, &name), i64::try_from(bytes)?);
                if self.transfer(&key, &folder.join(&name), bytes, &sha256).await? {
                    objects::record(&self.pool, key.as_str(), bytes, &sha256).await?;
                } else {
                    whole = false;
                }
            }
            if whole {
                objects::outputs_moved(&self.pool, job).await?;
                blocking(move || remove_all_with_folder(&folder)).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Makes sure that the store holds these bytes. False: the file here is not what it should be, or did not come back as
    /// it was sent; then nothing was changed here.
    async fn transfer(&self, key: &Key, from: &Path, bytes: i64, sha256: &str) -> anyhow::Result<bool> {
        let length = bytes.unsigned_abs();
        if let Some(left) = objects::begun(&self.pool, key.as_str()).await? {
            self.bucket.abort(key, &left).await?;
            objects::end(&self.pool, key.as_str()).await?;
        }
        // A crash may have come after the last byte was stored and before that was noted.
        if self.bucket.length(key).await? != Some(length) {
            let path = from.to_owned();
            let opened = blocking(move || {
                let file = File::open(path)?;
                let found = file.metadata()?.len();
                Ok((Arc::new(file), found))
            });
            let file = match opened.await {
                Ok((file, found)) if found == length => file,
                Ok((_, found)) => {
                    tracing::error!(key = key.as_str(), length, found, "a finished file has another length");
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(key = key.as_str(), "a finished file is neither here nor in the store");
                    return Ok(false);
                }
                Err(error) => return Err(error).context("a finished file cannot be read"),
            };
            if length <= PART {
                self.bucket.put(key, file, length).await?;
            } else {
                let upload = self.bucket.begin(key).await?;
                objects::begin(&self.pool, key.as_str(), &upload).await?;
                self.bucket.send(key, &upload, file, length).await?;
                objects::end(&self.pool, key.as_str()).await?;
            }
        }
        let came_back = self.bucket.sha256(key, length).await?;
        if came_back != sha256 {
            self.bucket.delete(key).await?;
            tracing::error!(
                key = key.as_str(),
                sha256,
                came_back,
                "a file did not come back as it was declared"
            );
        }
        Ok(came_back == sha256)
    }

    /// Contest files lie in both places: here because every precheck reads them, there so that a lost data folder is no
    /// loss. And copies go whose file was moved before a crash.
    ///
    /// # Errors
    /// The store, the database or the disk.
    pub async fn tend(&self) -> anyhow::Result<()> {
        for blob in objects::blobs(&self.pool).await? {
            let key = Key::blob(&blob.sha256);
            let place = self.storage.place(&key);
            let path = place.clone();
            let here = blocking(move || path.try_exists()).await?;
            if blob.stored && !here {
                self.fetch(&key, blob.bytes.unsigned_abs(), &blob.sha256, place).await?;
                tracing::info!(key = key.as_str(), "fetched a contest file back from the object store");
            } else if !blob.stored && self.transfer(&key, &place, blob.bytes, &blob.sha256).await? {
                objects::record(&self.pool, key.as_str(), blob.bytes, &blob.sha256).await?;
            }
        }
        let storage = self.storage.clone();
        let (submissions, jobs) =
            blocking(move || Ok((storage.idle_submissions(Duration::ZERO)?, storage.output_jobs()?))).await?;
        for submissions in submissions.chunks(PAGE) {
            for (submission, name) in objects::moved_files(&self.pool, submissions).await? {
                let place = self.storage.place(&Key::submission(submission, &name));
                blocking(move || remove_with_folder(&place)).await?;
            }
        }
        for jobs in jobs.chunks(PAGE) {
            for (job, fence) in objects::moved_outputs(&self.pool, jobs).await? {
                let folder = self.storage.output_dir(job, fence);
                blocking(move || remove_all_with_folder(&folder)).await?;
            }
        }
        Ok(())
    }

    async fn fetch(&self, key: &Key, length: u64, sha256: &str, place: PathBuf) -> anyhow::Result<()> {
        let scratch = self.storage.scratch();
        let path = scratch.clone();
        let mut file = blocking(move || File::create_new(path)).await?;
        let mut hasher = Sha256::new();
        // A base model's weights are among them: never whole in memory.
        let mut blocks = pin!(self.bucket.object(key, length).stream(0, length));
        while let Some(block) = blocks.try_next().await? {
            (file, hasher) = blocking(move || {
                hasher.update(&block);
                file.write_all(&block)?;
                Ok((file, hasher))
            })
            .await?;
        }
        let sha256 = sha256.to_owned();
        blocking(move || {
            file.sync_all()?;
            if hex::encode(hasher.finalize()) == sha256 {
                return move_into_place(&scratch, &place);
            }
            fs::remove_file(&scratch)?;
            Err(io::Error::other(format!(
                "the object of contest file {sha256} is damaged"
            )))
        })
        .await?;
        Ok(())
    }

    /// Holds the store's listing against the table, in both directions: objects that nobody knows and that are older than
    /// `orphan_after` are deleted, and known ones that are not there are told of. Returns how many there were of each.
    ///
    /// # Errors
    /// The store or the database; a listing that breaks off decides nothing about what is missing.
    pub async fn sweep(&self, orphan_after: Duration) -> anyhow::Result<(usize, usize)> {
        let begun = objects::now(&self.pool).await?;
        let mut orphans = 0;
        for folder in ["blobs", "jobs", "submissions"] {
            let listing = self.bucket.list(folder).try_chunks(PAGE);
            pin_mut!(listing);
            while let Some(page) = listing.try_next().await.map_err(|broken| broken.1)? {
                let keys: Vec<String> = page.iter().map(|(key, _)| key.as_str().to_owned()).collect();
                let known: HashSet<String> = objects::seen(&self.pool, &keys).await?.into_iter().collect();
                for (key, written) in page {
                    let old = (Utc::now() - written).to_std().is_ok_and(|age| age >= orphan_after);
                    if old && !known.contains(key.as_str()) {
                        self.bucket.delete(&key).await?;
                        tracing::warn!(key = key.as_str(), "deleted an object that nobody knows");
                        orphans += 1;
                    }
                }
            }
        }
        let missing = objects::unseen(&self.pool, begun).await?;
        for key in &missing {
            tracing::error!(key, "a stored file is not in the object store");
        }
        objects::give_up(&self.pool, &missing).await?;
        self.bucket.meters().missing.set(i64::try_from(missing.len())?);
        Ok((orphans, missing.len()))
    }
}

/// Names of a folder's files with lengths and digests; nothing where there is no folder.
fn digests(folder: &Path) -> io::Result<Vec<(String, u64, String)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let (bytes, sha256) = sha256_file(&entry.path())?;
        found.push((name, bytes, sha256));
    }
    Ok(found)
}

/// Removes a file, and its folder if that was the last.
fn remove_with_folder(file: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(file))?;
    if let Some(folder) = file.parent() {
        // Others are still in it, or it went already.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Removes the folder of one attempt, and its job's if that was the last.
fn remove_all_with_folder(folder: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_dir_all(folder))?;
    if let Some(job) = folder.parent() {
        let _ = fs::remove_dir(job);
    }
    Ok(())
}

/// Asks the store whether it answers and the tables how full it is, for probes and whoever scrapes.
///
/// # Errors
/// The database's.
pub async fn measure(state: &AppState) -> anyhow::Result<()> {
    let Some(bucket) = state.storage.bucket() else {
        return Ok(());
    };
    let up = bucket.answers().await;
    state.health.set_objects(if up { Peer::Up } else { Peer::Down });
    let (standing, meters) = (objects::standing(&state.pool).await?, bucket.meters());
    meters.objects.set(standing.objects);
    meters.bytes.set(standing.bytes);
    meters.waiting.set(standing.files + standing.results);
    meters.waiting_bytes.set(standing.file_bytes);
    Ok(())
}
