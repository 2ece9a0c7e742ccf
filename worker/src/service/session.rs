//! The worker's session: a signed challenge becomes a token for a quarter of an hour, renewed before it ends.

use std::time::{Duration, Instant};

use assay_contest::wire::{Challenge, Doorbell, OpenSession, session_statement};

use super::client::{CallError, Server};
use super::identity::OwnKey;

/// A session this close to its end is renewed first: a claim may be held open for half of this.
const MARGIN: Duration = Duration::from_secs(60);

/// How this worker shows who it is.
pub enum Means {
    /// A key that an older server made.
    Bearer(String),
    /// The worker's own key.
    Own(OwnKey),
}

/// Opens sessions and keeps the current one.
pub struct Login {
    server: Server,
    worker_id: String,
    means: Means,
    open: Option<Open>,
    doorbell: Option<Doorbell>,
}

struct Open {
    token: String,
    until: Instant,
}

impl Login {
    /// None open yet.
    pub fn new(server: Server, worker_id: String, means: Means) -> Login {
        Login {
            server,
            worker_id,
            means,
            open: None,
            doorbell: None,
        }
    }

    /// A token to claim with; opens a session when there is none or it is about to end.
    pub async fn token(&mut self) -> Result<String, CallError> {
        let key = match &self.means {
            Means::Bearer(key) => return Ok(key.clone()),
            Means::Own(key) => key,
        };
        if let Some(open) = &self.open
            && Instant::now() < open.until
        {
            return Ok(open.token.clone());
        }
        let ask = Challenge {
            worker_id: self.worker_id.clone(),
        };
        let challenge = self.server.challenge(&ask).await?.challenge;
        let asked = Instant::now();
        let session = self
            .server
            .open_session(&OpenSession {
                worker_id: self.worker_id.clone(),
                signature: key.sign(&session_statement(&self.worker_id, &challenge)),
                challenge,
            })
            .await?;
        let life = Duration::from_secs(session.seconds);
        self.open = Some(Open {
            token: session.token.clone(),
            // One that is shorter than the margin is used for half its life.
            until: asked + life.saturating_sub(MARGIN).max(life / 2),
        });
        self.doorbell = session.doorbell;
        Ok(session.token)
    }

    /// The server says that the session has ended: the next token is of a new one.
    pub fn forget(&mut self) {
        self.open = None;
    }

    /// Where the server said that jobs are announced.
    pub fn doorbell(&self) -> Option<&Doorbell> {
        self.doorbell.as_ref()
    }
}
