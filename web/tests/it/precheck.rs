//! The verdict before the upload, and at the gate: the worker's own rules on headers alone.

use serde_json::json;

use crate::desk::{Draft, files, sliced, value};
use crate::helpers::TestApp;

#[tokio::test]
async fn real_headers_are_accepted_with_their_exact_weight() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    for name in ["w4a16-gptq", "w4a16-asym", "w8a16", "untied-w4a16", "sharded-w8a16"] {
        let files = files(name);
        let answer = browser.post_json("/api/v1/precheck", &sliced(&files)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let inspection = answer.json();
        assert_eq!(inspection["verdict"], "accepted", "{name}: {}", inspection["problems"]);
        let weight: usize = files
            .iter()
            .filter(|(name, _)| name.ends_with(".safetensors"))
            .map(|(_, bytes)| bytes.len())
            .sum();
        assert_eq!(inspection["bytes"]["total"], weight, "{name}");
        let groups: u64 = inspection["bytes"]["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| g["bytes"].as_u64().unwrap())
            .sum();
        assert_eq!(groups, weight as u64, "{name}: the groups add up");
        // Drawn for a page, in its language; nothing else about the answer changes.
        assert!(inspection["drawn"].is_null());
        let mut drawn = browser
            .post_json("/api/v1/precheck?drawn=ko", &sliced(&files))
            .await
            .json();
        let map = drawn.as_object_mut().unwrap().remove("drawn").unwrap();
        let map = map.as_str().unwrap();
        assert!(
            map.contains(&format!("data-weight=\"{weight}\"")) && map.contains("어텐션"),
            "{map}"
        );
        assert_eq!(drawn, inspection);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_before_a_byte_has_moved() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;

    // A shard is missing.
    let mut broken = files("sharded-w8a16");
    broken.remove("model-00003-of-00005.safetensors");
    let inspection = browser.post_json("/api/v1/precheck", &sliced(&broken)).await.json();
    assert_eq!(inspection["verdict"], "rejected");
    let problem = &inspection["problems"][0];
    for field in [
        &problem["code"],
        &problem["where"],
        &problem["message"]["en"],
        &problem["message"]["ko"],
        &problem["fix"]["ko"],
    ] {
        assert!(field.is_string(), "{problem}");
    }

    // A config that is no JSON, and one of another size than the base.
    let mut broken = files("w4a16-gptq");
    broken.insert("config.json".into(), b"{ not json".to_vec());
    assert_eq!(
        browser.post_json("/api/v1/precheck", &sliced(&broken)).await.json()["verdict"],
        "rejected"
    );

    // A header that lies about its length.
    let mut broken = files("w4a16-gptq");
    broken.get_mut("model.safetensors").unwrap()[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        browser
            .post_json("/api/v1/precheck", &json!({ "files": [] }))
            .await
            .json()["verdict"],
        "rejected"
    );
    let mut body = sliced(&files("w4a16-gptq"));
    for file in body["files"].as_array_mut().unwrap() {
        if file["name"] == "model.safetensors" {
            file["header_base64"] = json!("//////////8=");
        }
    }
    assert_eq!(
        browser.post_json("/api/v1/precheck", &body).await.json()["verdict"],
        "rejected"
    );

    let body = json!({ "files": [{ "name": "config.json", "bytes": 2, "text_base64": "!!" }] });
    let answer = browser.post_json("/api/v1/precheck", &body).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (400, json!("precheck-not-base64"))
    );

    let mut nobody = app.browser();
    let answer = nobody
        .send(
            nobody
                .request(reqwest::Method::POST, "/api/v1/precheck")
                .json(&json!({ "files": [] })),
        )
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_broken_checkpoint_does_not_pass_the_gate_either() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let mut files = files("w4a16-gptq");
    let config = String::from_utf8(files["config.json"].clone()).unwrap();
    files.insert(
        "config.json".into(),
        config
            .replace("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 3")
            .into_bytes(),
    );
    let draft = Draft::create(&mut browser, "broken", &files).await;
    draft.fill(&mut browser, &files).await;
    let answer = draft.submit(&mut browser).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert_eq!(answer.json()["verdict"], "rejected");
    assert!(!answer.json()["problems"].as_array().unwrap().is_empty());
    assert_eq!(value::<String>(&app, "SELECT state FROM submissions").await, "draft");
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM jobs").await, 0);
    let shown = browser
        .get_json(&format!("/api/v1/submissions/{}", draft.id))
        .await
        .json();
    assert_eq!(
        shown["inspection"]["verdict"], "rejected",
        "the refusal is kept with the draft"
    );
}
