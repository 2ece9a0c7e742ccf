//! Resumable uploads: the rules of tus, and the promise that every byte below an acknowledged offset survives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assay_web::db::ids::FileId;
use assay_web::db::uploads::{self, Owner};
use assay_web::uploader::{Ended, Pace, receive};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::desk::{Draft, files, head, manifest, patch, raw_patch, sha256, tus, value};
use crate::helpers::{Browser, TestApp};

/// A draft that looks like a checkpoint, with known bytes in its one weights file; other bytes each time, so that none are
/// here already.
pub fn small() -> BTreeMap<String, Vec<u8>> {
    static MADE: AtomicU32 = AtomicU32::new(1);
    let salt = MADE.fetch_add(1, Ordering::Relaxed);
    let weights: Vec<u8> = (0..3_000_000u32)
        .map(|i| ((i ^ salt << 8).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    BTreeMap::from([
        ("config.json".to_owned(), format!("{{\"n\":{salt}}}").into_bytes()),
        ("model.safetensors".to_owned(), weights),
    ])
}

pub async fn draft(browser: &mut Browser) -> (Draft, String, Vec<u8>) {
    let files = small();
    let draft = Draft::create(browser, "upload", &files).await;
    let url = draft.urls["model.safetensors"].clone();
    (draft, url, files["model.safetensors"].clone())
}

pub fn id(url: &str) -> FileId {
    url.trim_start_matches("/files/").parse().unwrap()
}

#[tokio::test]
async fn the_rules_of_tus() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    let length = bytes.len();

    // OPTIONS needs no version and says what is spoken.
    let options = browser.send(browser.request(Method::OPTIONS, &url)).await;
    assert_eq!((options.status, options.header("tus-version")), (204, "1.0.0"));
    assert_eq!(
        options.header("tus-extension"),
        "creation,creation-with-upload,termination,checksum,expiration"
    );
    assert_eq!(options.header("tus-checksum-algorithm"), "sha1,sha256");
    assert_eq!(options.header("tus-max-size"), "16000000");

    let fresh = head(&mut browser, &url).await;
    assert_eq!((fresh.status, fresh.header("upload-offset")), (204, "0"));
    assert_eq!(fresh.header("upload-length"), length.to_string());
    assert_eq!(
        (fresh.header("cache-control"), fresh.header("tus-resumable")),
        ("no-store", "1.0.0")
    );
    assert!(fresh.header("upload-expires").ends_with("GMT"), "{fresh:?}");

    // One thing wrong each time; nothing may be stored.
    let good = [
        ("tus-resumable", "1.0.0"),
        ("upload-offset", "0"),
        ("content-type", "application/offset+octet-stream"),
    ];
    for (header, wrong, status, code) in [
        ("tus-resumable", Some("0.2.2"), 412, "tus-version"),
        ("tus-resumable", None, 412, "tus-version"),
        (
            "content-type",
            Some("application/octet-stream"),
            415,
            "upload-content-type",
        ),
        ("content-type", None, 415, "upload-content-type"),
        ("upload-offset", None, 400, "upload-offset-missing"),
        ("upload-offset", Some("-1"), 400, "upload-offset-missing"),
        ("upload-offset", Some("+0"), 400, "upload-offset-missing"),
        ("upload-offset", Some("1"), 409, "upload-offset-mismatch"),
        ("upload-offset", Some("3000000"), 413, "upload-too-long"),
        (
            "upload-offset",
            Some("99999999999999999999"),
            400,
            "upload-offset-missing",
        ),
    ] {
        let mut request = browser.script(Method::PATCH, &url).await;
        for (name, value) in good {
            match (name == header, wrong) {
                (true, Some(wrong)) => request = request.header(name, wrong),
                (true, None) => {}
                _ => request = request.header(name, value),
            }
        }
        let answer = browser.send(request.body("abc")).await;
        assert_eq!(answer.status, status, "{header} {wrong:?}: {}", answer.text);
        assert_eq!(answer.json()["code"], code);
        assert_eq!(answer.header("tus-resumable"), "1.0.0");
    }
    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "0");

    // Two pieces, then the answer to the last one is asked for again.
    let first = patch(&mut browser, &url, 0, bytes[..1_000_000].to_vec()).await;
    assert_eq!((first.status, first.header("upload-offset")), (204, "1000000"));
    let rest = patch(&mut browser, &url, 1_000_000, bytes[1_000_000..].to_vec()).await;
    assert_eq!(
        (rest.status, rest.header("upload-offset")),
        (204, "3000000"),
        "{}",
        rest.text
    );
    let again = patch(&mut browser, &url, length, Vec::new()).await;
    assert_eq!(
        (again.status, again.header("upload-offset")),
        (204, "3000000"),
        "a lost answer may be asked for again"
    );
    assert_eq!(patch(&mut browser, &url, length, vec![0]).await.status, 413);
    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "3000000");
    assert_eq!(
        value::<String>(
            &app,
            "SELECT state FROM submission_files WHERE name = 'model.safetensors'"
        )
        .await,
        "complete"
    );

    // Termination frees the bytes; the address is gone.
    let gone = tus(&mut browser, Method::DELETE, &url).await;
    assert_eq!(browser.send(gone).await.status, 204);
    assert_eq!(head(&mut browser, &url).await.status, 404);
    assert!(!app.state.storage.part(id(&url)).exists());
}

#[tokio::test]
async fn a_tunnelled_method_and_a_chunked_body_work() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    let request = tus(&mut browser, Method::POST, &url).await;
    let request = request
        .header("x-http-method-override", "PATCH")
        .header("upload-offset", 0)
        .header("content-type", "application/offset+octet-stream");
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = bytes.chunks(700_001).map(|piece| Ok(piece.to_vec())).collect();
    let answer = browser
        .send(request.body(Body::wrap_stream(futures_util::stream::iter(pieces))))
        .await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, "3000000"),
        "{}",
        answer.text
    );

    // A chunked body may turn out to be too long only on the way.
    let (_, url, bytes) = draft(&mut browser).await;
    let request = tus(&mut browser, Method::PATCH, &url).await;
    let request = request
        .header("upload-offset", 0)
        .header("content-type", "application/offset+octet-stream");
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = vec![Ok(bytes[..2_000_000].to_vec()), Ok(bytes)];
    let answer = browser
        .send(request.body(Body::wrap_stream(futures_util::stream::iter(pieces))))
        .await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    let offset: usize = head(&mut browser, &url).await.header("upload-offset").parse().unwrap();
    assert!(
        offset < 3_000_000,
        "the file may not end up whole from a request that was refused"
    );
}

#[tokio::test]
async fn an_interrupted_patch_keeps_what_arrived_and_resumes() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    for broken in [true, false] {
        let offset: usize = head(&mut browser, &url).await.header("upload-offset").parse().unwrap();
        let piece = &bytes[offset..offset + 1_200_000];
        let stream = raw_patch(&app.address, &mut browser, &url, offset, bytes.len() - offset, piece).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if broken {
            // The connection dies; the server notices.
            drop(stream);
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(
                head(&mut browser, &url).await.header("upload-offset"),
                (offset + piece.len()).to_string()
            );
        } else {
            // The connection only goes silent, as a lost network does. Asking for the offset makes the old request save
            // and leave, so that the client need not wait for a timeout.
            let answer = head(&mut browser, &url).await;
            assert_eq!(answer.header("upload-offset"), (offset + piece.len()).to_string());
            drop(stream);
        }
    }
    let answer = patch(&mut browser, &url, 2_400_000, bytes[2_400_000..].to_vec()).await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, "3000000"),
        "{}",
        answer.text
    );
    let stored = value::<String>(
        &app,
        "SELECT sha256_actual FROM submission_files WHERE name = 'model.safetensors'",
    )
    .await;
    assert_eq!(stored, sha256(&bytes));
}

#[tokio::test]
async fn of_two_writers_the_newer_wins_and_the_file_is_whole() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    let mut old = raw_patch(&app.address, &mut browser, &url, 0, bytes.len(), &bytes[..1_500_000]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    // The newcomer believes in offset 0; the old writer has saved more meanwhile, so it is told where to go on.
    let refused = patch(&mut browser, &url, 0, bytes.clone()).await;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (409, json!("upload-offset-mismatch"))
    );
    let answer = patch(&mut browser, &url, 1_500_000, bytes[1_500_000..].to_vec()).await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, "3000000"),
        "{}",
        answer.text
    );

    // The old one was told that it is out.
    let mut said = vec![0; 4096];
    let n = old.read(&mut said).await.unwrap_or(0);
    let said = String::from_utf8_lossy(&said[..n]).into_owned();
    assert!(said.contains(" 409 ") && said.contains("upload-superseded"), "{said}");
    let stored = value::<String>(
        &app,
        "SELECT sha256_actual FROM submission_files WHERE name = 'model.safetensors'",
    )
    .await;
    assert_eq!(stored, sha256(&bytes));
}

#[tokio::test]
async fn bytes_above_the_committed_offset_are_worth_nothing_after_a_crash() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    assert_eq!(
        patch(&mut browser, &url, 0, bytes[..1_000_000].to_vec()).await.status,
        204
    );

    // What a crash between a write and its commit leaves: a longer file whose tail nobody promised, here even wrong.
    let part = app.state.storage.part(id(&url));
    let mut torn = std::fs::read(&part).unwrap();
    assert_eq!(torn.len(), 1_000_000);
    torn.extend_from_slice(&[0xEE; 2_500_000]);
    std::fs::write(&part, &torn).unwrap();

    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "1000000");
    let answer = patch(&mut browser, &url, 1_000_000, bytes[1_000_000..].to_vec()).await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, "3000000"),
        "{}",
        answer.text
    );

    // A file that has lost promised bytes is an error, not a file full of zeros.
    let (_, url, bytes) = draft(&mut browser).await;
    assert_eq!(
        patch(&mut browser, &url, 0, bytes[..1_000_000].to_vec()).await.status,
        204
    );
    std::fs::write(app.state.storage.part(id(&url)), &bytes[..999_999]).unwrap();
    assert_eq!(
        patch(&mut browser, &url, 1_000_000, bytes[1_000_000..].to_vec())
            .await
            .status,
        500
    );
}

#[tokio::test]
async fn a_crash_at_the_very_end_is_settled_later() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let reopen = "UPDATE submission_files SET state = 'open', sha256_actual = NULL WHERE name = 'model.safetensors'";
    let state = "SELECT state FROM submission_files WHERE name = 'model.safetensors'";
    let (draft, url, bytes) = draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &url, 0, bytes.clone()).await.status, 204);
    let place = app
        .state
        .storage
        .submission_dir(draft.id.parse().unwrap())
        .join("model.safetensors");

    // Died after the rename, before the verdict was written.
    crate::desk::run(&app, reopen).await;
    assert_eq!(head(&mut browser, &url).await.header("upload-offset"), "3000000");
    assert_eq!(value::<String>(&app, state).await, "complete");

    // Died before the rename.
    crate::desk::run(&app, reopen).await;
    std::fs::rename(&place, app.state.storage.part(id(&url))).unwrap();
    assert_eq!(patch(&mut browser, &url, bytes.len(), Vec::new()).await.status, 204);
    assert_eq!(value::<String>(&app, state).await, "complete");
    assert_eq!(std::fs::read(&place).unwrap(), bytes);
}

#[tokio::test]
async fn a_file_that_is_not_what_was_declared_is_caught_and_can_be_replaced() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (draft, url, bytes) = draft(&mut browser).await;
    let mut changed = bytes.clone();
    changed[1_234_567] ^= 1;
    let answer = patch(&mut browser, &url, 0, changed.clone()).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (460, json!("sha256-mismatch")),
        "{}",
        answer.text
    );
    assert_eq!(head(&mut browser, &url).await.status, 410);
    assert_eq!(patch(&mut browser, &url, 0, bytes.clone()).await.status, 410);
    assert!(!app.state.storage.part(id(&url)).exists(), "corrupt bytes are not kept");
    let refused = draft.submit(&mut browser).await;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (409, json!("files-incomplete"))
    );
    let codes: Vec<String> = refused.json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["code"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(codes, ["upload-incomplete", "sha256-mismatch"]);

    let path = format!("/api/v1/submissions/{}/files/model.safetensors", draft.id);
    let body = json!({ "bytes": changed.len(), "sha256": sha256(&changed) });
    let request = browser.script(Method::PUT, &path).await.json(&body);
    let answer = browser.send(request).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let renewed = answer.json()["upload_url"].as_str().unwrap().to_owned();
    assert_ne!(renewed, url, "offsets of an address never go back");
    assert_eq!(patch(&mut browser, &renewed, 0, changed).await.status, 204);
    assert_eq!(head(&mut browser, &url).await.status, 404);
}

#[tokio::test]
async fn an_idle_upload_expires() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &url, 0, bytes[..10].to_vec()).await.status, 204);
    crate::desk::run(
        &app,
        "UPDATE submission_files SET expires_at = now() - interval '1 second'",
    )
    .await;
    // Refused the moment it is over, whether or not the sweep has come by.
    assert_eq!(head(&mut browser, &url).await.status, 410);
    let answer = patch(&mut browser, &url, 10, bytes[10..].to_vec()).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (410, json!("upload-expired"))
    );
    assert_eq!(assay_web::db::uploads::expire(&app.pool).await.unwrap().len(), 2);
    assert_eq!(head(&mut browser, &url).await.status, 410);
}

/// One client says nothing more, one says less than a line needs: both lose their slot, neither a byte.
#[tokio::test]
async fn a_client_that_stalls_loses_its_slot_and_keeps_its_bytes() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let pace = Pace {
        idle: Duration::from_secs(1),
        floor: 1000,
        window: Duration::from_secs(2),
        ..Pace::default()
    };
    let user = sqlx::query_scalar("SELECT id FROM users")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let owner = Owner { user, only: None };
    let never = std::future::pending::<()>;
    let chunk = |at: u64, bytes: usize| Ok::<_, ()>(Bytes::from(vec![at as u8; bytes]));

    let (_, silent, _) = draft(&mut browser).await;
    let lease = uploads::begin(&app.pool, id(&silent), owner, 0).await.unwrap().unwrap();
    let body = stream::iter([chunk(1, 5000)]).chain(stream::pending());
    let storage = &app.state.storage;
    let stalled = receive(&app.pool, storage, &lease, body.boxed(), never(), pace, None).await;
    assert_eq!(stalled.unwrap(), (5000, Ended::Stalled));
    assert_eq!(head(&mut browser, &silent).await.header("upload-offset"), "5000");

    // Ten times a second it is heard of, with a tenth of what it must send.
    let (_, slow, _) = draft(&mut browser).await;
    let lease = uploads::begin(&app.pool, id(&slow), owner, 0).await.unwrap().unwrap();
    let drops = stream::unfold(0, |at| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((chunk(at, 10), at + 1))
    });
    let (kept, ended) = receive(&app.pool, storage, &lease, drops.boxed(), never(), pace, None)
        .await
        .unwrap();
    assert!(
        ended == Ended::Stalled && (10..=210).contains(&kept),
        "{kept} {ended:?}"
    );
    assert_eq!(
        head(&mut browser, &slow).await.header("upload-offset"),
        kept.to_string()
    );

    // One that sends enough is let be.
    let (_, steady, bytes) = draft(&mut browser).await;
    let lease = uploads::begin(&app.pool, id(&steady), owner, 0).await.unwrap().unwrap();
    let parts: Vec<Vec<u8>> = bytes.chunks(bytes.len().div_ceil(30)).map(<[u8]>::to_vec).collect();
    let parts = stream::iter(parts).then(|part| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, ()>(Bytes::from(part))
    });
    let (kept, ended) = receive(&app.pool, storage, &lease, parts.boxed(), never(), pace, None)
        .await
        .unwrap();
    assert_eq!((kept, ended), (bytes.len() as u64, Ended::Body));
}

#[tokio::test]
async fn only_the_team_reaches_its_uploads() {
    let app = TestApp::with_contest().await;
    let mut owner = app.captain("captain", "Team").await;
    let mut stranger = app.captain("stranger", "Other").await;
    let (draft, url, bytes) = draft(&mut owner).await;
    assert_eq!(head(&mut stranger, &url).await.status, 404);
    assert_eq!(patch(&mut stranger, &url, 0, bytes.clone()).await.status, 404);
    let request = tus(&mut stranger, Method::DELETE, &url).await;
    assert_eq!(stranger.send(request).await.status, 404);
    for (method, path) in [
        (Method::GET, format!("/api/v1/submissions/{}", draft.id)),
        (Method::DELETE, format!("/api/v1/submissions/{}", draft.id)),
        (Method::POST, format!("/api/v1/submissions/{}/submit", draft.id)),
        (Method::GET, format!("/submissions/{}", draft.id)),
        (Method::GET, format!("/submissions/{}/events", draft.id)),
    ] {
        let request = stranger.script(method.clone(), &path).await;
        assert_eq!(stranger.send(request).await.status, 404, "{method} {path}");
    }
    let path = format!("/api/v1/submissions/{}/files/model.safetensors", draft.id);
    let body = json!({ "bytes": 1, "sha256": sha256(b"x") });
    let request = stranger.script(Method::PUT, &path).await.json(&body);
    assert_eq!(stranger.send(request).await.status, 404);
    let nobody = app.browser();
    let request = nobody.request(Method::HEAD, &url).header("tus-resumable", "1.0.0");
    assert_eq!(app.browser().send(request).await.status, 401);
    assert_eq!(head(&mut owner, &url).await.header("upload-offset"), "0");
    assert_eq!(patch(&mut owner, &url, 0, bytes).await.status, 204);
}

#[tokio::test]
async fn a_manifest_is_held_against_the_limits() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let good = small();
    let declare = |name: &str, bytes: u64| json!({ "name": name, "bytes": bytes, "sha256": "0".repeat(64) });
    let (config, weights) = (declare("config.json", 2), declare("model.safetensors", 9));
    for (files, code) in [
        (json!([config]), "not-a-checkpoint"),
        (json!([weights]), "not-a-checkpoint"),
        (json!([]), "not-a-checkpoint"),
        (
            json!([config, weights, declare("../../etc/passwd", 1)]),
            "file-not-allowed",
        ),
        (
            json!([config, weights, declare("modeling_exaone.py", 1)]),
            "file-not-allowed",
        ),
        (
            json!([config, weights, declare("pytorch_model.bin", 1)]),
            "file-not-allowed",
        ),
        (json!([config, weights, weights]), "file-twice"),
        (
            json!([config, weights, declare("tokenizer.json", 1 << 40)]),
            "file-too-large",
        ),
        (
            json!([config, declare("model.safetensors", u64::MAX)]),
            "file-too-large",
        ),
        (json!([config, declare("model.safetensors", 1 << 50)]), "too-many-bytes"),
        (
            json!([
                config,
                json!({ "name": "model.safetensors", "bytes": 1, "sha256": "ABC" })
            ]),
            "sha256-invalid",
        ),
    ] {
        let answer = browser
            .post_json("/api/v1/submissions", &json!({ "title": "x", "files": files }))
            .await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (422, json!("manifest-refused")),
            "{}",
            answer.text
        );
        let problems = answer.json()["problems"].clone();
        assert!(
            problems
                .as_array()
                .unwrap()
                .iter()
                .any(|problem| problem["code"] == code),
            "{code}: {problems}"
        );
        assert!(
            problems[0]["message"]["ko"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    let mut alone = app.member("alone").await;
    let answer = alone.post_json("/api/v1/submissions", &manifest("x", &good)).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (409, json!("no-team")));
    let long = "가".repeat(81);
    let answer = browser.post_json("/api/v1/submissions", &manifest(&long, &good)).await;
    assert_eq!(answer.json()["code"], "title-too-long");

    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(Draft::create(&mut browser, "one of many", &good).await.id);
    }
    let answer = browser
        .post_json("/api/v1/submissions", &manifest("one more", &good))
        .await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (409, json!("too-many-drafts"))
    );
    let request = browser
        .script(Method::DELETE, &format!("/api/v1/submissions/{}", ids[0]))
        .await;
    assert_eq!(browser.send(request).await.status, 204);
    Draft::create(&mut browser, "one more", &good).await;
}

#[tokio::test]
async fn a_stopping_server_saves_what_arrived() {
    let mut app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (_, url, bytes) = draft(&mut browser).await;
    let stream = raw_patch(&app.address, &mut browser, &url, 0, bytes.len(), &bytes[..1_100_000]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    app.stop().await;
    drop(stream);
    assert_eq!(
        value::<i64>(
            &app,
            "SELECT received FROM submission_files WHERE name = 'model.safetensors'"
        )
        .await,
        1_100_000
    );
}

#[tokio::test]
async fn a_whole_checkpoint_goes_up_and_is_sent_once() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let files = files("sharded-w8a16");
    let draft = Draft::create(&mut browser, "shards", &files).await;
    assert_eq!(draft.submit(&mut browser).await.json()["code"], "files-incomplete");
    draft.fill(&mut browser, &files).await;
    let answer = draft.submit(&mut browser).await;
    assert_eq!(
        (answer.status, answer.json()["state"].clone()),
        (200, json!("queued")),
        "{}",
        answer.text
    );
    // The button may be pressed twice.
    assert_eq!(draft.submit(&mut browser).await.status, 200);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM jobs").await, 1);
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM outbox WHERE topic = 'job.queued'").await,
        1
    );

    // What was sent no longer changes.
    let url = &draft.urls["config.json"];
    let request = tus(&mut browser, Method::DELETE, url).await;
    let answer = browser.send(request).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (409, json!("submission-sealed"))
    );
    let request = browser
        .script(Method::DELETE, &format!("/api/v1/submissions/{}", draft.id))
        .await;
    assert_eq!(browser.send(request).await.status, 409);
    let body = json!({ "bytes": 2, "sha256": sha256(b"{}") });
    let request = browser
        .script(
            Method::PUT,
            &format!("/api/v1/submissions/{}/files/config.json", draft.id),
        )
        .await
        .json(&body);
    assert_eq!(browser.send(request).await.json()["code"], "submission-sealed");
    assert_eq!(
        std::fs::read(
            app.state
                .storage
                .submission_dir(draft.id.parse().unwrap())
                .join("config.json")
        )
        .unwrap(),
        files["config.json"]
    );
}

/// A small generator, so that a failing walk can be walked again from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Asks for the offset and checks it: never below what was acknowledged, never above what was ever sent, and every byte
/// below it is on disk and right.
async fn promised(
    app: &TestApp,
    browser: &mut Browser,
    url: &str,
    acknowledged: usize,
    sent: usize,
    bytes: &[u8],
) -> usize {
    // A request that was dropped before may be read only now, and then it is the newer one.
    let answer = loop {
        let answer = head(browser, url).await;
        if answer.status != 409 {
            break answer;
        }
    };
    let offset: usize = answer.header("upload-offset").parse().unwrap();
    assert!(
        (acknowledged..=sent).contains(&offset),
        "{acknowledged} <= {offset} <= {sent}"
    );
    if let Ok(kept) = std::fs::read(app.state.storage.part(id(url))) {
        assert!(
            kept.len() >= offset && kept[..offset] == bytes[..offset],
            "promised bytes are not there"
        );
    }
    offset
}

#[tokio::test]
async fn whatever_happens_on_the_way_the_file_arrives_as_declared() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let (draft, url, bytes) = draft(&mut browser).await;
        // A request whose connection was dropped may still be read by the server later: then the offset is ahead of what
        // this client knows, up to `sent`, and a PATCH from the old offset is refused.
        let (mut offset, mut sent) = (0, 0);
        for _ in 0..60 {
            let rest = bytes.len() - offset;
            let what = dice.below(5);
            match what {
                0 => {
                    let n = dice.below(rest.min(400_000) + 1);
                    let answer = patch(&mut browser, &url, offset, bytes[offset..offset + n].to_vec()).await;
                    match answer.status {
                        204 => offset += n,
                        409 => assert!(sent > offset, "{}", answer.text),
                        other => panic!("{other}: {}", answer.text),
                    }
                    sent = sent.max(offset);
                }
                1 => {
                    let wrong = sent + 1 + dice.below(1000);
                    let status = patch(&mut browser, &url, wrong, vec![1; 8]).await.status;
                    assert!(matches!(status, 409 | 413), "{status}");
                }
                2 | 3 => {
                    let n = dice.below(rest.min(300_000) + 1);
                    let piece = &bytes[offset..offset + n];
                    let stream = raw_patch(&app.address, &mut browser, &url, offset, rest, piece).await;
                    if what == 2 {
                        tokio::time::sleep(Duration::from_millis(dice.below(30) as u64)).await;
                    }
                    drop(stream);
                    sent = sent.max(offset + n);
                }
                _ => {
                    // Power lost between a write and its commit: a tail that nobody promised. Only while nobody writes.
                    let slot = app.state.storage.slots().take(id(&url)).await;
                    let part = app.state.storage.part(id(&url));
                    if let (Ok(_slot), true) = (slot, part.exists()) {
                        let mut torn = std::fs::read(&part).unwrap();
                        torn.extend(vec![0xAA; dice.below(5000)]);
                        std::fs::write(&part, torn).unwrap();
                    }
                }
            }
            offset = promised(&app, &mut browser, &url, offset, sent, &bytes).await;
            if offset == bytes.len() {
                break;
            }
        }
        while offset < bytes.len() {
            patch(&mut browser, &url, offset, bytes[offset..].to_vec()).await;
            offset = promised(&app, &mut browser, &url, offset, bytes.len(), &bytes).await;
        }
        let place = app
            .state
            .storage
            .submission_dir(draft.id.parse().unwrap())
            .join("model.safetensors");
        assert!(
            std::fs::read(place).unwrap() == bytes,
            "not the bytes that were declared"
        );
    }
}

#[tokio::test]
async fn what_nobody_finishes_is_swept_away() {
    let app = TestApp::with_contest().await;
    let mut browser = app.captain("captain", "Team").await;
    let (old, url, bytes) = draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &url, 0, bytes.clone()).await.status, 204);
    let (young, other, _) = draft(&mut browser).await;
    assert_eq!(patch(&mut browser, &other, 0, bytes[..1000].to_vec()).await.status, 204);
    sqlx::query("UPDATE submissions SET created_at = now() - interval '30 days' WHERE id = $1::uuid")
        .bind(&old.id)
        .execute(&app.pool)
        .await
        .unwrap();
    assert!(
        assay_web::db::submissions::delete_abandoned(&app.pool)
            .await
            .unwrap()
            .is_empty(),
        "its uploads still have time"
    );
    crate::desk::run(
        &app,
        "UPDATE submission_files SET expires_at = now() - interval '8 days'",
    )
    .await;
    let gone = assay_web::db::submissions::delete_abandoned(&app.pool).await.unwrap();
    assert_eq!(gone.iter().map(ToString::to_string).collect::<Vec<_>>(), [old.id]);
    assert_eq!(
        value::<String>(&app, "SELECT id::text FROM submissions").await,
        young.id
    );

    // Bytes without a row: found once they are old enough, and only those.
    let storage = &app.state.storage;
    let orphan = FileId::new();
    std::fs::write(storage.part(orphan), b"left behind").unwrap();
    assert!(storage.idle_parts(Duration::from_secs(60)).unwrap().is_empty());
    let idle = storage.idle_parts(Duration::ZERO).unwrap();
    assert!(idle.contains(&id(&other)) && idle.contains(&orphan), "{idle:?}");
    let known = assay_web::db::uploads::known(&app.pool, &idle).await.unwrap();
    assert!(known.contains(&id(&other)) && !known.contains(&orphan), "{known:?}");
}
