//! Changing the rules in the browser: mistakes, comparison, adoption, history.

use serde_json::{Value, json};

use crate::desk::{Hand, submitted, value};
use crate::helpers::{TestApp, repository};

fn sample() -> String {
    std::fs::read_to_string(repository().join("deploy/sample/contest.toml")).unwrap()
}

#[tokio::test]
async fn mistakes_are_named_with_their_place_in_both_languages() {
    let app = TestApp::with_contest().await;
    let mut organizer = app.organizer().await;
    let wrong = sample()
        .replace("decimals = 4", "decimals = \"four\"")
        .replace("graded_per_day = 10", "graded_per_dya = 10");
    let line = 1 + wrong.lines().position(|line| line.starts_with("decimals")).unwrap();
    for (language, hangul) in [("en", false), ("ko", true)] {
        sqlx::query("UPDATE users SET locale = $1")
            .bind(language)
            .execute(&app.pool)
            .await
            .unwrap();
        let answer = organizer
            .post_json("/admin/contest/check", &json!({ "source": wrong }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let problems = answer.json()["problems"].as_array().unwrap().clone();
        assert!(problems.len() >= 2, "{problems:?}");
        assert_eq!(problems[0]["line"], json!(line));
        for problem in &problems {
            assert!(problem["code"].is_string() && problem["column"].is_u64());
            let message = problem["message"].as_str().unwrap();
            assert_eq!(message.chars().any(|c| ('가'..='힣').contains(&c)), hangul, "{message}");
        }
    }
    sqlx::query("UPDATE users SET locale = 'en'")
        .execute(&app.pool)
        .await
        .unwrap();
    // Without a script the page says the same, and keeps what was typed.
    let page = organizer
        .submit("/admin/contest", "/admin/contest/preview", &[("source", &wrong)])
        .await;
    assert_eq!(page.status, 422);
    assert!(page.text.contains(&format!("<code>{line}:")) && page.text.contains("graded_per_dya"));

    // What belongs to files is done by the command, and the page says so.
    let tasks = sample().replace("limit = 100", "limit = 50");
    let page = organizer
        .submit("/admin/contest", "/admin/contest/preview", &[("source", &tasks)])
        .await;
    assert_eq!(page.status, 422);
    assert!(
        page.text.contains("needs-import") && page.text.contains("import-contest"),
        "{}",
        page.text
    );
    let measure = sample().replace("formula = \"base.bytes / bytes\"", "formula = \"acc.nothing.acc.none\"");
    let answer = organizer
        .post_json("/admin/contest/check", &json!({ "source": measure }))
        .await;
    assert!(
        answer.json()["problems"][0].to_string().contains("acc.nothing"),
        "{}",
        answer.text
    );
    let fine = organizer
        .post_json("/admin/contest/check", &json!({ "source": sample() }))
        .await;
    assert_eq!(fine.json()["problems"], json!([]));
}

#[tokio::test]
async fn new_rules_show_who_moves_before_they_are_adopted() {
    let app = TestApp::with_contest().await;
    let (mut a, mut b) = (app.captain("ann", "Team A").await, app.captain("ben", "Team B").await);
    let mut organizer = app.organizer().await;
    let hand = Hand::enrol(&app, "only").await;
    submitted(&mut a, "small", "w4a16-gptq").await;
    hand.grade(0.8).await;
    submitted(&mut b, "right", "w8a16").await;
    hand.grade(0.95).await;
    // Accuracy instead of size: the two change places. A floor that one misses: it drops out.
    let rules = sample()
        .replace(
            "formula = \"base.bytes / bytes\"",
            "formula = \"acc.mini_gsm.exact_match.flexible-extract\"",
        )
        .replace("at_least = 0.75", "at_least = 0.85");
    let before = app.browser().get_json("/api/v1/board").await;
    let page = organizer
        .submit(
            "/admin/contest",
            "/admin/contest/preview",
            &[("source", &rules.replace('\n', "\r\n"))],
        )
        .await;
    assert_eq!(page.status, 200, "{}", page.text);
    for part in [
        "data-key=\"score.formula\"",
        "data-key=\"score.floors[0].at_least\"",
        "data-team=\"Team A\" data-move=\"out\"",
        "data-team=\"Team B\" data-move=\"up\"",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let unchanged = app.browser().get_json("/api/v1/board").await;
    assert_eq!(unchanged.text, before.text, "looking changes nothing");
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM contest_versions").await, 1);

    let digest: String = value(&app, "SELECT digest FROM contests").await;
    let fields = [("source", rules.as_str()), ("digest", "of other rules")];
    let stale = organizer
        .submit("/admin/contest", "/admin/contest/adopt", &fields)
        .await;
    assert_eq!(stale.status, 409);
    let fields = [("source", rules.as_str()), ("digest", digest.as_str())];
    let adopted = organizer
        .submit("/admin/contest", "/admin/contest/adopt", &fields)
        .await;
    assert_eq!(adopted.location(), "/admin/contest?done=adopted");
    let after = app.browser().get_json("/api/v1/board").await.json();
    assert_eq!(after["rows"][0]["team"], "Team B");
    assert_eq!(after["rows"][1]["rank"], Value::Null);
    // What workers get is what is in force.
    let (stored, served): (String, String) = sqlx::query_as(
        "SELECT c.source, f.sha256 FROM contests c JOIN contest_files f ON f.contest_id = c.id WHERE f.path = 'contest.toml'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(crate::desk::sha256(stored.as_bytes()), served);
    assert_eq!(stored, rules);
    let log: Value = value(&app, "SELECT detail FROM audit_log WHERE action = 'contest.adopted'").await;
    assert_eq!(log["version"], 2);

    // The old ones are kept, with what differs; going back is adopting them again.
    let old = organizer.get("/admin/contest/versions/1").await;
    assert!(old.text.contains("base.bytes / bytes") && old.text.contains("data-key=\"score.formula\""));
    assert_eq!(organizer.get("/admin/contest/versions/9").await.status, 404);
    app.import_sample().await;
    // The command is another process: this one hears of it.
    for _ in 0..100 {
        if app.browser().get_json("/api/v1/board").await.text == before.text {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(app.browser().get_json("/api/v1/board").await.text, before.text);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM contest_versions").await, 3);
}
