//! What teams were told, written down the moment they heard it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// A file that a team is sending or has sent.
#[derive(Clone)]
pub struct Sent {
    pub submission: Uuid,
    pub name: String,
    pub content: Arc<Vec<u8>>,
    /// The highest offset that any answer named.
    pub acknowledged: u64,
}

/// Everything promised so far.
#[derive(Default)]
pub struct Told {
    /// Submissions whose team heard "accepted".
    pub accepted: BTreeSet<Uuid>,
    /// Files by the id of their upload.
    pub files: BTreeMap<Uuid, Sent>,
    /// Answers that took a promise back.
    pub broken: Vec<String>,
}

/// Shared by all teams.
#[derive(Default)]
pub struct Promises {
    told: Mutex<Told>,
    count: AtomicU64,
    stopping: AtomicBool,
}

impl Promises {
    pub fn with<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        look(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An answer named `offset` for an upload. Offsets only rise: whatever was acknowledged stays.
    pub fn offset(&self, file: Uuid, offset: u64) {
        self.with(|told| {
            let Some(sent) = told.files.get_mut(&file) else { return };
            if offset < sent.acknowledged {
                let line = format!("upload {file} fell back from {} to {offset}", sent.acknowledged);
                told.broken.push(line);
            } else {
                sent.acknowledged = offset;
            }
        });
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn accepted(&self, submission: Uuid) {
        self.with(|told| told.accepted.insert(submission));
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers so far: rises whenever the service gets something done.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until something more was promised.
    pub async fn wait_for_more(&self, than: u64, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.count() <= than {
            anyhow::ensure!(started.elapsed() < patience, "the service stood still for {patience:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub async fn wait_for(&self, holds: impl Fn(&Told) -> bool, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while !self.with(|told| holds(told)) {
            anyhow::ensure!(
                started.elapsed() < patience,
                "the service did not get going within {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
