//! The whole way with a broker: the server announces, the worker is told where and listens, the grade arrives once.

use std::time::{Duration, Instant};

use crate::deployment::{Deployment, fixture};

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_announced_on_the_broker_is_graded_once() {
    let mut assay = Deployment::start_with_broker().await;
    assay.start_worker("listener");
    let begun = Instant::now();
    while !assay.logs().contains("listening for announcements") {
        assert!(begun.elapsed() < Duration::from_secs(40), "{}", assay.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let folder = fixture("w4a16-gptq");
    assay.admin(&[
        "submit-sample",
        "--team",
        "Phoenix",
        "--title",
        "announced",
        folder.to_str().unwrap(),
    ]);
    // It listens and asks by itself only every 45 s: taken within ten, it was the bell.
    assay
        .until(
            "the announcement was heard",
            10,
            "SELECT EXISTS (SELECT 1 FROM attempts)",
        )
        .await;
    assay
        .until("the submission graded", 120, "SELECT state = 'graded' FROM submissions")
        .await;
    assert_eq!(assay.count("SELECT count(*) FROM results").await, 1);
    assert_eq!(assay.count("SELECT count(*) FROM attempts").await, 1);
    assert_eq!(
        assay
            .count("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            .await,
        0
    );
}
