//! SIGTERM and SIGINT: the first finishes the attempt and takes no other, the second gives it back, the third ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the operator of this machine asked for.
#[derive(Clone, Default)]
pub struct Wishes {
    /// Take no other attempt. Also set by the server's `drain`.
    pub drain: Arc<AtomicBool>,
    /// Resolves at the first signal: nothing is awaited any longer than needed.
    pub draining: CancellationToken,
    /// Resolves at the second signal: give the attempt back.
    pub release: CancellationToken,
}

impl Wishes {
    /// Whether no other attempt should be taken.
    pub fn is_draining(&self) -> bool {
        self.drain.load(Ordering::Relaxed)
    }
}

/// Listens from now on.
pub fn listen() -> std::io::Result<Wishes> {
    let wishes = Wishes::default();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let told = wishes.clone();
    tokio::spawn(async move {
        for count in 1.. {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            match count {
                1 => {
                    tracing::info!("asked to stop: finishing the current attempt; a second signal gives it back");
                    told.drain.store(true, Ordering::Relaxed);
                    told.draining.cancel();
                }
                2 => {
                    tracing::info!("asked again: giving the current attempt back");
                    told.release.cancel();
                }
                _ => std::process::exit(130),
            }
        }
    });
    Ok(wishes)
}
