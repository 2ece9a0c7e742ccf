//! A server that answers as the real one does, except where a test tells it to fail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{fixture, sample_contest, sha256};

/// What arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.split('?').next().unwrap().ends_with(end)
    }
}

/// What is answered.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The connection is cut after so many bytes of the body.
    pub cut: Option<usize>,
    pub delay: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
            delay: Duration::ZERO,
        }
    }

    /// No answer at all: the connection ends.
    pub fn hang_up() -> Reply {
        Reply::status(0)
    }

    pub fn json(status: u16, body: &Value) -> Reply {
        Reply {
            body: body.to_string().into_bytes(),
            ..Reply::status(status)
        }
    }

    pub fn problem(status: u16, code: &str) -> Reply {
        Reply::json(status, &json!({"code": code, "title": code}))
    }

    /// A file, or the part of it that the call asks for.
    pub fn file(call: &Call, bytes: &[u8]) -> Reply {
        let from = call.headers.get("range").map(|range| {
            range
                .strip_prefix("bytes=")
                .and_then(|rest| rest.strip_suffix('-'))
                .unwrap()
                .parse::<usize>()
                .unwrap()
        });
        match from {
            Some(from) if from >= bytes.len() => Reply::status(416),
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply {
                    headers: vec![("content-range", range)],
                    body: bytes[from..].to_vec(),
                    ..Reply::status(206)
                }
            }
            None => Reply {
                body: bytes.to_vec(),
                ..Reply::status(200)
            },
        }
    }
}

/// What a test changes about an answer: None leaves it as it is.
pub type Fault = Box<dyn FnMut(&Call) -> Option<Reply> + Send>;

struct State {
    calls: Vec<(Instant, Call)>,
    fault: Fault,
    /// How often the job is still to be handed out.
    waiting: usize,
    claim: Value,
    files: BTreeMap<String, Vec<u8>>,
}

/// A running server with one job.
pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

const ATTEMPT: &str = "7d0e1f7e-0000-4000-8000-000000000001";

impl Server {
    /// Serves one job: the checkpoint of that name under the sample contest, cut to `limit` documents of each task.
    pub fn start(checkpoint: &str, limit: u32, fault: Fault) -> Server {
        Server::with_files(checkpoint, limit, fault, |_| {})
    }

    /// As [`Server::start`], with the job's files changed by `change` before they are announced.
    pub fn with_files(
        checkpoint: &str,
        limit: u32,
        fault: Fault,
        change: impl Fn(&mut BTreeMap<String, Vec<u8>>),
    ) -> Server {
        let mut files = BTreeMap::new();
        gather(&fixture("checkpoints").join(checkpoint), "submission", &mut files);
        gather(&fixture("tasks"), "contest/tasks", &mut files);
        for name in [
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "generation_config.json",
            "model.safetensors",
        ] {
            let bytes = std::fs::read(fixture("checkpoints/base").join(name)).unwrap();
            files.insert(format!("contest/base/{name}"), bytes);
        }
        let contest = std::fs::read_to_string(sample_contest()).unwrap();
        let contest = contest.replace("\nlimit = 100\n", &format!("\nlimit = {limit}\n"));
        files.insert("contest/contest.toml".into(), contest.into_bytes());
        change(&mut files);
        let contest = String::from_utf8(files["contest/contest.toml"].clone()).unwrap();
        let digest = assay_contest::Contest::parse(&contest)
            .map(|contest| contest.digest())
            .unwrap_or_default();
        let listed = |kind: &str| -> Vec<Value> {
            let own = files
                .iter()
                .filter_map(|(name, bytes)| Some((name.strip_prefix(&format!("{kind}/"))?, bytes)));
            own.map(|(name, bytes)| json!({"name": name, "bytes": bytes.len(), "sha256": sha256(bytes)}))
                .collect()
        };
        let claim = json!({
            "attempt_id": ATTEMPT, "job_id": "j", "submission_id": "s", "fence": 3, "lease_seconds": 4,
            "token": "job-token", "contest_id": "sample", "contest_digest": digest,
            "submission_files": listed("submission"), "contest_files": listed("contest"),
        });
        let state = State {
            calls: Vec::new(),
            fault,
            waiting: 1,
            claim,
            files,
        };
        let state = Arc::new(Mutex::new(state));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Server { address, state }
    }

    /// Changes the claim that will be handed out.
    pub fn edit_claim(&self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.state.lock().unwrap().claim);
    }

    /// Hands the job out so many times more.
    pub fn again(&self, times: usize) {
        self.state.lock().unwrap().waiting += times;
    }

    /// Everything that arrived so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state
            .lock()
            .unwrap()
            .calls
            .iter()
            .map(|(_, call)| call.clone())
            .collect()
    }

    /// Calls of one kind.
    pub fn of(&self, method: &str, end: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.is(method, end)).collect()
    }

    /// When calls of one kind arrived.
    pub fn times(&self, method: &str, end: &str) -> Vec<Instant> {
        let state = self.state.lock().unwrap();
        state
            .calls
            .iter()
            .filter(|(_, call)| call.is(method, end))
            .map(|(at, _)| *at)
            .collect()
    }

    /// Waits until `done` holds of what arrived.
    pub fn wait(&self, what: &str, done: impl Fn(&[Call]) -> bool) {
        let until = Instant::now() + Duration::from_secs(90);
        while !done(&self.calls()) {
            assert!(Instant::now() < until, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn gather(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            gather(&entry.path(), &name, files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(call) = read(&stream) else { return };
    let fault = {
        let mut state = state.lock().unwrap();
        state.calls.push((Instant::now(), call.clone()));
        (state.fault)(&call)
    };
    let reply = fault.unwrap_or_else(|| answer(&call, state));
    std::thread::sleep(reply.delay);
    if reply.status == 0 {
        return;
    }
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    reply
        .headers
        .iter()
        .for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| stream.write_all(body));
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut parts = line.split(' ');
    let (method, path) = (parts.next()?.to_string(), parts.next()?.to_string());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call {
        method,
        path,
        headers,
        body,
    })
}

/// What the real server would say.
fn answer(call: &Call, state: &Mutex<State>) -> Reply {
    let bearer = call.headers.get("authorization").map(String::as_str);
    if call.is("POST", "/worker/v1/enrol") {
        let sent = call.json();
        let length = |name: &str| sent[name].as_str().map_or(0, str::len);
        if (length("public_key"), length("signature")) != (64, 128) {
            return Reply::problem(422, "worker-too-old");
        }
        return Reply::json(200, &json!({"worker_id": "w1"}));
    }
    if call.is("POST", "/worker/v1/challenge") {
        return Reply::json(200, &json!({"challenge": "0".repeat(64)}));
    }
    if call.is("POST", "/worker/v1/session") {
        if call.json()["signature"].as_str().map(str::len) != Some(128) {
            return Reply::problem(401, "worker-key-invalid");
        }
        return Reply::json(200, &json!({"token": "worker-key", "seconds": 900}));
    }
    if call.is("POST", "/worker/v1/claim") {
        if bearer != Some("Bearer worker-key") {
            return Reply::problem(401, "unknown-key");
        }
        let mut state = state.lock().unwrap();
        if state.waiting > 0 {
            state.waiting -= 1;
            return Reply::json(200, &state.claim);
        }
        drop(state);
        return Reply {
            delay: Duration::from_millis(100),
            ..Reply::status(204)
        };
    }
    if bearer != Some("Bearer job-token") {
        return Reply::problem(401, "unknown-token");
    }
    if call.is("POST", "/heartbeat") {
        return Reply::json(200, &json!({"directive": "continue", "lease_seconds": 4}));
    }
    if call.method == "GET" {
        let name = call
            .path
            .split_once(ATTEMPT)
            .unwrap()
            .1
            .trim_start_matches('/')
            .to_string();
        let bytes = state.lock().unwrap().files.get(&name).cloned();
        return bytes.map_or(Reply::problem(404, "no-such-file"), |bytes| Reply::file(call, &bytes));
    }
    Reply::json(200, &json!({}))
}
