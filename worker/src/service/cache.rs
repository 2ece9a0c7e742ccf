//! Fetched files by sha256. Bounded: the longest unused go first. A base or a task file is fetched once, not once a job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files;

/// Extension of a file that is not complete yet.
const PART: &str = "part";

/// A folder of files named by their sha256.
pub struct Cache {
    dir: PathBuf,
    /// Most bytes kept when nothing is in use.
    limit: u64,
}

impl Cache {
    /// Opens the cache in `dir`, which is made if it is not there.
    pub fn open(dir: PathBuf, limit: u64) -> io::Result<Cache> {
        fs::create_dir_all(&dir)?;
        Ok(Cache { dir, limit })
    }

    /// Where the file with this digest is kept, once it is complete.
    pub fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(sha256)
    }

    /// Where the file with this digest is gathered. It outlives the process, so that a fetch goes on where it stopped.
    pub fn part(&self, sha256: &str) -> PathBuf {
        self.dir.join(sha256).with_extension(PART)
    }

    /// Whether the complete file is here. It is read and hashed: a score must not rest on a rotten byte.
    pub fn has(&self, sha256: &str, bytes: u64) -> io::Result<bool> {
        let path = self.path(sha256);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(meta) if meta.len() != bytes || files::sha256_file(&path)? != sha256 => {
                fs::remove_file(&path)?;
                return Ok(false);
            }
            Ok(_) => {}
        }
        // The modification time is the time of last use.
        fs::OpenOptions::new()
            .write(true)
            .open(&path)?
            .set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// Puts the complete file at `to`: as another name of the same file where the file system allows, else as a copy.
    pub fn place(&self, sha256: &str, to: &Path) -> io::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::hard_link(self.path(sha256), to).or_else(|_| fs::copy(self.path(sha256), to).map(|_| ()))
    }

    /// Drops the longest unused files, unfinished ones included, until `coming` more bytes fit. Files in `keep` stay.
    pub fn make_room(&self, coming: u64, keep: &dyn Fn(&str) -> bool) -> io::Result<()> {
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            held.push((meta.modified()?, meta.len(), name));
        }
        held.sort();
        let mut total: u64 = held.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, name) in held {
            if total.saturating_add(coming) <= self.limit {
                break;
            }
            if keep(name.strip_suffix(&format!(".{PART}")).unwrap_or(&name)) {
                continue;
            }
            fs::remove_file(self.dir.join(&name))?;
            total -= bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &Cache, bytes: &[u8], age: u64) -> String {
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
        fs::write(cache.path(&digest), bytes).unwrap();
        let then = SystemTime::now() - std::time::Duration::from_secs(age);
        fs::OpenOptions::new()
            .write(true)
            .open(cache.path(&digest))
            .unwrap()
            .set_modified(then)
            .unwrap();
        digest
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_needed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 30).unwrap();
        let (old, needed, young) = (
            put(&cache, &[1; 10], 300),
            put(&cache, &[2; 10], 200),
            put(&cache, &[3; 10], 100),
        );
        cache.make_room(0, &|_| false).unwrap();
        assert!(cache.has(&old, 10).unwrap());
        // `old` was just used, so `young` is now the one that is unused longest, after `needed`.
        cache.make_room(10, &|name| name == needed).unwrap();
        assert!(cache.has(&old, 10).unwrap() && cache.has(&needed, 10).unwrap() && !cache.has(&young, 10).unwrap());
    }

    #[test]
    fn a_rotten_file_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1000).unwrap();
        let digest = put(&cache, b"good", 0);
        fs::write(cache.path(&digest), b"evil").unwrap();
        assert!(!cache.has(&digest, 4).unwrap());
        assert!(!cache.path(&digest).exists());
    }

    #[test]
    fn placing_makes_the_folders_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1000).unwrap();
        let digest = put(&cache, b"doc", 0);
        let to = dir.path().join("job/tasks/gsm/test.jsonl");
        cache.place(&digest, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"doc");
    }
}
