//! The organizers' desk.

use assay_contest::wire::{Directive, Progress, Stage};
use serde_json::json;

use crate::desk::{Hand, expire_leases, submitted, value};
use crate::helpers::TestApp;

#[tokio::test]
async fn queue_and_workers_are_shown_to_organizers_only() {
    let app = TestApp::with_contest().await;
    let mut a = app.captain("ann", "Team A").await;
    assert_eq!(a.get("/admin").await.status, 403);
    assert_eq!(app.browser().get("/admin").await.location(), "/login?next=/admin");
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "bench worker").await;
    submitted(&mut a, "runs now", "w4a16-gptq").await;
    let waits = submitted(&mut a, "waits now", "w4a16-asym").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Evaluate, 4).await;
    for language in ["en", "ko"] {
        organizer.language = language;
        let page = organizer.get("/admin").await;
        assert_eq!(page.status, 200);
        for part in ["runs now", "waits now", "Team A", "bench worker", "test bench"] {
            assert!(page.text.contains(part), "{part} in {}", page.text);
        }
    }
    // Organizers may open what is not theirs.
    assert_eq!(organizer.get(&format!("/submissions/{waits}")).await.status, 200);

    let made = organizer.submit("/admin", "/admin/enrol", &[]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert!(made.text.contains("assay-worker run --server"), "{}", made.text);
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM enrolments WHERE used_by IS NULL").await,
        1
    );
}

#[tokio::test]
async fn a_waiting_grade_is_called_off_at_once_and_a_running_one_by_its_heartbeat() {
    let app = TestApp::with_contest().await;
    let mut a = app.captain("ann", "Team A").await;
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "only").await;
    let state = async |browser: &mut crate::helpers::Browser, id: &str| {
        browser.get_json(&format!("/api/v1/submissions/{id}")).await.json()["state"].clone()
    };

    let waiting = submitted(&mut a, "waiting", "w4a16-gptq").await;
    organizer
        .submit("/admin", &format!("/admin/submissions/{waiting}/cancel"), &[])
        .await
        .location();
    assert_eq!(state(&mut a, &waiting).await, "cancelled");
    assert!(hand.claim(0).await.is_none());
    let again = organizer
        .submit("/admin", &format!("/admin/submissions/{waiting}/cancel"), &[])
        .await;
    assert_eq!(again.status, 409);

    // Running: the next heartbeat says so, and giving it back ends it.
    let running = submitted(&mut a, "running", "w4a16-gptq").await;
    let claim = hand.claim(5).await.unwrap();
    assert_eq!(hand.beat(&claim, Stage::Load, 1).await, Directive::Continue);
    organizer
        .submit("/admin", &format!("/admin/submissions/{running}/cancel"), &[])
        .await
        .location();
    assert_eq!(state(&mut a, &running).await, "running");
    assert_eq!(hand.beat(&claim, Stage::Load, 2).await, Directive::Cancel);
    assert_eq!(hand.release(&claim).await.status(), 200);
    assert_eq!(state(&mut a, &running).await, "cancelled");
    assert!(hand.claim(0).await.is_none());

    // A worker that never hears of it loses its lease, which ends it as well.
    let lost = submitted(&mut a, "lost", "w4a16-gptq").await;
    hand.claim(5).await.unwrap();
    organizer
        .submit("/admin", &format!("/admin/submissions/{lost}/cancel"), &[])
        .await
        .location();
    assert_eq!(expire_leases(&app).await, 1);
    assert_eq!(state(&mut a, &lost).await, "cancelled");
    // It can be graded after all.
    organizer
        .submit("/admin", &format!("/admin/submissions/{lost}/rerun"), &[])
        .await
        .location();
    hand.grade(0.9).await;
    assert_eq!(state(&mut a, &lost).await, "graded");
}

#[tokio::test]
async fn workers_are_drained_and_revoked() {
    let app = TestApp::with_contest().await;
    let mut a = app.captain("ann", "Team A").await;
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "only").await;
    submitted(&mut a, "one", "w4a16-gptq").await;
    submitted(&mut a, "two", "w4a16-asym").await;
    let claim = hand.claim(5).await.unwrap();
    let order = |what: &str| format!("/admin/workers/{}/{what}", hand.id);
    organizer.submit("/admin", &order("drain"), &[]).await.location();
    assert_eq!(hand.beat(&claim, Stage::Load, 1).await, Directive::Drain);
    assert_eq!(
        hand.put(&claim, crate::desk::graded(0.9, 1_546_352)).await.status(),
        200,
        "it finishes what it has"
    );
    assert!(hand.claim(0).await.is_none(), "and takes no more");
    organizer.submit("/admin", &order("resume"), &[]).await.location();
    let claim = hand.claim(0).await.unwrap();
    organizer.submit("/admin", &order("revoke"), &[]).await.location();
    assert_eq!(hand.beat_response(&claim, Progress::default()).await.status(), 409);
    assert_eq!(hand.put(&claim, crate::desk::graded(0.9, 1)).await.status(), 409);
    assert_eq!(hand.claim_response(0).await.status(), 401);
    assert_eq!(organizer.submit("/admin", &order("revoke"), &[]).await.status, 404);
    let actions: serde_json::Value = value(
        &app,
        "SELECT jsonb_agg(action ORDER BY id) FROM audit_log WHERE object LIKE 'worker:%'",
    )
    .await;
    assert_eq!(
        actions,
        json!(["worker.enrolled", "worker.drain", "worker.resume", "worker.revoke"])
    );
}
