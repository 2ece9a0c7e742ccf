//! Keeps the lease alive while the pipeline works, and listens for what the server wants.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_contest::wire::{Claim, Directive, Heartbeat, Progress};
use tokio::time::Instant;

use super::abort::{Abort, Why};
use super::client::{CallError, Server};
use super::retry::Backoff;

/// Progress is told at most this often.
const LEAST_GAP: Duration = Duration::from_secs(1);

/// Where the pipeline leaves its progress for the next heartbeat.
#[derive(Clone)]
pub struct Ledger {
    latest: Arc<Mutex<(Progress, bool)>>,
    /// When the present stage began.
    began: Arc<Mutex<Instant>>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            latest: Arc::default(),
            began: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl Ledger {
    /// Replaces the progress; its step rises by one, and a stage that is over has its time kept.
    pub fn report(&self, progress: &Progress) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timings = std::mem::take(&mut latest.0.timings);
        if latest.0.stage != progress.stage {
            let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
            timings.insert(latest.0.stage.name().to_owned(), began.elapsed().as_secs_f64());
            *began = Instant::now();
        }
        let step = latest.0.step + 1;
        *latest = (
            Progress {
                step,
                timings,
                ..progress.clone()
            },
            true,
        );
    }

    /// The progress, and whether it is news since the last [`Ledger::take`].
    fn is_news(&self) -> bool {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn take(&self) -> Progress {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.1 = false;
        latest.0.clone()
    }
}

/// What the heartbeats of one attempt share with the rest of the worker.
#[derive(Clone)]
pub struct Pulse {
    pub server: Server,
    pub claim: Arc<Claim>,
    pub ledger: Ledger,
    pub abort: Abort,
    /// Set when the server wants this worker to take no other job.
    pub drain: Arc<AtomicBool>,
}

impl Pulse {
    /// One heartbeat. Returns the lease granted, counted from before the call: the server's clock started later.
    async fn beat(&self, limit: Duration) -> Result<Instant, CallError> {
        let sent = Instant::now();
        let beat = Heartbeat {
            fence: self.claim.fence,
            progress: self.ledger.take(),
        };
        let answer = self.server.heartbeat(&self.claim, &beat, limit).await?;
        match answer.directive {
            Directive::Continue => {}
            Directive::Cancel => self.abort.stop(Why::Cancelled),
            Directive::Drain => self.drain.store(true, Ordering::Relaxed),
        }
        Ok(sent + Duration::from_secs(answer.lease_seconds.max(1)))
    }

    /// The first heartbeat: no work is begun before it has been answered. It may be tried again while the lease lasts.
    pub async fn first(&self) -> Result<Instant, CallError> {
        let lease = Duration::from_secs(self.claim.lease_seconds.max(1));
        let until = Instant::now() + lease;
        let mut backoff = Backoff::default();
        loop {
            match self.beat(lease).await {
                Err(error) if error.is_passing() => {
                    let wait = backoff.next(error.after());
                    if Instant::now() + wait >= until {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
                answered => return answered,
            }
        }
    }

    /// Beats every quarter of the lease, and about once a second while there is news, until dropped.
    /// When the lease cannot be renewed any more the attempt is stopped as [`Why::LeaseLost`].
    pub async fn keep(self, mut until: Instant) {
        let mut backoff = Backoff::default();
        loop {
            let lease = until.saturating_duration_since(Instant::now());
            let due = Instant::now() + lease / 4;
            tokio::time::sleep(LEAST_GAP.min(lease / 4)).await;
            while Instant::now() < due && !self.ledger.is_news() {
                tokio::time::sleep(LEAST_GAP.min(due.saturating_duration_since(Instant::now()))).await;
            }
            // No answer after the lease ended could be acted on.
            match self
                .beat(until.saturating_duration_since(Instant::now()).max(LEAST_GAP))
                .await
            {
                Ok(lease) => {
                    until = lease;
                    backoff.reset();
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "heartbeat not answered");
                    let wait = backoff.next(error.after());
                    if Instant::now() + wait >= until {
                        tracing::error!("the lease ran out before the server could be reached");
                        return self.abort.stop(Why::LeaseLost);
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the attempt is no longer ours");
                    return self.abort.stop(Why::LeaseLost);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_contest::wire::Stage;

    use super::*;

    #[test]
    fn steps_rise_and_news_is_told_once() {
        let ledger = Ledger::default();
        assert!(!ledger.is_news());
        ledger.report(&Progress {
            done: 5,
            step: 99,
            ..Progress::default()
        });
        ledger.report(&Progress {
            done: 6,
            ..Progress::default()
        });
        assert!(ledger.is_news());
        let told = ledger.take();
        assert_eq!((told.done, told.step), (6, 2));
        assert!(!ledger.is_news());
        assert!(told.timings.is_empty(), "the first stage is not over");
    }

    #[test]
    fn stages_that_are_over_keep_their_time() {
        let ledger = Ledger::default();
        for stage in [Stage::Fetch, Stage::Verify, Stage::Load, Stage::Load] {
            ledger.report(&Progress {
                stage,
                ..Progress::default()
            });
        }
        let told = ledger.take();
        assert_eq!(told.timings.keys().collect::<Vec<_>>(), ["fetch", "verify"]);
        assert!(told.timings.values().all(|seconds| (0.0..60.0).contains(seconds)));
    }
}
