//! The receiving end of an upload: one writer an upload, and no promise before the disk has kept it.
//!
//! The committed offset in the database is the only authority. The order is always: write, `fdatasync`, then commit the
//! offset under the writer's epoch. Whatever lies above the committed offset after a crash is cut off by the next writer.

mod intake;
mod meters;
mod settle;
mod slots;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use sqlx::PgPool;

pub use intake::{Checksum, Disk, Ended, Pace, Received, take_in};
pub use meters::register;
pub use settle::settle;
pub use slots::{Lane, Lanes, Slot, SlotBusy, Slots};

use crate::db::uploads::WriterLease;
use crate::storage::{Storage, preallocate, sync_dir};

/// Writes a body into an upload from the lease's offset on. Returns the committed offset and why it stopped. Whatever the
/// reason, bytes that arrived are kept, unless a checksum came with them: then all or nothing is.
///
/// # Errors
/// The disk or the database refused; the committed offset still tells the truth.
pub async fn receive<S, E>(
    pool: &PgPool,
    storage: &Storage,
    lease: &WriterLease,
    body: S,
    stop: impl Future<Output = ()>,
    pace: Pace,
    checksum: Option<Checksum>,
) -> anyhow::Result<(u64, Ended)>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let path = storage.part(lease.file());
    let (start, length) = (lease.offset(), lease.length());
    let file = blocking(move || open_at(&path, start, length)).await?;
    let digest = storage.slots().digest(lease.file(), start);
    let received = take_in(pool, Arc::new(file), digest, lease, body, stop, pace, checksum).await?;
    if let Some(digest) = received.digest {
        storage.slots().keep_digest(lease.file(), received.committed, digest);
    }
    Ok((received.committed, received.ended))
}

/// Opens the part file, cuts off everything above the committed offset, and sees to it that there is room for the rest. A
/// file shorter than the offset has lost promised bytes: better to say so than to fill with zeros.
///
/// # Errors
/// The disk refuses, is full, or has lost bytes.
pub fn open_at(path: &Path, offset: u64, length: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(offset == 0)
        .truncate(false)
        .open(path)?;
    let found = file.metadata()?.len();
    if found < offset {
        return Err(io::Error::other(format!(
            "{offset} bytes were promised, {found} are there"
        )));
    }
    if found > offset {
        file.set_len(offset)?;
    }
    preallocate(&file, offset, length)?;
    if offset == 0
        && let Some(folder) = path.parent()
    {
        // A new file's data can be durable while its name is not.
        sync_dir(folder)?;
    }
    Ok(file)
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

    #[test]
    fn bytes_above_the_offset_are_cut_and_lost_bytes_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        std::fs::write(&path, b"promised, and some that were not").unwrap();
        drop(open_at(&path, 8, 100).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"promised");
        assert!(
            open_at(&path, 9, 100).is_err(),
            "nine bytes were promised and only eight are there"
        );
    }
}
