//! The program itself: its verbs, its refusals, its end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::helpers::{Browser, PASSWORD, TestDatabase};

fn program(database: &TestDatabase, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-web"));
    command
        .env("ASSAY_DATABASE_URL", &database.url)
        .env("ASSAY_DATA", data)
        .env("RUST_LOG", "warn");
    command
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn succeeds(command: Command) -> String {
    let output = run(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_schema_is_checked_before_anything_is_served() {
    let (database, data) = (TestDatabase::empty().await, TempDir::new().unwrap());
    let mut serve = program(&database, data.path());
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let output = run(serve).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("run `assay-web migrate`"),
        "{output:?}"
    );

    for _ in 0..2 {
        let mut migrate = program(&database, data.path());
        migrate.arg("migrate");
        assert_eq!(succeeds(migrate).await, "the schema is up to date\n");
    }
}

#[tokio::test]
async fn an_organizer_is_made_once_and_gets_in() {
    let (database, data) = (TestDatabase::migrated().await, TempDir::new().unwrap());
    let create = |password: &str| {
        let mut create = program(&database, data.path());
        create
            .args(["create-organizer", "--email", "boss@example.org", "--name", "Boss"])
            .env("ASSAY_PASSWORD", password);
        create
    };
    let refused = run(create("short")).await;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("password-too-short"));
    succeeds(create("the first password")).await;
    succeeds(create(PASSWORD)).await;

    let mut serve = program(&database, data.path());
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--insecure-cookies"])
        .stdout(Stdio::piped());
    let mut server = serve.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let mut browser = Browser::new(&address);
    assert_eq!(
        browser.log_in("boss@example.org", "the first password").await.status,
        422
    );
    assert_eq!(browser.log_in("boss@example.org", PASSWORD).await.status, 303);
    assert_eq!(browser.get("/admin").await.status, 200);

    assert!(
        Command::new("kill")
            .args(["-TERM", &server.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let status = tokio::task::spawn_blocking(move || server.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0), "SIGTERM is an orderly end");
}

#[tokio::test]
async fn a_token_is_printed_alone() {
    let (database, data) = (TestDatabase::migrated().await, TempDir::new().unwrap());
    let mut enrol = program(&database, data.path());
    enrol.arg("enrol-worker");
    let printed = succeeds(enrol).await;
    assert_eq!(printed.lines().count(), 1);
    assert!(
        printed.trim().len() >= 32 && !printed.trim().contains(char::is_whitespace),
        "{printed}"
    );
}
