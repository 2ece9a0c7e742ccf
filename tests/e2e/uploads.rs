//! Uploads in a real Chromium: what the precheck says before a byte moves, and interruptions of every kind that lose nothing.
//! The scripts count every byte of every upload on the line between browser and server.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::deployment::{Deployment, root};

/// Starts a script of `tests/browser`.
fn start(assay: &Deployment, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("node")
        .arg(root().join("tests/browser").join(arguments[0]))
        .args(&arguments[1..])
        .env("ASSAY_ADDRESS", &assay.address)
        .env("ASSAY_FIXTURES", root().join("tests/fixtures/checkpoints"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node is missing; tests/run installs it");
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

/// Waits until the script says a word; false when it ended without.
fn hears(said: &mut impl BufRead, word: &str) -> bool {
    said.lines().map_while(Result::ok).any(|line| line == word)
}

fn finish(assay: &Deployment, mut child: Child, mut said: BufReader<ChildStdout>) {
    let (mut output, mut errors) = (String::new(), String::new());
    said.read_to_string(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{output}{errors}\n{}", assay.logs());
    print!("{output}");
}

/// So many submissions were sent, and every file the server has is the declared one.
async fn whole(assay: &Deployment, submissions: i64) {
    assert_eq!(assay.count("SELECT count(*) FROM submissions").await, submissions);
    assert_eq!(
        assay
            .count("SELECT count(*) FROM submissions WHERE state = 'draft'")
            .await,
        0
    );
    assert_eq!(
        assay
            .count("SELECT count(*) FROM submission_files WHERE state <> 'complete' OR sha256_actual <> sha256_expected OR received <> length")
            .await,
        0
    );
}

async fn interrupted(how: &str) {
    let assay = Deployment::start().await;
    let (child, said) = start(&assay, &["upload-resume.mjs", how]);
    finish(&assay, child, said);
    whole(&assay, if how == "pause" { 2 } else { 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_goes_on_when_the_folder_is_chosen_again() {
    interrupted("reload").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_goes_on_by_itself_where_the_folder_may_still_be_read() {
    interrupted("handle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_network_is_waited_out() {
    interrupted("network").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_file_goes_on_where_it_stood_and_the_same_folder_is_not_sent_again() {
    interrupted("pause").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_does_not_end_the_upload() {
    interrupted("logout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_damaged_on_the_way_are_sent_again() {
    interrupted("damage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_only_small_bodies_gets_small_ones() {
    interrupted("proxy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_waited_for() {
    let mut assay = Deployment::start().await;
    let (mut child, mut said) = start(&assay, &["upload-resume.mjs", "kill"]);
    if hears(&mut said, "KILL") {
        assay.kill_web();
    }
    if hears(&mut said, "START") {
        assay.start_web().await;
    }
    // A script that failed before is told of by `finish`.
    writeln!(child.stdin.as_mut().unwrap(), "up").ok();
    finish(&assay, child, said);
    whole(&assay, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_precheck_weighs_and_judges_before_a_byte_moves() {
    let assay = Deployment::start().await;
    let (child, said) = start(&assay, &["upload-precheck.mjs"]);
    finish(&assay, child, said);
    assert_eq!(assay.count("SELECT count(*) FROM submissions").await, 0);
}
