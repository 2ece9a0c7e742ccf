//! What open pages hear.

use std::time::Duration;

use assay_contest::wire::Stage;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::desk::{Hand, run, submitted};
use crate::helpers::{Browser, TestApp};

struct Stream {
    response: Response,
    text: String,
}

/// One event: name, id, data.
type Event = (String, String, String);

impl Stream {
    async fn open(browser: &mut Browser, path: &str) -> Stream {
        let response = browser
            .request(Method::GET, path)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Stream {
            response,
            text: String::new(),
        }
    }

    /// The next event; None when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix(name)).collect();
                    lines.join("\n")
                };
                let event = (field("event: "), field("id: "), field("data: "));
                self.text = rest.to_owned();
                if event.0.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk())
                .await
                .expect("an event or an end");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn snapshot(&mut self) -> (i64, Value) {
        let (name, id, data) = self.next().await.expect("an event");
        assert_eq!(name, "snapshot");
        (id.parse().unwrap(), serde_json::from_str(&data).unwrap())
    }

    /// Reads until a snapshot satisfies `wanted`; ids only rise.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = 0;
        loop {
            let (id, data) = self.snapshot().await;
            assert!(id >= last, "{id} after {last}");
            last = id;
            if wanted(&data) {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn the_first_event_is_the_whole_and_the_last_ends_the_stream() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let mut stream = Stream::open(&mut browser, &format!("/submissions/{id}/events")).await;
    let (_, first) = stream.snapshot().await;
    assert_eq!(
        (first["state"].as_str(), first["done"].as_bool()),
        (Some("queued"), Some(false))
    );
    // what it weighs is known before it is graded
    assert!(first["stages"].as_str().unwrap().contains("<") && first["report"].as_str().unwrap().contains("<svg"));

    let claim = hand.claim(5).await.unwrap();
    stream.until(|event| event["state"] == "running").await;
    hand.beat(&claim, Stage::Evaluate, 2).await;
    stream
        .until(|event| event["stages"].as_str().unwrap().contains("evaluate"))
        .await;

    // What is known so far stands where the report will, with its interval and the time of what is over.
    let progress = assay_contest::wire::Progress {
        stage: Stage::Evaluate,
        done: 3,
        total: 10,
        step: 3,
        measures: [
            ("acc.mini_gsm.exact_match.flexible-extract", 0.75),
            ("acc_stderr.mini_gsm.exact_match.flexible-extract", 0.0685),
            ("items.mini_gsm", 41.0),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        timings: [("verify".to_owned(), 12.34)].into(),
        ..Default::default()
    };
    assert_eq!(hand.beat_response(&claim, progress).await.status(), 200);
    let event = stream.until(|event| event["report"].is_string()).await;
    let report = event["report"].as_str().unwrap();
    for part in ["0.7500", "n = 41", "not final", "<svg"] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("data-verdict"), "nothing is decided: {report}");
    assert!(event["stages"].as_str().unwrap().contains("12.3 s"), "{event}");

    // A second page opened in the middle gets the whole at once.
    let mut late = Stream::open(&mut browser, &format!("/submissions/{id}/events")).await;
    assert_eq!(late.snapshot().await.1["state"], "running");

    assert_eq!(
        hand.put(&claim, crate::desk::graded(0.87, 1_546_352)).await.status(),
        200
    );
    for stream in [&mut stream, &mut late] {
        let last = stream.until(|event| event["done"] == true).await;
        assert_eq!(last["state"], "graded");
        assert!(last["report"].as_str().unwrap().contains("3.2606"), "{last}");
        assert!(stream.next().await.is_none(), "nothing more will happen");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_session_or_the_membership() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    for end in ["DELETE FROM sessions", "DELETE FROM memberships"] {
        let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
        let mut stream = Stream::open(&mut browser, &format!("/submissions/{id}/events")).await;
        stream.snapshot().await;
        run(&app, end).await;
        let claim = hand.claim(5).await.unwrap();
        assert!(stream.next().await.is_none(), "after {end} nothing may be told");
        assert_eq!(
            hand.put(&claim, crate::desk::graded(0.87, 1_546_352)).await.status(),
            200
        );
        if end.contains("sessions") {
            browser
                .log_in("captain@example.org", crate::helpers::PASSWORD)
                .await
                .location();
        }
    }
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let mut stream = Stream::open(&mut browser, &format!("/submissions/{id}/events")).await;
    stream.snapshot().await;
    let mut board = Stream::open(&mut browser, "/board/events").await;
    assert_eq!(board.next().await.unwrap().0, "board");
    let hand = Hand::enrol(&app, "waits").await;
    hand.claim(5).await.unwrap();
    let waits = tokio::spawn(async move { hand.claim_response(25).await.status().as_u16() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    app.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "no stream or wait may hold a stop up: {:?}",
        begun.elapsed()
    );
    assert!(matches!(waits.await.unwrap(), 200 | 204));
}

#[tokio::test]
async fn the_board_tells_of_its_changes() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    let mut visitor = app.browser();
    let mut stream = Stream::open(&mut visitor, "/board/events").await;
    let (_, before, _) = stream.next().await.unwrap();
    assert_eq!(
        format!("\"{before}\""),
        visitor.get_json("/api/v1/board").await.header("etag")
    );
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    hand.grade(0.9).await;
    let (name, after, _) = stream.next().await.unwrap();
    assert_eq!(name, "board");
    assert_ne!(after, before);
    assert_eq!(
        format!("\"{after}\""),
        visitor.get_json("/api/v1/board").await.header("etag")
    );
}

#[tokio::test]
async fn a_broken_database_connection_is_made_good() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let mut stream = Stream::open(&mut browser, &format!("/submissions/{id}/events")).await;
    stream.snapshot().await;
    // Every connection of the application is cut, the listener's among them.
    let _ = sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(&app.pool)
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    hand.grade(0.9).await;
    stream.until(|event| event["done"] == true).await;
}
