//! Finished files in an object store, over HTTP against a server that speaks S3: whole ways, kills, an absent store, sweeps.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assay_web::settings::{Settings, StoreSettings};
use assay_web::startup::Application;
use assay_web::transfers::{self, Mover};
use reqwest::Method;
use sqlx::PgPool;

use crate::crash::{Server, program};
use crate::desk::{Draft, Hand, files, graded, run, sha256, submitted, value, weight_of};
use crate::helpers::{Browser, PASSWORD, S3, TestApp, TestDatabase, repository};

/// Files of sent submissions, and results, that are not in the store yet.
const WAITING: &str = "SELECT (SELECT count(*) FROM submission_files f JOIN submissions s ON s.id = f.submission_id
                               WHERE s.state <> 'draft' AND f.stored_as IS NULL)
                            + (SELECT count(*) FROM results WHERE NOT outputs_stored)";

/// Waits until this query answers this number.
async fn until(pool: &PgPool, query: &'static str, expected: i64) {
    let begun = Instant::now();
    loop {
        let found: i64 = sqlx::query_scalar(query).fetch_one(pool).await.unwrap();
        if found == expected {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "{query}: {found}, not {expected}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every file below a folder, by its path from there.
fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found
}

async fn with_store(s3: &S3) -> TestApp {
    let app = TestApp::spawn_with(|settings| {
        settings.objects = s3.settings("site/a");
        settings.metrics_listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    app.import_sample().await;
    app
}

#[tokio::test]
async fn a_submission_lives_in_the_store_and_is_read_from_wherever_it_is() {
    let s3 = S3::start().await;
    let app = with_store(&s3).await;
    let mut browser = app.captain("captain", "Team").await;
    let all = files("w4a16-gptq");

    // The store is away: the submission is taken, a worker reads it from here, and whoever watches is told.
    s3.cut(true);
    let begun = Instant::now();
    let id = submitted(&mut browser, "first", "w4a16-gptq").await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "submitting waits for no store"
    );
    transfers::measure(&app.state).await.unwrap();
    let ready = app.browser().get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["object_store"]),
        (200, &"down".into()),
        "{}",
        ready.text
    );
    let hand = Hand::enrol(&app, "worker").await;
    let claim = hand.claim(5).await.unwrap();
    let weights = &all["model.safetensors"];
    let part = |range: String| {
        let request = hand.request(Method::GET, &claim, "submission/model.safetensors");
        async move {
            let answer = request.header("range", range).send().await.unwrap();
            assert_eq!(answer.status(), 206);
            answer.bytes().await.unwrap().to_vec()
        }
    };
    let mut got = part("bytes=0-699999".into()).await;

    // It is back: everything moves there and goes from here, and the download goes on where it was.
    s3.cut(false);
    until(&app.pool, WAITING, 0).await;
    assert_eq!(below(&app.data.path().join("submissions")), Vec::<String>::new());
    got.extend(part("bytes=700000-".into()).await);
    assert_eq!(sha256(&got), sha256(weights));
    for (name, bytes) in &all {
        let object = s3.get(&format!("site/a/submissions/{id}/{name}")).await.unwrap();
        assert!(object == *bytes, "{name} is not what was sent");
    }
    let outside = hand.request(Method::GET, &claim, "submission/model.safetensors");
    assert_eq!(
        outside
            .header("range", "bytes=99999999-")
            .send()
            .await
            .unwrap()
            .status(),
        416
    );

    // Outputs move with the result that counts; pages offer them as before.
    let put = hand.request(Method::PUT, &claim, "outputs/answers.jsonl").body("{}\n");
    assert_eq!(put.send().await.unwrap().status(), 204);
    assert_eq!(hand.put(&claim, graded(0.5, weight_of(&claim))).await.status(), 200);
    until(&app.pool, WAITING, 0).await;
    let address = format!("/submissions/{id}/outputs/answers.jsonl");
    let begun = Instant::now();
    while !below(&app.data.path().join("jobs")).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the copy here goes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(browser.get(&address).await.text, "{}\n");
    assert!(browser.get(&format!("/submissions/{id}")).await.text.contains(&address));

    // The same files again are the same objects: nothing is sent, and the gate reads their headers over there.
    let again = Draft::create(&mut browser, "again", &all).await;
    assert_eq!(again.known.len(), all.len());
    s3.cut(true);
    let answer = again.submit(&mut browser).await;
    assert_eq!(answer.status, 503, "only the store has them: {}", answer.text);
    s3.cut(false);
    let answer = again.submit(&mut browser).await;
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &"queued".into()),
        "{}",
        answer.text
    );
    let claim = hand.claim(5).await.unwrap();
    let answer = hand.request(Method::GET, &claim, "submission/model.safetensors").send();
    assert_eq!(sha256(&answer.await.unwrap().bytes().await.unwrap()), sha256(weights));

    transfers::measure(&app.state).await.unwrap();
    let mut monitor = Browser::new(&format!("http://{}", app.metrics_address.unwrap()));
    let text = monitor.get("/metrics").await.text;
    let objects: i64 = value(&app, "SELECT count(*) FROM objects").await;
    for line in [
        format!("assay_objects {objects}"),
        "assay_objects_waiting 0".to_owned(),
        "assay_object_store_up 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("assay_object_store_seconds_count{verb=\"put\"}"));
}

#[tokio::test]
async fn store_and_table_are_swept_both_ways() {
    let s3 = S3::start().await;
    let app = with_store(&s3).await;
    let mut browser = app.captain("captain", "Team").await;
    let id = submitted(&mut browser, "first", "w4a16-gptq").await;
    until(&app.pool, WAITING, 0).await;
    until(
        &app.pool,
        "SELECT count(DISTINCT sha256) - (SELECT count(*) FROM objects WHERE key LIKE 'blobs/%') FROM contest_files",
        0,
    )
    .await;
    let mover = Mover {
        pool: app.pool.clone(),
        storage: app.state.storage.clone(),
        bucket: app.state.storage.bucket().unwrap().clone(),
    };
    let known: i64 = value(&app, "SELECT count(*) FROM objects").await;

    // Bytes that nobody knows go once they are old enough; what is outside of our prefix is not ours.
    for key in [
        "site/a/submissions/nobody/model.safetensors",
        "site/a/jobs/x/1/y",
        "site/b/submissions/theirs",
    ] {
        assert_eq!(s3.ask(Method::PUT, key, b"lost".to_vec()).await.0, 200);
    }
    assert_eq!(
        mover.sweep(Duration::from_secs(3600)).await.unwrap(),
        (0, 0),
        "they are young"
    );
    assert_eq!(mover.sweep(Duration::ZERO).await.unwrap(), (2, 0));
    assert_eq!(s3.get("site/a/submissions/nobody/model.safetensors").await, None);
    assert!(s3.get("site/b/submissions/theirs").await.is_some());
    assert_eq!(
        value::<i64>(&app, "SELECT count(*) FROM objects").await,
        known,
        "what is known stays"
    );

    // Rows whose bytes are gone are told of; a draft that counts on them is told to send them again.
    let again = Draft::create(&mut browser, "again", &files("w4a16-gptq")).await;
    assert!(again.known.contains(&"model.safetensors".to_owned()));
    let key = format!("site/a/submissions/{id}/model.safetensors");
    assert_eq!(s3.ask(Method::DELETE, &key, Vec::new()).await.0, 204);
    assert_eq!(mover.sweep(Duration::ZERO).await.unwrap(), (0, 1));
    let answer = again.submit(&mut browser).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (409, &"files-incomplete".into()),
        "{}",
        answer.text
    );

    // A data folder that was lost gets its contest files back.
    std::fs::remove_dir_all(app.data.path().join("blobs")).unwrap();
    mover.tend().await.unwrap();
    let blobs: i64 = value(&app, "SELECT count(DISTINCT sha256) FROM contest_files").await;
    assert_eq!(below(&app.data.path().join("blobs")).len(), blobs as usize);

    // A file that is not what it should be stays here, and does not stay there.
    let path = app.data.path().join(format!("submissions/{id}/model.safetensors"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![7; files("w4a16-gptq")["model.safetensors"].len()]).unwrap();
    run(
        &app,
        "UPDATE submission_files SET stored_as = NULL WHERE name = 'model.safetensors' AND stored_as LIKE '%'",
    )
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(path.exists());
    assert_eq!(s3.get(&key).await, None);
}

fn serve(database: &TestDatabase, data: &Path, s3: &S3) -> Command {
    let mut command = program(database, data);
    command
        .envs(s3.environment())
        .env("ASSAY_OBJECT_STORE_URL", S3::url("killed"));
    command
}

/// Starting a server blocks a thread; another one has to carry its bytes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_nothing_and_leave_nothing_behind() {
    let s3 = S3::start().await;
    let (database, data) = (TestDatabase::migrated().await, tempfile::tempdir().unwrap());
    let pool = PgPool::connect(&database.url).await.unwrap();
    let mut import = program(&database, data.path());
    import
        .arg("import-contest")
        .arg(repository().join("deploy/sample/contest.toml"))
        .stdout(Stdio::null());
    assert!(import.status().unwrap().success());

    let server = Server::of(serve(&database, data.path(), &s3));
    until(
        &pool,
        "SELECT count(DISTINCT sha256) - (SELECT count(*) FROM objects) FROM contest_files",
        0,
    )
    .await;
    let mut browser = Browser::new(&server.address);
    let signed_up = browser.sign_up("captain", "captain@example.org", PASSWORD).await;
    signed_up.location();
    browser.submit("/team", "/team", &[("name", "Team")]).await.location();

    // Sent while the store is away, and killed before it was asked again.
    s3.cut(true);
    let first = submitted(&mut browser, "first", "w4a16-gptq").await;
    server.kill();
    let server = Server::of(serve(&database, data.path(), &s3));
    s3.cut(false);
    until(&pool, WAITING, 0).await;

    // Killed between two parts of a large file.
    let bytes: Vec<u8> = (0..12_000_000u32)
        .map(|i| (i.wrapping_mul(2_246_822_519) >> 23) as u8)
        .collect();
    let mut config = files("w4a16-gptq").remove_entry("config.json").unwrap();
    config.1.push(b'\n'); // a file of its own, not one that the team has
    let large = BTreeMap::from([("model.safetensors".to_owned(), bytes.clone()), config]);
    let cookies = browser.cookies.clone();
    let mut browser = Browser::new(&server.address);
    browser.cookies = cookies;
    let draft = Draft::create(&mut browser, "large", &large).await;
    draft.fill(&mut browser, &large).await;
    s3.stall_after(9_500_000);
    sqlx::query("UPDATE submissions SET state = 'queued' WHERE title = 'large'")
        .execute(&pool)
        .await
        .unwrap();
    let begun = Instant::now();
    while !s3.stalled() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the parts are on their way");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&pool, "SELECT count(*) FROM transfers", 1).await;
    assert_eq!(s3.uploads().await, 1);
    let place = data.path().join(format!("submissions/{}/model.safetensors", draft.id));
    assert!(place.exists());
    server.kill();
    assert!(place.exists(), "the only whole copy");
    s3.cut(false);
    let server = Server::of(serve(&database, data.path(), &s3));
    until(&pool, WAITING, 0).await;
    until(&pool, "SELECT count(*) FROM transfers", 0).await;
    assert_eq!(s3.uploads().await, 0, "the half upload was aborted");
    let stored = s3
        .get(&format!("killed/submissions/{}/model.safetensors", draft.id))
        .await;
    assert!(stored.unwrap() == bytes);
    assert!(
        s3.get(&format!("killed/submissions/{first}/config.json"))
            .await
            .is_some()
    );

    // Killed after the object was confirmed and before its copy here was deleted: the copy goes at the next start.
    server.kill();
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(&place, &bytes).unwrap();
    // And one that was stored, but not noted.
    sqlx::query("UPDATE submission_files SET stored_as = NULL WHERE name = 'config.json'")
        .execute(&pool)
        .await
        .unwrap();
    let _server = Server::of(serve(&database, data.path(), &s3));
    until(&pool, WAITING, 0).await;
    let begun = Instant::now();
    while !below(&data.path().join("submissions")).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is left here");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pool.close().await;
}

#[tokio::test]
async fn a_store_that_cannot_work_is_refused_at_the_start_in_one_sentence() {
    let s3 = S3::start().await;
    let (database, data) = (TestDatabase::migrated().await, tempfile::tempdir().unwrap());
    let pool = PgPool::connect(&database.url).await.unwrap();
    let start = async |change: &dyn Fn(&mut Settings)| {
        let store = StoreSettings {
            database_url: database.url.clone(),
            data_dir: data.path().to_owned(),
        };
        let mut settings = Settings::local(store);
        settings.objects = s3.settings("mine");
        change(&mut settings);
        match Application::build(settings).await {
            Ok(application) => {
                application.stopper().cancel();
                application.state().pool.close().await;
                String::new()
            }
            Err(error) => format!("{error:#}"),
        }
    };
    let url = |settings: &mut Settings, url: &str| settings.objects.object_store_url = Some(url.to_owned());
    type Fault<'a> = (&'a str, &'a dyn Fn(&mut Settings));
    let faults: [Fault; 4] = [
        ("must be like s3://bucket/prefix", &|settings| {
            url(settings, "checkpoints/mine")
        }),
        ("must be like s3://bucket/prefix", &|settings| {
            url(settings, "s3:///mine")
        }),
        ("NoSuchBucket", &|settings| url(settings, "s3://elsewhere/mine")),
        (
            "a write failed: check the bucket's name, AWS_ENDPOINT_URL",
            &|settings| {
                settings.objects.aws[0].1 = "http://127.0.0.1:9".to_owned();
            },
        ),
    ];
    for (expected, change) in faults {
        let told = start(change).await;
        assert!(told.contains(expected), "{told}");
        assert!(told.contains("object store") && !told.contains('\n'), "{told}");
    }

    assert_eq!(start(&|_| {}).await, "", "as it should be");
    let told = start(&|settings| url(settings, "s3://checkpoints/yours")).await;
    assert_eq!(told, "", "an empty place is fine while nothing was stored");
    s3.ask(Method::PUT, "theirs/assay-installation", vec![b'7'; 36]).await;
    let told = start(&|settings| url(settings, "s3://checkpoints/theirs")).await;
    assert!(told.contains("belongs to another installation"), "{told}");

    sqlx::query("INSERT INTO objects (key, bytes, sha256) VALUES ('submissions/x/y', 1, '')")
        .execute(&pool)
        .await
        .unwrap();
    let told = start(&|_| {}).await;
    assert!(told.contains("lacks submissions/x/y"), "{told}");
    let told = start(&|settings| settings.objects.object_store_url = None).await;
    assert!(told.contains("--object-store-url names none"), "{told}");
    pool.close().await;
}
