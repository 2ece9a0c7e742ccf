//! What a session survives and what ends it.

use crate::helpers::{PASSWORD, TestApp};

/// Moves a time of every session into the past.
async fn age(app: &TestApp, column: &str, interval: &str) {
    let statement = format!("UPDATE sessions SET {column} = now() - interval '{interval}'");
    // A column name cannot be a parameter; both parts are literals of this file.
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(&app.pool)
        .await
        .unwrap();
}

async fn count(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sessions")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_planted_token_is_worth_nothing_after_the_login() {
    let app = TestApp::spawn().await;
    app.member("someone").await;
    // The attacker has a session of their own and plants its token in the victim's browser …
    let mut attacker = app.member("attacker").await;
    let planted = attacker.cookies["session"].clone();
    let mut victim = app.browser();
    victim.cookies.insert("session".into(), planted.clone());
    // … whose login page then belongs to the attacker's session; the victim logs out of it and in again.
    victim.log_out().await;
    victim.cookies.insert("session".into(), planted.clone());
    assert_eq!(victim.log_in("someone@example.org", PASSWORD).await.status, 303);
    assert_ne!(victim.cookies["session"], planted, "the login gave a new token");
    assert!(!attacker.logged_in().await, "the planted token opens nothing");

    // A token nobody issued is not adopted either.
    let invented = "0".repeat(64);
    let mut victim = app.browser();
    victim.cookies.insert("session".into(), invented.clone());
    victim.log_in("someone@example.org", PASSWORD).await;
    assert_ne!(victim.cookies["session"], invented);
}

#[tokio::test]
async fn a_login_ends_the_session_the_browser_came_with() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    app.member("other").await;
    let before = browser.clone();
    let token = browser.token("/team").await;
    let fields = [("email", "other@example.org"), ("password", PASSWORD), ("csrf", &token)];
    assert_eq!(browser.post_form("/login", &fields).await.status, 303);
    assert!(browser.get("/team").await.text.contains("other"));
    assert!(!before.clone().logged_in().await);
}

#[tokio::test]
async fn logging_out_ends_it_on_the_server() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let mut elsewhere = app.browser();
    elsewhere.log_in("someone@example.org", PASSWORD).await;
    let mut stolen = browser.clone();
    browser.log_out().await;
    assert!(!browser.cookies.contains_key("session"));
    assert!(!stolen.logged_in().await, "a copied cookie is dead too");
    assert!(elsewhere.logged_in().await, "the person's other browser is not");
}

#[tokio::test]
async fn it_ends_after_twelve_idle_hours_and_after_seven_days() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    age(&app, "seen_at", "11 hours 59 minutes").await;
    assert!(browser.logged_in().await);
    let idle: f64 = sqlx::query_scalar("SELECT extract(epoch FROM now() - seen_at)::float8 FROM sessions")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(idle < 60.0, "using it renews it, {idle} s");
    age(&app, "seen_at", "12 hours 1 minute").await;
    assert!(!browser.logged_in().await);

    browser.log_in("someone@example.org", PASSWORD).await;
    let life: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM expires_at - created_at)::float8 FROM sessions ORDER BY created_at DESC LIMIT 1",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(life, 7.0 * 24.0 * 3600.0);
    age(&app, "expires_at", "1 second").await;
    assert!(!browser.logged_in().await, "use does not prolong it");
}

#[tokio::test]
async fn ended_sessions_are_swept_and_tokens_are_not_stored() {
    let app = TestApp::spawn().await;
    let browser = app.member("someone").await;
    let stored: Vec<u8> = sqlx::query_scalar("SELECT token_sha256 FROM sessions")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    use sha2::Digest as _;
    assert_eq!(
        stored,
        sha2::Sha256::digest(browser.cookies["session"].as_bytes()).to_vec()
    );
    age(&app, "expires_at", "1 second").await;
    app.member("other").await;
    assert_eq!(assay_web::db::sessions::delete_ended(&app.pool).await.unwrap(), 1);
    assert_eq!(count(&app).await, 1);
}

#[tokio::test]
async fn garbage_in_the_cookie_is_nobody() {
    let app = TestApp::spawn().await;
    for garbage in ["", "x", "%00", &"f".repeat(64), &"F".repeat(64), &"0".repeat(1000)] {
        let mut browser = app.browser();
        browser.cookies.insert("session".into(), garbage.to_owned());
        assert!(!browser.logged_in().await, "{garbage}");
        assert_eq!(browser.get("/login").await.status, 200, "{garbage}");
    }
}

/// The ids in the list of sessions, in its order.
fn listed(page: &str) -> Vec<String> {
    let forms = page.split("action=\"/account/sessions/").skip(1);
    let ids = forms.filter_map(|rest| rest.split_once("/end\"").map(|(id, _)| id.to_owned()));
    ids.filter(|id| id.len() == 36).collect()
}

#[tokio::test]
async fn a_person_sees_their_sessions_and_ends_them() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let mut phone = app.browser();
    let csrf = phone.token("/login").await;
    let request = phone
        .request(reqwest::Method::POST, "/login")
        .header(
            "user-agent",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile Safari/604.1",
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "email=someone%40example.org&password={}&csrf={csrf}",
            PASSWORD.replace(' ', "+")
        ));
    assert_eq!(phone.send(request).await.status, 303);
    let mut stranger = app.member("stranger").await;

    let page = browser.get("/account").await.text;
    for expected in ["Safari · iPhone", "127.0.0.0/24", "this one", "Unknown browser"] {
        assert!(page.contains(expected), "{expected} is missing in {page}");
    }
    let ids = listed(&page);
    assert_eq!(ids.len(), 2, "only their own: {ids:?}");
    // The page names sessions by ids that open nothing.
    assert!(!page.contains(&browser.cookies["session"]) && !page.contains(&phone.cookies["session"]));

    // A stranger cannot end it; they can.
    let path = format!("/account/sessions/{}/end", ids[1]);
    assert_eq!(stranger.submit("/team", &path, &[]).await.status, 404);
    assert!(phone.logged_in().await);
    assert_eq!(
        browser.submit("/account", &path, &[]).await.location(),
        "/account?done=session"
    );
    assert!(!phone.logged_in().await);
    assert!(browser.logged_in().await && stranger.logged_in().await);

    for _ in 0..3 {
        phone.log_in("someone@example.org", PASSWORD).await;
        phone.cookies.remove("session");
    }
    assert_eq!(listed(&browser.get("/account").await.text).len(), 4);
    assert_eq!(
        browser
            .submit("/account", "/account/sessions/end", &[])
            .await
            .location(),
        "/account?done=sessions"
    );
    assert_eq!(listed(&browser.get("/account").await.text).len(), 1);
    assert!(browser.logged_in().await && stranger.logged_in().await);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_renews_this_one() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let mut thief = browser.clone();
    let new = "a quite different phrase";
    let change = [("current", PASSWORD), ("password", new)];
    let wrong = browser
        .submit(
            "/account",
            "/account/password",
            &[("current", "not it at all"), ("password", new)],
        )
        .await;
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text.contains("This is not your present password."),
        "{}",
        wrong.text
    );
    assert!(thief.logged_in().await, "nothing has changed");
    let weak = browser
        .submit(
            "/account",
            "/account/password",
            &[("current", PASSWORD), ("password", "Qwerty123!")],
        )
        .await;
    assert!(weak.text.contains("among the first that get guessed"), "{}", weak.text);

    let before = browser.cookies["session"].clone();
    let answer = browser.submit("/account", "/account/password", &change).await;
    assert_eq!(answer.location(), "/account?done=password");
    assert_ne!(browser.cookies["session"], before, "it goes on under a new token");
    assert!(browser.logged_in().await);
    assert!(!thief.logged_in().await, "a copy of the old cookie is worth nothing");
    assert_eq!(app.browser().log_in("someone@example.org", PASSWORD).await.status, 422);
    assert_eq!(app.browser().log_in("someone@example.org", new).await.status, 303);
    let acts: Vec<String> =
        sqlx::query_scalar("SELECT action FROM audit_log WHERE object LIKE 'user:%' AND actor IS NOT NULL ORDER BY id")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(
        acts,
        ["signup", "password.refused", "password.changed", "login.succeeded"]
    );
}

#[tokio::test]
async fn a_stolen_session_is_no_way_to_guess_the_password() {
    let app = TestApp::spawn().await;
    let mut thief = app.member("someone").await;
    let mut last = 0;
    for _ in 0..10 {
        let guess = [("current", "a wrong guess"), ("password", "a quite different phrase")];
        last = thief.submit("/account", "/account/password", &guess).await.status;
    }
    assert_eq!(last, 429);
}
