//! The board: a pure function of stored results and rules.

use serde_json::{Value, json};

use crate::desk::{Hand, graded, run, submitted};
use crate::helpers::TestApp;

#[tokio::test]
async fn ranks_floors_best_of_a_team_and_the_etag() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    let mut nobody = app.browser();
    let empty = nobody.get_json("/api/v1/board").await;
    assert_eq!((empty.status, empty.json()["rows"].clone()), (200, json!([])));
    assert_eq!(empty.json()["base"]["bytes"], 5_042_016);

    // Team A: 4 bits; Team B: 8 bits, then 4 bits below the floor; Team C: below the floor only.
    let mut teams = [
        app.captain("ann", "Team A").await,
        app.captain("bob", "Team B").await,
        app.captain("cho", "팀 C").await,
    ];
    for (team, title, fixture, accuracy) in [
        (0, "a1", "w4a16-gptq", 0.86),
        (1, "b1", "w8a16", 0.88),
        (1, "b2", "w4a16-gptq", 0.70),
        (2, "c1", "w4a16-asym", 0.74),
    ] {
        submitted(&mut teams[team], title, fixture).await;
        hand.grade(accuracy).await;
    }
    let [mut a, _, mut c] = teams;
    let answer = nobody.get_json("/api/v1/board").await;
    let board = answer.json();
    let rows: Vec<(Value, Value, Value)> = board["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["rank"].clone(), row["team"].clone(), row["title"].clone()))
        .collect();
    assert_eq!(
        rows,
        [
            (json!(1), json!("Team A"), json!("a1")),
            (json!(2), json!("Team B"), json!("b1")),
            (Value::Null, json!("팀 C"), json!("c1")),
        ]
    );
    let first = &board["rows"][0];
    assert_eq!(first["bytes"], 1_546_352);
    assert_eq!(first["score"], json!(3.2606), "5042016 / 1546352, rounded as shown");
    assert_eq!(board["rows"][2]["standing"]["kind"], "below-floor");
    assert!(!answer.text.contains("team_id"));

    // The same stored results give the same bytes; a change gives others.
    let etag = answer.header("etag").to_owned();
    assert_eq!(nobody.get_json("/api/v1/board").await.text, answer.text);
    let ask = |tag: String| {
        nobody
            .request(reqwest::Method::GET, "/api/v1/board")
            .header("if-none-match", tag)
    };
    let (same, other) = (ask(etag.clone()), ask("\"other\"".into()));
    let same = nobody.send(same).await;
    assert_eq!(
        (same.status, same.text.as_str(), same.header("etag")),
        (304, "", etag.as_str())
    );
    assert_eq!(nobody.send(other).await.status, 200);
    submitted(&mut c, "c2", "w4a16-asym").await;
    assert_eq!(
        nobody.get_json("/api/v1/board").await.header("etag"),
        etag,
        "a waiting submission changes nothing"
    );
    hand.grade(0.9).await;
    let ask = nobody
        .request(reqwest::Method::GET, "/api/v1/board")
        .header("if-none-match", etag.clone());
    let after = nobody.send(ask).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), etag);
    assert_eq!(
        after.json()["rows"][1]["title"],
        "c2",
        "the asymmetric one is a little larger than the first"
    );

    let page = nobody.get("/").await;
    assert_eq!(page.status, 200);
    for part in ["Team A", "Team B", "팀 C", "1,546,352", "3.2606"] {
        assert!(page.text.contains(part), "{part} in {}", page.text);
    }
    assert!(
        !page.text.contains("/submissions/0"),
        "visitors are led to no submission"
    );
    let page = a.get("/").await;
    assert!(
        page.text
            .contains(&format!("/submissions/{}", first["submission"].as_str().unwrap()))
    );
}

#[tokio::test]
async fn what_was_not_measured_cannot_rank() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    let mut a = app.captain("ann", "Team A").await;
    submitted(&mut a, "a1", "w4a16-gptq").await;
    hand.grade(0.86).await;
    run(
        &app,
        "UPDATE results SET report = report #- '{measures,acc.mini_gsm.exact_match.flexible-extract}'",
    )
    .await;
    let board = a.get_json("/api/v1/board").await.json();
    assert_eq!(
        (
            board["rows"][0]["rank"].clone(),
            board["rows"][0]["standing"]["kind"].clone()
        ),
        (Value::Null, json!("unscored"))
    );
    assert!(
        board["rows"][0]["standing"]["reason"]["ko"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}

#[tokio::test]
async fn a_re_run_replaces_the_score_only_when_it_has_one() {
    let app = TestApp::with_contest().await;
    let (first, second) = (Hand::enrol(&app, "first").await, Hand::enrol(&app, "second").await);
    let mut a = app.captain("ann", "Team A").await;
    let id = submitted(&mut a, "a1", "w4a16-gptq").await;
    first.grade(0.86).await;
    let before = a.get_json("/api/v1/board").await.text;

    let mut organizer = app.organizer().await;
    let rerun = format!("/admin/submissions/{id}/rerun");
    let token = a.token("/team").await;
    assert_eq!(
        a.post_form(&rerun, &[("csrf", &token)]).await.status,
        403,
        "teams do not re-run"
    );
    assert_eq!(organizer.submit("/admin", &rerun, &[]).await.location(), "/admin");
    assert_eq!(
        organizer.submit("/admin", &rerun, &[]).await.status,
        409,
        "one live job a submission"
    );
    assert_eq!(
        a.get_json("/api/v1/board").await.text,
        before,
        "the old score stands meanwhile"
    );
    let record: Value = crate::desk::value(
        &app,
        "SELECT to_jsonb(a) FROM audit_log a WHERE action = 'submission.rerun'",
    )
    .await;
    assert_eq!(record["object"], format!("submission:{id}"));
    assert!(record["actor"].is_string());

    // The platform fails at it: nothing is lost.
    let claim = first.claim(5).await.unwrap();
    assert_eq!(
        first
            .put(
                &claim,
                crate::desk::failed(assay_contest::wire::FailureClass::Submission)
            )
            .await
            .status(),
        200
    );
    assert_eq!(a.get_json("/api/v1/board").await.text, before);
    assert_eq!(
        a.get_json(&format!("/api/v1/submissions/{id}")).await.json()["state"],
        "graded"
    );

    organizer.submit("/admin", &rerun, &[]).await;
    let claim = second.claim(5).await.unwrap();
    assert_eq!(second.put(&claim, graded(0.91, 1_546_352)).await.status(), 200);
    let board = a.get_json("/api/v1/board").await.json();
    assert_eq!(board["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        board["rows"][0]["measures"]["acc.mini_gsm.exact_match.flexible-extract"],
        0.91
    );
    assert_eq!(crate::desk::value::<i64>(&app, "SELECT count(*) FROM results").await, 2);
}
