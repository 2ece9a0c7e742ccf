//! Every page: axe-core finds nothing on any of them, and pictures are taken of all (`tests/screenshots`).
//!
//! One deployment holds submissions in every state. Grades are real ones; what a grade cannot be waited for in (a worker in
//! the middle of its work, a failure) is written into the database as the application would have left it.

use std::process::{Command, Output};
use std::{env, fs};

use serde_json::json;

use crate::deployment::{Deployment, fixture, root};

const TEAM: &str = "Cupel";

/// A deployment with something in every state, and what the scripts have to know of it.
async fn furnished() -> (Deployment, serde_json::Value) {
    let mut assay = Deployment::start().await;
    assay.admin(&[
        "create-organizer",
        "--email",
        "organizer@example.org",
        "--name",
        "Organizer",
    ]);
    let submit = |assay: &Deployment, team: &str, title: &str, name: &str| {
        assay.admin(&[
            "submit-sample",
            "--team",
            team,
            "--title",
            title,
            fixture(name).to_str().unwrap(),
        ]);
    };
    assay.start_worker("loupe");
    submit(&assay, TEAM, "GPTQ W4A16, group 128", "w4a16-gptq");
    submit(&assay, "Night Owls", "W4A16 asymmetric", "w4a16-asym");
    submit(&assay, "밤샘 연구소", "W8A16", "w8a16");
    assay
        .until(
            "three grades",
            180,
            "SELECT count(*) = 3 FROM submissions WHERE state = 'graded'",
        )
        .await;
    assay.kill_worker("loupe");
    for (title, name) in [
        ("Waiting in line", "w8a16"),
        ("Being graded", "w8a8"),
        ("Against the rules", "untied-w4a16"),
        ("Broken machine", "fp8-dynamic"),
        ("Withdrawn", "w4a16-g32"),
    ] {
        submit(&assay, TEAM, title, name);
    }
    for statement in [
        // The killed worker's last question was still open, and the first of these answered it.
        "DELETE FROM attempts a USING jobs j, submissions s
         WHERE a.job_id = j.id AND s.id = j.submission_id AND s.title = 'Waiting in line'",
        "UPDATE jobs SET state = 'queued', attempts = 0 FROM submissions s
         WHERE s.id = submission_id AND s.title = 'Waiting in line'",
        "UPDATE submissions SET state = 'queued' WHERE title = 'Waiting in line'",
        // As a worker in the middle of the third task leaves it. Its lease outlasts the test.
        "INSERT INTO attempts (id, job_id, fence, worker_id, lease_until, progress, started_at)
         SELECT gen_random_uuid(), j.id, 1, w.id, now() + interval '1 hour', '{\"stage\": \"evaluate\", \"task\": \"mini_arc\",
            \"done\": 612, \"total\": 1400, \"step\": 40, \"timings\": {\"fetch\": 1.2, \"verify\": 0.31, \"weigh\": 0.02, \"load\": 0.42}, \"measures\": {\"bytes\": 2531200, \"load_seconds\": 0.4,
            \"acc.mini_gsm.exact_match.strict-match\": 0.84, \"acc_stderr.mini_gsm.exact_match.strict-match\": 0.0368,
            \"acc.mini_gsm.exact_match.flexible-extract\": 0.86, \"acc_stderr.mini_gsm.exact_match.flexible-extract\": 0.0349,
            \"items.mini_gsm\": 100, \"acc.mini_komath.exact_match.flexible-extract\": 0.99,
            \"acc_stderr.mini_komath.exact_match.flexible-extract\": 0.01, \"items.mini_komath\": 100,
            \"acc.mini_arc.acc_norm.none\": 0.953, \"acc_stderr.mini_arc.acc_norm.none\": 0.0327, \"items.mini_arc\": 43,
            \"tokens_per_second\": 2410.0}}', now() - interval '70 seconds'
         FROM jobs j JOIN submissions s ON s.id = j.submission_id, (SELECT id FROM workers LIMIT 1) w WHERE s.title = 'Being graded'",
        "UPDATE jobs SET state = 'running', attempts = 1, fence = 1 FROM submissions s
         WHERE s.id = submission_id AND s.title = 'Being graded'",
        "UPDATE submissions SET state = 'running' WHERE title = 'Being graded'",
        // A checkpoint that a worker found to break a rule.
        "UPDATE submissions SET state = 'rejected', finished_at = now(), reason = '[{\"code\": \"config-locked-field\",
            \"where\": \"config.json: num_hidden_layers\",
            \"message\": {\"en\": \"num_hidden_layers is 3; this contest requires the base model''s value, 4\",
                        \"ko\": \"num_hidden_layers 값이 3입니다. 이 대회는 기준 모델과 같은 값 4를 요구합니다\"},
            \"fix\": {\"en\": \"Keep every layer: this contest is about quantization.\", \"ko\": \"모든 층을 그대로 두십시오. 이 대회는 양자화를 다룹니다.\"}}]'
         WHERE title = 'Against the rules'",
        "INSERT INTO attempts (id, job_id, fence, worker_id, state, lease_until, finished_at)
         SELECT gen_random_uuid(), j.id, 1, w.id, 'succeeded', now(), now()
         FROM jobs j JOIN submissions s ON s.id = j.submission_id, (SELECT id FROM workers LIMIT 1) w WHERE s.title = 'Against the rules'",
        "INSERT INTO results (job_id, submission_id, attempt_id, fence, outcome, report)
         SELECT j.id, s.id, a.id, 1, 'rejected', r.report || jsonb_build_object('tasks', '[]'::jsonb, 'submission',
            s.verdict || jsonb_build_object('verdict', 'rejected', 'problems', s.reason))
         FROM submissions s JOIN jobs j ON j.submission_id = s.id JOIN attempts a ON a.job_id = j.id,
            (SELECT report FROM results LIMIT 1) r WHERE s.title = 'Against the rules'",
        "UPDATE submissions SET state = 'failed', finished_at = now(), reason = '[{\"code\": \"out-of-device-memory\", \"where\": \"load\",
            \"message\": {\"en\": \"Three workers ran out of memory while they loaded the model.\", \"ko\": \"작업자 3대가 모델을 적재하는 중에 메모리가 부족했습니다.\"},
            \"fix\": {\"en\": \"The organizer has been told. It used no quota.\", \"ko\": \"운영진에게 알렸습니다. 횟수는 줄지 않았습니다.\"}}]'
         WHERE title = 'Broken machine'",
        "UPDATE submissions SET state = 'cancelled', finished_at = now() WHERE title = 'Withdrawn'",
        "UPDATE jobs SET state = 'failed', finished_at = now(), attempts = 3 FROM submissions s
         WHERE s.id = submission_id AND s.state = 'failed'",
        // A grade that ends in a rejection is a job done.
        "UPDATE jobs SET state = 'succeeded', finished_at = now(), attempts = 1 FROM submissions s
         WHERE s.id = submission_id AND s.state = 'rejected'",
        "UPDATE jobs SET state = 'cancelled', finished_at = now() FROM submissions s
         WHERE s.id = submission_id AND s.state = 'cancelled'",
    ] {
        sqlx::query(statement).execute(&assay.pool).await.unwrap();
    }
    let ids: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT s.state, s.id::text, t.name FROM submissions s JOIN teams t ON t.id = s.team_id ORDER BY s.id",
    )
    .fetch_all(&assay.pool)
    .await
    .unwrap();
    let of = |state: &str| {
        let own = ids.iter().find(|(found, _, team)| found == state && team == TEAM);
        own.unwrap_or_else(|| panic!("nothing is {state}")).1.clone()
    };
    let rival = ids
        .iter()
        .find(|(state, _, team)| state == "graded" && team != TEAM)
        .unwrap();
    let invite: String = sqlx::query_scalar("SELECT invite_code FROM teams WHERE name = $1")
        .bind(TEAM)
        .fetch_one(&assay.pool)
        .await
        .unwrap();
    let facts = json!({
        "invite": invite, "password": "a long enough password", "first": of("graded"), "second": rival.1,
        "queued": of("queued"), "running": of("running"), "graded": of("graded"), "rejected": of("rejected"),
        "failed": of("failed"), "cancelled": of("cancelled"), "contest": "sample", "sealed": false,
    });
    (assay, facts)
}

/// Seals three documents of ten, so that less is shown of what was graded, and the organizers can reveal them. Facts of the
/// second round.
fn seal(assay: &Deployment, facts: &serde_json::Value) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("contest.toml"), folder.path().join("seal.key"));
    let rules = fs::read_to_string(root().join("deploy/sample/contest.toml")).unwrap();
    // Rules name folders from where they lie, and there may be more "..": above the root there is nothing.
    let up = "../".repeat(12);
    let rules = rules.replace(
        "../../",
        &format!("{up}{}/", root().display().to_string().trim_start_matches('/')),
    );
    fs::write(&file, &rules).unwrap();
    let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
    let section = assay.admin(&["seal", file, "--share", "0.3", "--key-file", key]);
    fs::write(file, format!("{rules}\n{section}\n")).unwrap();
    assay.admin(&["import-contest", file, "--sealed-key-file", key]);
    let mut facts = facts.clone();
    facts["sealed"] = true.into();
    facts
}

fn script(assay: &Deployment, facts: &serde_json::Value, name: &str, arguments: &[String]) -> Output {
    Command::new("node")
        .arg(root().join("tests/browser").join(name))
        .args(arguments)
        .env("ASSAY_ADDRESS", &assay.address)
        .env("ASSAY_FIXTURES", root().join("tests/fixtures/checkpoints"))
        .env("ASSAY_FACTS", facts.to_string())
        .output()
        .expect("node is missing; tests/run installs it")
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_page() {
    let (assay, facts) = furnished().await;
    let look = |facts: &serde_json::Value| {
        let output = script(&assay, facts, "axe.mjs", &[]);
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    look(&facts);
    look(&seal(&assay, &facts));
}

/// Not a test: what `tests/screenshots` runs. `ASSAY_SCREENSHOTS` names the folder and, after it, the pages to take.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes pictures for people to look at; tests/screenshots runs it"]
async fn screenshots() {
    let wanted = env::var("ASSAY_SCREENSHOTS").expect("ASSAY_SCREENSHOTS is not set; use tests/screenshots");
    let arguments: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    let (assay, facts) = furnished().await;
    let take = |facts: &serde_json::Value| {
        let output = script(&assay, facts, "screenshots.mjs", &arguments);
        print!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{}", assay.logs());
    };
    take(&facts);
    take(&seal(&assay, &facts));
}
