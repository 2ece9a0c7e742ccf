//! Finished files: in the data folder or, once they were moved, in the bucket. Readers need not know which.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};

use super::{Bucket, Storage};
use crate::db::ids::{JobId, SubmissionId};
use crate::uploader::blocking;

/// How much of a local file is read at once.
const BLOCK: u64 = 1 << 20;
/// How much of an object is asked for at once: enough that the time to the first byte hardly counts.
const FAR_BLOCK: u64 = 8 << 20;
/// Blocks on their way to one reader; with [`FAR_BLOCK`] what one download may hold in memory.
const AHEAD: usize = 2;

/// The name of a finished file: its path beneath the data folder, and its object's name beneath the bucket's prefix. Made of
/// ids and checked names, so it never leaves either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// A file of a submission. `name` is from its manifest, where only a `FileName` gets in.
    #[must_use]
    pub fn submission(submission: SubmissionId, name: &str) -> Key {
        Key(format!("submissions/{submission}/{name}"))
    }

    /// A file of a submission that may have been found in another one's object before.
    #[must_use]
    pub fn of(stored_as: Option<&String>, submission: SubmissionId, name: &str) -> Key {
        stored_as.map_or_else(|| Key::submission(submission, name), |key| Key(key.clone()))
    }

    /// An output of an attempt. The caller has checked the fence and the name.
    #[must_use]
    pub fn output(job: JobId, fence: i64, name: &str) -> Key {
        Key(format!("jobs/{job}/{fence}/{name}"))
    }

    /// A content-addressed file. `sha256` comes from our own table.
    #[must_use]
    pub fn blob(sha256: &str) -> Key {
        Key(format!("blobs/{}/{sha256}", sha256.get(..2).unwrap_or("00")))
    }

    /// A key as the database has it.
    #[must_use]
    pub fn known(text: String) -> Key {
        Key(text)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A finished file, opened. Cheap to clone.
#[derive(Clone)]
pub struct Object {
    length: u64,
    at: At,
}

#[derive(Clone)]
enum At {
    /// Stays readable even while the file is being moved away.
    Folder(Arc<File>),
    Bucket(Bucket, Key),
}

impl Storage {
    /// Where a finished file lies while it is in the data folder.
    #[must_use]
    pub fn place(&self, key: &Key) -> PathBuf {
        self.inner.root.join(key.as_str())
    }

    /// Opens a finished file, wherever it is. A file is deleted here only after it is there, so one of the two has it.
    ///
    /// # Errors
    /// `NotFound`; `HostUnreachable` when only the bucket could have it and does not answer; the disk's own.
    pub async fn find(&self, key: &Key) -> io::Result<Object> {
        let path = self.place(key);
        let opened = blocking(move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        match (opened.await, self.bucket()) {
            (Ok((file, length)), _) => Ok(Object {
                length,
                at: At::Folder(Arc::new(file)),
            }),
            (Err(error), Some(bucket)) if error.kind() == io::ErrorKind::NotFound => {
                let length = bucket.length(key).await?.ok_or(error)?;
                Ok(bucket.object(key, length))
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Bucket {
    /// An object that is known to be there.
    #[must_use]
    pub fn object(&self, key: &Key, length: u64) -> Object {
        Object {
            length,
            at: At::Bucket(self.clone(), key.clone()),
        }
    }
}

impl Object {
    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes `begin..end`, which lie inside the file.
    ///
    /// # Errors
    /// The disk or the bucket refuses, or the file is shorter than it was.
    pub async fn read(&self, begin: u64, end: u64) -> io::Result<Bytes> {
        match &self.at {
            At::Folder(file) => {
                let file = file.clone();
                blocking(move || read_exact(&file, begin, end)).await
            }
            At::Bucket(bucket, key) => bucket.range(key, begin, end).await,
        }
    }

    /// Bytes `begin..end` block by block, never more than a few in memory. After an error nothing else follows: the reader
    /// sees a body that is too short.
    pub fn stream(self, begin: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> {
        let size = match self.at {
            At::Folder(_) => BLOCK,
            At::Bucket(..) => FAR_BLOCK,
        };
        let starts = stream::unfold(begin, move |at| async move {
            (at < end).then(|| (at, at.saturating_add(size)))
        });
        starts
            .map(move |at| {
                let object = self.clone();
                async move { object.read(at, end.min(at.saturating_add(size))).await }
            })
            .buffered(AHEAD)
    }
}

/// Bytes `begin..end` of a file.
pub(super) fn read_exact(file: &File, begin: u64, end: u64) -> io::Result<Bytes> {
    let mut block = vec![0; usize::try_from(end.saturating_sub(begin)).map_err(io::Error::other)?];
    file.read_exact_at(&mut block, begin)?;
    Ok(Bytes::from(block))
}
