//! How a worker is let in, opens a session, and asks for work.
//!
//! A worker makes an Ed25519 key, enrols its public half with a one-time token, and from then on signs a challenge
//! whenever it needs a session. Keys and signatures travel as lower-case hexadecimal digits.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Device;

/// A worker asks to be let in, with the one-time token an organizer made.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Enrol {
    /// The one-time token.
    pub token: String,
    /// The name shown to organizers.
    pub name: String,
    /// What it computes on.
    pub device: Device,
    /// The public half of the worker's Ed25519 key: 64 hexadecimal digits.
    #[serde(default)]
    pub public_key: String,
    /// [`enrolment_statement`] signed with the key: 128 hexadecimal digits. It shows that the asker holds the key.
    #[serde(default)]
    pub signature: String,
}

/// What a worker signs to enrol a key.
pub fn enrolment_statement(token: &str) -> String {
    format!("assay worker enrolment v1\n{token}")
}

/// The answer to [`Enrol`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Id of the worker.
    pub worker_id: String,
    /// A bearer key, from servers that are older than workers' own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A worker asks for something to sign.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// Id of the worker.
    pub worker_id: String,
}

/// The answer to [`Challenge`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Challenged {
    /// Good for one signature, for a minute.
    pub challenge: String,
}

/// A worker asks for a session.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct OpenSession {
    /// Id of the worker.
    pub worker_id: String,
    /// From [`Challenged`].
    pub challenge: String,
    /// [`session_statement`] signed with the worker's key: 128 hexadecimal digits.
    pub signature: String,
}

/// What a worker signs to open a session.
pub fn session_statement(worker_id: &str, challenge: &str) -> String {
    format!("assay worker session v1\n{worker_id}\n{challenge}")
}

/// The answer to [`OpenSession`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Session {
    /// A bearer token for claims.
    pub token: String,
    /// How long it is good for.
    pub seconds: u64,
    /// Where jobs are announced, if a broker is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doorbell: Option<Doorbell>,
}

/// Where jobs are announced.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Doorbell {
    /// Address of the broker, with a name and password that may read the queue and nothing else.
    pub url: String,
    /// The queue.
    pub queue: String,
}

/// A message of the doorbell. It gives no right to anything: the claim decides.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Version of the message.
    pub v: u32,
    /// The job that waits.
    pub job_id: String,
    /// What kind of job.
    #[serde(default)]
    pub kind: String,
}

/// A worker asks for work.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimAsk {
    /// What it computes on.
    #[serde(default)]
    pub device: Option<Device>,
    /// The job whose bell it heard. The order of the queue still decides which job it gets: were it the one that is
    /// named, teams would be served in the order of messages, not in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

// Tokens and keys stay out of logs: what is printed of these says who and what, never by which secret.

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrol")
            .field("name", &self.name)
            .field("device", &self.device)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled")
            .field("worker_id", &self.worker_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("seconds", &self.seconds)
            .field("doorbell", &self.doorbell)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let enrolled = Enrolled {
            worker_id: "w1".into(),
            key: Some("hush".into()),
        };
        let enrol = Enrol {
            token: "hush".into(),
            name: "n".into(),
            device: Device::default(),
            public_key: "p".into(),
            signature: "hush".into(),
        };
        let session = Session {
            token: "hush".into(),
            seconds: 900,
            doorbell: Some(Doorbell {
                url: "amqp://worker:hush@broker".into(),
                queue: "jobs.gpu".into(),
            }),
        };
        let printed = format!("{enrolled:?} {enrol:?} {session:?}");
        assert!(!printed.contains("hush") && printed.contains("jobs.gpu"), "{printed}");
        // On the wire they are there.
        assert_eq!(serde_json::to_value(&session).unwrap()["token"], "hush");
    }

    #[test]
    fn an_older_server_answers_with_a_key_and_an_older_worker_brings_none() {
        let enrolled: Enrolled = serde_json::from_str(r#"{"worker_id": "w1", "key": "k"}"#).unwrap();
        assert_eq!(enrolled.key.as_deref(), Some("k"));
        let enrol: Enrol =
            serde_json::from_str(r#"{"token": "t", "name": "n", "device": {"name": "d", "kind": "cpu"}}"#).unwrap();
        assert_eq!(enrol.public_key, "");
    }
}
