//! Who may write to which upload in this process, how many may write at once, and what is known of the bytes so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::meters;
use crate::db::ids::{FileId, TeamId};
use crate::metrics::Held;

/// How long a newcomer waits for the old writer to put its bytes down and leave.
const SLOT_WAIT: Duration = Duration::from_secs(20);
/// Running digests kept between two requests; 100 bytes each. One that is forgotten costs a second read of its file.
const RUNNING_DIGESTS: usize = 4096;

/// Writer slots, lanes and running digests of this process.
#[derive(Default)]
pub struct Slots {
    map: Arc<Mutex<HashMap<FileId, Entry>>>,
    lanes: Arc<Mutex<HashMap<TeamId, usize>>>,
    digests: Mutex<HashMap<FileId, (u64, Sha256)>>,
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

/// How many requests may send bytes at once.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// All teams together.
    pub process: usize,
    /// One team.
    pub team: usize,
}

/// A place among the requests that send bytes now. Dropping it gives it back.
pub struct Lane {
    team: TeamId,
    lanes: Arc<Mutex<HashMap<TeamId, usize>>>,
    _held: Option<Held>,
}

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

    /// A place for one more request of `team`, if there is one.
    #[must_use]
    pub fn lane(&self, team: TeamId, limits: Lanes) -> Option<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = lanes.get(&team).copied().unwrap_or_default();
        if mine >= limits.team || lanes.values().sum::<usize>() >= limits.process {
            return None;
        }
        lanes.insert(team, mine + 1);
        Some(Lane {
            team,
            lanes: self.lanes.clone(),
            _held: meters::sending(),
        })
    }

    /// Requests that send bytes now.
    #[must_use]
    pub fn sending(&self) -> usize {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().sum()
    }

    /// The digest of the first `offset` bytes, if it is known. Bytes below a committed offset never change, so the offset
    /// alone says whether it fits.
    #[must_use]
    pub fn digest(&self, file: FileId, offset: u64) -> Option<Sha256> {
        if offset == 0 {
            return Some(Sha256::new());
        }
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, digest) = digests.get(&file)?;
        (*at == offset).then(|| digest.clone())
    }

    /// Keeps the digest of the first `offset` bytes for the next request.
    pub fn keep_digest(&self, file: FileId, offset: u64, digest: Sha256) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= RUNNING_DIGESTS && !digests.contains_key(&file) {
            digests.clear();
        }
        digests.insert(file, (offset, digest));
    }

    /// The upload is over.
    pub fn forget_digest(&self, file: FileId) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.remove(&file);
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

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = lanes.get_mut(&self.team) {
            *count -= 1;
            if *count == 0 {
                lanes.remove(&self.team);
            }
        }
    }
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
    fn lanes_are_counted_by_team_and_in_all() {
        let slots = Slots::default();
        let limits = Lanes { process: 3, team: 2 };
        let (a, b) = (TeamId::new(), TeamId::new());
        let first = slots.lane(a, limits).unwrap();
        let _second = slots.lane(a, limits).unwrap();
        assert!(slots.lane(a, limits).is_none(), "the team has two");
        let third = slots.lane(b, limits).unwrap();
        assert!(slots.lane(b, limits).is_none(), "the process has three");
        drop(third);
        drop(first);
        assert!(slots.lane(a, limits).is_some());
        assert_eq!(slots.sending(), 1);
    }

    #[test]
    fn a_digest_fits_only_its_offset() {
        let slots = Slots::default();
        let file = FileId::new();
        slots.keep_digest(file, 5, Sha256::new_with_prefix(b"hello"));
        assert!(slots.digest(file, 4).is_none());
        let known = slots.digest(file, 5).unwrap();
        assert_eq!(known.finalize(), Sha256::digest(b"hello"));
        assert_eq!(slots.digest(file, 0).unwrap().finalize(), Sha256::digest(b""));
        slots.forget_digest(file);
        assert!(slots.digest(file, 5).is_none());
    }
}
