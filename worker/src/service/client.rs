//! One function a call of the worker API. Nothing here retries; [`CallError::is_passing`] says what may be tried again.

use std::time::Duration;

use assay_contest::wire::{
    Challenge, Challenged, Claim, ClaimAsk, Enrol, Enrolled, Heartbeat, HeartbeatAnswer, OpenSession, Release, Session,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

/// How long the server may hold a claim open before it says there is nothing to do.
pub const CLAIM_WAIT: Duration = Duration::from_secs(25);
/// Longest silence on any connection. Must exceed [`CLAIM_WAIT`].
const SILENCE: Duration = Duration::from_secs(45);
/// Slowest sending that is waited for, bytes a second.
const SLOWEST: u64 = 64 << 10;
/// Most bytes of a JSON answer: a claim lists every file of a submission and of the contest.
const MAX_ANSWER: usize = 16 << 20;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer, or one that says "later": the same call may work in a while.
    #[error("no usable answer: {message}")]
    Passing { message: String, after: Option<Duration> },
    /// Another attempt has the job, or the lease ran out.
    #[error("the lease is lost")]
    LeaseLost,
    /// The server understood and said no.
    #[error("refused with {status} {code}: {detail}")]
    Refused { status: u16, code: String, detail: String },
    /// An answer that is not what the protocol says.
    #[error("the answer makes no sense: {0}")]
    Answer(String),
}

impl CallError {
    /// Whether the same call may work later.
    pub fn is_passing(&self) -> bool {
        matches!(self, CallError::Passing { .. })
    }

    /// How long the server asked to wait.
    pub fn after(&self) -> Option<Duration> {
        match self {
            CallError::Passing { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether the server does not know the key that was shown.
    pub fn is_unknown_key(&self) -> bool {
        matches!(self, CallError::Refused { status: 401 | 403, .. })
    }

    /// Whether only the session has ended, and a new one may be opened.
    pub fn is_session_ended(&self) -> bool {
        matches!(self, CallError::Refused { status: 401, code, .. } if code == "worker-session-ended")
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        // The address in reqwest's message is long and known; what matters is the innermost cause.
        let error = error.without_url();
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        CallError::Passing { message, after: None }
    }
}

/// A server and a connection pool to it.
#[derive(Clone)]
pub struct Server {
    http: Client,
    /// For calls whose body takes its time: no limit on the silence before the answer, which would count the sending.
    sending: Client,
    base: Url,
}

impl Server {
    /// A client for the server at `base`, which must be http or https.
    pub fn new(base: &str) -> anyhow::Result<Server> {
        let base = Url::parse(base)?;
        anyhow::ensure!(
            matches!(base.scheme(), "http" | "https"),
            "the server's address must be http or https"
        );
        let is_local = match base.host_str() {
            Some(host) => host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback),
            None => anyhow::bail!("the server's address names no host"),
        };
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("assay-worker/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(10))
                // A bearer token must not follow a redirect.
                .redirect(reqwest::redirect::Policy::none());
            if is_local { builder.no_proxy() } else { builder }
        };
        // A bare container has no certificate store, and plain http needs none.
        let (http, sending) = match (builder().read_timeout(SILENCE).build(), builder().build()) {
            (Ok(http), Ok(sending)) => (http, sending),
            (Err(error), _) | (_, Err(error)) if base.scheme() == "https" => return Err(error.into()),
            _ => {
                let plain = || builder().tls_certs_only([]);
                (plain().read_timeout(SILENCE).build()?, plain().build()?)
            }
        };
        Ok(Server { http, sending, base })
    }

    /// The address below the server's own.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn attempt(&self, attempt: &str, rest: &[&str]) -> Url {
        self.url(&[&["worker", "v1", "attempts", attempt], rest].concat())
    }

    /// Trades the one-time token for a key.
    pub async fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, CallError> {
        json(
            self.http
                .post(self.url(&["worker", "v1", "enrol"]))
                .json(enrol)
                .timeout(SILENCE),
        )
        .await
    }

    /// Asks for something to sign.
    pub async fn challenge(&self, ask: &Challenge) -> Result<Challenged, CallError> {
        let url = self.url(&["worker", "v1", "challenge"]);
        json(self.http.post(url).json(ask).timeout(SILENCE)).await
    }

    /// Trades a signature for a session.
    pub async fn open_session(&self, ask: &OpenSession) -> Result<Session, CallError> {
        let url = self.url(&["worker", "v1", "session"]);
        json(self.http.post(url).json(ask).timeout(SILENCE)).await
    }

    /// Asks for something to do, for at most `wait` (no longer than [`CLAIM_WAIT`]). None: nothing for now.
    pub async fn claim(&self, token: &str, ask: &ClaimAsk, wait: Duration) -> Result<Option<Claim>, CallError> {
        let mut url = self.url(&["worker", "v1", "claim"]);
        url.set_query(Some(&format!("wait={}", wait.min(CLAIM_WAIT).as_secs())));
        let response = send(self.http.post(url).bearer_auth(token).json(ask).timeout(SILENCE)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        read_json(response).await.map(Some)
    }

    /// Reports progress and renews the lease.
    pub async fn heartbeat(
        &self,
        claim: &Claim,
        beat: &Heartbeat,
        limit: Duration,
    ) -> Result<HeartbeatAnswer, CallError> {
        let url = self.attempt(&claim.attempt_id, &["heartbeat"]);
        json(self.http.post(url).bearer_auth(&claim.token).json(beat).timeout(limit)).await
    }

    /// Starts reading a file of the attempt at byte `from`; `kind` is `submission` or `contest`.
    pub async fn open(&self, claim: &Claim, kind: &str, name: &str, from: u64) -> Result<Response, CallError> {
        let parts: Vec<&str> = std::iter::once(kind).chain(name.split('/')).collect();
        let mut request = self
            .http
            .get(self.attempt(&claim.attempt_id, &parts))
            .bearer_auth(&claim.token);
        if from > 0 {
            request = request.header(reqwest::header::RANGE, format!("bytes={from}-"));
        }
        send(request).await
    }

    /// Stores one of the grade's output files.
    pub async fn put_output(&self, claim: &Claim, name: &str, bytes: bytes::Bytes) -> Result<(), CallError> {
        let url = self.attempt(&claim.attempt_id, &["outputs", name]);
        let kind = if name.ends_with(".jsonl") {
            "application/jsonl"
        } else {
            "application/json"
        };
        let request = self
            .http
            .put(url)
            .bearer_auth(&claim.token)
            .header(reqwest::header::CONTENT_TYPE, kind);
        send(request.body(bytes)).await.map(|_| ())
    }

    /// Writes the result. The same body may be sent again: the server answers the same.
    pub async fn put_result(&self, claim: &Claim, body: bytes::Bytes) -> Result<(), CallError> {
        let url = self.attempt(&claim.attempt_id, &["result"]);
        self.put(claim, url, "application/json", body).await
    }

    async fn put(&self, claim: &Claim, url: Url, kind: &str, bytes: bytes::Bytes) -> Result<(), CallError> {
        let limit = SILENCE + Duration::from_secs(bytes.len() as u64 / SLOWEST);
        let request = self
            .sending
            .put(url)
            .bearer_auth(&claim.token)
            .header(reqwest::header::CONTENT_TYPE, kind);
        send(request.body(bytes).timeout(limit)).await.map(|_| ())
    }

    /// Gives the attempt back without a result.
    pub async fn release(&self, claim: &Claim, reason: &str) -> Result<(), CallError> {
        let url = self.attempt(&claim.attempt_id, &["release"]);
        let body = Release {
            fence: claim.fence,
            reason: reason.to_string(),
        };
        let limit = Duration::from_secs(10);
        send(self.http.post(url).bearer_auth(&claim.token).json(&body).timeout(limit))
            .await
            .map(|_| ())
    }
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    read_json(send(request).await?).await
}

/// Sends, and turns every answer that is not a success into an error.
async fn send(request: RequestBuilder) -> Result<Response, CallError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let after = after.and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let is_later = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if is_later {
        return Err(CallError::Passing {
            message: format!("the server answered {status}"),
            after,
        });
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Problem {
        code: String,
        title: String,
        detail: String,
    }
    let body = read(response).await.unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    if problem.code == "lease-lost" || problem.code == "lease_lost" {
        return Err(CallError::LeaseLost);
    }
    let detail = if problem.detail.is_empty() {
        problem.title
    } else {
        problem.detail
    };
    Err(CallError::Refused {
        status: status.as_u16(),
        code: problem.code,
        detail,
    })
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, CallError> {
    serde_json::from_slice(&read(response).await?).map_err(|error| CallError::Answer(error.to_string()))
}

/// The whole body, up to [`MAX_ANSWER`].
async fn read(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Answer(format!("more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_a_prefix_and_escape_names() {
        let server = Server::new("http://127.0.0.1:8080/assay/").unwrap();
        assert_eq!(
            server.url(&["worker", "v1"]).as_str(),
            "http://127.0.0.1:8080/assay/worker/v1"
        );
        let url = server.attempt("a1", &["submission", "모델 1?.safetensors"]);
        assert!(
            url.as_str()
                .ends_with("/attempts/a1/submission/%EB%AA%A8%EB%8D%B8%201%3F.safetensors"),
            "{url}"
        );
        assert!(Server::new("ftp://x").is_err());
        assert!(Server::new("not an address").is_err());
    }
}
