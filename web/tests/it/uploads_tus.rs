//! tus for clients that know nothing else: creation, checksums, expiry, and what hostile ones are told.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::desk::{Draft, files, head, patch, raw_patch, run, sha256, tus, value};
use crate::helpers::{Answer, Browser, TestApp};
use crate::uploads::{draft, id};

const BYTES: &str = "application/offset+octet-stream";

fn metadata(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = fields
        .iter()
        .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
        .collect();
    pairs.join(",")
}

async fn empty_draft(browser: &mut Browser) -> Draft {
    Draft::from(
        &browser
            .post_json("/api/v1/submissions", &json!({ "title": "by tus" }))
            .await,
    )
}

async fn creation(browser: &mut Browser, draft: &str, name: &str, bytes: &[u8]) -> RequestBuilder {
    let fields = [("filename", name), ("sha256", &sha256(bytes)), ("submission", draft)];
    tus(browser, Method::POST, "/files")
        .await
        .header("upload-length", bytes.len())
        .header("upload-metadata", metadata(&fields))
}

async fn created(browser: &mut Browser, draft: &str, name: &str, bytes: &[u8]) -> Answer {
    let request = creation(browser, draft, name, bytes).await;
    browser.send(request).await
}

#[tokio::test]
async fn a_checkpoint_goes_up_by_creation_alone() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let files = files("w4a16-g32");
    let draft = empty_draft(&mut browser).await;
    for (name, bytes) in &files {
        let answer = created(&mut browser, &draft.id, name, bytes).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text);
        assert!(answer.header("upload-expires").ends_with("GMT") && answer.header("tus-resumable") == "1.0.0");
        let url = answer.header("location").to_owned();
        assert!(url.starts_with("/files/"), "{url}");
        let stands = head(&mut browser, &url).await;
        assert_eq!(stands.header("upload-offset"), "0");
        let sent = metadata(&[
            ("filename", name),
            ("sha256", &sha256(bytes)),
            ("submission", &draft.id),
        ]);
        assert_eq!(stands.header("upload-metadata"), sent, "exactly as received");
        if name == "model.safetensors" {
            // Interrupted; a client that believes it must create it again is led to the same upload.
            let half = bytes.len() / 2;
            assert_eq!(patch(&mut browser, &url, 0, bytes[..half].to_vec()).await.status, 204);
            let again = created(&mut browser, &draft.id, name, bytes).await;
            assert_eq!((again.status, again.header("location")), (201, url.as_str()));
            assert_eq!(again.header("upload-offset"), half.to_string());
            assert_eq!(
                patch(&mut browser, &url, half, bytes[half..].to_vec()).await.status,
                204
            );
        } else if !bytes.is_empty() {
            let last = patch(&mut browser, &url, 0, bytes.clone()).await;
            assert_eq!(last.status, 204, "{name}");
            assert!(last.header("upload-expires").ends_with("GMT"));
        }
    }
    let sent = draft.submit(&mut browser).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let late = created(&mut browser, &draft.id, "config.json", b"{}").await;
    assert_eq!(
        (late.status, late.json()["code"].clone()),
        (409, json!("submission-sealed"))
    );
}

#[tokio::test]
async fn creation_with_upload_and_creation_of_nothing() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let draft = empty_draft(&mut browser).await;
    let bytes = vec![7; 300_000];
    let request = creation(&mut browser, &draft.id, "a.safetensors", &bytes).await;
    let request = request.header("content-type", BYTES).body(bytes[..200_000].to_vec());
    let answer = browser.send(request).await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (201, "200000"),
        "{}",
        answer.text
    );
    let url = answer.header("location").to_owned();
    assert_eq!(
        patch(&mut browser, &url, 200_000, bytes[200_000..].to_vec())
            .await
            .status,
        204
    );

    let request = creation(&mut browser, &draft.id, "b.safetensors", &bytes).await;
    let answer = browser
        .send(request.header("content-type", BYTES).body(bytes.clone()))
        .await;
    assert_eq!((answer.status, answer.header("upload-offset")), (201, "300000"));

    // A body without the type of a body is no body.
    let request = creation(&mut browser, &draft.id, "c.safetensors", &bytes).await;
    let answer = browser.send(request.body(vec![1, 2, 3])).await;
    assert_eq!((answer.status, answer.header("upload-offset")), (201, "0"));

    // Nothing to send is complete at once, and still held against its digest.
    let answer = created(&mut browser, &draft.id, "merges.txt", b"").await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (201, "0"),
        "{}",
        answer.text
    );
    let fields = [
        ("filename", "vocab.json"),
        ("sha256", &sha256(b"x")),
        ("submission", &draft.id),
    ];
    let request = tus(&mut browser, Method::POST, "/files").await;
    let request = request
        .header("upload-length", 0)
        .header("upload-metadata", metadata(&fields));
    assert_eq!(browser.send(request).await.status, 460);
    let states: Vec<String> = sqlx::query_scalar("SELECT name || ' ' || state FROM submission_files ORDER BY name")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    let expected = [
        "a.safetensors complete",
        "b.safetensors complete",
        "c.safetensors open",
        "merges.txt complete",
        "vocab.json corrupt",
    ];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn creations_that_make_no_sense_are_told_why() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let mut stranger = app.captain("stranger", "Other").await;
    let (mine, theirs) = (empty_draft(&mut browser).await, empty_draft(&mut stranger).await);
    let digest = sha256(b"x");
    let good = |draft: &str| {
        metadata(&[
            ("filename", "a.safetensors"),
            ("sha256", &digest),
            ("submission", draft),
        ])
    };
    let long = format!("{},x {}", good(&mine.id), "A".repeat(8000));
    let fields = |fields: &[(&str, &str)]| Some(metadata(fields));
    let sub = mine.id.as_str();
    for (length, extra, text, status, code) in [
        (Some("5"), None, Some(good(&theirs.id)), 404, "not-found"),
        (Some("5"), None, Some(good("nonsense")), 404, "not-found"),
        (None, None, Some(good(sub)), 400, "upload-length-invalid"),
        (Some("-5"), None, Some(good(sub)), 400, "upload-length-invalid"),
        (Some("5 "), None, Some(good(&theirs.id)), 404, "not-found"),
        (Some("1e3"), None, Some(good(sub)), 400, "upload-length-invalid"),
        (
            Some("99999999999999999999"),
            None,
            Some(good(sub)),
            400,
            "upload-length-invalid",
        ),
        (
            Some("18446744073709551615"),
            None,
            Some(good(sub)),
            413,
            "upload-too-long",
        ),
        (Some("17000000"), None, Some(good(sub)), 413, "upload-too-long"),
        (
            None,
            Some(("upload-defer-length", "1")),
            Some(good(sub)),
            501,
            "upload-length-deferred",
        ),
        (
            Some("5"),
            Some(("upload-defer-length", "1")),
            Some(good(sub)),
            400,
            "upload-length-invalid",
        ),
        (
            Some("5"),
            Some(("upload-concat", "partial")),
            Some(good(sub)),
            501,
            "upload-concat-unsupported",
        ),
        (Some("5"), None, None, 400, "upload-metadata-invalid"),
        (
            Some("5"),
            None,
            Some("filename %%%".into()),
            400,
            "upload-metadata-invalid",
        ),
        (Some("5"), None, Some(long), 400, "upload-metadata-invalid"),
        (
            Some("5"),
            None,
            fields(&[("filename", "a.safetensors"), ("sha256", &digest)]),
            400,
            "upload-metadata-invalid",
        ),
        (
            Some("5"),
            None,
            fields(&[
                ("filename", "../../etc/passwd"),
                ("sha256", &digest),
                ("submission", sub),
            ]),
            422,
            "manifest-refused",
        ),
        (
            Some("5"),
            None,
            fields(&[("filename", "a.safetensors"), ("sha256", "ABC"), ("submission", sub)]),
            422,
            "manifest-refused",
        ),
    ] {
        let mut request = tus(&mut browser, Method::POST, "/files").await;
        if let Some(length) = length {
            request = request.header("upload-length", length);
        }
        if let Some((name, value)) = extra {
            request = request.header(name, value);
        }
        if let Some(text) = &text {
            request = request.header("upload-metadata", text);
        }
        let answer = browser.send(request).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (status, json!(code)),
            "{length:?} {extra:?} {text:?}"
        );
        assert!(answer.header("upload-offset").is_empty() && answer.header("location").is_empty());
    }
    let request = browser
        .script(Method::POST, "/files")
        .await
        .header("tus-resumable", "0.2.2");
    let answer = browser.send(request).await;
    assert_eq!((answer.status, answer.header("tus-version")), (412, "1.0.0"));
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM submission_files").await, 0);
}

async fn patch_with(browser: &mut Browser, url: &str, offset: usize, checksum: &str, body: Vec<u8>) -> Answer {
    let request = tus(browser, Method::PATCH, url).await;
    let request = request
        .header("upload-offset", offset)
        .header("upload-checksum", checksum)
        .header("content-type", BYTES);
    browser.send(request.body(body)).await
}

#[tokio::test]
async fn bytes_that_do_not_match_their_checksum_leave_no_trace() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    let sha1 = |bytes: &[u8]| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        format!("sha1 {}", STANDARD.encode(digest))
    };
    let sha2 = |bytes: &[u8]| format!("sha256 {}", STANDARD.encode(Sha256::digest(bytes)));

    let first = patch_with(
        &mut browser,
        &url,
        0,
        &sha1(&bytes[..1_000_000]),
        bytes[..1_000_000].to_vec(),
    )
    .await;
    assert_eq!(
        (first.status, first.header("upload-offset")),
        (204, "1000000"),
        "{}",
        first.text
    );
    let mut damaged = bytes[1_000_000..2_500_000].to_vec();
    damaged[700_000] ^= 1;
    for checksum in [sha1(&bytes[1_000_000..2_500_000]), sha2(&bytes[1_000_000..2_500_000])] {
        let answer = patch_with(&mut browser, &url, 1_000_000, &checksum, damaged.clone()).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (460, json!("checksum-mismatch")),
            "{}",
            answer.text
        );
        assert!(
            answer.header("upload-expires").ends_with("GMT"),
            "every answer to a PATCH says it"
        );
        assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "1000000");
    }
    for checksum in ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 AAAA", "sha256", ""] {
        let answer = patch_with(&mut browser, &url, 1_000_000, checksum, damaged.clone()).await;
        assert_eq!(answer.status, 400, "{checksum}");
        assert_eq!(answer.json()["code"], "upload-checksum-unsupported");
    }

    // An interrupted one keeps nothing either: half of a checked piece is unchecked.
    let piece = &bytes[1_000_000..2_000_000];
    let line = format!("\r\nupload-checksum: {}", sha2(&bytes[1_000_000..2_500_000]));
    let stream = raw_patch(
        &app.address,
        &mut browser,
        &url,
        &format!("1000000{line}"),
        1_500_000,
        piece,
    )
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "1000000");

    // The right bytes then make the right file: the running digest did not take the wrong ones in.
    let rest = patch_with(
        &mut browser,
        &url,
        1_000_000,
        &sha2(&bytes[1_000_000..]),
        bytes[1_000_000..].to_vec(),
    )
    .await;
    assert_eq!(
        (rest.status, rest.header("upload-offset")),
        (204, "3000000"),
        "{}",
        rest.text
    );
    let stored = value::<String>(
        &app,
        "SELECT sha256_actual FROM submission_files WHERE name = 'model.safetensors'",
    )
    .await;
    assert_eq!(stored, sha256(&bytes));
}

#[tokio::test]
async fn only_so_many_send_at_once() {
    let app = TestApp::spawn_with(|settings| settings.team_uploads = 1).await;
    app.import_sample().await;
    let mut browser = app.captain("captain", "Team").await;
    let (mine, url, bytes) = draft(&mut browser).await;
    let stream = raw_patch(&app.address, &mut browser, &url, "0", bytes.len(), &bytes[..100_000]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let config = &mine.urls["config.json"];
    let refused = patch(&mut browser, config, 0, b"{}".to_vec()).await;
    assert_eq!(
        (
            refused.status,
            refused.json()["code"].clone(),
            refused.header("retry-after")
        ),
        (503, json!("too-many-uploads"), "5")
    );
    // The same file again is no second one: the old request leaves for it.
    let answer = patch(&mut browser, &url, 0, Vec::new()).await;
    assert!(matches!(answer.status, 204 | 409), "{}", answer.text);
    drop(stream);
    let offset: usize = head(&mut browser, &url).await.header("upload-offset").parse().unwrap();
    assert_eq!(
        patch(&mut browser, &url, offset, bytes[offset..].to_vec()).await.status,
        204
    );
}

#[tokio::test]
async fn a_file_whose_bytes_are_gone_promises_nothing() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (mine, url, bytes) = draft(&mut browser).await;
    assert_eq!(
        patch(&mut browser, &url, 0, bytes[..500_000].to_vec()).await.status,
        204
    );
    let (whole, other, more) = draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &other, 0, more).await.status, 204);
    run(
        &app,
        "UPDATE submission_files SET last_progress_at = now() - interval '2 hours'",
    )
    .await;
    assert_eq!(
        assay_web::background::give_up_lost(&app.state).await.unwrap(),
        0,
        "all is here"
    );

    let storage = &app.state.storage;
    std::fs::OpenOptions::new()
        .write(true)
        .open(storage.part(id(&url)))
        .unwrap()
        .set_len(499_999)
        .unwrap();
    let place = storage.submission_dir(whole.id.parse().unwrap());
    std::fs::remove_file(place.join("model.safetensors")).unwrap();
    assert_eq!(assay_web::background::give_up_lost(&app.state).await.unwrap(), 2);
    assert_eq!(head(&mut browser, &url).await.status, 410);
    assert_eq!(head(&mut browser, &other).await.status, 410);

    // Folders of submissions without a row are found too.
    let orphan = assay_web::db::ids::SubmissionId::new();
    std::fs::create_dir_all(storage.submission_dir(orphan)).unwrap();
    let idle = storage.idle_submissions(Duration::ZERO).unwrap();
    assert!(idle.contains(&orphan) && idle.contains(&whole.id.parse().unwrap()));
    let known = assay_web::db::submissions::known(&app.pool, &idle).await.unwrap();
    assert!(!known.contains(&orphan) && known.contains(&whole.id.parse().unwrap()));
    drop(mine);
}
