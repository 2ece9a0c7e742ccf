//! Workers' keys: enrolled once, used for short sessions, taken away at once.

use std::time::Duration;

use assay_contest::wire::{Progress, Session, Stage};
use aws_lc_rs::signature::Ed25519KeyPair;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::desk::{Hand, device, enrolment, graded, run, submitted, value};
use crate::helpers::TestApp;

async fn enrol(app: &TestApp, ask: &impl serde::Serialize) -> Response {
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/worker/v1/enrol", app.address)).json(ask);
    request.send().await.unwrap()
}

async fn token(app: &TestApp, life: Duration) -> String {
    assay_web::db::workers::create_enrolment(&app.pool, life).await.unwrap()
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn an_enrolment_token_lets_one_worker_in() {
    let app = TestApp::with_contest().await;
    let one = token(&app, Duration::from_secs(60)).await;
    // Two machines race with the same token: one is in.
    let (mine, theirs) = (enrolment(&one, "one").1, enrolment(&one, "two").1);
    let (a, b) = futures_util::future::join(enrol(&app, &mine), enrol(&app, &theirs)).await;
    let mut statuses = [a.status().as_u16(), b.status().as_u16()];
    let (won, first) = if statuses[0] == 200 { (&mine, a) } else { (&theirs, b) };
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    let first: Value = first.json().await.unwrap();
    // The winner never heard the answer and asks again: the same answer, no second worker, one line in the log.
    let again: Value = enrol(&app, won).await.json().await.unwrap();
    assert_eq!(again, first);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM workers").await, 1);
    let lines = "SELECT count(*) FROM audit_log WHERE action = 'worker.enrolled'";
    assert_eq!(value::<i64>(&app, lines).await, 1);

    let old = token(&app, Duration::ZERO).await;
    assert_eq!(code(enrol(&app, &enrolment(&old, "late").1).await).await.0, 403);
}

#[tokio::test]
async fn a_key_is_enrolled_only_by_whoever_holds_it() {
    let app = TestApp::with_contest().await;
    let one = token(&app, Duration::from_secs(60)).await;
    // A worker from before there were keys is told what to do.
    let old = json!({ "token": one, "name": "old", "device": device() });
    assert_eq!(code(enrol(&app, &old).await).await, (422, "worker-too-old".into()));
    // Someone else's public key, or a signature over another token.
    let (mut stolen, good) = (enrolment(&one, "thief").1, enrolment(&one, "good").1);
    stolen.public_key = good.public_key.clone();
    assert_eq!(
        code(enrol(&app, &stolen).await).await,
        (422, "worker-key-unproven".into())
    );
    let mut replayed = good.clone();
    replayed.token = token(&app, Duration::from_secs(60)).await;
    assert_eq!(
        code(enrol(&app, &replayed).await).await,
        (422, "worker-key-unproven".into())
    );
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM workers").await, 0);
    assert_eq!(enrol(&app, &good).await.status(), 200);
}

#[tokio::test]
async fn a_session_needs_a_fresh_signature_of_the_right_key() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "signer").await;
    let (own, other) = (hand.challenge().await, hand.challenge().await);
    let stranger = Ed25519KeyPair::generate().unwrap();
    assert_eq!(
        code(hand.answer(&own, &stranger).await).await,
        (401, "worker-key-invalid".into())
    );
    assert_eq!(
        hand.answer_own(&own).await.status(),
        401,
        "a challenge that was answered wrongly is used up"
    );
    let opened = hand.answer_own(&other).await;
    assert_eq!(opened.status(), 200);
    let session: Session = opened.json().await.unwrap();
    assert_eq!(session.seconds, 900);
    assert!(
        session.doorbell.is_none(),
        "no broker is configured, so none is handed out"
    );
    assert_eq!(
        hand.answer_own(&other).await.status(),
        401,
        "each challenge opens one session"
    );
    assert_eq!(hand.answer_own(&"0".repeat(64)).await.status(), 401);
    let late = hand.challenge().await;
    run(
        &app,
        "UPDATE worker_challenges SET expires_at = now() - interval '1 second'",
    )
    .await;
    assert_eq!(hand.answer_own(&late).await.status(), 401);
    // Another worker's challenge is not this one's.
    let second = Hand::enrol(&app, "second").await;
    assert_eq!(hand.answer_own(&second.challenge().await).await.status(), 401);
}

#[tokio::test]
async fn the_broker_is_told_to_workers_with_a_session_only() {
    let app = TestApp::spawn_with(|settings| {
        settings.amqp_worker_url = Some("amqp://reader:secret@broker/%2f".into());
    })
    .await;
    app.import_sample().await;
    let hand = Hand::enrol(&app, "listens").await;
    let session: Session = hand.open_session().await.json().await.unwrap();
    let doorbell = session.doorbell.unwrap();
    assert_eq!(
        (doorbell.url.as_str(), doorbell.queue.as_str()),
        ("amqp://reader:secret@broker/%2f", "jobs.gpu")
    );
}

#[tokio::test]
async fn revoking_ends_everything_at_once() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let mut organizer = app.organizer().await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let (hand, other) = (Hand::enrol(&app, "rogue").await, Hand::enrol(&app, "other").await);
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Load, 1).await;
    let challenge = hand.challenge().await;
    let answer = organizer
        .submit("/admin", &format!("/admin/workers/{}/revoke", hand.id), &[])
        .await;
    assert_eq!(answer.status, 303, "{}", answer.text);

    assert_eq!(hand.claim_response(0).await.status(), 401, "its session");
    assert_eq!(
        hand.answer_own(&challenge).await.status(),
        401,
        "a challenge it had open"
    );
    assert_eq!(hand.open_session().await.status(), 401, "its key");
    assert_eq!(
        hand.beat_response(&claim, Progress::default()).await.status(),
        409,
        "its lease"
    );
    assert_eq!(
        hand.put(&claim, graded(0.99, 1_546_352)).await.status(),
        409,
        "its job token"
    );
    // What it held waits for another worker at once, and it was not the job's fault.
    let taken = other.claim(0).await.expect("at once");
    assert_eq!((taken.job_id.as_str(), taken.fence), (claim.job_id.as_str(), 2));
    assert_eq!(value::<i32>(&app, "SELECT attempts FROM jobs").await, 1);
}

#[tokio::test]
async fn a_bearer_key_from_before_still_opens_what_it_did() {
    let app = TestApp::with_contest().await;
    let key = assay_web::auth::token::SecretToken::random();
    sqlx::query("INSERT INTO workers (id, name, key_sha256) VALUES ($1, 'old', $2)")
        .bind(assay_web::db::ids::WorkerId::new())
        .bind(key.digest())
        .execute(&app.pool)
        .await
        .unwrap();
    let mut hand = Hand::enrol(&app, "new").await;
    hand.key = key.expose().to_owned();
    assert_eq!(hand.claim_response(0).await.status(), 204);
    run(&app, "UPDATE workers SET revoked_at = now() WHERE name = 'old'").await;
    assert_eq!(
        code(hand.claim_response(0).await).await,
        (401, "worker-key-invalid".into())
    );
    hand.key = "not.a.token".into();
    assert_eq!(
        code(hand.claim_response(0).await).await,
        (401, "worker-session-ended".into())
    );
}
