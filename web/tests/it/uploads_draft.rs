//! Drafts as upload clients see them: tokens, what is here already, quota and room.

use reqwest::Method;
use serde_json::{Value, json};

use crate::desk::{Draft, files, head, manifest, patch, run, sha256, value};
use crate::helpers::{Answer, Browser, TestApp};
use crate::uploads::{draft, small};

/// A client that has nothing but a token.
struct Bearer {
    browser: Browser,
    token: String,
}

impl Bearer {
    fn new(app: &TestApp, token: &str) -> Bearer {
        Bearer {
            browser: app.browser(),
            token: token.to_owned(),
        }
    }

    async fn ask(&mut self, method: Method, path: &str) -> Answer {
        let request = self.browser.request(method, path).bearer_auth(&self.token);
        self.browser.send(request.header("tus-resumable", "1.0.0")).await
    }

    async fn patch(&mut self, url: &str, offset: usize, body: Vec<u8>) -> Answer {
        let request = self.browser.request(Method::PATCH, url).bearer_auth(&self.token);
        let request = request
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", offset)
            .header("content-type", "application/offset+octet-stream");
        self.browser.send(request.body(body)).await
    }
}

fn by_name<'a>(body: &'a Value, name: &str) -> &'a Value {
    let files = body["files"].as_array().unwrap();
    files.iter().find(|file| file["name"] == name).unwrap()
}

#[tokio::test]
async fn a_token_uploads_and_sends_one_draft_without_a_login() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let files = files("w4a16-g32");
    let made = browser
        .post_json("/api/v1/submissions", &manifest("by token", &files))
        .await;
    let (body, mine) = (made.json(), Draft::from(&made));
    assert_eq!(body["files"].as_array().unwrap().len(), files.len());
    let weights = by_name(&body, "model.safetensors");
    assert_eq!(
        (
            &weights["state"],
            &weights["received"],
            &weights["origin"],
            &weights["bytes"]
        ),
        (
            &json!("open"),
            &json!(0),
            &Value::Null,
            &json!(files["model.safetensors"].len())
        )
    );
    assert_eq!(weights["sha256"], json!(sha256(&files["model.safetensors"])));
    assert!(body["expires_at"].as_str().unwrap() > "2026");
    let other = Draft::create(&mut browser, "another", &small()).await;
    browser.log_out().await;

    let mut bearer = Bearer::new(&app, &mine.token);
    let url = &mine.urls["model.safetensors"];
    let bytes = &files["model.safetensors"];
    let half = bytes.len() / 2;
    assert_eq!(bearer.patch(url, 0, bytes[..half].to_vec()).await.status, 204);
    let listed = bearer
        .ask(Method::GET, &format!("/api/v1/submissions/{}/uploads", mine.id))
        .await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    assert_eq!(by_name(&listed.json(), "model.safetensors")["received"], json!(half));
    bearer.token = listed.json()["upload_token"].as_str().unwrap().to_owned();
    assert_eq!(bearer.patch(url, half, bytes[half..].to_vec()).await.status, 204);
    for (name, url) in &mine.urls {
        if name != "model.safetensors" && !mine.known.contains(name) {
            assert_eq!(bearer.patch(url, 0, files[name].clone()).await.status, 204, "{name}");
        }
    }

    // Nothing beyond its draft: another draft of the same team is not there, pages want a login.
    for (method, path) in [
        (Method::HEAD, other.urls["config.json"].clone()),
        (Method::DELETE, other.urls["config.json"].clone()),
        (Method::GET, format!("/api/v1/submissions/{}/uploads", other.id)),
        (Method::DELETE, format!("/api/v1/submissions/{}", other.id)),
        (Method::POST, format!("/api/v1/submissions/{}/submit", other.id)),
    ] {
        assert_eq!(bearer.ask(method.clone(), &path).await.status, 404, "{method} {path}");
    }
    let api = format!("/api/v1/submissions/{}", mine.id);
    assert_eq!(bearer.ask(Method::GET, &api).await.status, 401);
    let create = bearer.ask(Method::POST, "/api/v1/submissions").await.status;
    assert!(matches!(create, 401 | 403), "{create}");

    let sent = bearer.ask(Method::POST, &format!("{api}/submit")).await;
    assert_eq!(
        (sent.status, sent.json()["state"].clone()),
        (200, json!("queued")),
        "{}",
        sent.text
    );
    let listed = bearer.ask(Method::GET, &format!("{api}/uploads")).await.json();
    assert_eq!(
        (&listed["state"], &listed["upload_token"]),
        (&json!("queued"), &Value::Null)
    );
    assert_eq!(bearer.ask(Method::DELETE, &api).await.status, 409);
    assert_eq!(bearer.ask(Method::DELETE, url).await.status, 409);
}

#[tokio::test]
async fn a_token_ends_with_the_membership_and_stands_above_cookies() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (mine, url, bytes) = draft(&mut browser).await;
    let mut bearer = Bearer::new(&app, &mine.token);
    assert_eq!(bearer.ask(Method::HEAD, &url).await.status, 204);

    // A bad token beside a good session is refused: what shows a token is judged by it alone.
    let request = browser.request(Method::PATCH, &url).bearer_auth("nonsense");
    let answer = browser.send(request.body(bytes.clone())).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (401, json!("upload-token-invalid"))
    );
    for value in ["Basic eDp5", "Bearer", "bearer ", "Bearer a.b.c"] {
        let request = browser.request(Method::DELETE, &url).header("authorization", value);
        let answer = browser.send(request.header("tus-resumable", "1.0.0")).await;
        assert_eq!(answer.status, 401, "{value}: {}", answer.text);
    }
    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "0");
    // Elsewhere the header changes nothing: the form token is still asked for.
    let request = browser
        .request(Method::POST, "/api/v1/submissions")
        .bearer_auth(&mine.token);
    let answer = browser.send(request.json(&manifest("x", &small()))).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (403, json!("csrf-missing"))
    );

    run(&app, "DELETE FROM memberships").await;
    assert_eq!(bearer.ask(Method::HEAD, &url).await.status, 404);
    assert_eq!(bearer.patch(&url, 0, bytes).await.status, 404);
    let path = format!("/api/v1/submissions/{}/uploads", mine.id);
    assert_eq!(bearer.ask(Method::GET, &path).await.status, 404);
}

#[tokio::test]
async fn what_is_here_already_is_not_sent_again() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let files = files("w4a16-g32");
    let first = browser
        .post_json("/api/v1/submissions", &manifest("first", &files))
        .await;
    let body = first.json();
    // This one is the base's own, byte by byte.
    let same = by_name(&body, "generation_config.json");
    assert_eq!((&same["state"], &same["origin"]), (&json!("complete"), &json!("base")));
    assert_eq!(same["received"], same["bytes"]);
    let draft = Draft::from(&first);
    draft.fill(&mut browser, &files).await;
    assert_eq!(draft.submit(&mut browser).await.status, 200);

    // Everything is here now; the same files make a submission at once.
    let again = browser
        .post_json("/api/v1/submissions", &manifest("again", &files))
        .await;
    let body = again.json();
    assert_eq!(by_name(&body, "model.safetensors")["origin"], "yours", "{}", again.text);
    let again = Draft::from(&again);
    assert_eq!(again.known.len(), files.len());
    let place = app.state.storage.submission_dir(again.id.parse().unwrap());
    for (name, bytes) in &files {
        assert!(std::fs::read(place.join(name)).unwrap() == *bytes, "{name}");
    }
    let head = head(&mut browser, &again.urls["model.safetensors"]).await;
    assert_eq!(
        head.header("upload-offset"),
        files["model.safetensors"].len().to_string()
    );
    // Deleting one of the two leaves the other whole.
    let request = browser
        .script(Method::DELETE, &format!("/api/v1/submissions/{}", again.id))
        .await;
    assert_eq!(browser.send(request).await.status, 204);
    let place = app.state.storage.submission_dir(draft.id.parse().unwrap());
    assert!(std::fs::read(place.join("model.safetensors")).unwrap() == files["model.safetensors"]);

    // Another team's claim to the same digest proves nothing.
    let mut stranger = app.captain("stranger", "Other").await;
    let theirs = stranger
        .post_json("/api/v1/submissions", &manifest("theirs", &files))
        .await;
    assert_eq!(by_name(&theirs.json(), "model.safetensors")["state"], "open");

    // A file that vanished from the disk is asked for after all.
    std::fs::remove_file(place.join("model.safetensors")).unwrap();
    let third = browser
        .post_json("/api/v1/submissions", &manifest("third", &files))
        .await;
    let weights = by_name(&third.json(), "model.safetensors").clone();
    assert_eq!((&weights["state"], &weights["origin"]), (&json!("open"), &Value::Null));
}

#[tokio::test]
async fn declared_bytes_have_a_quota_that_two_requests_cannot_overshoot() {
    let app = TestApp::spawn_with(|settings| settings.upload_quota_bytes = Some(7_000_000)).await;
    app.import_sample().await;
    let mut browser = app.captain("captain", "Team").await;
    let requests: Vec<_> = (0..4)
        .map(|i| (browser.clone(), manifest(&format!("draft {i}"), &small())))
        .map(|(mut browser, body)| async move { browser.post_json("/api/v1/submissions", &body).await })
        .collect();
    let answers = futures_util::future::join_all(requests).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 2, "two of three megabytes fit");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (413, json!("upload-quota")),
            "{}",
            answer.text
        );
    }
    // What is thrown away counts no more.
    let draft = Draft::from(answers.iter().find(|answer| answer.status == 201).unwrap());
    let request = browser
        .script(Method::DELETE, &format!("/api/v1/submissions/{}", draft.id))
        .await;
    assert_eq!(browser.send(request).await.status, 204);
    let (_, url, bytes) = crate::uploads::draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &url, 0, bytes).await.status, 204);
}

#[tokio::test]
async fn a_disk_without_room_is_said_before_anything_is_promised() {
    let app = TestApp::spawn_with(|settings| settings.disk_reserve_bytes = 1 << 60).await;
    app.import_sample().await;
    let mut browser = app.captain("captain", "Team").await;
    let answer = browser.post_json("/api/v1/submissions", &manifest("x", &small())).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (507, json!("disk-reserve")),
        "{}",
        answer.text
    );
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM submissions").await, 0);
    assert_eq!(std::fs::read_dir(app.data.path().join("uploads")).unwrap().count(), 0);
}
