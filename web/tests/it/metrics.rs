//! What a monitoring system sees, on a listener of its own.

use std::time::Duration;

use assay_web::health::Peer;
use prometheus::IntGauge;
use reqwest::Method;

use crate::helpers::{Browser, TestApp};

async fn scraped() -> (TestApp, Browser) {
    let app = TestApp::spawn_with(|settings| settings.metrics_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let address = format!("http://{}", app.metrics_address.unwrap());
    (app, Browser::new(&address))
}

/// The value of the one series that starts with `name` and has all of `labels`.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    };
    let lines: Vec<&str> = text.lines().filter(fits).collect();
    assert_eq!(lines.len(), 1, "{name} {labels:?} in {lines:?}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_address() {
    let (app, mut monitor) = scraped().await;
    let mut browser = app.browser();
    for _ in 0..3 {
        browser.get("/login?next=/team").await;
    }
    browser.get("/submissions/01890000-0000-7000-8000-000000000000").await;
    browser.get("/no/such/place/whatever").await;
    let strange = Method::from_bytes(b"BREW").unwrap();
    let request = browser.request(strange, "/login");
    browser.send(request).await;

    let answer = monitor.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text;
    let count = |labels: &[&str]| value(&text, "assay_http_requests_total", labels);
    assert_eq!(count(&["route=\"/login\"", "method=\"GET\"", "status=\"200\""]), 3.0);
    assert_eq!(count(&["route=\"/submissions/{id}\"", "status=\"303\""]), 1.0);
    assert_eq!(count(&["route=\"none\"", "status=\"404\""]), 1.0);
    assert_eq!(count(&["method=\"other\""]), 1.0);
    for secret in ["01890000", "whatever", "BREW", "next="] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
    let seconds = |suffix: &str| {
        let name = format!("assay_http_request_seconds_{suffix}");
        value(&text, &name, &["route=\"/login\"", "method=\"GET\""])
    };
    assert_eq!(seconds("count"), 3.0);
    assert!((0.0..1.0).contains(&seconds("sum")), "{}", seconds("sum"));
    assert_eq!(value(&text, "assay_http_requests_in_flight", &[]), 0.0);
    assert!(value(&text, "assay_database_connections", &[]) >= 1.0);
    assert!(value(&text, "process_resident_memory_bytes", &[]) > 1e6);
}

/// The first sample is taken beside the first requests, so the first scrape may come before it.
#[tokio::test]
async fn the_wait_for_a_connection_is_sampled() {
    let (_app, mut monitor) = scraped().await;
    let sampled = async {
        while value(
            &monitor.get("/metrics").await.text,
            "assay_database_pool_wait_seconds_count",
            &[],
        ) < 1.0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sampled)
        .await
        .expect("no sample in half a minute");
}

#[tokio::test]
async fn metrics_are_never_on_the_public_address() {
    let (app, mut monitor) = scraped().await;
    let mut browser = app.browser();
    assert_eq!(browser.get("/metrics").await.status, 404);
    assert_eq!(app.organizer().await.get("/metrics").await.status, 404);
    // And the internal one answers nothing else.
    for path in ["/", "/login", "/admin", "/api/v1/board", "/worker/v1/claim"] {
        assert_eq!(monitor.get(path).await.status, 404, "{path}");
    }
    let plain = TestApp::spawn().await;
    assert!(plain.metrics_address.is_none(), "off where nobody asked for it");
}

#[tokio::test]
async fn parts_of_the_application_add_their_own() {
    let (app, mut monitor) = scraped().await;
    let depth = IntGauge::new("assay_test_depth", "Of this test.").unwrap();
    app.state.metrics.register(depth.clone()).unwrap();
    assert!(app.state.metrics.register(depth.clone()).is_err(), "once is enough");
    depth.set(7);
    assert_eq!(value(&monitor.get("/metrics").await.text, "assay_test_depth", &[]), 7.0);
}

#[tokio::test]
async fn open_event_streams_are_counted_until_they_close() {
    let (app, mut monitor) = scraped().await;
    app.import_sample().await;
    let mut browser = app.captain("someone", "Team").await;
    let draft = browser
        .post_json("/api/v1/submissions", &serde_json::json!({ "title": "x" }))
        .await;
    let id = draft.json()["id"].as_str().unwrap().to_owned();
    let events = format!("/submissions/{id}/events");
    let stream = browser.request(Method::GET, &events).send().await.unwrap();
    assert_eq!(stream.status().as_u16(), 200);
    let open = |text: &str| value(text, "assay_event_streams_open", &[]);
    assert_eq!(open(&monitor.get("/metrics").await.text), 1.0);
    // A stream ends with the session it belongs to, at the next news.
    browser.log_out().await;
    sqlx::query("SELECT pg_notify('assay_submission', $1)")
        .bind(&id)
        .execute(&app.pool)
        .await
        .unwrap();
    for round in 0.. {
        if open(&monitor.get("/metrics").await.text) == 0.0 {
            break;
        }
        assert!(round < 100, "the stream is still counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(stream);
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let (app, mut monitor) = scraped().await;
    let ready = monitor.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["broker"].as_str()), (200, Some("off")));
    app.state.health.set_broker(Peer::Down);
    let ready = monitor.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json()["broker"].as_str()),
        (200, Some("down")),
        "work flows by long poll"
    );
    std::fs::remove_dir_all(app.data.path()).unwrap();
    let ready = monitor.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["disk"].as_bool()), (503, Some(false)));
    assert_eq!(monitor.get("/livez").await.status, 200);
}
