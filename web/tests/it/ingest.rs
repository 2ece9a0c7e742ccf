//! What begins on the server itself: a contest, a sample submission.

use std::path::Path;

use assay_web::ingest::{import_contest, submit_sample};

use crate::desk::{Hand, checkpoint, value};
use crate::helpers::{TestApp, repository, sample_elsewhere};

#[tokio::test]
async fn importing_twice_changes_nothing_and_a_change_is_a_version() {
    let app = TestApp::with_contest().await;
    let files = value::<i64>(&app, "SELECT count(*) FROM contest_files").await;
    assert!(files > 10, "{files}");
    app.import_sample().await;
    assert_eq!(value::<i32>(&app, "SELECT version FROM contests").await, 1);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM contest_files").await, files);

    let source = sample_elsewhere();
    let copy = app.data.path().join("contest.toml");
    std::fs::write(&copy, source.replace("decimals = 4", "decimals = 3")).unwrap();
    let imported = import_contest(&app.pool, &app.state.storage, &copy, None)
        .await
        .unwrap();
    assert_eq!((imported.id.as_str(), imported.version), ("sample", 2));

    // A base that is not the pinned one, rules that do not parse: refused, and nothing changes.
    std::fs::write(
        &copy,
        source.replace("config_sha256 = \"fa7d", "config_sha256 = \"0000"),
    )
    .unwrap();
    let error = import_contest(&app.pool, &app.state.storage, &copy, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("config.json") && error.contains("0000"), "{error}");
    std::fs::write(
        &copy,
        source.replace("formula = \"base.bytes / bytes\"", "formula = \"base.bytes / \""),
    )
    .unwrap();
    let error = import_contest(&app.pool, &app.state.storage, &copy, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("contest.toml"), "{error}");
    let typo = source.replace(
        "mini_gsm.exact_match.flexible-extract\"\nat_least",
        "mini_gsm.exact.flexible-extract\"\nat_least",
    );
    std::fs::write(&copy, typo).unwrap();
    let error = import_contest(&app.pool, &app.state.storage, &copy, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("acc.mini_gsm.exact.flexible-extract"), "{error}");
    assert_eq!(value::<i32>(&app, "SELECT version FROM contests").await, 2);
}

#[tokio::test]
async fn the_bases_weights_come_with_the_contest_where_they_are_at_hand() {
    let app = TestApp::with_contest().await;
    let weights = "SELECT count(*) FROM contest_files WHERE path LIKE '%.safetensors%' AND bytes > 0";
    assert_eq!(value::<i64>(&app, weights).await, 1);

    // The same model in two files, and without any.
    let (base, here) = (checkpoint("base"), app.data.path().join("mine"));
    std::fs::create_dir(&here).unwrap();
    for name in ["config.json", "tokenizer.json", "chat_template.jinja"] {
        std::fs::copy(base.join(name), here.join(name)).unwrap();
    }
    let (copy, source) = (app.data.path().join("contest.toml"), sample_elsewhere());
    let dir = source.lines().find(|line| line.starts_with("dir = ")).unwrap();
    let required = source
        .replace(dir, "dir = \"mine\"")
        .replace("\n[checkpoint]\n", "\n[checkpoint]\nlineage = \"required\"\n");
    let import = async |source: &str| {
        std::fs::write(&copy, source).unwrap();
        let imported = import_contest(&app.pool, &app.state.storage, &copy, None).await;
        imported.map(drop).map_err(|error| error.to_string())
    };
    let error = import(&required).await.unwrap_err();
    assert!(error.contains("no safetensors files of the base"), "{error}");
    let free = required.replace("\"required\"", "\"report\"");
    import(&free).await.unwrap();
    assert_eq!(value::<i64>(&app, weights).await, 0);
    let error = import(&format!("{free}\n[grading.time]\n")).await.unwrap_err();
    assert!(error.contains("[grading.time] runs the base"), "{error}");

    let whole = std::fs::read(base.join("model.safetensors")).unwrap();
    let halves = whole.split_at(whole.len() / 2);
    std::fs::write(here.join("model-00001-of-00002.safetensors"), halves.0).unwrap();
    let error = import(&required).await.unwrap_err();
    assert!(error.contains("the contest says 5042016"), "{error}");
    std::fs::write(here.join("model-00002-of-00002.safetensors"), halves.1).unwrap();
    std::fs::write(here.join("model.safetensors.index.json"), "{}").unwrap();
    import(&required).await.unwrap();
    assert_eq!(value::<i64>(&app, weights).await, 3);

    // A workload that the base has room for, to the last position.
    let timed = |prompt: u32| format!("{required}\n[grading.time]\nprompt_tokens = {prompt}\ngenerated_tokens = 6\n");
    let error = import(&timed(65_531)).await.unwrap_err();
    assert!(
        error.contains("takes 65537 positions") && error.contains("has 65536"),
        "{error}"
    );
    import(&timed(65_530)).await.unwrap();
}

#[tokio::test]
async fn a_sample_submission_is_made_once_and_graded_like_any_other() {
    let app = TestApp::with_contest().await;
    let storage = &app.state.storage;
    let sample =
        |folder: &'static str| submit_sample(&app.pool, storage, "Sample team", "as it came", Path::new(folder));
    let folder: &'static str = checkpoint("w4a16-gptq").display().to_string().leak();
    let first = sample(folder).await.unwrap();
    assert!(first.new);
    let again = sample(folder).await.unwrap();
    assert_eq!((again.id, again.new), (first.id, false));
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM jobs").await, 1);
    let hand = Hand::enrol(&app, "only").await;
    assert_eq!(hand.grade(0.9).await.submission_id, first.id.to_string());
    assert_eq!(
        sample(folder).await.unwrap().to_string(),
        format!("submission {} graded, there before", first.id)
    );
    let board = app.browser().get_json("/api/v1/board").await.json();
    assert_eq!(
        (board["rows"][0]["team"].as_str(), board["rows"][0]["title"].as_str()),
        (Some("Sample team"), Some("as it came"))
    );

    // A half-made draft of an earlier, killed run is replaced.
    crate::desk::run(&app, "DELETE FROM jobs").await;
    crate::desk::run(&app, "UPDATE submissions SET state = 'draft', received_at = NULL").await;
    let after = sample(folder).await.unwrap();
    assert!(after.new && after.id != first.id);
    assert_eq!(value::<i64>(&app, "SELECT count(*) FROM submissions").await, 1);

    let error = submit_sample(
        &app.pool,
        storage,
        "Sample team",
        "other",
        &repository().join("web/src"),
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("cannot be part of a submission"), "{error}");
}
