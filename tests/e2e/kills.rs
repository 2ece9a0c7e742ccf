//! Invariant 1: nothing accepted is lost and nothing is graded twice, whoever is killed.

use crate::deployment::{Deployment, fixture};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_a_grade_costs_nothing() {
    let mut assay = Deployment::start().await;
    assay.start_worker("first");
    let folder = fixture("w4a16-gptq");
    assay.admin(&[
        "submit-sample",
        "--team",
        "Phoenix",
        "--title",
        "killed once",
        folder.to_str().unwrap(),
    ]);

    assay
        .until(
            "a worker in the middle of evaluating",
            60,
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE state = 'running' AND progress->>'stage' = 'evaluate')",
        )
        .await;
    assay.kill_worker("first");
    assert_eq!(
        assay.count("SELECT count(*) FROM results").await,
        0,
        "killed too late: the grade was already in"
    );

    assay.start_worker("second");
    assay
        .until(
            "the same submission graded",
            120,
            "SELECT state = 'graded' FROM submissions",
        )
        .await;

    assert_eq!(assay.count("SELECT count(*) FROM results").await, 1);
    assert_eq!(
        assay.count("SELECT count(*) FROM jobs").await,
        1,
        "the same job, not a new one"
    );
    assert_eq!(
        assay.count("SELECT count(*) FROM attempts WHERE state = 'lost'").await,
        1
    );
    assert_eq!(
        assay
            .count("SELECT count(*) FROM attempts WHERE state = 'succeeded' AND fence = 2")
            .await,
        1
    );
    let board: serde_json::Value = reqwest::get(format!("{}/api/v1/board", assay.address))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(board["rows"].as_array().unwrap().len(), 1, "{board}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_killed_while_a_worker_grades_loses_nothing() {
    let mut assay = Deployment::start().await;
    assay.start_worker("only");
    let folder = fixture("w4a16-gptq");
    assay.admin(&[
        "submit-sample",
        "--team",
        "Phoenix",
        "--title",
        "server killed",
        folder.to_str().unwrap(),
    ]);
    assay
        .until(
            "a running attempt",
            60,
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE state = 'running')",
        )
        .await;
    assay.kill_web();
    assay.start_web().await;
    assay
        .until("the submission graded", 120, "SELECT state = 'graded' FROM submissions")
        .await;
    assert_eq!(assay.count("SELECT count(*) FROM results").await, 1);
}
