//! Jobs, leases and fences: nothing accepted is lost, nothing counts twice, and a zombie changes nothing.

use std::time::{Duration, Instant};

use assay_contest::wire::{Directive, FailureClass, Outcome, Progress, Report, Stage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::desk::{Hand, expire_leases, failed, files, graded, make_due, problem, run, sha256, submitted, value};
use crate::helpers::TestApp;

const WEIGHT: u64 = 1_546_352;

#[tokio::test]
async fn from_a_submission_to_a_score() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "first").await;
    assert!(hand.claim(0).await.is_none(), "nothing waits yet");
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;

    let claim = hand.claim(5).await.unwrap();
    assert_eq!(
        (claim.submission_id.as_str(), claim.fence, claim.lease_seconds),
        (id.as_str(), 1, 60)
    );
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(shown["state"], "running");
    assert_eq!(hand.beat(&claim, Stage::Fetch, 1).await, Directive::Continue);

    // Everything the claim names can be fetched, is what it says, and nothing else can.
    let expected = files("w4a16-gptq");
    assert_eq!(claim.submission_files.len(), expected.len());
    for file in &claim.submission_files {
        let got = hand
            .request(Method::GET, &claim, &format!("submission/{}", file.name))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                got.status().as_u16(),
                got.headers()["content-disposition"].to_str().unwrap()
            ),
            (200, "attachment")
        );
        let got = got.bytes().await.unwrap();
        assert_eq!(
            (got.len() as u64, sha256(&got)),
            (file.bytes, file.sha256.clone()),
            "{}",
            file.name
        );
    }
    let names: Vec<&str> = claim.contest_files.iter().map(|file| file.name.as_str()).collect();
    for name in [
        "contest.toml",
        "base/config.json",
        "base/tokenizer.json",
        "base/chat_template.jinja",
        "base/model.safetensors",
        "tasks/mini_gsm.yaml",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for file in &claim.contest_files {
        let got = hand
            .request(Method::GET, &claim, &format!("contest/{}", file.name))
            .send()
            .await
            .unwrap();
        assert_eq!(sha256(&got.bytes().await.unwrap()), file.sha256, "{}", file.name);
    }
    for rest in [
        "submission/recipe.yml",
        "submission/..%2f..%2fsecret",
        "contest/../secret",
        "contest/base/other.safetensors",
    ] {
        assert_eq!(
            hand.request(Method::GET, &claim, rest).send().await.unwrap().status(),
            404,
            "{rest}"
        );
    }
    let weights = &expected["model.safetensors"];
    let part = hand
        .request(Method::GET, &claim, "submission/model.safetensors")
        .header("range", "bytes=1000-1999");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 1000-1999/{}", weights.len())
    );
    assert_eq!(part.bytes().await.unwrap(), weights[1000..2000]);
    let tail = hand
        .request(Method::GET, &claim, "submission/model.safetensors")
        .header("range", "bytes=1500000-");
    assert_eq!(tail.send().await.unwrap().bytes().await.unwrap(), weights[1_500_000..]);

    // Outputs, then the result; the board has it at once.
    let put = hand
        .request(Method::PUT, &claim, "outputs/results.json")
        .body("{\"a\":1}")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 204);
    for bad in ["outputs/..", "outputs/.hidden", "outputs/a%2Fb"] {
        let status = hand
            .request(Method::PUT, &claim, bad)
            .body("x")
            .send()
            .await
            .unwrap()
            .status();
        assert!(status == 400 || status == 404 || status == 405, "{bad}: {status}");
    }
    let answer = hand.put(&claim, graded(0.87, WEIGHT)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["accepted"], "now");
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(
        (shown["state"].clone(), shown["result"]["outcome"].clone()),
        (json!("graded"), json!("graded"))
    );
    let board = browser.get_json("/api/v1/board").await.json();
    assert_eq!(
        (board["rows"][0]["rank"].clone(), board["rows"][0]["submission"].clone()),
        (json!(1), json!(id))
    );
    let output = browser.get(&format!("/submissions/{id}/outputs/results.json")).await;
    assert_eq!(
        (
            output.status,
            output.text.as_str(),
            output.header("content-disposition")
        ),
        (200, "{\"a\":1}", "attachment")
    );
    let page = browser.get(&format!("/submissions/{id}")).await;
    assert!(
        page.status == 200 && page.text.contains("results.json"),
        "{}",
        page.text
    );
    let mut stranger = app.captain("stranger", "Other").await;
    assert_eq!(
        stranger
            .get(&format!("/submissions/{id}/outputs/results.json"))
            .await
            .status,
        404
    );

    // The attempt is over: its token opens nothing any more.
    assert_eq!(hand.beat_response(&claim, Progress::default()).await.status(), 409);
    assert_eq!(
        hand.request(Method::GET, &claim, "submission/config.json")
            .send()
            .await
            .unwrap()
            .status(),
        409
    );
}

#[tokio::test]
async fn a_waiting_worker_is_told_at_once() {
    let app = TestApp::with_contest().await;
    let mut took = Vec::new();
    // The quickest of some: whoever looked every two seconds would be lucky every time, this machine is only busy at times.
    for team in ["first", "second", "third"] {
        let mut browser = app.captain(team, team).await;
        let hand = Hand::enrol(&app, team).await;
        let waits = tokio::spawn(async move { hand.claim(20).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
        let sent = Instant::now();
        assert_eq!(waits.await.unwrap().unwrap().submission_id, id);
        took.push(sent.elapsed());
    }
    let quickest = took.iter().min().unwrap();
    assert!(*quickest < Duration::from_millis(500), "rung, not polled: {took:?}");
}

#[tokio::test]
async fn a_repeated_result_counts_once() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "first").await;
    let claim = hand.claim(5).await.unwrap();
    for expected in ["now", "before", "before"] {
        let answer = hand.put(&claim, graded(0.87, WEIGHT)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["accepted"], expected);
    }
    // Another body is another result, and there is only one.
    let answer = hand.put(&claim, graded(0.99, WEIGHT)).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "lease-lost");
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM results").await, 1);
    let accuracy = "SELECT (report->'measures'->>'acc.mini_gsm.exact_match.flexible-extract')::float8 FROM results";
    assert_eq!(value::<f64>(&app, accuracy).await, 0.87);
}

#[tokio::test]
async fn a_lost_lease_goes_to_another_worker_and_the_zombie_changes_nothing() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let (zombie, other) = (Hand::enrol(&app, "zombie").await, Hand::enrol(&app, "other").await);
    let old = zombie.claim(5).await.unwrap();
    zombie.beat(&old, Stage::Load, 1).await;
    assert!(other.claim(0).await.is_none(), "a running job is nobody else's");
    assert_eq!(expire_leases(&app).await, 1);
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(shown["state"], "queued");

    let new = other.claim(5).await.unwrap();
    assert_eq!((new.job_id.clone(), new.fence), (old.job_id.clone(), old.fence + 1));
    other.beat(&new, Stage::Evaluate, 1).await;

    let before: Value = value(&app, "SELECT to_jsonb(array_agg(j)) FROM jobs j").await;
    for response in [
        zombie.beat_response(&old, Progress::default()).await,
        zombie.put(&old, graded(0.99, WEIGHT)).await,
        zombie.put(&old, failed(FailureClass::Submission)).await,
        zombie.release(&old).await,
        zombie
            .request(Method::PUT, &old, "outputs/results.json")
            .body("zombie")
            .send()
            .await
            .unwrap(),
        zombie
            .request(Method::GET, &old, "submission/config.json")
            .send()
            .await
            .unwrap(),
    ] {
        assert_eq!(response.status(), 409);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "lease-lost");
    }
    assert_eq!(
        value::<Value>(&app, "SELECT to_jsonb(array_agg(j)) FROM jobs j").await,
        before
    );

    assert_eq!(other.put(&new, graded(0.85, WEIGHT)).await.status(), 200);
    assert_eq!(zombie.put(&old, graded(0.99, WEIGHT)).await.status(), 409);
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM results WHERE fence = 2").await,
        1
    );
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM results").await, 1);
    assert_eq!(
        value::<Vec<String>>(&app, "SELECT array_agg(state ORDER BY fence) FROM attempts").await,
        ["lost", "succeeded"]
    );
}

#[tokio::test]
async fn a_lease_that_ran_out_is_lost_even_before_the_sweep() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "late").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Load, 1).await;
    run(&app, "UPDATE attempts SET lease_until = now()").await;
    assert_eq!(
        hand.beat_response(&claim, Progress::default()).await.status(),
        409,
        "what is lost is not renewed"
    );
    assert_eq!(hand.release(&claim).await.status(), 409);
    assert_eq!(hand.put(&claim, graded(0.9, WEIGHT)).await.status(), 409);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM results").await, 0);
}

#[tokio::test]
async fn a_worker_that_asks_again_has_forgotten_what_it_held() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "restarted").await;
    let first = hand.claim(5).await.unwrap();
    hand.beat(&first, Stage::Load, 1).await;
    // Killed and started again: no need to wait for the lease, only for the wait after a failure.
    assert!(hand.claim(0).await.is_none());
    make_due(&app).await;
    let second = hand.claim(5).await.unwrap();
    assert_eq!((second.job_id.clone(), second.fence), (first.job_id.clone(), 2));
    assert_eq!(hand.beat_response(&first, Progress::default()).await.status(), 409);
    // The answer to a claim that got lost on the way costs no attempt.
    let third = hand.claim(5).await.unwrap();
    assert_eq!(third.fence, 3);
    assert_eq!(value::<i32>(&app, "SELECT attempts FROM jobs").await, 2);
    assert_eq!(hand.put(&third, graded(0.9, WEIGHT)).await.status(), 200);
}

#[tokio::test]
async fn racing_workers_get_one_job_each() {
    let app = TestApp::with_contest().await;
    let mut hands = Vec::new();
    for i in 0..6 {
        hands.push(Hand::enrol(&app, &format!("racer {i}")).await);
    }
    for i in 0..4 {
        let mut browser = app.captain(&format!("captain{i}"), &format!("Team {i}")).await;
        submitted(&mut browser, &format!("job {i}"), "w4a16-gptq").await;
    }
    let claims = futures_util::future::join_all(hands.iter().map(|hand| hand.claim(0))).await;
    let mut jobs: Vec<String> = claims.into_iter().flatten().map(|claim| claim.job_id).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 4, "four jobs, four different claims, two went without");
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM attempts").await, 4);
}

#[tokio::test]
async fn older_submissions_come_first() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    let first = submitted(&mut browser, "first", "w4a16-gptq").await;
    let second = submitted(&mut browser, "second", "w4a16-asym").await;
    let ahead = browser.get_json(&format!("/api/v1/submissions/{second}")).await.json()["job"]["ahead"].clone();
    assert_eq!(ahead, 1);
    assert_eq!(hand.grade(0.9).await.submission_id, first);
    assert_eq!(hand.grade(0.9).await.submission_id, second);
}

#[tokio::test]
async fn a_job_that_costs_its_workers_is_set_aside() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let id = submitted(&mut browser, "poison", "w4a16-gptq").await;
    for i in 0..2 {
        let hand = Hand::enrol(&app, &format!("victim {i}")).await;
        let claim = hand.claim(5).await.unwrap();
        hand.beat(&claim, Stage::Load, 1).await;
        assert_eq!(expire_leases(&app).await, 1);
    }
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM audit_log WHERE action = 'job.quarantined'").await,
        1,
        "the organizers are told"
    );
    assert_eq!(value::<String>(&app, "SELECT state FROM jobs").await, "quarantined");
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(
        (shown["state"].clone(), shown["problems"][0]["code"].clone()),
        (json!("failed"), json!("workers-lost"))
    );
    let page = browser.get(&format!("/submissions/{id}")).await;
    assert!(page.text.contains("workers-lost"), "{}", page.text);
    assert!(Hand::enrol(&app, "lucky").await.claim(0).await.is_none());
}

#[tokio::test]
async fn each_kind_of_failure_has_its_own_end() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "unlucky").await;
    let due = "UPDATE jobs SET not_before = now() - interval '1 minute' WHERE state = 'queued'";

    // The platform's: again after a wait, three times in all, then over with a reason.
    let id = submitted(&mut browser, "infra", "w4a16-gptq").await;
    for attempt in 1..=3 {
        let claim = hand.claim(5).await.unwrap();
        assert_eq!(claim.fence, attempt);
        hand.beat(&claim, Stage::Load, 1).await;
        assert_eq!(hand.put(&claim, failed(FailureClass::Infra)).await.status(), 200);
        assert_eq!(
            hand.put(&claim, failed(FailureClass::Infra)).await.status(),
            200,
            "a failure may be repeated, too"
        );
        assert!(hand.claim(0).await.is_none(), "not at once");
        if attempt < 3 {
            assert!(value::<f64>(&app, "SELECT extract(epoch FROM not_before - now())::float8 FROM jobs").await > 5.0);
            run(&app, due).await;
        }
    }
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(shown["state"], "failed");
    assert_eq!(shown["problems"][0]["code"], "test-failure");
    assert_eq!(shown["problems"][1]["code"], "platform-failed");

    // Time: once more, then over.
    let id = submitted(&mut browser, "timeout", "w4a16-gptq").await;
    for _ in 0..2 {
        let claim = hand.claim(5).await.unwrap();
        hand.beat(&claim, Stage::Evaluate, 1).await;
        assert_eq!(hand.put(&claim, failed(FailureClass::Timeout)).await.status(), 200);
        run(&app, due).await;
    }
    assert!(hand.claim(0).await.is_none());
    assert_eq!(
        browser.get_json(&format!("/api/v1/submissions/{id}")).await.json()["state"],
        "failed"
    );

    // The submission's: over at once.
    let id = submitted(&mut browser, "submission", "w4a16-gptq").await;
    let claim = hand.claim(5).await.unwrap();
    assert_eq!(hand.put(&claim, failed(FailureClass::Submission)).await.status(), 200);
    assert_eq!(
        browser.get_json(&format!("/api/v1/submissions/{id}")).await.json()["state"],
        "failed"
    );
    assert!(hand.claim(0).await.is_none());

    // Rejected with its reasons.
    let id = submitted(&mut browser, "rejected", "w4a16-gptq").await;
    let claim = hand.claim(5).await.unwrap();
    let outcome = Outcome::Rejected {
        problems: vec![problem("nan-in-weights")],
        report: Report::default(),
    };
    assert_eq!(hand.put(&claim, outcome).await.status(), 200);
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(
        (shown["state"].clone(), shown["problems"][0]["code"].clone()),
        (json!("rejected"), json!("nan-in-weights"))
    );
    let page = browser.get(&format!("/submissions/{id}")).await;
    assert!(page.text.contains("nan-in-weights"), "{}", page.text);

    // None of it is on the board, and none of it was charged.
    assert_eq!(browser.get_json("/api/v1/board").await.json()["rows"], json!([]));
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM results WHERE outcome = 'graded'").await,
        0
    );
}

#[tokio::test]
async fn a_result_without_substance_is_refused_and_costs_nothing() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "empty").await;
    let claim = hand.claim(5).await.unwrap();
    assert_eq!(
        hand.put(
            &claim,
            Outcome::Graded {
                report: Report::default()
            }
        )
        .await
        .status(),
        422
    );
    assert_eq!(
        hand.put(
            &claim,
            Outcome::Rejected {
                problems: vec![],
                report: Report::default()
            }
        )
        .await
        .status(),
        422
    );
    let nan = json!({ "fence": claim.fence, "outcome": { "kind": "graded", "report": { "engine": "x", "device": "x", "profile": "plain", "measures": { "bytes": null } } } });
    assert_eq!(
        hand.request(Method::PUT, &claim, "result")
            .json(&nan)
            .send()
            .await
            .unwrap()
            .status(),
        400
    );
    for weight in [WEIGHT - 1, 0] {
        let answer = hand.put(&claim, graded(0.9, weight)).await;
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "result-weight-differs");
    }
    assert_eq!(hand.put(&claim, graded(0.9, WEIGHT)).await.status(), 200);
}

#[tokio::test]
async fn a_released_job_waits_again_at_once_and_costs_no_attempt() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "leaves").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Load, 1).await;
    assert_eq!(hand.release(&claim).await.status(), 200);
    assert_eq!(hand.release(&claim).await.status(), 409);
    let again = hand.claim(0).await.expect("at once");
    assert_eq!(again.fence, 2);
    assert_eq!(value::<i32>(&app, "SELECT attempts FROM jobs").await, 1);
}

#[tokio::test]
async fn progress_only_goes_forward_and_renews_the_lease() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let id = submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let hand = Hand::enrol(&app, "steady").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Evaluate, 7).await;
    run(&app, "UPDATE attempts SET lease_until = now() + interval '2 seconds'").await;
    // An older report that was delayed on the way renews the lease and is otherwise ignored.
    hand.beat(&claim, Stage::Fetch, 3).await;
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert_eq!(shown["job"]["progress"]["stage"], "evaluate");
    assert!(
        value::<f64>(
            &app,
            "SELECT extract(epoch FROM lease_until - now())::float8 FROM attempts"
        )
        .await
            > 50.0
    );
}

#[tokio::test]
async fn tokens_open_their_own_attempt_only() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let mut other = app.captain("other", "Other").await;
    submitted(&mut browser, "one", "w4a16-gptq").await;
    submitted(&mut other, "two", "w4a16-asym").await;
    let (a, b) = (Hand::enrol(&app, "a").await, Hand::enrol(&app, "b").await);
    let (of_a, of_b) = (a.claim(5).await.unwrap(), b.claim(5).await.unwrap());
    let mut crossed = of_b.clone();
    crossed.token = of_a.token.clone();
    assert_eq!(
        a.request(Method::GET, &crossed, "submission/config.json")
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(a.put(&crossed, graded(0.9, WEIGHT)).await.status(), 404);
    // The fence in the body has to be the token's.
    let mut ahead = of_a.clone();
    ahead.fence += 1;
    assert_eq!(a.put(&ahead, graded(0.9, WEIGHT)).await.status(), 409);
    for token in ["", "x.y.z", a.key.as_str()] {
        let mut bad = of_a.clone();
        bad.token = token.to_owned();
        assert_eq!(
            a.beat_response(&bad, Progress::default()).await.status(),
            401,
            "{token}"
        );
    }
    // A job token is no worker key, and a browser's session is neither.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let claim = client
        .post(format!("{}/worker/v1/claim", app.address))
        .bearer_auth(&of_a.token)
        .send()
        .await
        .unwrap();
    assert_eq!(claim.status(), 401);
    let answer = browser.send(browser.request(Method::POST, "/worker/v1/claim")).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (401, json!("worker-key-invalid"))
    );
}

#[tokio::test]
async fn deadline_and_quota_are_judged_by_the_database_when_it_is_sent() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let hand = Hand::enrol(&app, "only").await;
    let source = value::<String>(&app, "SELECT source FROM contests").await;
    let change = |source: String| {
        let app = &app;
        async move {
            sqlx::query("UPDATE contests SET source = $1")
                .bind(source)
                .execute(&app.pool)
                .await
                .unwrap();
        }
    };

    let all = files("w4a16-gptq");
    let draft = crate::desk::Draft::create(&mut browser, "late", &all).await;
    draft.fill(&mut browser, &all).await;
    change(source.replace("closes = 2030-01-01", "closes = 2026-01-02")).await;
    let answer = draft.submit(&mut browser).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (409, json!("contest-closed")),
        "{}",
        answer.text
    );
    assert_eq!(value::<String>(&app, "SELECT state FROM submissions").await, "draft");

    change(source.replace("graded_per_day = 10", "graded_per_day = 2")).await;
    assert_eq!(draft.submit(&mut browser).await.status, 200);
    submitted(&mut browser, "second", "w4a16-gptq").await;
    let draft = crate::desk::Draft::create(&mut browser, "third", &all).await;
    draft.fill(&mut browser, &all).await;
    let answer = draft.submit(&mut browser).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (429, json!("quota-reached")),
        "two are on the way"
    );

    // A failure gives the place back; a published score does not.
    let claim = hand.claim(5).await.unwrap();
    assert_eq!(hand.put(&claim, failed(FailureClass::Submission)).await.status(), 200);
    hand.grade(0.9).await;
    assert_eq!(draft.submit(&mut browser).await.status, 200);
    hand.grade(0.9).await;
    let draft = crate::desk::Draft::create(&mut browser, "fourth", &all).await;
    draft.fill(&mut browser, &all).await;
    assert_eq!(draft.submit(&mut browser).await.json()["code"], "quota-reached");
    // Tomorrow is another day.
    run(&app, "UPDATE results SET accepted_at = accepted_at - interval '1 day'").await;
    assert_eq!(draft.submit(&mut browser).await.status, 200);
}

#[tokio::test]
async fn files_changed_between_verdict_and_receipt_are_not_sent() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let all = files("w4a16-gptq");
    let draft = crate::desk::Draft::create(&mut browser, "swap", &all).await;
    draft.fill(&mut browser, &all).await;
    let id = draft.id.parse().unwrap();
    let verified: Vec<_> = assay_web::db::uploads::of_submission(&app.pool, id)
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.id)
        .collect();
    // Between the look at the files and the transaction, one is replaced.
    let path = format!("/api/v1/submissions/{}/files/config.json", draft.id);
    let other = b"{}".to_vec();
    let request = browser
        .script(Method::PUT, &path)
        .await
        .json(&json!({ "bytes": 2, "sha256": sha256(&other) }));
    let url = browser.send(request).await.json()["upload_url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(crate::desk::patch(&mut browser, &url, 0, other).await.status, 204);

    let rules = assay_web::db::contests::current(&app.pool)
        .await
        .unwrap()
        .unwrap()
        .rules;
    let mut transaction = app.pool.begin().await.unwrap();
    let sent = assay_web::db::receipt::send(&mut transaction, id, &rules, &verified, &json!({}))
        .await
        .unwrap();
    assert!(matches!(sent, assay_web::db::receipt::Sent::Incomplete), "{sent:?}");
}
