//! Who this worker is, on disk and readable by its owner alone: `worker.key`, an Ed25519 key that never leaves this
//! machine, and `worker.json`, what the server made of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};

use crate::files;

/// Who this worker is to one server.
#[derive(Serialize, Deserialize, Clone)]
pub struct Identity {
    /// Address of the server the key belongs to.
    pub server: String,
    /// Id the server gave.
    pub worker_id: String,
    /// A bearer key, from a server that was older than workers' own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The worker's own key pair.
pub struct OwnKey {
    pair: Ed25519KeyPair,
}

impl OwnKey {
    /// The key kept in `data`, made there when there is none yet.
    pub fn open(data: &Path) -> io::Result<OwnKey> {
        let path = data.join("worker.key");
        let broken = |_| io::Error::new(io::ErrorKind::InvalidData, "worker.key is damaged");
        let pkcs8 = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                    .map_err(|_| io::Error::other("the system's random generator does not answer"))?;
                files::write_secret(&path, made.as_ref())?;
                made.as_ref().to_vec()
            }
            Err(error) => return Err(error),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(broken)?;
        Ok(OwnKey { pair })
    }

    /// The public half: 64 hexadecimal digits.
    pub fn public(&self) -> String {
        hex::encode(self.pair.public_key().as_ref())
    }

    /// A signature over `statement`: 128 hexadecimal digits.
    pub fn sign(&self, statement: &str) -> String {
        hex::encode(self.pair.sign(statement.as_bytes()))
    }
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
            key: None,
        };
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap().unwrap().worker_id, "1");

        let held = lock(dir.path()).unwrap();
        assert_eq!(lock(dir.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn the_key_pair_is_made_once_and_guarded() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let key = OwnKey::open(dir.path()).unwrap();
        let again = OwnKey::open(dir.path()).unwrap();
        assert_eq!(key.public(), again.public());
        assert_eq!(
            key.sign("a"),
            again.sign("a"),
            "Ed25519 signatures are a function of key and text"
        );
        assert_ne!(key.sign("a"), key.sign("b"));
        let path = dir.path().join("worker.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nonsense").unwrap();
        assert!(OwnKey::open(dir.path()).is_err());
    }

    #[test]
    fn an_identity_with_a_bearer_key_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            path(dir.path()),
            r#"{"server": "http://x", "worker_id": "1", "key": "k"}"#,
        )
        .unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap().unwrap().key.as_deref(), Some("k"));
    }
}
