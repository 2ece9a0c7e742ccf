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

/// Asks for `/livez` on `connection` and expects an answer.
async fn alive(connection: &mut TcpStream, host: &str) {
    let head = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let read = connection.read(&mut buffer).await.unwrap();
    let text = String::from_utf8_lossy(&buffer[..read]);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text:?}");
}

/// A server that closes silent connections sooner than a proxy does fails the request that crosses its close.
#[tokio::test]
async fn a_silent_connection_is_kept_until_the_server_stops() {
    let mut app = TestApp::spawn().await;
    let host = app.address.strip_prefix("http://").unwrap().to_owned();
    let mut connection = TcpStream::connect(&host).await.unwrap();
    alive(&mut connection, &host).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    alive(&mut connection, &host).await;
    app.stop().await;
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0, "closed, not cut");
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

#[tokio::test]
async fn what_only_helps_an_attacker_is_refused() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    for path in ["/", "/login", "/files", "/nothing"] {
        let request = browser.request(Method::TRACE, path).header("x-secret", "echo me");
        let answer = browser.send(request).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(!answer.text.contains("echo me"));
    }
    for query in ["?next=/a&next=/b", "?a=1&%61=2", "?x&x"] {
        let answer = browser.get(&format!("/login{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text.contains("query-repeated"), "{}", answer.text);
    }
    let many: Vec<String> = (0..100).map(|n| format!("k{n}=1")).collect();
    assert_eq!(browser.get(&format!("/login?{}", many.join("&"))).await.status, 400);
    assert_eq!(browser.get("/login?next=/a&other=/b").await.status, 200);
    // A form that gives a field twice is refused as well.
    let answer = browser
        .submit(
            "/login",
            "/login",
            &[("email", "a@b.kr"), ("email", "c@d.kr"), ("password", "x")],
        )
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text);
}

#[tokio::test]
async fn only_a_trusted_proxy_names_a_request() {
    let app = TestApp::spawn().await;
    let trusting = TestApp::spawn_with(|settings| settings.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    let long = "x".repeat(65);
    for (app, given, kept) in [
        (&app, "from-a-stranger", false),
        (&trusting, "edge-0123456789abcdef", true),
        (&trusting, "short", false),
        (&trusting, long.as_str(), false),
        (&trusting, "with space or <tag>", false),
        (&trusting, "semi;colon-12345", false),
    ] {
        let mut browser = app.browser();
        let request = browser
            .request(Method::GET, "/api/v1/nothing")
            .header("x-request-id", given);
        let answer = browser.send(request).await;
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id == given, kept, "{given}: {id}");
        assert_eq!(answer.json()["request_id"], id);
    }
}

#[tokio::test]
async fn the_audit_record_only_grows() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("someone", "Team").await;
    app.browser().log_in("someone@example.org", "not the password").await;
    let mut boss = app.organizer().await;
    browser.get("/admin").await;
    boss.submit("/admin", "/admin/enrol", &[]).await;
    // A refusal is recorded beside the answer, not before it.
    let mut lines: Vec<(String, String, String, String)> = Vec::new();
    for _ in 0..50 {
        lines = sqlx::query_as("SELECT action, object, network, request_id FROM audit_log ORDER BY id")
            .fetch_all(&app.pool)
            .await
            .unwrap();
        if lines.iter().any(|(action, ..)| action == "access.denied") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let actions: Vec<&str> = lines.iter().map(|(action, ..)| action.as_str()).collect();
    for action in [
        "signup",
        "team.created",
        "login.failed",
        "access.denied",
        "worker.enrolment-made",
    ] {
        assert!(actions.contains(&action), "{action} is missing in {actions:?}");
    }
    for (action, object, network, id) in &lines {
        assert_eq!((network.as_str(), id.len()), ("127.0.0.0/24", 36), "{action}");
        assert!(!object.contains('@'), "{object}");
    }
    let after: serde_json::Value = sqlx::query_scalar("SELECT after FROM audit_log WHERE action = 'team.created'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(after["name"], "Team");
    for statement in [
        "UPDATE audit_log SET action = 'nothing'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ] {
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&app.pool)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("the audit log only grows"),
            "{statement}: {refused}"
        );
    }
}

#[actix_web::test]
async fn a_panic_is_an_answer_with_the_requests_id_and_all_headers() {
    use actix_web::middleware::from_fn;
    use actix_web::{App, test, web};
    use assay_web::middleware::{errors, headers, measure};
    use assay_web::telemetry::RequestSpan;

    async fn boom() -> &'static str {
        panic!("the secret cause")
    }
    let app = TestApp::spawn().await;
    let service = App::new()
        .app_data(app.state.clone())
        .route("/boom", web::get().to(boom))
        .route("/api/boom", web::get().to(boom))
        .wrap(from_fn(errors::render))
        .wrap(from_fn(headers::secure))
        .wrap(from_fn(measure::measure))
        .wrap(tracing_actix_web::TracingLogger::<RequestSpan>::new());
    let service = test::init_service(service).await;
    for (path, kind) in [("/boom", "text/html"), ("/api/boom", "application/problem+json")] {
        let request = test::TestRequest::get()
            .uri(path)
            .insert_header(("accept-language", "ko"))
            .to_request();
        let error = test::try_call_service(&service, request).await.unwrap_err();
        let response = error.error_response();
        assert_eq!(response.status().as_u16(), 500, "{path}");
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        let id = header("x-request-id");
        assert!(header("content-type").starts_with(kind));
        assert!(header("content-security-policy").starts_with("default-src 'none'"));
        let body = actix_web::body::to_bytes(response.into_body())
            .await
            .unwrap_or_default();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains(&id) && text.contains("서버에서 문제가 발생했습니다"),
            "{text}"
        );
        assert!(!text.contains("secret cause"), "{text}");
    }
    let metrics = app.state.metrics.render(&app.pool).unwrap();
    assert!(metrics.contains("assay_http_panics_total 2"), "{metrics}");
}
