//! What a team does, in a real Chromium. The scripts lie in `tests/browser`; each gets an address and prints what failed.

use std::process::Command;

use crate::deployment::{Deployment, root};

fn script(assay: &Deployment, name: &str) {
    script_with(assay, name, &[]);
}

/// Runs a script with more in its environment.
pub fn script_with(assay: &Deployment, name: &str, more: &[(&str, &str)]) {
    let output = Command::new("node")
        .arg(root().join("tests/browser").join(name))
        .env("ASSAY_ADDRESS", &assay.address)
        .env("ASSAY_FIXTURES", root().join("tests/fixtures/checkpoints"))
        .envs(more.iter().copied())
        .output()
        .expect("node is missing; tests/run installs it");
    assert!(
        output.status.success(),
        "{name}:\n{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        assay.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_signs_up_uploads_and_finds_its_row() {
    let mut assay = Deployment::start().await;
    assay.start_worker("browser");
    script(&assay, "spine.mjs");
    assert_eq!(assay.count("SELECT count(*) FROM results").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_checkpoint_gets_its_reason_before_the_upload() {
    let assay = Deployment::start().await;
    script(&assay, "broken.mjs");
    assert_eq!(
        assay.count("SELECT count(*) FROM submissions").await,
        0,
        "nothing may have been declared or uploaded"
    );
}
