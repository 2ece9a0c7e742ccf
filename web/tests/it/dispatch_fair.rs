//! The queue is fair, and what it shows is what it does.

use assay_contest::wire::Stage;
use serde_json::json;

use crate::desk::{Hand, graded, run, submitted, value, weight_of};
use crate::helpers::{Browser, TestApp};

async fn ahead(browser: &mut Browser, id: &str) -> i64 {
    let shown = browser.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    shown["job"]["ahead"].as_i64().unwrap()
}

#[tokio::test]
async fn teams_take_turns_and_pages_say_so() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    // One team sends everything first; the others come late.
    let mut teams = Vec::new();
    let mut waiting = Vec::new();
    for (name, count) in [("ants", 3), ("bees", 2), ("crows", 1)] {
        let mut browser = app.captain(name, name).await;
        for i in 0..count {
            let title = format!("{name} {i}");
            let id = submitted(&mut browser, &title, "w4a16-gptq").await;
            waiting.push((title, id, teams.len()));
        }
        teams.push(browser);
    }
    // What the pages promise now is the order in which one worker takes them.
    let mut promised = Vec::new();
    for (title, id, team) in &waiting {
        promised.push((ahead(&mut teams[*team], id).await, title.clone()));
    }
    promised.sort();
    let promised: Vec<String> = promised.into_iter().map(|(_, title)| title).collect();
    assert_eq!(promised, ["ants 0", "bees 0", "crows 0", "ants 1", "bees 1", "ants 2"]);
    for title in &promised {
        let claim = hand.grade(0.9).await;
        let found = waiting.iter().find(|(_, id, _)| *id == claim.submission_id).unwrap();
        assert_eq!(&found.0, title);
    }
}

#[tokio::test]
async fn a_team_has_one_running_and_its_next_one_is_announced_when_it_ends() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (a, b) = (Hand::enrol(&app, "a").await, Hand::enrol(&app, "b").await);
    submitted(&mut browser, "first", "w4a16-gptq").await;
    let second = submitted(&mut browser, "second", "w4a16-gptq").await;
    let claim = a.claim(5).await.unwrap();
    assert!(b.claim(0).await.is_none(), "the team has one running");
    assert_eq!(ahead(&mut browser, &second).await, 0);
    run(&app, "DELETE FROM outbox").await;
    // The bell rings for the second when the first ends: a worker that waits hears it.
    let waits = tokio::spawn(async move { b.claim(20).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    a.beat(&claim, Stage::Evaluate, 1).await;
    assert_eq!(a.put(&claim, graded(0.9, weight_of(&claim))).await.status(), 200);
    let next = waits.await.unwrap().unwrap();
    assert_eq!(next.submission_id, second);
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM outbox").await,
        1,
        "and so does whoever listens to the broker"
    );
}

#[tokio::test]
async fn more_may_run_where_the_operator_says_so() {
    let app = TestApp::spawn_with(|settings| settings.running_per_team = 2).await;
    app.import_sample().await;
    let mut browser = app.captain("captain", "Team").await;
    for i in 0..3 {
        submitted(&mut browser, &format!("{i}"), "w4a16-gptq").await;
    }
    let mut taken = 0;
    for i in 0..3 {
        let hand = Hand::enrol(&app, &format!("{i}")).await;
        taken += usize::from(hand.claim(0).await.is_some());
    }
    assert_eq!(taken, 2);
}

#[tokio::test]
async fn what_is_graded_again_waits_for_live_runs() {
    let app = TestApp::with_contest().await;
    let mut organizer = app.organizer().await;
    let mut browser = app.captain("captain", "Team").await;
    let mut other = app.captain("other", "Other").await;
    let hand = Hand::enrol(&app, "only").await;
    let old = submitted(&mut browser, "old", "w4a16-gptq").await;
    hand.grade(0.9).await;
    let answer = organizer
        .submit("/admin", &format!("/admin/submissions/{old}/rerun"), &[])
        .await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let live = submitted(&mut other, "live", "w4a16-gptq").await;
    assert_eq!(ahead(&mut browser, &old).await, 1);
    assert_eq!(ahead(&mut other, &live).await, 0);
    assert_eq!(hand.grade(0.9).await.submission_id, live);
    assert_eq!(hand.grade(0.9).await.submission_id, old);
    assert_eq!(
        browser.get_json(&format!("/api/v1/submissions/{old}")).await.json()["state"],
        json!("graded")
    );
}
