//! The receiving end of an upload: one writer an upload, and no promise before the disk has kept it.
//!
//! The committed offset in the database is the only authority. The order is always: write, `fdatasync`, then commit the
//! offset under the writer's epoch. Whatever lies above the committed offset after a crash is cut off by the next writer.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::db::ids::FileId;
use crate::db::uploads::{self, Settled, UploadFile, WriterLease};
use crate::storage::{FileName, Storage, ignore_missing, move_into_place, sha256_file, sync_dir};

/// Bytes gathered before they are handed to the disk.
const BUFFER: usize = 1 << 20;
/// At most this much is written between two commits.
const COMMIT_BYTES: u64 = 64 << 20;
/// And at most this much time passes.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How long a newcomer waits for the old writer to put its bytes down and leave.
const SLOT_WAIT: Duration = Duration::from_secs(20);

/// How patient a writer is with its client.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest silence.
    pub idle: Duration,
    /// Bytes a second, averaged over `window`, below which the client holds a slot for nothing.
    pub floor: u64,
    /// What the floor is averaged over.
    pub window: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Duration::from_secs(30),
            floor: 64 << 10,
            window: Duration::from_secs(60),
        }
    }
}

/// Writer slots: who may write to which upload in this process.
#[derive(Default)]
pub struct Slots {
    map: Arc<Mutex<HashMap<FileId, Entry>>>,
}

struct Entry {
    gate: Arc<tokio::sync::Mutex<()>>,
    holder: CancellationToken,
    serial: u64,
}

/// The right to write to one upload. Dropping it gives it back.
pub struct Slot {
    file: FileId,
    serial: u64,
    cancel: CancellationToken,
    map: Arc<Mutex<HashMap<FileId, Entry>>>,
    _gate: tokio::sync::OwnedMutexGuard<()>,
}

/// The old writer did not leave in time, or a still newer request took the slot.
#[derive(Debug, thiserror::Error)]
#[error("another request is using this upload")]
pub struct SlotBusy;

impl Slots {
    /// Takes the slot: tells the present holder to save what it has and leave, and waits for that. A client whose
    /// connection died can so resume at once, at the true offset, instead of waiting for a timeout.
    ///
    /// # Errors
    /// [`SlotBusy`] when the holder does not leave, or when somebody newer is already waiting.
    pub async fn take(&self, file: FileId) -> Result<Slot, SlotBusy> {
        let cancel = CancellationToken::new();
        let (gate, serial) = {
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = map.entry(file).or_insert_with(|| Entry {
                gate: Arc::default(),
                holder: CancellationToken::new(),
                serial: 0,
            });
            entry.holder.cancel();
            entry.holder = cancel.clone();
            entry.serial += 1;
            (entry.gate.clone(), entry.serial)
        };
        let gate = tokio::time::timeout(SLOT_WAIT, gate.lock_owned())
            .await
            .map_err(|_| SlotBusy)?;
        let slot = Slot {
            file,
            serial,
            cancel,
            map: self.map.clone(),
            _gate: gate,
        };
        if slot.cancel.is_cancelled() {
            Err(SlotBusy)
        } else {
            Ok(slot)
        }
    }
}

impl Slot {
    /// Fires when a newer request wants the slot.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the newest holder may forget the entry: somebody may be waiting on its gate.
        if map.get(&self.file).is_some_and(|entry| entry.serial == self.serial) {
            map.remove(&self.file);
        }
    }
}

/// Why a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client sent all it wanted to.
    Body,
    /// A newer request took over, or the server is shutting down.
    Cancelled,
    /// Nothing arrived for too long, or too little.
    Stalled,
    /// The connection broke.
    Broken,
    /// More bytes than declared.
    TooLong,
    /// The epoch has moved on: another process writes now.
    Fenced,
}

/// Writes a body into an upload from the lease's offset on. Returns the committed offset and why it stopped. Whatever the
/// reason, bytes that arrived are kept.
///
/// # Errors
/// The disk or the database refused; the committed offset still tells the truth.
pub async fn receive<S, E>(
    pool: &PgPool,
    storage: &Storage,
    lease: &WriterLease,
    mut body: S,
    stop: impl Future<Output = ()>,
    pace: Pace,
) -> anyhow::Result<(u64, Ended)>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut stop = std::pin::pin!(stop);
    let path = storage.part(lease.file());
    let start = lease.offset();
    let file = Arc::new(blocking(move || open_at(&path, start)).await?);
    let mut writer = Writer {
        file,
        buffer: Vec::with_capacity(BUFFER),
        written: start,
        committed: start,
    };
    let mut last_commit = Instant::now();
    let mut heard = Instant::now();
    let mut window = (Instant::now(), 0u64);

    let ended = loop {
        let quiet_until = heard + pace.idle;
        let wake = if writer.dirty() {
            quiet_until.min(last_commit + COMMIT_EVERY)
        } else {
            quiet_until
        };
        let item = tokio::select! {
            biased;
            () = &mut stop => break Ended::Cancelled,
            item = tokio::time::timeout_at(wake, body.next()) => item,
        };
        match item {
            Ok(None) => break Ended::Body,
            Ok(Some(Err(_))) => break Ended::Broken,
            Ok(Some(Ok(chunk))) => {
                heard = Instant::now();
                window.1 += chunk.len() as u64;
                if writer.end() + chunk.len() as u64 > lease.length() {
                    break Ended::TooLong;
                }
                writer.buffer.extend_from_slice(&chunk);
                if writer.buffer.len() >= BUFFER {
                    writer.flush().await?;
                }
            }
            Err(_) if Instant::now() >= quiet_until => break Ended::Stalled,
            Err(_) => {}
        }
        if writer.dirty() && (writer.end() - writer.committed >= COMMIT_BYTES || last_commit.elapsed() >= COMMIT_EVERY)
        {
            if !writer.commit(pool, lease).await? {
                return Ok((writer.committed, Ended::Fenced));
            }
            last_commit = Instant::now();
        }
        if window.0.elapsed() >= pace.window {
            if window.1 < pace.floor.saturating_mul(pace.window.as_secs().max(1)) {
                break Ended::Stalled;
            }
            window = (Instant::now(), 0);
        }
    };
    if writer.dirty() && !writer.commit(pool, lease).await? {
        return Ok((writer.committed, Ended::Fenced));
    }
    Ok((writer.committed, ended))
}

/// A file being written: `committed <= written <= written + buffer`.
struct Writer {
    file: Arc<File>,
    buffer: Vec<u8>,
    written: u64,
    committed: u64,
}

impl Writer {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn dirty(&self) -> bool {
        self.end() > self.committed
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (file, buffer, at) = (self.file.clone(), std::mem::take(&mut self.buffer), self.written);
        self.buffer = blocking(move || file.write_all_at(&buffer, at).map(|()| buffer)).await?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Flush, `fdatasync`, and only then the promise. False: fenced.
    async fn commit(&mut self, pool: &PgPool, lease: &WriterLease) -> anyhow::Result<bool> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        let file = self.file.clone();
        blocking(move || file.sync_data()).await?;
        if !uploads::commit(pool, lease, self.written).await? {
            return Ok(false);
        }
        self.committed = self.written;
        Ok(true)
    }
}

/// Opens the part file and cuts off everything above the committed offset. A file shorter than that has lost promised
/// bytes: better to say so than to fill with zeros.
fn open_at(path: &std::path::Path, offset: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(offset == 0)
        .truncate(false)
        .open(path)?;
    let length = file.metadata()?.len();
    if length < offset {
        return Err(io::Error::other(format!(
            "{} bytes were promised, {length} are there",
            offset
        )));
    }
    file.set_len(offset)?;
    if offset == 0
        && let Some(folder) = path.parent()
    {
        // A new file's data can be durable while its name is not.
        sync_dir(folder)?;
    }
    Ok(file)
}

/// Closes an upload whose every byte has arrived: hash the whole file, compare with what was declared, move it into place,
/// and only then say so in the database. Safe to repeat at any point of a crash. The caller holds the slot.
///
/// # Errors
/// The disk or the database refused; the upload stays open and can be settled later.
pub async fn settle(pool: &PgPool, storage: &Storage, file: &UploadFile, _slot: &Slot) -> anyhow::Result<Settled> {
    if file.received != file.length {
        return Ok(Settled::Open);
    }
    let name = FileName::parse(&file.name).ok_or_else(|| anyhow::anyhow!("a stored name is not allowed"))?;
    let part = storage.part(file.id);
    let place = storage.submission_dir(file.submission_id).join(name.as_str());
    let (length, expected) = (file.length, file.sha256_expected.clone());
    let empty = length == 0;
    let actual = blocking(move || -> io::Result<Result<String, String>> {
        if empty && !part.exists() && !place.exists() {
            File::create(&part)?.sync_all()?;
        }
        // A crash between the rename and the commit leaves the finished file and no part.
        let (here, moved) = if part.exists() { (&part, false) } else { (&place, true) };
        let (found, actual) = sha256_file(here)?;
        if found != length || actual != expected {
            return Ok(Err(actual));
        }
        if !moved {
            move_into_place(&part, &place)?;
        }
        Ok(Ok(actual))
    })
    .await?;
    Ok(match actual {
        Ok(sha256) => uploads::complete(pool, file.id, &sha256).await?,
        Err(sha256) => {
            // The verdict first, the bytes after: the other way round a crash would leave a full upload without a file.
            let settled = uploads::corrupt(pool, file.id, &sha256).await?;
            let leftovers = [
                storage.part(file.id),
                storage.submission_dir(file.submission_id).join(name.as_str()),
            ];
            blocking(move || {
                leftovers
                    .into_iter()
                    .try_for_each(|path| ignore_missing(std::fs::remove_file(path)))
            })
            .await?;
            settled
        }
    })
}

/// Runs blocking work off the request threads; a panic there becomes an error here.
///
/// # Errors
/// The work's own error, or that it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_cancels_the_holder_and_waits_for_it() {
        let slots = Arc::new(Slots::default());
        let file = FileId::new();
        let first = slots.take(file).await.unwrap();
        let cancel = first.cancelled();
        let second = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(file).await }
        });
        cancel.cancelled().await;
        assert!(
            !second.is_finished(),
            "the newcomer must wait until the holder has left"
        );
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert!(!second.cancelled().is_cancelled());
        drop(second);
        assert!(slots.map.lock().unwrap().is_empty(), "no entry may stay behind");
    }

    #[tokio::test]
    async fn of_two_waiting_the_newer_wins() {
        let slots = Arc::new(Slots::default());
        let file = FileId::new();
        let first = slots.take(file).await.unwrap();
        let wait = |slots: Arc<Slots>| tokio::spawn(async move { slots.take(file).await });
        let older = wait(slots.clone());
        tokio::task::yield_now().await;
        let newer = wait(slots.clone());
        tokio::task::yield_now().await;
        drop(first);
        assert!(older.await.unwrap().is_err());
        assert!(newer.await.unwrap().is_ok());
    }

    #[test]
    fn bytes_above_the_offset_are_cut_and_lost_bytes_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        std::fs::write(&path, b"promised, and some that were not").unwrap();
        drop(open_at(&path, 8).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"promised");
        assert!(
            open_at(&path, 9).is_err(),
            "nine bytes were promised and only eight are there"
        );
    }
}
