//! Signing up, logging in, logging out.

use assay_web::auth::limits::LimitSettings;
use assay_web::settings::Settings;

use crate::helpers::{Answer, Browser, PASSWORD, TestApp, repository};

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
        "Use at least 8 characters",
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

/// An application that writes its mail into a folder of its data folder.
async fn with_mail() -> (TestApp, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file:{}", folder.path().display());
    let app = TestApp::spawn_with(|settings| settings.mail = Some(address)).await;
    (app, folder)
}

/// The mails written so far to `to`, oldest first, decoded; waits until there are `count`.
async fn mails(folder: &tempfile::TempDir, to: &str, count: usize) -> Vec<String> {
    for _ in 0..100 {
        let mut files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "eml"))
            .collect();
        files.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
        // One that is being written is not there yet.
        let texts = files.iter().filter_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.contains("\r\n\r\n").then(|| decoded(&text))
        });
        let mine: Vec<String> = texts.filter(|text| text.contains(&format!("To: {to}"))).collect();
        if mine.len() >= count {
            return mine;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no {count} mails to {to} arrived");
}

/// Undoes quoted-printable and base64 bodies, as far as our mails use them.
fn decoded(mail: &str) -> String {
    use base64::Engine as _;
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let lower = head.to_lowercase();
    let body = if lower.contains("content-transfer-encoding: base64") {
        let joined: String = body.split_whitespace().collect();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(joined).unwrap()).unwrap()
    } else if lower.contains("quoted-printable") {
        let joined = body.replace("=\r\n", "");
        let mut bytes = Vec::new();
        let mut rest = joined.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'=' {
                bytes.extend(hex::decode(&after[..2]).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    } else {
        body.to_owned()
    };
    format!("{head}\r\n\r\n{body}")
}

/// The path of the link in a mail.
fn link(mail: &str) -> String {
    let at = mail
        .find("/reset/choose?token=")
        .unwrap_or_else(|| panic!("no link in {mail}"));
    mail[at..].split_whitespace().next().unwrap().to_owned()
}

/// Opens a link and chooses a password.
async fn choose(browser: &mut Browser, link: &str, password: &str) -> Answer {
    let token = link.split_once("token=").unwrap().1.to_owned();
    browser
        .submit("/login", "/reset/choose", &[("token", &token), ("password", password)])
        .await
}

/// An answer without what differs between any two.
fn plain(answer: &Answer, email: &str) -> String {
    let mut text = answer.text.replace(email, "EMAIL");
    while let Some(at) = text.find("name=\"csrf\"") {
        let end = at + text[at..].find('>').unwrap();
        text.replace_range(at..end, "CSRF");
    }
    text.replace(answer.header("x-request-id"), "ID")
}

#[tokio::test]
async fn with_mail_an_account_is_made_by_its_link_alone() {
    let (app, folder) = with_mail().await;
    let mut browser = app.browser();
    let fields = [("name", "민수"), ("email", "minsu@example.org")];
    assert!(!browser.get("/signup").await.text.contains("type=\"password\""));
    let answer = browser.submit("/signup", "/signup", &fields).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains("Look into your mail"), "{}", answer.text);
    let users = || async {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM users");
        count.fetch_one(&app.pool).await.unwrap()
    };
    assert_eq!(users().await, 0, "nothing is made before the link is used");

    let link = link(&mails(&folder, "minsu@example.org", 1).await[0]);
    let stored: Vec<u8> = sqlx::query_scalar("SELECT token_sha256 FROM mail_links")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(!link.contains(&hex::encode(&stored)), "only the digest is stored");
    // A mail scanner opens the link, twice; the person comes with another browser.
    let mut person = app.browser();
    for _ in 0..2 {
        let page = app.browser().get(&link).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let weak = choose(&mut person, &link, "password1").await;
    assert_eq!(weak.status, 422);
    assert!(weak.text.contains("among the first that get guessed"), "{}", weak.text);
    assert_eq!(choose(&mut person, &link, PASSWORD).await.location(), "/team");
    assert!(person.logged_in().await);
    assert_eq!(users().await, 1);
    let verified: bool = sqlx::query_scalar("SELECT email_verified_at IS NOT NULL FROM users")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(verified);

    let mut late = app.browser();
    let again = late.get(&link).await;
    assert_eq!(again.status, 410);
    assert!(again.text.contains("link-over"), "{}", again.text);
    assert_eq!(app.browser().log_in("minsu@example.org", PASSWORD).await.status, 303);
}

/// Ended with the value.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn mail_goes_over_smtp_and_waits_for_a_server_that_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, free) = (
        folder.path().join("inbox"),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let address = format!("smtp://{listen}");
    let app = TestApp::spawn_with(|settings| settings.mail = Some(address)).await;
    let mut browser = app.browser();
    let fields = [("name", "민수"), ("email", "minsu@example.org")];
    assert_eq!(browser.submit("/signup", "/signup", &fields).await.status, 200);

    let python = repository().join("tests/clients/.venv/bin/python");
    let mut server = std::process::Command::new(&python);
    server.args(["-m", "aiosmtpd", "-n", "-l", &listen, "-c", "aiosmtpd.handlers.Mailbox"]);
    let _server = Running(server.arg(&inbox).spawn().unwrap());
    let arrived = || std::fs::read_dir(inbox.join("new")).ok()?.next()?.ok();
    let begun = std::time::Instant::now();
    let mail = loop {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "no mail arrived");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        if let Some(entry) = arrived() {
            break std::fs::read_to_string(entry.path()).unwrap();
        }
    };
    let mail = decoded(&mail.replace("\r\n", "\n").replace('\n', "\r\n"));
    assert!(mail.contains("X-RcptTo: minsu@example.org"), "{mail}");
    assert_eq!(choose(&mut browser, &link(&mail), PASSWORD).await.location(), "/team");
}

#[tokio::test]
async fn nobody_learns_from_sign_up_or_reset_whether_an_address_has_an_account() {
    let (app, folder) = with_mail().await;
    let mut someone = app.browser();
    someone
        .submit(
            "/signup",
            "/signup",
            &[("name", "Someone"), ("email", "someone@example.org")],
        )
        .await;
    let first = link(&mails(&folder, "someone@example.org", 1).await[0]);
    choose(&mut someone, &first, PASSWORD).await;

    let mut attacker = app.browser();
    let mut ask = async |path: &str, email: &str| {
        let fields = [("name", "X"), ("email", email)];
        let begun = std::time::Instant::now();
        let answer = attacker.submit(path, path, &fields).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (plain(&answer, email), begun.elapsed())
    };
    for path in ["/signup", "/reset"] {
        let known = ask(path, "someone@example.org").await;
        let unknown = ask(path, "nobody9@example.org").await;
        assert_eq!(known.0, unknown.0, "{path}");
    }
    // The owner is told by mail alone, and a stranger gets no mail about a reset.
    let to_owner = mails(&folder, "someone@example.org", 3).await;
    assert!(to_owner[1].contains("It has one already"), "{}", to_owner[1]);
    assert!(to_owner[2].contains("new password"), "{}", to_owner[2]);
    let to_stranger = mails(&folder, "nobody9@example.org", 1).await;
    assert_eq!(to_stranger.len(), 1, "the sign-up's link and nothing else");
}

#[tokio::test]
async fn a_reset_ends_every_session_and_every_other_link() {
    let (app, folder) = with_mail().await;
    let mut thief = app.browser();
    thief
        .submit(
            "/signup",
            "/signup",
            &[("name", "Someone"), ("email", "someone@example.org")],
        )
        .await;
    let first = link(&mails(&folder, "someone@example.org", 1).await[0]);
    choose(&mut thief, &first, PASSWORD).await;

    let mut owner = app.browser();
    owner.language = "ko";
    for _ in 0..2 {
        owner
            .submit("/reset", "/reset", &[("email", "someone@example.org")])
            .await;
    }
    let sent = mails(&folder, "someone@example.org", 3).await;
    assert!(sent[1].contains("비밀번호를 새로 정하겠다는"), "{}", sent[1]);
    let (one, two) = (link(&sent[1]), link(&sent[2]));
    let new = "a quite different phrase";
    assert_eq!(choose(&mut owner, &one, new).await.location(), "/account?done=password");
    assert!(!thief.logged_in().await, "the old sessions are over");
    assert_eq!(app.browser().get(&two).await.status, 410, "and so is the other link");
    assert_eq!(app.browser().log_in("someone@example.org", PASSWORD).await.status, 422);
    assert_eq!(app.browser().log_in("someone@example.org", new).await.status, 303);
    let told = mails(&folder, "someone@example.org", 4).await;
    assert!(told[3].contains("방금 바뀌었고"), "{}", told[3]);
}

#[tokio::test]
async fn of_two_uses_at_once_a_link_serves_one_and_an_old_one_none() {
    let (app, folder) = with_mail().await;
    let mut browser = app.browser();
    let fields = [("name", "Someone"), ("email", "someone@example.org")];
    browser.submit("/signup", "/signup", &fields).await;
    let address = link(&mails(&folder, "someone@example.org", 1).await[0]);
    let tries = (0..4).map(|_| {
        let (mut browser, address) = (app.browser(), address.clone());
        async move { choose(&mut browser, &address, PASSWORD).await.status }
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 410, 410, 410]);

    browser.submit("/reset", "/reset", &fields[1..]).await;
    let address = link(&mails(&folder, "someone@example.org", 2).await[1]);
    sqlx::query("UPDATE mail_links SET expires_at = now() - interval '1 second'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(app.browser().get(&address).await.status, 410);
}

#[tokio::test]
async fn a_form_cannot_fill_a_mailbox() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file:{}", folder.path().display());
    let app = TestApp::spawn_with(|settings| {
        settings.mail = Some(address);
        settings.limits.limit_mails = 2;
    })
    .await;
    let mut browser = app.browser();
    for _ in 0..5 {
        let fields = [("name", "X"), ("email", "Victim@example.org")];
        let answer = browser.submit("/signup", "/signup", &fields).await;
        assert_eq!(answer.status, 200, "the limit is not told either");
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(mails(&folder, "Victim@example.org", 2).await.len(), 2);
}

#[tokio::test]
async fn without_mail_a_reset_says_whom_to_ask() {
    let app = TestApp::spawn().await;
    let mut browser = app.browser();
    assert!(browser.get("/login").await.text.contains("href=\"/reset\""));
    assert!(browser.get("/reset").await.text.contains("Ask the organizers"));
}

#[tokio::test]
async fn whoever_asks_too_often_waits() {
    let app = TestApp::spawn_with(|settings| {
        settings.limits = LimitSettings {
            limit_reads: 60,
            limit_writes: 600,
            limit_account: 12,
            limit_signups: 6,
            limit_mails: 0,
        };
    })
    .await;
    let mut browser = app.browser();
    assert_eq!(
        browser.sign_up("Someone", "someone@example.org", PASSWORD).await.status,
        303
    );
    let again = app.browser().sign_up("Other", "other@example.org", PASSWORD).await;
    assert_eq!(again.status, 429, "one sixth of an hour's sign-ups at once");
    assert!(again.text.contains("rate-limited"), "{}", again.text);
    assert!(again.header("retry-after").parse::<u64>().unwrap() > 60);

    // By account: two writes at once, then one in five seconds.
    let csrf = browser.token("/team").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let request = browser
            .request(
                reqwest::Method::DELETE,
                "/api/v1/submissions/01890000-0000-7000-8000-000000000000",
            )
            .header("x-csrf-token", &csrf);
        let answer = browser.send(request).await;
        if answer.status == 429 {
            assert_eq!(answer.json()["code"], "rate-limited");
            assert!((1..=6).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
        }
        seen.push(answer.status);
    }
    assert_eq!(seen, [404, 404, 429, 429]);

    // By network: ten reads at once. Files of our own, uploads and probes are not counted.
    let mut reads = Vec::new();
    for _ in 0..14 {
        reads.push(browser.get_json("/api/v1/board").await.status);
    }
    assert!(reads.contains(&429), "{reads:?}");
    let style = assay_web::controllers::assets::url("css/base.css");
    assert_eq!(browser.get(&style).await.status, 200);
    assert_eq!(browser.get("/livez").await.status, 200);
    let request = browser
        .request(reqwest::Method::HEAD, "/files/01890000-0000-7000-8000-000000000000")
        .header("tus-resumable", "1.0.0");
    assert_eq!(browser.send(request).await.status, 404);
}
