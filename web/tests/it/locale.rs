//! Which language an answer is in.

use crate::helpers::{PASSWORD, TestApp};

#[tokio::test]
async fn the_browsers_wish_counts_until_a_person_chooses() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    for (wish, lang) in [
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-GB,ko;q=0.5", "en"),
        ("fr", "en"),
        ("fr,ko;q=0.1", "ko"),
    ] {
        browser.language = wish;
        let page = browser.get("/login").await;
        assert!(page.text.contains(&format!("lang=\"{lang}\"")), "{wish}: {}", page.text);
        assert!(page.header("vary").to_lowercase().contains("accept-language"));
    }
    browser.language = "en";
    let answer = browser
        .submit("/login", "/locale", &[("locale", "ko"), ("next", "/login?next=/team")])
        .await;
    assert_eq!(answer.location(), "/login?next=/team");
    assert!(
        browser.get("/login").await.text.contains("lang=\"ko\""),
        "the choice beats the browser's wish"
    );
    let answer = browser
        .submit("/login", "/locale", &[("locale", "en"), ("next", "//evil.example")])
        .await;
    assert_eq!(answer.location(), "/");
    assert!(browser.get("/login").await.text.contains("lang=\"en\""));
}

#[tokio::test]
async fn an_account_remembers_its_language() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    browser
        .submit("/team", "/locale", &[("locale", "ko"), ("next", "/team")])
        .await;
    let mut elsewhere = app.browser();
    elsewhere.log_in("someone@example.org", PASSWORD).await;
    assert!(elsewhere.get("/team").await.text.contains("lang=\"ko\""));
}

#[tokio::test]
async fn other_languages_are_refused() {
    let app = TestApp::spawn().await;
    let answer = app
        .browser()
        .submit("/login", "/locale", &[("locale", "fr"), ("next", "/")])
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("locale-unknown"), "{}", answer.text);
}

#[tokio::test]
async fn the_switch_on_the_answer_to_a_form_leads_back_to_a_page() {
    let app = TestApp::with_contest().await;
    let mut browser = app.member("someone").await;
    let token = browser.token("/team").await;
    for (action, referer, back) in [
        ("/team/join", "/team", "/team"),
        ("/logout", "/submissions?x=1", "/submissions?x=1"),
        ("/logout", "", "/"),
    ] {
        // The logout is refused for want of a token, so its answer is an error page.
        let body = if action == "/logout" {
            ""
        } else {
            &format!("code=x&csrf={token}")
        };
        let mut request = browser
            .request(reqwest::Method::POST, action)
            .header("accept", "text/html");
        if !referer.is_empty() {
            request = request.header("referer", format!("{}{referer}", app.address));
        }
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned());
        let answer = browser.send(request).await;
        assert!(answer.status >= 400);
        let expected = format!("name=\"next\" value=\"{back}\"");
        assert!(
            answer.text.contains(&expected),
            "{expected} is missing in {}",
            answer.text
        );
    }
}
