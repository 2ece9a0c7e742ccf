//! Sealed documents: nothing anybody can ask for is made of them before they are revealed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_contest::sealed::SealedSet;
use assay_contest::wire::{Outcome, Progress, Stage};
use assay_web::ingest::import_contest;
use assay_web::sealing::seal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::desk::{Hand, graded_by_document, run, submitted, value, weight_of};
use crate::helpers::{Browser, TestApp, sample_elsewhere};
use crate::matrix::routes;

const ACC: &str = "acc.mini_gsm.exact_match.flexible-extract";
const STDERR: &str = "acc_stderr.mini_gsm.exact_match.flexible-extract";

/// Writes the sample contest with sealed documents, and its key. `after` is what counts once they are revealed.
fn sealed_contest(folder: &Path, after: &str) -> (PathBuf, PathBuf) {
    let (file, key) = (folder.join("contest.toml"), folder.join("seal.key"));
    std::fs::write(&file, sample_elsewhere()).unwrap();
    let section = seal(&file, Some(0.3), &key)
        .unwrap()
        .replace("after = \"all\"", &format!("after = \"{after}\""));
    std::fs::write(&file, format!("{}\n{section}\n", sample_elsewhere())).unwrap();
    (file, key)
}

async fn sealed_app(after: &str) -> (TestApp, SealedSet) {
    let app = TestApp::spawn().await;
    let (file, key) = sealed_contest(app.data.path(), after);
    import_contest(&app.pool, &app.state.storage, &file, Some(&key))
        .await
        .unwrap();
    let set: Value = value(&app, "SELECT documents FROM seals").await;
    (app, serde_json::from_value(set).unwrap())
}

/// Four wrong answers of the public documents of mini_gsm and nine of the sealed ones.
fn answers(set: &SealedSet) -> Vec<bool> {
    let mut right = vec![true; 100];
    let (sealed, public): (Vec<usize>, Vec<usize>) = (0..100).partition(|at| set.contains("mini_gsm", *at));
    assert_eq!((sealed.len(), public.len()), (30, 70));
    sealed[..9].iter().chain(&public[..4]).for_each(|at| right[*at] = false);
    right
}

/// Whether `text` has `figure`, not within a longer number or the digits of a random token.
fn has(text: &str, figure: &str) -> bool {
    let within = |at: usize| text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    text.match_indices(figure).any(|(at, _)| !within(at))
}

/// Every answer a person can get by asking for something: pages, API, events and files.
async fn everything(browser: &mut Browser, id: &str, outputs: &[&str]) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for (method, route) in routes().await {
        if method != "GET" || route.starts_with("/worker/") {
            continue;
        }
        let names = if route.contains("{name}") { outputs } else { &["x"] };
        for name in names {
            let mut path = route.replace("{id}", id).replace("{name}", name);
            if path == "/compare" {
                path = format!("/compare?a={id}&b={id}");
            }
            let request = browser.request(Method::GET, &path).header("accept", "*/*");
            let mut answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => panic!("{path} does not answer: {error:?}"),
            };
            let mut text = format!("{:?}", answer.headers());
            // A stream of events is read until it is silent.
            let mut patience = Duration::from_secs(5);
            while let Ok(Ok(Some(chunk))) = tokio::time::timeout(patience, answer.chunk()).await {
                text.push_str(&String::from_utf8_lossy(&chunk));
                patience = Duration::from_millis(500);
            }
            seen.push((path, text));
        }
    }
    seen
}

#[tokio::test]
async fn nothing_made_of_sealed_documents_is_seen_before_the_reveal() {
    let (app, set) = sealed_app("all").await;
    let hand = Hand::enrol(&app, "only").await;
    let mut team = app.captain("ann", "Team A").await;
    let mut organizer = app.organizer().await;
    let id = submitted(&mut team, "a1", "w4a16-gptq").await;
    let claim = hand.claim(5).await.unwrap();

    // Figures over all documents, each with digits of its own.
    let right = answers(&set);
    let Outcome::Graded { mut report } = graded_by_document(&right, weight_of(&claim)) else {
        unreachable!()
    };
    assert_eq!(report.measures[ACC], 0.87);
    report.measures.insert(STDERR.into(), 0.031_447_1);
    report.tasks[0]
        .stderr
        .insert("exact_match,flexible-extract".into(), 0.031_447_1);
    report.measures.insert("rate.truncated.mini_gsm".into(), 0.0617);
    report.measures.insert("generated_tokens".into(), 48_611.0);
    report
        .measures
        .insert("acc.mini_gsm.exact_match.strict-match".into(), 0.8731);
    report.tasks[0]
        .measures
        .insert("exact_match,strict-match".into(), 0.8731);
    let secrets = [
        "0.87",
        "0.0314",
        "0.0617",
        "cut off",
        "답 잘림",
        "48611",
        "48,611",
        "0.8731",
        "0.7391",
    ];

    let running = Progress {
        stage: Stage::Evaluate,
        done: 50,
        total: 100,
        measures: [(ACC.to_owned(), 0.7391)].into(),
        step: 1,
        ..Progress::default()
    };
    assert_eq!(hand.beat_response(&claim, running).await.status(), 200);
    let look = async |who: &mut Browser, when: &str| {
        let outputs = ["report.json", "results.json", "samples_mini_gsm.jsonl", "outputs.json"];
        let seen = everything(who, &id, &outputs).await;
        assert!(seen.len() > 15);
        for (path, text) in seen {
            for secret in secrets {
                assert!(!has(&text, secret), "{when}: {secret} in {path}: {text}");
            }
            let key = app.data.path().join("seal.key");
            assert!(
                !text.contains(std::fs::read_to_string(key).unwrap().trim()),
                "{path} has the key"
            );
            for (_, _, hash) in set.documents() {
                assert!(!text.contains(hash), "{path} names a sealed document");
            }
        }
    };
    look(&mut team, "running").await;

    for name in ["report.json", "results.json", "samples_mini_gsm.jsonl", "outputs.json"] {
        let body = serde_json::to_string(&report).unwrap();
        let answer = hand
            .request(Method::PUT, &claim, &format!("outputs/{name}"))
            .body(body)
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 204);
    }
    assert_eq!(hand.put(&claim, Outcome::Graded { report }).await.status(), 200);
    let mut nobody = app.browser();
    for who in [&mut nobody, &mut team, &mut organizer] {
        for language in ["en", "ko"] {
            who.language = language;
            look(who, "graded").await;
        }
    }
    let output = team.get(&format!("/submissions/{id}/outputs/report.json")).await;
    assert_eq!((output.status, output.text.contains("outputs-sealed")), (403, true));

    // What is shown is of the 70 public documents, by the harness's formulas.
    let (mean, stderr) = (66.0 / 70.0, (66.0 / 70.0 * (4.0 / 70.0) / 69.0_f64).sqrt());
    let row = nobody.get_json("/api/v1/board").await.json()["rows"][0].clone();
    let close = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-12;
    assert!(
        close(&row["measures"][ACC], mean) && close(&row["measures"][STDERR], stderr),
        "{row}"
    );
    assert_eq!(row["measures"]["items.mini_gsm"], 70.0);
    assert!(row["measures"]["bytes"].is_number(), "what the run cost is shown");
    let api = team.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    assert!(close(&api["result"]["report"]["measures"][ACC], mean));
    assert_eq!(api["result"]["report"]["tasks"][0]["n"], 70);
    assert_eq!(api["result"]["report"]["items"], Value::Null);

    // The reveal wants a form token, an organizer, and the contest's name.
    let before = nobody.get_json("/api/v1/sealed").await.json();
    assert_eq!((&before["key"], &before["documents"]), (&Value::Null, &Value::Null));
    assert_eq!(
        organizer
            .post_form("/admin/reveal", &[("confirm", "sample")])
            .await
            .status,
        403
    );
    let token = team.token("/team").await;
    assert_eq!(
        team.post_form("/admin/reveal", &[("confirm", "sample"), ("csrf", &token)])
            .await
            .status,
        403
    );
    assert_eq!(
        organizer
            .submit("/admin", "/admin/reveal", &[("confirm", "other")])
            .await
            .status,
        422
    );
    look(&mut nobody, "not confirmed").await;
    let revealed = organizer
        .submit("/admin", "/admin/reveal", &[("confirm", "sample")])
        .await;
    assert_eq!(revealed.location(), "/admin?done=revealed");
    assert_eq!(
        organizer
            .submit("/admin", "/admin/reveal", &[("confirm", "sample")])
            .await
            .status,
        409
    );
    let entry: Value = value(
        &app,
        "SELECT to_jsonb(a) FROM audit_log a WHERE action = 'contest.revealed'",
    )
    .await;
    assert_eq!(
        (&entry["object"], entry["actor"].is_string()),
        (&json!("contest:sample"), true)
    );

    // Now everything counts, what was public stands beside it, and anybody can check the set.
    let row = nobody.get_json("/api/v1/board").await.json()["rows"][0].clone();
    assert!(close(&row["measures"][ACC], 0.87), "{row}");
    assert_eq!(
        (&row["public"]["rank"], &row["public"]["score"]),
        (&json!(1), &row["score"])
    );
    let page = team.get(&format!("/submissions/{id}")).await.text;
    assert!(page.contains("0.8700") && page.contains("0.9429"), "{page}");
    assert_eq!(
        team.get(&format!("/submissions/{id}/outputs/report.json")).await.status,
        200
    );
    let open = nobody.get_json("/api/v1/sealed").await.json();
    let mut lines: Vec<String> = open["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            format!(
                "{}\t{}\t{}\n",
                of["task"].as_str().unwrap(),
                of["index"],
                of["doc_hash"].as_str().unwrap()
            )
        })
        .collect();
    lines.sort();
    assert_eq!(json!(crate::desk::sha256(lines.concat().as_bytes())), open["digest"]);
    let key = std::fs::read_to_string(app.data.path().join("seal.key")).unwrap();
    assert_eq!(open["key"], key.trim());
}

#[tokio::test]
async fn the_sealed_documents_alone_may_count_afterwards() {
    let (app, set) = sealed_app("sealed").await;
    let hand = Hand::enrol(&app, "only").await;
    let mut team = app.captain("ann", "Team A").await;
    submitted(&mut team, "a1", "w4a16-gptq").await;
    hand.grade_by_document(&answers(&set)).await;
    let board = team.get_json("/api/v1/board").await.json();
    assert_eq!(board["rows"][0]["rank"], 1, "0.94 of the public documents are right");
    app.organizer()
        .await
        .submit("/admin", "/admin/reveal", &[("confirm", "sample")])
        .await;
    let board = team.get_json("/api/v1/board").await.json();
    let row = &board["rows"][0];
    assert_eq!(
        (&row["measures"][ACC], &row["measures"]["items.mini_gsm"]),
        (&json!(0.7), &json!(30.0))
    );
    assert_eq!(row["standing"]["kind"], "below-floor");
    assert_eq!(row["public"]["rank"], 1);
    assert_eq!(board["contest"]["sealed"]["revealed"], true);
}

#[tokio::test]
async fn a_seal_is_opened_by_its_key_alone_and_never_changed_in_secret() {
    let app = TestApp::spawn().await;
    let (file, key) = sealed_contest(app.data.path(), "all");
    let import = async |key: Option<&Path>| {
        let outcome = import_contest(&app.pool, &app.state.storage, &file, key).await;
        outcome.map_err(|error| format!("{error:#}"))
    };
    let refused = import(None).await.unwrap_err();
    assert!(refused.contains("--sealed-key-file"), "{refused}");
    let other = app.data.path().join("other.key");
    seal(&file, None, &other).unwrap();
    let refused = import(Some(&other)).await.unwrap_err();
    assert!(refused.contains("was published"), "{refused}");
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM contests").await,
        0,
        "refused as a whole"
    );
    import(Some(&key)).await.unwrap();
    import(None).await.unwrap();

    // A key that others may read is no secret.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let refused = import(Some(&key)).await.unwrap_err();
    assert!(refused.contains("chmod 600"), "{refused}");

    // Once something was graded under the seal, rules without it would show what is sealed.
    let hand = Hand::enrol(&app, "only").await;
    let mut team = app.captain("ann", "Team A").await;
    submitted(&mut team, "a1", "w4a16-gptq").await;
    hand.grade_by_document(&[true; 100]).await;
    let sealed = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, sample_elsewhere()).unwrap();
    let refused = import(None).await.unwrap_err();
    assert!(refused.contains("keep them sealed"), "{refused}");

    // And once it is revealed, neither the program nor the database changes which documents they were.
    app.organizer()
        .await
        .submit("/admin", "/admin/reveal", &[("confirm", "sample")])
        .await;
    std::fs::write(&file, sealed.replace("share = 0.3", "share = 0.4")).unwrap();
    let section = seal(&file, None, &other).unwrap();
    std::fs::write(&file, format!("{}\n{section}\n", sample_elsewhere())).unwrap();
    let refused = import(Some(&other)).await.unwrap_err();
    assert!(refused.contains("are revealed"), "{refused}");
    let changed = sqlx::query("UPDATE seals SET revealed_at = NULL")
        .execute(&app.pool)
        .await;
    assert!(changed.is_err());
    run(&app, "UPDATE seals SET digest = digest").await;
}
