//! Bytes on disk, and the only place that decides where they lie. Finished files may lie in an object store instead, under
//! the same names: see [`objects`].
//!
//! ```text
//! blobs/<aa>/<sha256>             contest files, content-addressed, shared between versions of a contest
//! uploads/<file id>.part          an upload that is still open; bytes above the committed offset are worthless
//! submissions/<id>/<name>         finished files under their declared names (a strict allow list, see `FileName`)
//! jobs/<job id>/<fence>/<name>    what a worker handed back; the fence in the path keeps a zombie off newer outputs
//! tmp/                            half-written blobs and outputs, renamed into place when whole
//! ```
//! Everything in this file blocks: call it from `spawn_blocking`.

pub mod bucket;
mod names;
pub mod objects;
mod room;

pub use bucket::{Bucket, Greeting, PART};
pub use names::{FileName, output_name};
pub use objects::{Key, Object};
pub use room::{preallocate, reserve};

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_contest::wire::{RemoteFile, is_safe_path};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::db::ids::{FileId, JobId, SubmissionId};
use crate::uploader::Slots;

/// How much is read at once when a file is hashed or copied.
const BLOCK: usize = 1 << 20;

/// The data folder. Cheap to clone; one per process, because it also holds the writer slots.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
    bucket: Option<Bucket>,
}

struct Inner {
    root: PathBuf,
    slots: Slots,
}

impl Storage {
    /// Opens the data folder and makes what is missing in it.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(root: &Path) -> io::Result<Storage> {
        for folder in ["blobs", "uploads", "submissions", "jobs", "tmp"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let inner = Inner {
            root: root.to_owned(),
            slots: Slots::default(),
        };
        Ok(Storage {
            inner: Arc::new(inner),
            bucket: None,
        })
    }

    /// The same folder, whose finished files move to a bucket.
    #[must_use]
    pub fn with_bucket(self, bucket: Option<Bucket>) -> Storage {
        Storage { bucket, ..self }
    }

    /// Where finished files move to, if the operator set anything.
    #[must_use]
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// The writer slots of this process: one writer an upload.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    /// Where the bytes of an open upload are.
    #[must_use]
    pub fn part(&self, file: FileId) -> PathBuf {
        self.inner.root.join("uploads").join(format!("{file}.part"))
    }

    /// The folder of a submission's finished files.
    #[must_use]
    pub fn submission_dir(&self, submission: SubmissionId) -> PathBuf {
        self.place(&Key::submission(submission, ""))
    }

    /// Where outputs of one attempt lie. The caller has checked the fence.
    #[must_use]
    pub fn output_dir(&self, job: JobId, fence: i64) -> PathBuf {
        self.place(&Key::output(job, fence, ""))
    }

    /// Where a content-addressed file lies. `sha256` comes from our own table.
    #[must_use]
    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.place(&Key::blob(sha256))
    }

    /// A fresh path in `tmp/`, on the same filesystem as everything else.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.inner.root.join("tmp").join(Uuid::now_v7().to_string())
    }

    /// Stores bytes under their sha256 and returns it. Storing the same bytes twice is free.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_blob(&self, bytes: &[u8]) -> io::Result<String> {
        let sha256 = hex::encode(Sha256::digest(bytes));
        let place = self.blob(&sha256);
        if place.metadata().is_ok_and(|found| found.len() == bytes.len() as u64) {
            return Ok(sha256);
        }
        let scratch = self.scratch();
        let mut file = OpenOptions::new().write(true).create_new(true).open(&scratch)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        move_into_place(&scratch, &place)?;
        Ok(sha256)
    }

    /// Stores a file of any size under its sha256 and returns its length and that, never holding more than a block of it.
    /// Storing the same file twice costs reading it.
    ///
    /// # Errors
    /// When the file cannot be read, changes meanwhile, or the disk refuses.
    pub fn put_blob_file(&self, from: &Path) -> io::Result<(u64, String)> {
        let (bytes, sha256) = sha256_file(from)?;
        let place = self.blob(&sha256);
        if place.metadata().is_ok_and(|found| found.len() == bytes) {
            return Ok((bytes, sha256));
        }
        let scratch = self.scratch();
        let copied = copy_hashing(from, &scratch)?;
        if copied != (bytes, sha256.clone()) {
            fs::remove_file(&scratch)?;
            return Err(io::Error::other("the file changes while it is read"));
        }
        move_into_place(&scratch, &place)?;
        Ok(copied)
    }

    /// Lays the contest files below the folder `under` out as a folder again, in `tmp/`, by links to the blobs. The caller
    /// removes it.
    ///
    /// # Errors
    /// When a blob is gone or the disk refuses.
    pub fn lay_out(&self, files: &[RemoteFile], under: &str) -> io::Result<PathBuf> {
        let folder = self.scratch();
        fs::create_dir(&folder)?;
        for file in files {
            // Checked when the contest was imported; a name from the table still never leaves the folder.
            let name = file.name.strip_prefix(under).and_then(|name| name.strip_prefix('/'));
            let Some(name) = name.filter(|name| is_safe_path(name)) else {
                continue;
            };
            let place = folder.join(name);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::hard_link(self.blob(&file.sha256), place)?;
        }
        Ok(folder)
    }

    /// Copies a file into place as a finished file of a submission, hashing on the way. Returns its length and sha256.
    ///
    /// # Errors
    /// When the source cannot be read or the disk refuses.
    pub fn adopt(&self, from: &Path, submission: SubmissionId, name: &FileName) -> io::Result<(u64, String)> {
        let scratch = self.scratch();
        let copied = copy_hashing(from, &scratch)?;
        move_into_place(&scratch, &self.submission_dir(submission).join(name.as_str()))?;
        Ok(copied)
    }

    /// Puts a file that is here already into a submission as well: a link where the filesystem can, a copy where it cannot.
    /// False: it is no longer what it was.
    ///
    /// # Errors
    /// When the source is gone or the disk refuses.
    pub fn link(&self, from: &Path, submission: SubmissionId, name: &FileName, known: (u64, &str)) -> io::Result<bool> {
        if fs::metadata(from)?.len() != known.0 {
            return Ok(false);
        }
        let scratch = self.scratch();
        if fs::hard_link(from, &scratch).is_err() {
            // Another filesystem, or more links than an inode can count.
            let copied = self.adopt(from, submission, name)?;
            return Ok((copied.0, copied.1.as_str()) == known);
        }
        let place = self.submission_dir(submission).join(name.as_str());
        move_into_place(&scratch, &place)?;
        // Where both names meant one file already, the rename did nothing.
        ignore_missing(fs::remove_file(&scratch))?;
        Ok(true)
    }

    /// Bytes that may still be written to the data folder's filesystem.
    ///
    /// # Errors
    /// When the filesystem cannot be asked.
    pub fn free_bytes(&self) -> io::Result<u64> {
        room::free_bytes(&self.inner.root)
    }

    /// The uploads whose bytes lie here and have not changed for `idle`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn idle_parts(&self, idle: Duration) -> io::Result<Vec<FileId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.inner.root.join("uploads"))? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_suffix(".part"))
                .and_then(|id| id.parse().ok());
            if let Some(id) = id.filter(|_| is_idle(&entry, idle)) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The submissions whose folders lie here and have not changed for `idle`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn idle_submissions(&self, idle: Duration) -> io::Result<Vec<SubmissionId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.inner.root.join("submissions"))? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|id| id.parse().ok());
            if let Some(id) = id.filter(|_| is_idle(&entry, idle)) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The jobs of which outputs lie here.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn output_jobs(&self) -> io::Result<Vec<JobId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.inner.root.join("jobs"))? {
            found.extend(entry?.file_name().to_str().and_then(|id| id.parse::<JobId>().ok()));
        }
        Ok(found)
    }

    /// Are the promised bytes of a resting upload here?
    #[must_use]
    pub fn holds(&self, file: FileId, submission: SubmissionId, name: &str, received: u64, whole: bool) -> bool {
        let long = |path: PathBuf| path.metadata().is_ok_and(|found| found.len() >= received);
        let place = || self.submission_dir(submission).join(name);
        long(place()) || !whole && long(self.part(file))
    }

    /// Deletes half-written files that nothing has touched for `idle`: what a crash left. Returns how many.
    ///
    /// # Errors
    /// When the folder cannot be read or a file cannot be removed.
    pub fn clean_scratch(&self, idle: Duration) -> io::Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(self.inner.root.join("tmp"))? {
            let entry = entry?;
            if is_idle(&entry, idle) {
                ignore_missing(fs::remove_file(entry.path()))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Deletes whatever a draft has left on disk. Missing things are fine.
    ///
    /// # Errors
    /// When something there cannot be removed.
    pub fn remove_draft(&self, submission: SubmissionId, files: &[FileId]) -> io::Result<()> {
        for file in files {
            ignore_missing(fs::remove_file(self.part(*file)))?;
        }
        ignore_missing(fs::remove_dir_all(self.submission_dir(submission)))
    }
}

fn is_idle(entry: &fs::DirEntry, idle: Duration) -> bool {
    let touched = entry.metadata().and_then(|metadata| metadata.modified());
    touched.is_ok_and(|touched| touched.elapsed().is_ok_and(|elapsed| elapsed >= idle))
}

/// Treats "it was not there" as success.
///
/// # Errors
/// Any other error is passed on.
pub fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Renames a finished file into place so that a crash leaves either the old state or the new one: the target's folder is
/// made, the rename is atomic, and the folder itself is synced, without which the new name may be lost.
///
/// # Errors
/// When the disk refuses.
pub fn move_into_place(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().ok_or_else(|| io::Error::other("no parent folder"))?;
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        if let Some(above) = folder.parent() {
            sync_dir(above)?;
        }
    }
    fs::rename(from, to)?;
    sync_dir(folder)
}

/// fsync on a folder: makes names in it durable.
///
/// # Errors
/// When the disk refuses.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Copies a file to a new one, durably. Returns its length and sha256.
fn copy_hashing(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    let read = pour(from, &mut target)?;
    target.sync_all()?;
    Ok(read)
}

/// sha256 of a whole file, in lowercase hex, with its length.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: &Path) -> io::Result<(u64, String)> {
    pour(path, &mut io::sink())
}

/// Writes a whole file into `target`, block by block. Returns its length and sha256.
fn pour(from: &Path, target: &mut impl Write) -> io::Result<(u64, String)> {
    let mut source = File::open(from)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut total = 0u64;
    loop {
        let read = source.read(&mut block)?;
        if read == 0 {
            return Ok((total, hex::encode(hasher.finalize())));
        }
        hasher.update(&block[..read]);
        target.write_all(&block[..read])?;
        total += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_stored_once_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let first = storage.put_blob(b"hello").unwrap();
        assert_eq!(
            first,
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(storage.put_blob(b"hello").unwrap(), first);
        assert_eq!(fs::read(storage.blob(&first)).unwrap(), b"hello");
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}
