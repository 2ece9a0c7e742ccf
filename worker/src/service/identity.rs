//! The worker's key on disk: `worker.json`, readable by its owner alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;

/// Who this worker is to one server.
#[derive(Serialize, Deserialize, Clone)]
pub struct Identity {
    /// Address of the server the key belongs to.
    pub server: String,
    /// Id the server gave.
    pub worker_id: String,
    /// The worker's only secret.
    pub key: String,
}

/// Where [`Identity`] is kept under the data folder.
pub fn path(data: &Path) -> PathBuf {
    data.join("worker.json")
}

impl Identity {
    /// The identity kept in `data`, if there is one.
    pub fn read(data: &Path) -> io::Result<Option<Identity>> {
        match fs::read(path(data)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps this identity in `data`.
    pub fn write(&self, data: &Path) -> io::Result<()> {
        files::write_secret(&path(data), serde_json::to_string_pretty(self)?.as_bytes())
    }
}

/// Takes the data folder for this process: two workers in one folder would fight over cache and key.
/// The lock goes with the returned file.
pub fn lock(data: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data.join("lock"))?;
    file.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another worker already uses this data folder",
        ),
        fs::TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_the_folder_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::read(dir.path()).unwrap().is_none());
        let identity = Identity {
            server: "http://x".into(),
            worker_id: "1".into(),
            key: "k".into(),
        };
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap().unwrap().key, "k");

        let held = lock(dir.path()).unwrap();
        assert_eq!(lock(dir.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        lock(dir.path()).unwrap();
    }
}
