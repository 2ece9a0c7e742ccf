//! Why an attempt should stop, told to the tasks and the threads that work on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Why an attempt stops without a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The lease is gone: another worker may have the job. Nothing may be written any more.
    LeaseLost,
    /// The server wants this attempt stopped.
    Cancelled,
    /// This worker was told, twice, to stop.
    Released,
}

/// Stops an attempt, once, for the first reason given.
#[derive(Clone, Default)]
pub struct Abort {
    flag: Arc<AtomicBool>,
    token: CancellationToken,
    why: Arc<Mutex<Option<Why>>>,
}

impl Abort {
    /// Asks everything that works on the attempt to stop.
    pub fn stop(&self, why: Why) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
        self.flag.store(true, Ordering::Relaxed);
        self.token.cancel();
    }

    /// The reason, when there is one.
    pub fn why(&self) -> Option<Why> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pipeline's threads look at.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// Waits until [`Abort::stop`].
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }
}
