//! What changed, told to everyone in this process who waits for it: open pages, and workers that ask for a job.
//!
//! One Postgres listener a process, fanned out by a broadcast. A notification carries only an id; whoever hears it reads
//! the truth from the tables. So a lost one costs freshness, never correctness, and after anything that may have lost
//! some (a broken connection, a slow listener) everyone is told to look again.

use std::time::Duration;

use actix_web::web;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::db::ids::SubmissionId;
use crate::state::AppState;

/// Notes kept for a slow listener before it is told to look again.
const BACKLOG: usize = 1024;
/// Wait between two tries to reach the database.
const RECONNECT: Duration = Duration::from_secs(1);

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A submission's page looks different now.
    Submission(SubmissionId),
    /// A job may be waiting.
    Jobs,
    /// The board of this contest may have changed.
    Board(String),
    /// Notes may have been lost: everything may have changed.
    Everything,
}

/// The fan-out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live {
    notes: broadcast::Sender<Note>,
}

impl Default for Live {
    fn default() -> Live {
        Live::new()
    }
}

impl Live {
    /// A fan-out that nobody feeds yet; [`start`] does.
    #[must_use]
    pub fn new() -> Live {
        Live {
            notes: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Listens from now on. Subscribe first, then read the tables: the other way round a change in between is missed.
    #[must_use]
    pub fn subscribe(&self) -> Listener {
        Listener {
            notes: self.notes.subscribe(),
        }
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    notes: broadcast::Receiver<Note>,
}

impl Listener {
    /// The next note. One that listened too slowly gets [`Note::Everything`] in place of what it missed.
    pub async fn next(&mut self) -> Note {
        match self.notes.recv().await {
            Ok(note) => note,
            Err(RecvError::Lagged(_)) => Note::Everything,
            // The sender lives in the application's state: it is gone only when the process ends.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Feeds the fan-out from the database until the process stops.
pub fn start(state: web::Data<AppState>) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = state.stopping.cancelled() => return,
                outcome = listen(&state) => {
                    if state.pool.is_closed() {
                        return;
                    }
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "the notification listener lost the database");
                    }
                }
            }
            tokio::time::sleep(RECONNECT).await;
        }
    });
}

async fn listen(state: &AppState) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(&state.pool).await?;
    listener
        .listen_all(["assay_submission", "assay_jobs", "assay_board"])
        .await?;
    loop {
        // Before the first wait and after every break: notes may have been lost.
        let _ = state.live.notes.send(Note::Everything);
        while let Some(notification) = listener.try_recv().await? {
            if let Some(note) = read(&notification) {
                // No one listening is fine.
                let _ = state.live.notes.send(note);
            }
        }
    }
}

fn read(notification: &PgNotification) -> Option<Note> {
    match notification.channel() {
        "assay_submission" => notification.payload().parse().ok().map(Note::Submission),
        "assay_jobs" => Some(Note::Jobs),
        "assay_board" => Some(Note::Board(notification.payload().to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_to_look_again() {
        let live = Live::new();
        let mut listener = live.subscribe();
        for _ in 0..BACKLOG + 1 {
            live.notes.send(Note::Jobs).unwrap();
        }
        assert_eq!(listener.next().await, Note::Everything);
        assert_eq!(listener.next().await, Note::Jobs);
    }
}
