//! Requests that other sites, or nobody's pages, start.

use reqwest::Method;

use crate::helpers::{Answer, PASSWORD, TestApp};

fn refused(answer: &Answer, code: &str) {
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains(code), "{code} is missing in {}", answer.text);
}

#[tokio::test]
async fn another_sites_form_is_refused_even_with_the_right_token() {
    let app = TestApp::with_contest().await;
    let mut browser = app.member("someone").await;
    let body = format!("name=Team&csrf={}", browser.token("/team").await);
    let form = |browser: &crate::helpers::Browser| {
        let request = browser.request(Method::POST, "/team").header("accept", "text/html");
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.clone())
            .build()
            .unwrap()
    };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    for (site, origin, allowed) in [
        (Some("cross-site"), None, false),
        (Some("same-site"), None, false),
        (Some("cross-site"), Some(app.address.as_str()), false),
        (None, Some("https://evil.example"), false),
        (None, Some("null"), false),
        (None, Some(app.address.as_str()), true),
    ] {
        let mut request = form(&browser);
        request.headers_mut().remove("sec-fetch-site");
        if let Some(site) = site {
            request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        }
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let response = client.execute(request).await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        if allowed {
            assert_eq!(status, 303, "{site:?} {origin:?}: {text}");
        } else {
            assert!(
                status == 403 && text.contains("csrf-cross-site"),
                "{site:?} {origin:?}: {status} {text}"
            );
        }
    }
    let teams: i64 = sqlx::query_scalar("SELECT count(*) FROM teams")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(teams, 1);
}

#[tokio::test]
async fn a_missing_or_foreign_token_is_refused() {
    let app = TestApp::with_contest().await;
    let mut browser = app.member("someone").await;
    refused(&browser.post_form("/team", &[("name", "Team")]).await, "csrf-missing");
    refused(
        &browser.post_form("/team", &[("name", "Team"), ("csrf", "x")]).await,
        "csrf-invalid",
    );
    refused(&browser.post_form("/logout", &[]).await, "csrf-missing");
    let foreign = app.member("other").await.token("/team").await;
    refused(
        &browser
            .post_form("/team", &[("name", "Team"), ("csrf", &foreign)])
            .await,
        "csrf-invalid",
    );
    assert!(browser.logged_in().await);

    browser.cookies.insert("locale".into(), "ko".into());
    let answer = browser.post_form("/team", &[("name", "Team")]).await;
    assert!(answer.text.contains("요청에 폼 토큰이 없습니다"), "{}", answer.text);
}

#[tokio::test]
async fn nobody_can_be_logged_into_a_strangers_account() {
    let app = TestApp::spawn().await;
    app.member("attacker").await;
    let login = [("email", "attacker@example.org"), ("password", PASSWORD)];
    let mut victim = app.browser();
    refused(&victim.post_form("/login", &login).await, "csrf-missing");
    // A token from the attacker's own visit belongs to the attacker's visitor cookie.
    let token = app.browser().token("/login").await;
    refused(
        &victim
            .post_form("/login", &[login[0], login[1], ("csrf", &token)])
            .await,
        "csrf-invalid",
    );
    victim.get("/login").await;
    refused(
        &victim
            .post_form("/login", &[login[0], login[1], ("csrf", &token)])
            .await,
        "csrf-invalid",
    );
    assert!(!victim.cookies.contains_key("session"));
}

#[tokio::test]
async fn tokens_do_not_outlive_a_change_of_session() {
    let app = TestApp::with_contest().await;
    let mut browser = app.browser();
    let before = browser.token("/login").await;
    browser.sign_up("Someone", "someone@example.org", PASSWORD).await;
    refused(
        &browser.post_form("/team", &[("name", "Team"), ("csrf", &before)]).await,
        "csrf-invalid",
    );
    let during = browser.token("/team").await;
    browser.log_out().await;
    browser.log_in("someone@example.org", PASSWORD).await;
    refused(
        &browser.post_form("/team", &[("name", "Team"), ("csrf", &during)]).await,
        "csrf-invalid",
    );
}

#[tokio::test]
async fn scripts_send_the_token_in_a_header() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    for content_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let request = browser
            .request(Method::POST, "/logout")
            .header("content-type", content_type)
            .body("{}");
        let answer = browser.send(request).await;
        refused(&answer, "csrf-missing");
    }
    for method in [Method::PATCH, Method::PUT, Method::DELETE] {
        let request = browser.request(method, "/api/v1/anything");
        let answer = browser.send(request).await;
        refused(&answer, "csrf-missing");
        assert_eq!(answer.json()["code"], "csrf-missing");
    }
    // With it, the request reaches the router.
    let request = browser.script(Method::PUT, "/api/v1/anything").await;
    assert_eq!(browser.send(request).await.status, 404);
    let request = browser
        .script(Method::POST, "/logout")
        .await
        .header("content-type", "application/json")
        .body("{}");
    assert_eq!(browser.send(request).await.status, 303);
    assert!(!browser.logged_in().await);
}

#[tokio::test]
async fn programs_without_a_login_are_told_so_instead() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    let request = browser
        .request(Method::POST, "/api/v1/submissions")
        .json(&serde_json::json!({}));
    let answer = browser.send(request).await;
    assert_eq!(answer.status, 401, "{}", answer.text);
    assert_eq!(answer.json()["code"], "login-required");
    // A worker's requests are judged by its key alone.
    let request = browser
        .request(Method::POST, "/worker/v1/claim")
        .json(&serde_json::json!({}));
    assert_eq!(browser.send(request).await.status, 401);
}

#[tokio::test]
async fn an_endless_form_is_cut_off() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let answer = browser.post_form("/team", &[("name", &"x".repeat(300_000))]).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
}
