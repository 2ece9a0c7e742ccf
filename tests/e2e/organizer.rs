//! An organizer's night, in a real browser with a real worker grading.

use std::fs;

use crate::browser::script_with;
use crate::deployment::{Deployment, fixture, root};

/// The sample contest with fewer documents: long enough to be called off in the middle, short enough for a test.
fn shorter(assay: &Deployment) {
    let folder = tempfile::tempdir().unwrap();
    let up = "../".repeat(12);
    let fixtures = root().join("tests/fixtures").display().to_string();
    let rules = fs::read_to_string(root().join("deploy/sample/contest.toml")).unwrap();
    let rules = rules
        .replace("limit = 100", "limit = 60")
        .replace("at_least = 0.75", "at_least = 0.5")
        .replace(
            "../../tests/fixtures",
            &format!("{up}{}", fixtures.trim_start_matches('/')),
        );
    let file = folder.path().join("contest.toml");
    fs::write(&file, rules).unwrap();
    assay.admin(&["import-contest", file.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizers_night() {
    let mut assay = Deployment::start().await;
    shorter(&assay);
    assay.admin(&[
        "create-organizer",
        "--email",
        "organizer@example.org",
        "--name",
        "Night Shift",
    ]);
    let submit = |assay: &Deployment, team: &str, title: &str, checkpoint: &str| {
        let folder = fixture(checkpoint);
        assay.admin(&[
            "submit-sample",
            "--team",
            team,
            "--title",
            title,
            folder.to_str().unwrap(),
        ]);
    };
    submit(&assay, "Phoenix", "older", "w8a16");
    submit(&assay, "Slag", "rival", "w4a16-asym");
    submit(&assay, "Phoenix", "better", "w4a16-gptq");
    assay.start_worker("night");
    assay
        .until(
            "three graded submissions",
            90,
            "SELECT count(*) = 3 FROM submissions WHERE state = 'graded'",
        )
        .await;
    // The fourth arrives once the organizer is there: its grade has to last from then until it is called off.
    let handle = tokio::runtime::Handle::current();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            handle.block_on(assay.until(
                "the organizer logged in",
                60,
                "SELECT EXISTS (SELECT 1 FROM audit_log WHERE action = 'login.succeeded')",
            ));
            submit(&assay, "Crucible", "doomed", "w4a16-gptq");
        });
        script_with(&assay, "organizer.mjs", &[("ASSAY_WORKER", "night")]);
    });

    assert_eq!(
        assay.count("SELECT count(*) FROM results").await,
        4,
        "three and the one graded again; nothing of what was called off"
    );
    assert_eq!(
        assay
            .count("SELECT count(*) FROM attempts WHERE started_at > (SELECT at FROM audit_log WHERE action = 'worker.drain')")
            .await,
        0,
        "a drained worker takes nothing"
    );
    assert_eq!(assay.count("SELECT count(*) FROM jobs WHERE state = 'queued'").await, 1);
}
