//! What the tests of uploads, grading and the board share: fixtures as a browser sends them, and a worker without an engine.

#![allow(dead_code, reason = "each test module uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use assay_contest::wire::{
    Challenge, Challenged, Claim, Device, Directive, Enrol, Enrolled, FailureClass, Heartbeat, HeartbeatAnswer,
    ItemScores, OpenSession, Outcome, Progress, Release, Report, ResultBody, Session, Stage, TaskReport,
    enrolment_statement, session_statement,
};
use assay_contest::{Problem, Text};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::helpers::{Answer, Browser, TestApp, repository};

/// The folder of a fixture checkpoint.
pub fn checkpoint(name: &str) -> PathBuf {
    repository().join("tests/fixtures/checkpoints").join(name)
}

/// A checkpoint's files by name.
pub fn files(name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(checkpoint(name)).unwrap() {
        let path = entry.unwrap().path();
        files.insert(
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            std::fs::read(&path).unwrap(),
        );
    }
    files
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What the upload page sends to the precheck: headers of weights, the whole of small texts.
pub fn sliced(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            if name.ends_with(".safetensors") {
                let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let end = bytes.len().min(8 + n);
                json!({ "name": name, "bytes": bytes.len(), "header_base64": STANDARD.encode(&bytes[..end]) })
            } else {
                json!({ "name": name, "bytes": bytes.len(), "text_base64": STANDARD.encode(bytes) })
            }
        })
        .collect();
    json!({ "files": files })
}

/// A draft with its upload addresses by file name.
pub struct Draft {
    pub id: String,
    pub urls: BTreeMap<String, String>,
    /// Opens this draft without a login.
    pub token: String,
    /// Names of files whose bytes were here already.
    pub known: Vec<String>,
}

pub fn manifest(title: &str, files: &BTreeMap<String, Vec<u8>>) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| json!({ "name": name, "bytes": bytes.len(), "sha256": sha256(bytes) }))
        .collect();
    json!({ "title": title, "files": files })
}

impl Draft {
    pub fn from(answer: &Answer) -> Draft {
        assert_eq!(answer.status, 201, "{}", answer.text);
        let body = answer.json();
        let pair = |file: &Value| {
            (
                file["name"].as_str().unwrap().to_owned(),
                file["upload_url"].as_str().unwrap().to_owned(),
            )
        };
        Draft {
            id: body["id"].as_str().unwrap().to_owned(),
            urls: body["files"].as_array().unwrap().iter().map(pair).collect(),
            token: body["upload_token"].as_str().unwrap().to_owned(),
            known: body["files"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|file| file["state"] == "complete")
                .map(|file| file["name"].as_str().unwrap().to_owned())
                .collect(),
        }
    }

    /// Declares `files`.
    pub async fn create(browser: &mut Browser, title: &str, files: &BTreeMap<String, Vec<u8>>) -> Draft {
        Draft::from(&browser.post_json("/api/v1/submissions", &manifest(title, files)).await)
    }

    /// Uploads every file that is not here yet, with one PATCH each.
    pub async fn fill(&self, browser: &mut Browser, files: &BTreeMap<String, Vec<u8>>) {
        for (name, url) in self.urls.iter().filter(|(name, _)| !self.known.contains(name)) {
            let answer = patch(browser, url, 0, files[name].clone()).await;
            assert_eq!(answer.status, 204, "{name}: {}", answer.text);
            assert_eq!(answer.header("upload-offset"), files[name].len().to_string());
        }
    }

    pub async fn submit(&self, browser: &mut Browser) -> Answer {
        browser
            .post_json(&format!("/api/v1/submissions/{}/submit", self.id), &json!({}))
            .await
    }
}

/// A tus request with the headers every one of them has.
pub async fn tus(browser: &mut Browser, method: Method, url: &str) -> reqwest::RequestBuilder {
    browser.script(method, url).await.header("tus-resumable", "1.0.0")
}

pub async fn patch(browser: &mut Browser, url: &str, offset: usize, body: Vec<u8>) -> Answer {
    let request = tus(browser, Method::PATCH, url).await;
    let request = request
        .header("upload-offset", offset)
        .header("content-type", "application/offset+octet-stream");
    browser.send(request.body(body)).await
}

pub async fn head(browser: &mut Browser, url: &str) -> Answer {
    let request = tus(browser, Method::HEAD, url).await;
    browser.send(request).await
}

/// Opens a PATCH by hand, sends the head and `body`, and returns the open connection.
pub async fn raw_patch(
    address: &str,
    browser: &mut Browser,
    url: &str,
    offset: impl std::fmt::Display,
    announced: usize,
    body: &[u8],
) -> tokio::net::TcpStream {
    let token = browser.token("/team").await;
    let jar: Vec<_> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let host = address.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "PATCH {url} HTTP/1.1\r\nhost: {host}\r\ncookie: {}\r\nx-csrf-token: {token}\r\nsec-fetch-site: same-origin\r\n\
         tus-resumable: 1.0.0\r\nupload-offset: {offset}\r\ncontent-type: application/offset+octet-stream\r\n\
         content-length: {announced}\r\n\r\n",
        jar.join("; ")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Uploads a fixture as a new submission and sends it. Returns its id.
pub async fn submitted(browser: &mut Browser, title: &str, fixture: &str) -> String {
    let files = files(fixture);
    let draft = Draft::create(browser, title, &files).await;
    draft.fill(browser, &files).await;
    let answer = draft.submit(browser).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["state"], "queued");
    draft.id
}

/// A worker that speaks the API and computes nothing.
pub struct Hand {
    address: String,
    client: Client,
    pair: Ed25519KeyPair,
    /// The session's token.
    pub key: String,
    pub id: String,
}

/// A new key, and what a worker that holds it sends to enrol.
pub fn enrolment(token: &str, name: &str) -> (Ed25519KeyPair, Enrol) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let ask = Enrol {
        token: token.into(),
        name: name.into(),
        device: device(),
        public_key: hex::encode(pair.public_key().as_ref()),
        signature: hex::encode(pair.sign(enrolment_statement(token).as_bytes())),
    };
    (pair, ask)
}

pub fn device() -> Device {
    Device {
        name: "test bench".into(),
        kind: "cpu".into(),
    }
}

impl Hand {
    pub async fn enrol(app: &TestApp, name: &str) -> Hand {
        let token = assay_web::db::workers::create_enrolment(&app.pool, std::time::Duration::from_secs(60))
            .await
            .unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let (pair, ask) = enrolment(&token, name);
        let answer = client
            .post(format!("{}/worker/v1/enrol", app.address))
            .json(&ask)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let enrolled: Enrolled = answer.json().await.unwrap();
        assert_eq!(enrolled.key, None, "no secret is handed out");
        let mut hand = Hand {
            address: app.address.clone(),
            client,
            pair,
            key: String::new(),
            id: enrolled.worker_id,
        };
        let session = hand.open_session().await;
        assert_eq!(session.status(), 200);
        hand.key = session.json::<Session>().await.unwrap().token;
        hand
    }

    /// A challenge, and the answer to its signature.
    pub async fn open_session(&self) -> Response {
        let challenge = self.challenge().await;
        self.answer(&challenge, &self.pair).await
    }

    pub async fn challenge(&self) -> String {
        let ask = Challenge {
            worker_id: self.id.clone(),
        };
        let answer = self
            .client
            .post(format!("{}/worker/v1/challenge", self.address))
            .json(&ask)
            .send()
            .await
            .unwrap();
        answer.json::<Challenged>().await.unwrap().challenge
    }

    /// Answers a challenge with its own key.
    pub async fn answer_own(&self, challenge: &str) -> Response {
        self.answer(challenge, &self.pair).await
    }

    /// Answers a challenge with a signature of `pair`.
    pub async fn answer(&self, challenge: &str, pair: &Ed25519KeyPair) -> Response {
        let ask = OpenSession {
            worker_id: self.id.clone(),
            challenge: challenge.to_owned(),
            signature: hex::encode(pair.sign(session_statement(&self.id, challenge).as_bytes())),
        };
        let request = self.client.post(format!("{}/worker/v1/session", self.address));
        request.json(&ask).send().await.unwrap()
    }

    pub async fn claim_response(&self, wait: u64) -> Response {
        let request = self
            .client
            .post(format!("{}/worker/v1/claim?wait={wait}", self.address));
        request
            .bearer_auth(&self.key)
            .json(&json!({ "device": device() }))
            .send()
            .await
            .unwrap()
    }

    /// Asks for a job and waits at most `wait` seconds.
    pub async fn claim(&self, wait: u64) -> Option<Claim> {
        let response = self.claim_response(wait).await;
        match response.status().as_u16() {
            200 => Some(response.json().await.unwrap()),
            204 => None,
            other => panic!("{other}: {}", response.text().await.unwrap()),
        }
    }

    fn url(&self, claim: &Claim, rest: &str) -> String {
        format!("{}/worker/v1/attempts/{}/{rest}", self.address, claim.attempt_id)
    }

    pub fn request(&self, method: Method, claim: &Claim, rest: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, self.url(claim, rest))
            .bearer_auth(&claim.token)
    }

    pub async fn beat_response(&self, claim: &Claim, progress: Progress) -> Response {
        let beat = Heartbeat {
            fence: claim.fence,
            progress,
        };
        self.request(Method::POST, claim, "heartbeat")
            .json(&beat)
            .send()
            .await
            .unwrap()
    }

    /// Reports a stage and returns what the server wants.
    pub async fn beat(&self, claim: &Claim, stage: Stage, step: u64) -> Directive {
        let progress = Progress {
            stage,
            done: step,
            total: 10,
            step,
            ..Progress::default()
        };
        let response = self.beat_response(claim, progress).await;
        assert_eq!(response.status(), 200);
        response.json::<HeartbeatAnswer>().await.unwrap().directive
    }

    pub async fn put(&self, claim: &Claim, outcome: Outcome) -> Response {
        let body = ResultBody {
            fence: claim.fence,
            outcome,
        };
        self.request(Method::PUT, claim, "result")
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub async fn release(&self, claim: &Claim) -> Response {
        let body = Release {
            fence: claim.fence,
            reason: "a test".into(),
        };
        self.request(Method::POST, claim, "release")
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// Claims, beats once and reports a grade with this accuracy.
    pub async fn grade(&self, accuracy: f64) -> Claim {
        let claim = self.claim(5).await.expect("a job");
        self.beat(&claim, Stage::Evaluate, 1).await;
        let bytes = weight_of(&claim);
        let response = self.put(&claim, graded(accuracy, bytes)).await;
        assert_eq!(response.status(), 200);
        claim
    }

    /// Claims and reports a grade with these documents right or wrong.
    pub async fn grade_by_document(&self, right: &[bool]) -> Claim {
        let claim = self.claim(5).await.expect("a job");
        let bytes = weight_of(&claim);
        assert_eq!(self.put(&claim, graded_by_document(right, bytes)).await.status(), 200);
        claim
    }
}

/// Length of the weight files of a claimed submission.
pub fn weight_of(claim: &Claim) -> u64 {
    let weights = claim
        .submission_files
        .iter()
        .filter(|file| file.name.ends_with(".safetensors"));
    weights.map(|file| file.bytes).sum()
}

/// An outcome with the measures the sample contest reads.
pub fn graded(accuracy: f64, bytes: u64) -> Outcome {
    let measures = [
        ("bytes", bytes as f64),
        ("acc.mini_gsm.exact_match.flexible-extract", accuracy),
        ("acc_stderr.mini_gsm.exact_match.flexible-extract", 0.02),
        ("acc.mini_arc.acc.none", 0.9),
    ];
    let measures = measures
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Outcome::Graded {
        report: Report {
            engine: "test".into(),
            device: "test bench".into(),
            measures,
            ..Report::default()
        },
    }
}

/// An outcome whose accuracy on mini_gsm is the mean of these documents, right or wrong, as a worker reports it.
pub fn graded_by_document(right: &[bool], bytes: u64) -> Outcome {
    let n = right.len() as f64;
    let mean = right.iter().filter(|right| **right).count() as f64 / n;
    let stderr = (mean * (1.0 - mean) / (n - 1.0)).sqrt();
    let key = "exact_match,flexible-extract".to_owned();
    let Outcome::Graded { mut report } = graded(mean, bytes) else {
        unreachable!()
    };
    report
        .measures
        .insert("acc_stderr.mini_gsm.exact_match.flexible-extract".into(), stderr);
    report.measures.insert("items.mini_gsm".into(), n);
    report.tasks = vec![TaskReport {
        task: "mini_gsm".into(),
        alias: "mini_gsm".into(),
        n: right.len() as u64,
        measures: [(key.clone(), mean)].into(),
        stderr: [(key.clone(), stderr)].into(),
    }];
    report.items = vec![ItemScores {
        task: "mini_gsm".into(),
        key,
        values: right.iter().map(|right| Some(if *right { 1.0 } else { 0.0 })).collect(),
    }];
    Outcome::Graded { report }
}

pub fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed {
        class,
        problem: problem("test-failure"),
    }
}

pub fn problem(code: &str) -> Problem {
    Problem::new(
        code,
        "test",
        Text::new("it broke", "고장 났습니다"),
        Text::new("mend it", "고치세요"),
    )
}

/// The one value of a query.
pub async fn value<T>(app: &TestApp, query: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin + 'static,
{
    sqlx::query_scalar(query).fetch_one(&app.pool).await.unwrap()
}

/// Runs a statement.
pub async fn run(app: &TestApp, statement: &'static str) {
    sqlx::query(statement).execute(&app.pool).await.unwrap();
}

/// Ends the waits of jobs that failed.
pub async fn make_due(app: &TestApp) {
    run(
        app,
        "UPDATE jobs SET not_before = now() - interval '1 minute' WHERE state = 'queued'",
    )
    .await;
}

/// Makes every running lease end now and sweeps; what was lost need not wait.
pub async fn expire_leases(app: &TestApp) -> usize {
    run(
        app,
        "UPDATE attempts SET lease_until = now() - interval '1 second' WHERE state = 'running'",
    )
    .await;
    let mut transaction = app.pool.begin().await.unwrap();
    let lost = assay_web::db::attempts::reap(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    make_due(app).await;
    lost
}
