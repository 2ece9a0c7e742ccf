//! What every request can reach: one value, made once at the start and shared by all HTTP workers.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::hmac;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::auth::limits::Limits;
use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::boards::Boards;
use crate::dispatch_metrics::DispatchMetrics;
use crate::health::Health;
use crate::live::Live;
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::outcomes::TaskSets;
use crate::settings::Settings;
use crate::storage::Storage;

/// Shared state. Handlers take it as `web::Data<AppState>`.
pub struct AppState {
    /// Database connections.
    pub pool: PgPool,
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// Scheme, host and port people use, without a trailing slash; resolved after binding.
    pub public_url: String,
    /// Files on disk.
    pub storage: Storage,
    /// Fan-out of changes to open pages.
    pub live: Live,
    /// Boards, computed when something they show has changed.
    pub boards: Boards,
    /// Tasks of contests that seal documents.
    pub task_sets: TaskSets,
    /// Secrets of this installation.
    pub keys: Keys,
    /// Password hashing, bounded in how many run at once.
    pub passwords: Passwords,
    /// Failed logins, sign-ups and wrong invitation codes.
    pub throttle: Throttle,
    /// How often anyone may ask.
    pub limits: Limits,
    /// Sends mail, if a way is set.
    pub mailer: Mailer,
    /// What a monitoring system scrapes; parts of the application register what they count.
    pub metrics: Metrics,
    /// What parts of the application say of themselves, for `/readyz`.
    pub health: Health,
    /// What dispatch tells of itself.
    pub dispatch: DispatchMetrics,
    /// Cancelled when the process begins to stop: streams end, uploads commit what they have.
    pub stopping: CancellationToken,
}

/// The installation's secret and what is derived from it. Each use has its own key, so that none can stand in for
/// another.
#[derive(Clone)]
pub struct Keys {
    master: hmac::Key,
}

/// Length of the secret: as long as the output of the hash it keys.
const SECRET_BYTES: usize = 32;

impl Keys {
    /// Reads `secret` in the data folder, making it at the first start, readable by its owner alone.
    pub fn open(data_dir: &Path) -> anyhow::Result<Keys> {
        fs::create_dir_all(data_dir).with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
        let path = data_dir.join("secret");
        let context = || format!("cannot use the secret key file {}", path.display());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_secret(&path).with_context(context)?,
            Err(error) => return Err(error).with_context(context),
        };
        let mode = fs::metadata(&path).with_context(context)?.permissions().mode();
        anyhow::ensure!(
            mode & 0o077 == 0,
            "{} may be read by others: chmod 600 it",
            path.display()
        );
        let secret = hex::decode(text.trim()).with_context(context)?;
        anyhow::ensure!(
            secret.len() == SECRET_BYTES,
            "{} must hold 64 hexadecimal digits",
            path.display()
        );
        Ok(Keys {
            master: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        })
    }

    /// The key for one use, named by `label` (for example `"visitor csrf"` or `"job token"`).
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(&self.master, label.as_bytes()).as_ref());
        key
    }
}

/// Writes a new secret under a temporary name and links it into place, so that two processes starting at once agree on
/// one and neither ever reads half a file.
fn create_secret(path: &Path) -> io::Result<String> {
    let text = hex::encode(crate::auth::token::random_bytes::<SECRET_BYTES>());
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_guarded() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path()).unwrap().derive("a use");
        assert_eq!(first, Keys::open(folder.path()).unwrap().derive("a use"));
        assert_ne!(first, Keys::open(folder.path()).unwrap().derive("another use"));
        let path = folder.path().join("secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::open(folder.path()).is_err());
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "abcd").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Keys::open(folder.path()).is_err());
    }
}
