//! Signing up, logging in, logging out.

use assay_web::settings::Settings;

use crate::helpers::{PASSWORD, TestApp};

#[tokio::test]
async fn a_person_signs_up_logs_out_and_logs_in() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    assert!(!browser.logged_in().await);
    let answer = browser.sign_up("김민수", "Minsu@Example.org", PASSWORD).await;
    assert_eq!(answer.location(), "/team");
    assert!(browser.get("/team").await.text.contains("김민수"));

    assert_eq!(browser.log_out().await.location(), "/");
    assert!(!browser.logged_in().await);

    // The address is the same account in any case.
    assert_eq!(browser.log_in("minsu@EXAMPLE.org", PASSWORD).await.location(), "/");
    assert!(browser.logged_in().await);
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}

#[tokio::test]
async fn forms_lead_back_to_where_a_person_wanted_to_go_and_nowhere_else() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    let redirect = browser.get("/team?done=created").await;
    assert_eq!(redirect.location(), "/login?next=/team%3Fdone%3Dcreated");
    assert!(
        browser
            .get(redirect.location())
            .await
            .text
            .contains("value=\"/team?done=created\"")
    );

    app.member("someone").await;
    let fields = [
        ("email", "someone@example.org"),
        ("password", PASSWORD),
        ("next", "/team?done=created"),
    ];
    assert_eq!(
        browser.submit("/login", "/login", &fields).await.location(),
        "/team?done=created"
    );
    for elsewhere in ["//evil.example/", "https://evil.example/", "/\\evil.example"] {
        let mut browser = app.browser();
        let fields = [
            ("email", "someone@example.org"),
            ("password", PASSWORD),
            ("next", elsewhere),
        ];
        assert_eq!(browser.submit("/login", "/login", &fields).await.location(), "/");
    }
}

#[tokio::test]
async fn faults_stand_beside_their_fields_and_what_was_typed_stays() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    let answer = browser.sign_up("Eve \u{202e}", "not <an> address", "short").await;
    assert_eq!(answer.status, 422);
    for expected in [
        "Enter a name of 1 to 40 visible characters.",
        "Enter an e-mail address like name@example.org.",
        "Use at least 10 characters",
        "value=\"not &#60;an&#62; address\"",
    ] {
        assert!(
            answer.text.contains(expected),
            "{expected} is missing in {}",
            answer.text
        );
    }
    assert!(!answer.text.contains("short"), "a password is never sent back");

    browser.language = "ko-KR,ko;q=0.9";
    let answer = browser.sign_up("이브", "eve@example.org", "password123").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text.contains("가장 먼저 추측되는 비밀번호입니다"),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("value=\"이브\"") && answer.text.contains("value=\"eve@example.org\""));
}

#[tokio::test]
async fn an_address_is_one_account() {
    let app = TestApp::spawn().await;
    app.member("someone").await;
    let mut other = app.browser();
    let answer = other.sign_up("Other", "SOMEONE@example.org", PASSWORD).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text.contains("This address already has an account."),
        "{}",
        answer.text
    );
    assert!(!other.logged_in().await);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn sign_ups_at_the_same_moment_make_one_account() {
    let app = TestApp::spawn().await;
    let tries = (0..4).map(|_| {
        let mut browser = app.browser();
        async move { browser.sign_up("Someone", "someone@example.org", PASSWORD).await.status }
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 422, 422, 422]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let app = TestApp::spawn().await;
    app.member("someone").await;
    let mut browser = app.browser();
    let wrong = browser.log_in("someone@example.org", "not the password").await;
    let unknown = browser.log_in("nobody9@example.org", "not the password").await;
    let malformed = browser.log_in("nobody", "not the password").await;
    assert_eq!((wrong.status, unknown.status, malformed.status), (422, 422, 422));
    assert!(
        wrong.text.contains("The e-mail address or the password is wrong."),
        "{}",
        wrong.text
    );
    let plain = |answer: &crate::helpers::Answer, email: &str| {
        answer.text.replace(&answer.csrf(), "TOKEN").replace(email, "EMAIL")
    };
    assert_eq!(
        plain(&wrong, "someone@example.org"),
        plain(&unknown, "nobody9@example.org")
    );
    assert!(!browser.logged_in().await);
}

#[tokio::test]
async fn guessing_is_slowed_down_even_for_the_right_password() {
    let app = TestApp::spawn().await;
    app.member("someone").await;
    app.member("other").await;
    let mut browser = app.browser();
    for _ in 0..8 {
        browser.log_in("someone@example.org", "not the password").await;
    }
    let answer = browser.log_in("someone@example.org", PASSWORD).await;
    assert_eq!(answer.status, 429, "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(answer.text.contains("login-throttled"), "{}", answer.text);
    browser.language = "ko";
    let answer = browser.log_in("someone@example.org", PASSWORD).await;
    assert!(answer.text.contains("로그인에 여러 번 실패했습니다"), "{}", answer.text);
    // Someone else behind the same address still gets in.
    assert_eq!(browser.log_in("other@example.org", PASSWORD).await.status, 303);
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host() {
    let secure = |settings: &mut Settings| {
        settings.insecure_cookies = false;
        settings.public_url = Some("https://assay.example.org/".to_owned());
    };
    let app = TestApp::spawn_with(secure).await;
    let mut browser = app.browser();
    let answer = browser.sign_up("Someone", "someone@example.org", PASSWORD).await;
    let cookie = answer.set_cookie("__Host-session").expect("a session cookie");
    for flag in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Max-Age=604800"] {
        assert!(cookie.contains(flag), "{flag} is missing in {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=31536000; includeSubDomains"
    );
    assert!(
        browser.cookies.keys().all(|name| name.starts_with("__Host-")),
        "{:?}",
        browser.cookies
    );
}

#[tokio::test]
async fn old_hashes_are_renewed_at_login() {
    let app = TestApp::spawn().await;
    app.member("someone").await;
    // argon2id with m = 8 MiB, t = 1 of PASSWORD.
    let weak = {
        use argon2::password_hash::PasswordHasher as _;
        let params = argon2::Params::new(8192, 1, 1, None).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
    };
    sqlx::query("UPDATE users SET password_hash = $1")
        .bind(&weak)
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(app.browser().log_in("someone@example.org", PASSWORD).await.status, 303);
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(hash.contains("m=19456,t=2"), "{hash}");
    assert_eq!(app.browser().log_in("someone@example.org", PASSWORD).await.status, 303);
}
