//! Roles, sessions, quotas, and reading the audit log.

use serde_json::Value;

use crate::desk::{Hand, submitted, value};
use crate::helpers::{Browser, PASSWORD, TestApp};

/// An admin, logged in.
async fn admin(app: &TestApp, name: &str) -> Browser {
    let browser = app.member(name).await;
    sqlx::query("UPDATE users SET role = 'admin' WHERE name = $1")
        .bind(name)
        .execute(&app.pool)
        .await
        .unwrap();
    browser
}

async fn id(app: &TestApp, name: &str) -> String {
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM users WHERE name = $1")
        .bind(name)
        .fetch_one(&app.pool)
        .await
        .unwrap();
    id.to_string()
}

#[tokio::test]
async fn roles_are_changed_by_admins_and_never_the_last_one() {
    let app = TestApp::with_contest().await;
    let (mut organizer, mut root, mut ann) = (
        app.organizer().await,
        admin(&app, "root").await,
        app.member("ann").await,
    );
    let role = |id: &str| format!("/admin/users/{id}/role");
    let (of_ann, of_root) = (role(&id(&app, "ann").await), role(&id(&app, "root").await));

    let refused = organizer.submit("/admin", &of_ann, &[("role", "organizer")]).await;
    assert_eq!(refused.status, 403);
    let asks = root.get(&format!("{of_ann}?role=organizer")).await;
    assert!(asks.text.contains("ann@example.org"), "{}", asks.text);
    let fields = [("role", "organizer"), ("reason", "helps on the last night")];
    assert_eq!(
        root.submit("/admin", &of_ann, &fields).await.location(),
        "/admin/users?done=role"
    );
    assert!(!ann.logged_in().await, "a change of role ends what was open");
    ann.log_in("ann@example.org", PASSWORD).await.location();
    assert_eq!(ann.get("/admin").await.status, 200);

    let last = root.submit("/admin", &of_root, &[("role", "participant")]).await;
    assert_eq!(last.status, 409);
    assert!(last.text.contains("last-admin"), "{}", last.text);
    root.submit("/admin", &of_ann, &[("role", "admin")]).await.location();
    root.submit("/admin", &of_root, &[("role", "participant")])
        .await
        .location();
    assert_eq!(root.get("/admin").await.status, 303, "logged out");
    let unknown = organizer.submit("/admin", &of_ann, &[("role", "king")]).await;
    assert_eq!(unknown.status, 403, "who may not ask learns nothing");
}

#[tokio::test]
async fn two_admins_cannot_demote_each_other() {
    let app = TestApp::with_contest().await;
    let (mut one, mut two) = (admin(&app, "one").await, admin(&app, "two").await);
    let (of_one, of_two) = (
        format!("/admin/users/{}/role", id(&app, "one").await),
        format!("/admin/users/{}/role", id(&app, "two").await),
    );
    let (first, second) = (one.token("/admin").await, two.token("/admin").await);
    let fields = |token| [("role", "participant"), ("csrf", token)];
    let (first, second) = (fields(first.as_str()), fields(second.as_str()));
    let (a, b) = tokio::join!(one.post_form(&of_two, &first), two.post_form(&of_one, &second));
    assert_ne!((a.status, b.status), (303, 303));
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM users WHERE role = 'admin'").await,
        1
    );
}

#[tokio::test]
async fn sessions_are_ended_and_quotas_given() {
    let app = TestApp::with_contest().await;
    let mut a = app.captain("ann", "Team A").await;
    let (mut organizer, _root) = (app.organizer().await, admin(&app, "root").await);
    let sessions = |id: &str| format!("/admin/users/{id}/sessions");
    let of_root = sessions(&id(&app, "root").await);
    assert_eq!(organizer.submit("/admin", &of_root, &[]).await.status, 403);
    let of_ann = sessions(&id(&app, "ann").await);
    assert_eq!(
        organizer.submit("/admin", &of_ann, &[]).await.location(),
        "/admin/users?done=sessions"
    );
    assert!(!a.logged_in().await);
    a.log_in("ann@example.org", PASSWORD).await.location();

    let team: uuid::Uuid = value(&app, "SELECT id FROM teams").await;
    let place = format!("/admin/teams/{team}");
    let set = format!("{place}/quota");
    assert_eq!(organizer.submit(&place, &set, &[("quota", "-1")]).await.status, 422);
    let done = organizer.submit(&place, &set, &[("quota", "1")]).await;
    assert_eq!(done.location(), format!("{place}?done=quota"));
    let hand = Hand::enrol(&app, "only").await;
    submitted(&mut a, "one", "w4a16-gptq").await;
    hand.grade(0.9).await;
    assert!(
        a.get("/submissions").await.text.contains("1 of 1"),
        "the team sees its own quota"
    );
    let files = crate::desk::files("w8a16");
    let draft = crate::desk::Draft::create(&mut a, "two", &files).await;
    draft.fill(&mut a, &files).await;
    let refused = draft.submit(&mut a).await;
    assert_eq!(refused.json()["code"], "quota-reached", "{}", refused.text);
    organizer.submit(&place, &set, &[("quota", "")]).await.location();
    assert_eq!(draft.submit(&mut a).await.status, 200);
}

#[tokio::test]
async fn the_audit_log_is_filtered_and_taken_away() {
    let app = TestApp::with_contest().await;
    app.captain("ann", "=Team").await;
    let mut organizer = app.organizer().await;
    organizer.submit("/admin", "/admin/enrol", &[]).await;
    let all = organizer.get("/admin/audit").await.text;
    assert!(
        all.contains("worker.enrolment-made") && all.contains("team.created"),
        "{all}"
    );
    let some = organizer.get("/admin/audit?action=worker.&actor=ORGANIZER").await.text;
    assert!(some.contains("data-action=\"worker.enrolment-made\""));
    assert!(!some.contains("data-action=\"team.created\""));
    assert!(
        !organizer
            .get("/admin/audit?until=2020-01-01")
            .await
            .text
            .contains("data-action")
    );
    assert_eq!(organizer.get("/admin/audit?since=yesterday").await.status, 400);

    let csv = organizer.get("/admin/audit.csv?action=team.").await;
    assert!(
        csv.text.starts_with('\u{feff}') && csv.text.contains("team.created"),
        "{}",
        csv.text
    );
    assert!(csv.header("content-disposition").contains("audit.csv"));
    assert!(!csv.text.contains("worker."));
    let json: Value = organizer.get("/admin/audit.json?action=team.").await.json();
    assert_eq!(json[0]["action"], "team.created");
    assert_eq!(json[0]["email"], "ann@example.org");
}
