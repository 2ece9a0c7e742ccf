//! `run` against a server that fails in every way a server and a network do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Call, Fault, Reply, Server};
use crate::support::{code, sha256, stderr, worker};

fn no_fault() -> Fault {
    Box::new(|_| None)
}

/// The command of a worker with its data in `data`, ready to be started.
fn command(server: &Server, data: &Path) -> Command {
    let mut command = worker();
    command.args([
        "run",
        "--server",
        &server.address,
        "--enrol",
        "one-time",
        "--name",
        "bench",
        "--data",
    ]);
    command.arg(data).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs one attempt to its end.
fn once(server: &Server, data: &Path) -> std::process::Output {
    command(server, data).arg("--once").output().unwrap()
}

/// Waits for the end of a child, which must come soon.
fn end(mut child: Child) -> std::process::Output {
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("did not end: {}", stderr(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn scratch_is_empty(data: &Path) -> bool {
    std::fs::read_dir(data.join("scratch")).unwrap().next().is_none()
}

/// The body of the only result.
fn result(server: &Server) -> Value {
    let results = server.of("PUT", "/result");
    assert_eq!(results.len(), 1);
    results[0].json()
}

#[test]
fn a_job_is_fetched_graded_and_reported() {
    let server = Server::start("w4a16-gptq", 2, no_fault());
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));

    let enrol = server.of("POST", "/enrol")[0].json();
    assert_eq!((&enrol["token"], &enrol["name"]), (&json!("one-time"), &json!("bench")));
    assert_eq!(enrol["device"]["kind"], "cpu");
    // The first heartbeat comes before the first byte.
    let calls = server.calls();
    let position = |end: &str, method: &str| {
        calls
            .iter()
            .position(|call| call.method == method && call.path.contains(end))
    };
    assert!(position("/heartbeat", "POST").unwrap() < position("/submission/", "GET").unwrap());
    // Outputs before the result, and nothing after it.
    let outputs: Vec<&str> = calls
        .iter()
        .filter_map(|call| Some(call.path.split_once("/outputs/")?.1))
        .collect();
    assert!(
        outputs.contains(&"results.json") && outputs.contains(&"samples_mini_gsm.jsonl"),
        "{outputs:?}"
    );
    // Everything that a changed formula or filter is rescored from.
    for name in [
        "outputs.json",
        "outputs_mini_gsm.jsonl",
        "outputs_mini_wino.jsonl",
        "generations.jsonl",
        "timings.json",
    ] {
        assert!(outputs.contains(&name), "{name}: {outputs:?}");
    }
    assert!(calls.last().unwrap().is("PUT", "/result"));

    let result = result(&server);
    assert_eq!(result["fence"], 3);
    assert_eq!(result["outcome"]["kind"], "graded");
    let lineage = &result["outcome"]["report"]["submission"]["lineage"];
    assert_eq!(
        lineage["rows"].as_array().unwrap().len(),
        4,
        "held against the base's weights"
    );
    let report = &result["outcome"]["report"];
    assert_eq!(report["submission"]["verdict"], "accepted");
    assert_eq!(report["tasks"].as_array().unwrap().len(), 5);
    assert_eq!(report["certificate"]["digest"].as_str().unwrap().len(), 64);
    assert!(report["items"].as_array().unwrap().len() >= 7);
    assert_eq!(report["samples"].as_array().unwrap().len(), 6);
    for measure in [
        "bytes",
        "acc.mini_gsm.exact_match.strict-match",
        "time_per_token",
        "load_seconds",
        "wall_seconds",
        "peak_memory",
    ] {
        assert!(
            report["measures"][measure].as_f64().is_some_and(f64::is_finite),
            "{measure}: {report:#}"
        );
    }
    // Progress never goes back.
    let steps: Vec<u64> = server
        .of("POST", "/heartbeat")
        .iter()
        .map(|beat| beat.json()["progress"]["step"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");

    // The key is kept for its owner alone, and a second start needs no token.
    use std::os::unix::fs::PermissionsExt;
    for name in ["worker.json", "worker.key"] {
        let mode = std::fs::metadata(data.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        server.of("POST", "/session").len(),
        1,
        "one session is enough for all of it"
    );
    assert!(scratch_is_empty(data.path()));
}

#[test]
fn a_cut_download_goes_on_where_it_stopped_and_is_kept_for_the_next_job() {
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = cuts.clone();
    let server = Server::with_files(
        "w4a16-gptq",
        1,
        Box::new(move |call| {
            if !call.is("GET", "/submission/big.safetensors") || counted.fetch_add(1, Ordering::Relaxed) >= 3 {
                return None;
            }
            let bytes: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
            Some(Reply {
                cut: Some(100_000),
                ..Reply::file(call, &bytes)
            })
        }),
        // Not a checkpoint's file: the submission is rejected, which is all this test needs.
        |files| {
            files.insert(
                "submission/big.safetensors".into(),
                (0..300_000u32).map(|i| i as u8).collect(),
            );
        },
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let gets = server.of("GET", "/submission/big.safetensors");
    let ranges: Vec<Option<&str>> = gets
        .iter()
        .map(|call| call.headers.get("range").map(String::as_str))
        .collect();
    assert_eq!(
        ranges,
        [None, Some("bytes=100000-"), Some("bytes=200000-")],
        "each byte is sent once"
    );
    assert_eq!(result(&server)["outcome"]["kind"], "rejected");
    let bytes: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    assert_eq!(
        std::fs::read(data.path().join("cache").join(sha256(&bytes))).unwrap(),
        bytes
    );

    // The same files again, from the server's new address: nothing of them is fetched, and the key is the same.
    let again = Server::with_files("w4a16-gptq", 1, no_fault(), |files| {
        files.insert(
            "submission/big.safetensors".into(),
            (0..300_000u32).map(|i| i as u8).collect(),
        );
    });
    let output = once(&again, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(again.of("POST", "/enrol").is_empty());
    assert!(again.calls().iter().all(|call| call.method != "GET"));
    assert_eq!(result(&again)["outcome"]["kind"], "rejected");
}

#[test]
fn a_file_that_is_not_what_was_announced_is_a_platform_failure() {
    let server = Server::start("w4a16-gptq", 1, no_fault());
    server.edit_claim(|claim| claim["submission_files"][0]["sha256"] = json!("0".repeat(64)));
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let outcome = result(&server)["outcome"].clone();
    assert_eq!(
        (&outcome["kind"], &outcome["class"]),
        (&json!("failed"), &json!("infra"))
    );
    assert_eq!(outcome["problem"]["code"], "fetch-failed");
    assert!(scratch_is_empty(data.path()));
}

#[test]
fn a_name_that_leaves_the_folder_is_not_followed() {
    for name in ["../../escaped", "/tmp/escaped", "a/../../b"] {
        let server = Server::start("w4a16-gptq", 1, no_fault());
        server.edit_claim(|claim| claim["submission_files"][0]["name"] = json!(name));
        let data = tempfile::tempdir().unwrap();
        let output = once(&server, data.path());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(result(&server)["outcome"]["class"], "infra", "{name}");
        assert!(
            server.calls().iter().all(|call| call.method != "GET"),
            "nothing is fetched"
        );
        assert!(!data.path().join("escaped").exists());
    }
}

#[test]
fn rules_that_changed_since_the_job_was_made_are_not_used() {
    let server = Server::start("w4a16-gptq", 1, no_fault());
    server.edit_claim(|claim| claim["contest_digest"] = json!("f".repeat(64)));
    let data = tempfile::tempdir().unwrap();
    once(&server, data.path());
    let outcome = result(&server)["outcome"].clone();
    assert_eq!(
        (&outcome["class"], &outcome["problem"]["code"]),
        (&json!("infra"), &json!("contest-changed"))
    );
}

#[test]
fn a_checkpoint_against_the_rules_is_reported_with_its_reasons() {
    let server = Server::with_files("w4a16-gptq", 1, no_fault(), |files| {
        let config = files.get_mut("submission/config.json").unwrap();
        let text = String::from_utf8(config.clone())
            .unwrap()
            .replace("\"vocab_size\": 611", "\"vocab_size\": 612");
        *config = text.into_bytes();
    });
    let data = tempfile::tempdir().unwrap();
    once(&server, data.path());
    let outcome = result(&server)["outcome"].clone();
    assert_eq!(outcome["kind"], "rejected");
    assert!(outcome["problems"][0]["message"]["ko"].is_string(), "{outcome:#}");
    assert_eq!(outcome["report"]["submission"]["verdict"], "rejected");
    assert!(outcome["report"]["tasks"].as_array().unwrap().is_empty());
    assert!(server.calls().iter().all(|call| !call.path.contains("/outputs/")));
}

#[test]
fn a_job_whose_first_heartbeat_is_refused_is_not_begun() {
    let fault: Fault = Box::new(|call| call.is("POST", "/heartbeat").then(|| Reply::problem(409, "lease-lost")));
    let server = Server::start("w4a16-gptq", 1, fault);
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        server.calls().iter().all(|call| call.method == "POST"),
        "nothing fetched, nothing written"
    );
}

/// Answers heartbeats of the evaluation as told, and lets the rest pass.
fn while_evaluating(answer: impl Fn() -> Reply + Send + 'static) -> Fault {
    Box::new(move |call: &Call| {
        let is_evaluating = call.is("POST", "/heartbeat") && call.json()["progress"]["stage"] == "evaluate";
        is_evaluating.then(&answer)
    })
}

#[test]
fn a_lost_lease_stops_the_run_and_nothing_is_written() {
    let server = Server::start(
        "w4a16-gptq",
        100,
        while_evaluating(|| Reply::problem(409, "lease-lost")),
    );
    let data = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = command(&server, data.path())
        .args(["--once", "--device", "reference"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(started.elapsed() < Duration::from_secs(60), "the run did not stop");
    assert!(
        server
            .calls()
            .iter()
            .all(|call| call.method != "PUT" && !call.path.ends_with("/release"))
    );
    assert!(scratch_is_empty(data.path()));
}

#[test]
fn a_lease_that_cannot_be_renewed_is_given_up_in_time() {
    let fault = while_evaluating(|| Reply::status(503));
    let server = Server::start("w4a16-gptq", 100, fault);
    let data = tempfile::tempdir().unwrap();
    let output = command(&server, data.path())
        .args(["--once", "--device", "reference"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("the lease ran out"), "{}", stderr(&output));
    assert!(server.calls().iter().all(|call| call.method != "PUT"));
    // The lease is 4 s, and the last renewal was answered before the evaluation began.
    let beats = server.times("POST", "/heartbeat");
    let evaluating = server
        .of("POST", "/heartbeat")
        .iter()
        .filter(|b| b.json()["progress"]["stage"] == "evaluate")
        .count();
    let from = beats[beats.len() - evaluating - 1];
    assert!(beats[beats.len() - 1].duration_since(from) <= Duration::from_millis(4500));
    assert!(evaluating >= 2, "it was tried again");
}

#[test]
fn a_cancelled_attempt_is_stopped_and_given_back() {
    let fault = while_evaluating(|| Reply::json(200, &json!({"directive": "cancel", "lease_seconds": 4})));
    let server = Server::start("w4a16-gptq", 100, fault);
    let data = tempfile::tempdir().unwrap();
    let output = command(&server, data.path())
        .args(["--once", "--device", "reference"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let release = server.of("POST", "/release");
    assert_eq!(release.len(), 1);
    assert_eq!(
        (&release[0].json()["fence"], &release[0].json()["reason"]),
        (&json!(3), &json!("cancelled"))
    );
    assert!(server.calls().iter().all(|call| call.method != "PUT"));
}

#[test]
fn a_result_is_sent_until_it_is_taken_and_never_changes() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(
            move |call| match call.is("PUT", "/result").then(|| tries.fetch_add(1, Ordering::Relaxed)) {
                Some(0) => Some(Reply::status(503)),
                // Taken, but the answer never arrives: the worker cannot know.
                Some(1) => Some(Reply::hang_up()),
                Some(2) => Some(Reply::status(502)),
                _ => None,
            },
        ),
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let results = server.of("PUT", "/result");
    assert!(results.len() >= 3, "{}", results.len());
    assert!(results.iter().all(|result| result.body == results[0].body));
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let claims = AtomicUsize::new(0);
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(move |call| {
            match call
                .is("POST", "/claim")
                .then(|| claims.fetch_add(1, Ordering::Relaxed))
            {
                Some(0) => Some(Reply::status(204)),
                Some(1) => Some(Reply::status(503)),
                Some(2) => Some(Reply::hang_up()),
                _ => None,
            }
        }),
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(result(&server)["outcome"]["kind"], "graded");
    assert!(server.of("POST", "/claim").len() >= 4);
}

#[test]
fn the_first_signal_finishes_the_attempt_and_takes_no_other() {
    let begun = Arc::new(AtomicBool::new(false));
    let told = begun.clone();
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(move |call| {
            // Holds the attempt up until the signal has been sent.
            if call.is("GET", "/contest.toml") && !told.swap(true, Ordering::Relaxed) {
                return Some(Reply::status(503));
            }
            None
        }),
    );
    let data = tempfile::tempdir().unwrap();
    let child = command(&server, data.path()).spawn().unwrap();
    server.wait("the fetch", |_| begun.load(Ordering::Relaxed));
    signal(&child, "TERM");
    let output = end(child);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(result(&server)["outcome"]["kind"], "graded");
    assert_eq!(server.of("POST", "/claim").len(), 1);
}

#[test]
fn the_second_signal_gives_the_attempt_back() {
    let server = Server::start("w4a16-gptq", 100, no_fault());
    let data = tempfile::tempdir().unwrap();
    let child = command(&server, data.path())
        .args(["--device", "reference"])
        .spawn()
        .unwrap();
    server.wait("the evaluation", |calls| {
        calls
            .iter()
            .any(|call| call.is("POST", "/heartbeat") && call.json()["progress"]["stage"] == "evaluate")
    });
    signal(&child, "TERM");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "TERM");
    let output = end(child);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(server.of("POST", "/release")[0].json()["reason"], "worker stopped");
    assert!(server.of("PUT", "/result").is_empty());
    assert!(scratch_is_empty(data.path()));
}

#[test]
fn an_idle_worker_stops_at_once() {
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(|call| {
            call.is("POST", "/claim").then(|| Reply {
                delay: Duration::from_secs(20),
                ..Reply::status(204)
            })
        }),
    );
    let data = tempfile::tempdir().unwrap();
    let child = command(&server, data.path()).spawn().unwrap();
    server.wait("a claim", |calls| calls.iter().any(|call| call.is("POST", "/claim")));
    let told = Instant::now();
    signal(&child, "TERM");
    let output = end(child);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        told.elapsed() < Duration::from_secs(15),
        "the claim would have waited longer"
    );
}

#[test]
fn a_server_that_drains_gets_its_result_and_no_further_claim() {
    let drain = || Reply::json(200, &json!({"directive": "drain", "lease_seconds": 4}));
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(move |call| call.is("POST", "/heartbeat").then(drain)),
    );
    let data = tempfile::tempdir().unwrap();
    let output = end(command(&server, data.path()).spawn().unwrap());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(result(&server)["outcome"]["kind"], "graded");
    assert_eq!(server.of("POST", "/claim").len(), 1);
}

#[test]
fn a_server_that_cannot_be_used_ends_the_worker() {
    // A key it does not know.
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(|call| call.is("POST", "/claim").then(|| Reply::problem(401, "unknown-key"))),
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("enrol it again"), "{}", stderr(&output));

    // A token it does not take; no key is kept.
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(|call| call.is("POST", "/enrol").then(|| Reply::problem(403, "token-used"))),
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("token-used"), "{}", stderr(&output));
    assert!(!data.path().join("worker.json").exists());

    // Nobody there at all, and no patience.
    let data = tempfile::tempdir().unwrap();
    let output = worker()
        .args([
            "run",
            "--server",
            "http://127.0.0.1:9",
            "--enrol",
            "x",
            "--patience",
            "1",
            "--data",
        ])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));

    // Neither key nor token.
    let output = worker()
        .args(["run", "--server", "http://127.0.0.1:9", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--enrol"), "{}", stderr(&output));
}

#[test]
fn a_machine_that_fails_three_times_in_a_row_takes_itself_out() {
    let server = Server::start("w4a16-gptq", 1, no_fault());
    server.edit_claim(|claim| claim["submission_files"][0]["sha256"] = json!("0".repeat(64)));
    server.again(9);
    let data = tempfile::tempdir().unwrap();
    let output = end(command(&server, data.path()).spawn().unwrap());
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert_eq!(server.of("PUT", "/result").len(), 3);
    assert!(
        stderr(&output).contains("taking it out of service"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_contest_that_cannot_be_used_does_not_take_workers_out() {
    let server = Server::start("w4a16-gptq", 1, no_fault());
    server.edit_claim(|claim| claim["contest_digest"] = json!("f".repeat(64)));
    server.again(4);
    let data = tempfile::tempdir().unwrap();
    let child = command(&server, data.path()).spawn().unwrap();
    server.wait("five results", |calls| {
        calls.iter().filter(|call| call.is("PUT", "/result")).count() == 5
    });
    signal(&child, "TERM");
    assert_eq!(code(&end(child)), 0);
}

#[test]
fn a_worker_that_was_killed_goes_on_with_its_download() {
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    let stuck = Arc::new(AtomicBool::new(true));
    let (is_stuck, gets, whole) = (stuck.clone(), AtomicUsize::new(0), bytes.clone());
    let server = Server::with_files(
        "w4a16-gptq",
        1,
        Box::new(move |call| {
            if !call.is("GET", "/submission/big.safetensors") || !is_stuck.load(Ordering::Relaxed) {
                return None;
            }
            Some(match gets.fetch_add(1, Ordering::Relaxed) {
                0 => Reply {
                    cut: Some(100_000),
                    ..Reply::file(call, &whole)
                },
                _ => Reply::status(503),
            })
        }),
        |files| {
            files.insert("submission/big.safetensors".into(), bytes.clone());
        },
    );
    let data = tempfile::tempdir().unwrap();
    let mut child = command(&server, data.path()).spawn().unwrap();
    server.wait("a second try", |calls| {
        calls
            .iter()
            .filter(|call| call.is("GET", "/submission/big.safetensors"))
            .count()
            >= 2
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(server.of("PUT", "/result").is_empty());

    stuck.store(false, Ordering::Relaxed);
    server.again(1);
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let gets = server.of("GET", "/submission/big.safetensors");
    assert_eq!(gets.last().unwrap().headers["range"], "bytes=100000-");
    assert_eq!(server.of("POST", "/enrol").len(), 1);
    assert_eq!(result(&server)["outcome"]["kind"], "rejected");
    assert!(scratch_is_empty(data.path()));
}

#[test]
fn a_session_that_ended_is_opened_again() {
    // The first claim finds its session ended: a new one is opened and the work goes on.
    let refused = AtomicBool::new(false);
    let server = Server::start(
        "w4a16-gptq",
        1,
        Box::new(move |call| {
            (call.is("POST", "/claim") && !refused.swap(true, Ordering::Relaxed))
                .then(|| Reply::problem(401, "worker-session-ended"))
        }),
    );
    let data = tempfile::tempdir().unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(server.of("POST", "/session").len(), 2);
    assert_eq!(server.of("PUT", "/result").len(), 1);
}

#[test]
fn a_worker_enrolled_with_a_bearer_key_goes_on_with_it() {
    let server = Server::start("w4a16-gptq", 1, no_fault());
    let data = tempfile::tempdir().unwrap();
    let identity = json!({"server": server.address, "worker_id": "w1", "key": "worker-key"});
    std::fs::write(data.path().join("worker.json"), identity.to_string()).unwrap();
    let output = once(&server, data.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(server.of("POST", "/enrol").is_empty() && server.of("POST", "/session").is_empty());
    assert_eq!(server.of("PUT", "/result").len(), 1);
}
