//! Disqualifying and taking it back: the board, the team's page, the audit log.

use assay_web::boards::Boards;
use assay_web::db::contests;
use serde_json::{Value, json};

use crate::desk::{Hand, submitted, value};
use crate::helpers::{Answer, Browser, TestApp};

const REASON: &str = "trained on the test documents";

async fn board(app: &TestApp) -> Value {
    app.browser().get_json("/api/v1/board").await.json()
}

fn titles(board: &Value) -> Vec<(Value, Value)> {
    let rows = board["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| (row["rank"].clone(), row["title"].clone()))
        .collect()
}

async fn act(organizer: &mut Browser, what: &str, id: &str, reason: &str) -> Answer {
    let action = format!("/admin/submissions/{id}/{what}");
    organizer.submit(&action, &action, &[("reason", reason)]).await
}

#[tokio::test]
async fn a_disqualified_submission_leaves_the_board_and_the_older_best_comes_back() {
    let app = TestApp::with_contest().await;
    let (mut a, mut b) = (app.captain("ann", "Team A").await, app.captain("ben", "Team B").await);
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "only").await;
    // Smaller is better: the asymmetric one weighs more.
    for (browser, title, fixture) in [(&mut a, "older", "w8a16"), (&mut b, "theirs", "w4a16-asym")] {
        submitted(browser, title, fixture).await;
        hand.grade(0.9).await;
    }
    let best = submitted(&mut a, "best", "w4a16-gptq").await;
    hand.grade(0.9).await;
    let before = app.browser().get_json("/api/v1/board").await;
    assert_eq!(
        titles(&before.json()),
        [(json!(1), json!("best")), (json!(2), json!("theirs"))]
    );

    // No reason, no disqualification; what was typed is not lost with it.
    assert_eq!(act(&mut organizer, "disqualify", &best, "  ").await.status, 422);
    let token = a.token("/team").await;
    let fields = [("reason", REASON), ("csrf", token.as_str())];
    let path = format!("/admin/submissions/{best}/disqualify");
    assert_eq!(a.post_form(&path, &fields).await.status, 403);
    assert_eq!(titles(&board(&app).await).len(), 2);

    let answer = act(&mut organizer, "disqualify", &best, REASON).await;
    assert_eq!(answer.location(), "/admin/submissions?done=disqualified");
    let now = board(&app).await;
    assert_eq!(titles(&now), [(json!(1), json!("theirs")), (json!(2), json!("older"))]);
    assert!(!now.to_string().contains(REASON), "the public reads no reason");
    // The team and the organizers read it, in both languages; the others see nothing of it.
    for language in ["en", "ko"] {
        for browser in [&mut a, &mut organizer] {
            browser.language = language;
            let page = browser.get(&format!("/submissions/{best}")).await;
            assert!(
                page.text.contains(REASON) && page.text.contains("data-disqualified"),
                "{}",
                page.text
            );
            assert!(
                !page.text.contains("another submission of the team") && !page.text.contains("가장 좋은 다른"),
                "{}",
                page.text
            );
        }
    }
    let marked = format!("data-disqualified=\"{best}\"");
    let list = a.get("/submissions").await.text;
    assert_eq!(list.matches("data-disqualified=").count(), 1, "{list}");
    assert_eq!(list.matches(">Disqualified<").count(), 1, "{list}");
    assert!(list.contains(&marked) && list.contains(REASON), "{list}");
    assert_eq!(b.get(&format!("/submissions/{best}")).await.status, 404);
    assert!(!b.get("/submissions").await.text.contains("data-disqualified"));
    assert!(organizer.get("/admin/submissions").await.text.contains(REASON));
    let listed = organizer.get_json("/api/v1/board/disqualified").await.json();
    assert_eq!(listed["rows"][0]["submission"], json!(best));
    assert_eq!(listed["rows"][0]["standing"], "disqualified");
    assert_eq!(a.get_json("/api/v1/board/disqualified").await.status, 403);

    // Twice is once.
    let again = act(&mut organizer, "disqualify", &best, "another reason").await;
    assert_eq!(again.location(), "/admin/submissions?done=nothing");

    // Taken back: the very same bytes as before.
    let answer = act(&mut organizer, "reinstate", &best, "it was a mistake").await;
    assert_eq!(answer.location(), "/admin/submissions?done=reinstated");
    let after = app.browser().get_json("/api/v1/board").await;
    assert_eq!(after.header("etag"), before.header("etag"));
    assert_eq!(after.text, before.text);
    assert!(!a.get(&format!("/submissions/{best}")).await.text.contains(REASON));
    assert!(!a.get("/submissions").await.text.contains("data-disqualified"));
    let page = format!("/admin/submissions/{best}/reinstate");
    assert_eq!(organizer.get(&page).await.status, 404, "there is nothing to take back");
    let log: Value = value(
        &app,
        "SELECT jsonb_agg(jsonb_build_array(action, detail->>'reason') ORDER BY id) FROM audit_log
         WHERE action IN ('submission.disqualify', 'submission.reinstate')",
    )
    .await;
    assert_eq!(
        log,
        json!([
            ["submission.disqualify", REASON],
            ["submission.reinstate", "it was a mistake"]
        ])
    );
}

#[tokio::test]
async fn a_disqualified_team_is_out_with_all_it_sends_and_the_board_stays_a_pure_function() {
    let app = TestApp::with_contest().await;
    let (mut a, mut b) = (app.captain("ann", "Team A").await, app.captain("ben", "Team B").await);
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "only").await;
    let one = submitted(&mut a, "one", "w4a16-gptq").await;
    hand.grade(0.9).await;
    submitted(&mut b, "two", "w8a16").await;
    hand.grade(0.9).await;
    let team: uuid::Uuid = value(&app, "SELECT id FROM teams WHERE name = 'Team A'").await;
    let place = format!("/admin/teams/{team}");
    let answer = organizer
        .submit(&place, &format!("{place}/disqualify"), &[("reason", REASON)])
        .await;
    assert_eq!(answer.location(), format!("{place}?done=disqualified"));
    // A submission may be disqualified by itself beside it, and what the team sends later is out as well.
    act(&mut organizer, "disqualify", &one, "its own reason")
        .await
        .location();
    submitted(&mut a, "three", "w4a16-asym").await;
    hand.grade(0.99).await;
    assert_eq!(titles(&board(&app).await), [(json!(1), json!("two"))]);
    let page = a.get(&format!("/submissions/{one}")).await.text;
    assert!(page.contains("its own reason"), "{page}");
    // The list says once why the team is out, and marks all it sent.
    let list = a.get("/submissions").await.text;
    assert!(
        list.contains("data-disqualified=\"team\"") && list.contains(REASON),
        "{list}"
    );
    assert!(list.contains(&format!("data-disqualified=\"{one}\"")) && list.contains("its own reason"));
    assert_eq!(list.matches(">Disqualified<").count(), 2, "{list}");

    // Whoever computes it anew from the stored rows comes to the same bytes.
    let contest = contests::current(&app.pool).await.unwrap().unwrap();
    let kept = app.state.boards.of(&app.state, &contest).await.unwrap();
    let anew = Boards::default().of(&app.state, &contest).await.unwrap();
    assert_eq!(kept.body.bytes, anew.body.bytes);

    organizer
        .submit(&place, &format!("{place}/reinstate"), &[])
        .await
        .location();
    assert_eq!(
        titles(&board(&app).await),
        [(json!(1), json!("three")), (json!(2), json!("two"))],
        "the submission's own stays"
    );
    // What was taken back stays in the table, with who did it.
    assert_eq!(
        value::<i64>(
            &app,
            "SELECT count(*) FROM disqualifications WHERE undone_by IS NOT NULL"
        )
        .await,
        1
    );
}
