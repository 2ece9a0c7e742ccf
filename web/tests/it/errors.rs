//! What people and programs are told when something fails, and the headers around every answer.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::helpers::{PASSWORD, TestApp};

#[tokio::test]
async fn people_get_a_page_in_their_language() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    for (language, sentence) in [
        ("en", "There is nothing at this address"),
        ("ko", "이 주소에는 아무것도 없거나"),
    ] {
        browser.language = language;
        let answer = browser.get("/nothing/here").await;
        assert_eq!(answer.status, 404);
        assert!(answer.header("content-type").starts_with("text/html"));
        assert!(
            answer.text.contains(sentence) && answer.text.contains(&format!("lang=\"{language}\"")),
            "{}",
            answer.text
        );
        assert!(
            answer.text.contains(answer.header("x-request-id")),
            "the page names the request"
        );
        assert!(answer.header("x-request-id").len() == 36);
    }
}

#[tokio::test]
async fn programs_get_a_problem_with_a_stable_code() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    browser.language = "ko";
    let answer = browser.get("/api/v1/nothing").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["code"], "not-found");
    assert_eq!(problem["type"], "urn:assay:problem:not-found");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["title"], problem["message"]["ko"]);
    assert_ne!(problem["message"]["en"], problem["message"]["ko"]);
    assert_eq!(problem["request_id"], answer.header("x-request-id"));

    let answer = browser.get_json("/nothing").await;
    assert_eq!(answer.json()["code"], "not-found");
}

#[tokio::test]
async fn the_routers_own_refusals_are_explained_too() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let request = browser
        .script(Method::DELETE, "/login")
        .await
        .header("accept", "text/html");
    let answer = browser.send(request).await;
    assert!([404, 405].contains(&answer.status), "{}", answer.text);
    assert!(!answer.text.is_empty());
    let answer = browser.submit("/team", "/signup", &[]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("form-invalid"), "{}", answer.text);
    assert!(!answer.text.contains("missing field"), "the cause is for the log");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    for path in ["/", "/login", "/nothing", "/api/v1/nothing", "/livez"] {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("server"), "", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}: plain http");
    }
}

#[tokio::test]
async fn pages_hold_nothing_the_policy_would_block() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("someone", "Team").await;
    for path in ["/", "/team", "/submissions", "/submissions/new", "/nothing"] {
        let page = browser.get(path).await.text;
        for forbidden in ["<style", " style=\"", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(forbidden), "{path} has {forbidden}");
        }
        let inline = page
            .split("<script")
            .skip(1)
            .filter(|rest| !rest.split('>').next().unwrap().contains("src="));
        let data = |rest: &&str| !rest.contains("application/json");
        assert_eq!(inline.filter(data).count(), 0, "{path} has an inline script");
    }
}

#[tokio::test]
async fn the_process_says_how_it_is() {
    let mut app = TestApp::spawn().await;
    let mut browser = app.browser();
    assert_eq!(browser.get("/livez").await.status, 200);
    assert_eq!(browser.get("/readyz").await.json()["database"], true);
    app.pool.close().await;
    assert_eq!(
        browser.get("/livez").await.status,
        200,
        "a database away is no reason to be killed"
    );
    let answer = browser.get("/readyz").await;
    assert_eq!((answer.status, answer.json()["database"].as_bool()), (503, Some(false)));

    // People still get a page.
    let mut browser = app.browser();
    browser.language = "ko";
    let answer = browser.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text.contains("서비스가 혼잡하거나 다시 시작되는 중입니다"),
        "{}",
        answer.text
    );
    assert_eq!(answer.header("retry-after"), "5");
    app.stop().await;
}

#[tokio::test]
async fn stopping_lets_a_request_in_flight_finish() {
    let mut app = TestApp::spawn().await;
    app.member("someone").await;
    let mut browser = app.browser();
    let token = browser.token("/login").await;
    let body = format!(
        "email=someone%40example.org&password={}&csrf={token}",
        PASSWORD.replace(' ', "+")
    );
    let host = app.address.strip_prefix("http://").unwrap().to_owned();
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {host}\r\nCookie: visitor={}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        browser.cookies["visitor"],
        body.len()
    );
    let mut connection = TcpStream::connect(&host).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = connection.read(&mut buffer).await.unwrap();
    assert!(
        buffer[..read].starts_with(b"HTTP/1.1 100 "),
        "the server has the request now"
    );
    app.state.stopping.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection.write_all(body.as_bytes()).await.unwrap();
    let read = connection.read(&mut buffer).await.unwrap();
    assert!(
        buffer[..read].starts_with(b"HTTP/1.1 303 "),
        "{}",
        String::from_utf8_lossy(&buffer[..read])
    );
    app.stop().await;
    assert!(TcpStream::connect(&host).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_can_be_read_can_be_asked_for_by_its_head() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    for (path, status) in [
        ("/", 200),
        ("/login", 200),
        ("/livez", 200),
        ("/nothing", 404),
        ("/api/v1/nothing", 404),
    ] {
        let request = browser.request(Method::HEAD, path).header("accept", "text/html");
        let answer = browser.send(request).await;
        assert_eq!((answer.status, answer.text.as_str()), (status, ""), "{path}");
    }
}
