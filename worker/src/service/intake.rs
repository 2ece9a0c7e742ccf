//! Where work comes from: announcements on the broker, where there is one, and the server's own long wait otherwise.
//! Either way the server's answer to a claim is the only thing that makes work, so that changing from one to the other,
//! or hearing of a job twice, never makes two runs of it.

use std::time::Duration;

use anyhow::Context as _;
use assay_contest::wire::{Claim, ClaimAsk, Device, Doorbell};

use super::client::{CLAIM_WAIT, CallError, Server};
use super::doorbell::{Bell, Heard};
use super::retry::Backoff;
use super::session::Login;
use super::signals::Wishes;

/// With a line to the broker the server is still asked this often: it also tells it that this worker is alive.
const ASK_ANYWAY: Duration = Duration::from_secs(45);
/// How long the server is asked to wait while the broker is being tried again.
const MEANWHILE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Intake {
    server: Server,
    login: Login,
    device: Device,
    wishes: Wishes,
    /// What the operator of this machine said about the broker; it goes before what the server says.
    told: Option<Doorbell>,
    name: String,
    bell: Option<Bell>,
}

impl Intake {
    /// Nothing is asked yet.
    pub fn new(
        server: Server,
        login: Login,
        device: Device,
        wishes: Wishes,
        told: Option<Doorbell>,
        name: String,
    ) -> Intake {
        Intake {
            server,
            login,
            device,
            wishes,
            told,
            name,
            bell: None,
        }
    }

    /// Waits for an attempt. None: asked to stop. An error means that waiting longer is no use. `lasts` says whether a
    /// server that does not answer is still waited for, and is told when it has answered.
    pub async fn next(&mut self, patience: &mut (dyn Patience + Send)) -> anyhow::Result<Option<Claim>> {
        let mut backoff = Backoff::default();
        // What is waiting now may have been announced while nobody listened.
        let mut wait = Duration::ZERO;
        while !self.wishes.is_draining() {
            match self.ask(None, wait).await {
                Asked::Work(claim) => {
                    patience.answered();
                    return Ok(Some(claim));
                }
                Asked::Nothing => {
                    patience.answered();
                    backoff.reset();
                }
                Asked::Stopped => break,
                Asked::Failed(error) => {
                    self.bear(error, patience, &mut backoff).await?;
                    continue;
                }
            }
            wait = match self.hear(patience, &mut backoff).await? {
                Some(claim) => return Ok(Some(claim)),
                None if self.bell.as_ref().is_some_and(Bell::is_up) => Duration::ZERO,
                None if self.bell.is_some() => MEANWHILE,
                None => CLAIM_WAIT,
            };
        }
        if let Some(bell) = &mut self.bell {
            bell.stop_listening().await;
        }
        Ok(None)
    }

    /// Listens to the broker for a while, where there is one. None: nothing came of it.
    async fn hear(
        &mut self,
        patience: &mut (dyn Patience + Send),
        backoff: &mut Backoff,
    ) -> anyhow::Result<Option<Claim>> {
        let at = self.told.as_ref().or(self.login.doorbell());
        match at {
            None => self.bell = None,
            Some(at) if self.bell.as_ref().is_some_and(|bell| bell.is_at(at)) => {}
            Some(at) => self.bell = Some(Bell::new(at.clone(), &self.name)),
        }
        let until = tokio::time::Instant::now() + ASK_ANYWAY;
        loop {
            let Some(bell) = &mut self.bell else { return Ok(None) };
            if bell.connect().await {
                return Ok(None);
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let heard = tokio::select! {
                heard = bell.listen(left) => heard,
                () = self.wishes.draining.cancelled() => return Ok(None),
            };
            let announced = match heard {
                Heard::Ring(announced) => announced,
                Heard::Nothing | Heard::Down => return Ok(None),
            };
            let asked = self.ask(announced.job_id.clone(), Duration::ZERO).await;
            let Some(bell) = &mut self.bell else { return Ok(None) };
            match asked {
                Asked::Work(claim) => {
                    bell.answered(*announced, true).await;
                    patience.answered();
                    return Ok(Some(claim));
                }
                // Somebody else has it, or it is not its turn: then it is announced again when it is.
                Asked::Nothing => bell.answered(*announced, false).await,
                Asked::Stopped => {
                    bell.give_back(*announced).await;
                    return Ok(None);
                }
                Asked::Failed(error) => {
                    bell.give_back(*announced).await;
                    self.bear(error, patience, backoff).await?;
                    return Ok(None);
                }
            }
        }
    }

    /// One claim.
    async fn ask(&mut self, job_id: Option<String>, wait: Duration) -> Asked {
        let ask = ClaimAsk {
            device: Some(self.device.clone()),
            job_id,
        };
        let call = async {
            let token = self.login.token().await?;
            match self.server.claim(&token, &ask, wait).await {
                Err(error) if error.is_session_ended() => {
                    self.login.forget();
                    let token = self.login.token().await?;
                    self.server.claim(&token, &ask, wait).await
                }
                answered => answered,
            }
        };
        let answer = tokio::select! {
            answer = call => answer,
            () = self.wishes.draining.cancelled() => return Asked::Stopped,
        };
        match answer {
            Ok(Some(claim)) => Asked::Work(claim),
            Ok(None) => Asked::Nothing,
            Err(error) => Asked::Failed(error),
        }
    }

    /// Waits after a failure that may pass, and gives up on one that does not.
    async fn bear(
        &self,
        error: CallError,
        patience: &mut (dyn Patience + Send),
        backoff: &mut Backoff,
    ) -> anyhow::Result<()> {
        match error {
            error if error.is_passing() && patience.lasts() => {
                tracing::warn!(%error, "no answer, trying again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next(error.after())) => {}
                    () = self.wishes.draining.cancelled() => {}
                }
                Ok(())
            }
            error if error.is_unknown_key() => {
                Err(error).context("the server does not know this worker's key; enrol it again")
            }
            error @ CallError::Answer(_) => Err(error).context("this is not an assay server"),
            error => Err(error).context("the server cannot be used"),
        }
    }
}

enum Asked {
    Work(Claim),
    Nothing,
    Stopped,
    Failed(CallError),
}

/// How long a server that does not answer is waited for.
pub trait Patience {
    /// Whether it still is.
    fn lasts(&self) -> bool;
    /// It has answered.
    fn answered(&mut self);
}
