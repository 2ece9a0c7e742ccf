//! Who gets a job after something went wrong, and which worker gets nothing any more.

use assay_contest::wire::{FailureClass, Outcome, Stage};

use crate::desk::{Hand, expire_leases, failed, make_due, problem, run, submitted, value};
use crate::helpers::TestApp;

const DUE: &str = "UPDATE jobs SET not_before = now() - interval '1 second' WHERE state = 'queued'";

#[tokio::test]
async fn a_timeout_is_tried_once_more_and_on_another_worker() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "slow", "w4a16-gptq").await;
    let (first, second) = (Hand::enrol(&app, "first").await, Hand::enrol(&app, "second").await);
    let claim = first.claim(5).await.unwrap();
    first.beat(&claim, Stage::Evaluate, 1).await;
    assert_eq!(first.put(&claim, failed(FailureClass::Timeout)).await.status(), 200);
    make_due(&app).await;
    assert!(first.claim(0).await.is_none(), "it had its try");
    let claim = second.claim(0).await.expect("the other one");
    second.beat(&claim, Stage::Evaluate, 1).await;
    assert_eq!(second.put(&claim, failed(FailureClass::Timeout)).await.status(), 200);
    assert_eq!(value::<String>(&app, "SELECT state FROM jobs").await, "failed");
}

#[tokio::test]
async fn a_job_is_not_kept_from_the_only_worker_there_is() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "slow", "w4a16-gptq").await;
    let (only, gone) = (Hand::enrol(&app, "only").await, Hand::enrol(&app, "gone").await);
    let claim = only.claim(5).await.unwrap();
    assert_eq!(only.put(&claim, failed(FailureClass::Timeout)).await.status(), 200);
    make_due(&app).await;
    run(
        &app,
        "UPDATE workers SET seen_at = now() - interval '1 hour' WHERE name = 'gone'",
    )
    .await;
    assert!(only.claim(0).await.is_some(), "nobody else is there");
    drop(gone);
}

#[tokio::test]
async fn after_a_failure_of_the_platform_the_others_are_asked_first() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "unlucky", "w4a16-gptq").await;
    let (first, second) = (Hand::enrol(&app, "first").await, Hand::enrol(&app, "second").await);
    let claim = first.claim(5).await.unwrap();
    assert_eq!(first.put(&claim, failed(FailureClass::Infra)).await.status(), 200);
    run(&app, DUE).await;
    assert!(first.claim(0).await.is_none(), "for half a minute it is the others'");
    let claim = second.claim(0).await.expect("the other one");
    second.beat(&claim, Stage::Load, 1).await;
    // The other one is lost with it: the first may have it back, since nobody is better.
    expire_leases(&app).await;
    assert!(first.claim(0).await.is_some());
}

#[tokio::test]
async fn a_lost_lease_waits_before_it_is_tried_again() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "lost", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "hand").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Load, 1).await;
    run(&app, "UPDATE attempts SET lease_until = now() - interval '1 second'").await;
    let mut transaction = app.pool.begin().await.unwrap();
    assert_eq!(assay_web::db::attempts::reap(&mut transaction).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    let wait = "SELECT extract(epoch FROM not_before - now())::float8 FROM jobs";
    let wait = value::<f64>(&app, wait).await;
    assert!(wait > 5.0 && wait < 13.0, "{wait}");
    let bell = "SELECT extract(epoch FROM max(available_at) - now())::float8 FROM outbox WHERE published_at IS NULL";
    let bell = value::<f64>(&app, bell).await;
    assert!(
        (bell - wait).abs() < 1.0,
        "the bell rings when it is due: {bell} {wait}"
    );
}

#[tokio::test]
async fn a_machine_that_fails_again_and_again_is_taken_out_of_service() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "broken").await;
    let fault = || Outcome::Failed {
        class: FailureClass::Infra,
        problem: problem("worker-crashed"),
    };
    for i in 0..3 {
        let mut browser = app.captain(&format!("captain{i}"), &format!("Team {i}")).await;
        submitted(&mut browser, "job", "w4a16-gptq").await;
        let claim = hand.claim(5).await.expect("still in service");
        assert_eq!(hand.put(&claim, fault()).await.status(), 200);
    }
    assert!(value::<bool>(&app, "SELECT draining FROM workers").await);
    run(&app, DUE).await;
    assert!(hand.claim(0).await.is_none());
    let told = "SELECT count(*) FROM audit_log WHERE action = 'worker.out-of-service'";
    assert_eq!(value::<i64>(&app, told).await, 1);

    // What operators see of it: three jobs wait, three attempts failed, and nobody has announced anything to a broker.
    app.state.dispatch.refresh(&app.pool).await.unwrap();
    assert_eq!(measured(&app, "assay_jobs", "queued"), 3.0);
    assert_eq!(measured(&app, "assay_attempts", "failed-infra"), 3.0);
    assert!(measured(&app, "assay_outbox_waiting", "") >= 3.0);
    assert_eq!(measured(&app, "assay_lease_expiries", ""), 0.0);
}

/// A gauge of the application as it is scraped; `label` is the value of one of its labels, or empty.
fn measured(app: &TestApp, name: &str, label: &str) -> f64 {
    let families = app.state.metrics.registry().gather();
    let text = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
        .filter(|_| label.is_empty())
        .or_else(|| {
            text.lines()
                .find(|line| line.starts_with(name) && line.contains(&format!("=\"{label}\"")))
        });
    let line = line.unwrap_or_else(|| panic!("no {name} of {label} in {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}
