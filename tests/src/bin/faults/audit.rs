//! Holds what was promised against the database, the disk and the board.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use crate::parts::Parts;
use crate::promises::Promises;

/// What the end of a run looks like.
#[derive(Default)]
pub struct Found {
    pub accepted: usize,
    pub graded: i64,
    pub results: i64,
    pub attempts: i64,
    pub lost_leases: i64,
    /// Set aside because they cost two workers, and graded once an organizer said so.
    pub quarantined: usize,
    pub files: usize,
    pub bytes: u64,
    pub board_rows: usize,
    pub drained: Duration,
    /// Broken promises; empty when all is well.
    pub wrong: Vec<String>,
}

/// Invariant 2: every byte below a committed offset is on disk, and no acknowledged offset is above the committed one.
pub async fn committed_bytes(parts: &Parts, promises: &Promises) -> anyhow::Result<()> {
    // What was acknowledged is read first: it only rises, and so does what the database holds.
    let told: Vec<_> = promises.with(|told| told.files.iter().map(|(id, sent)| (*id, sent.clone())).collect());
    for (id, sent) in told {
        let row = patiently(|| async {
            sqlx::query("SELECT received, state FROM submission_files WHERE id = $1")
                .bind(id)
                .fetch_optional(&parts.pool)
                .await
        })
        .await?;
        let row = row.with_context(|| format!("upload {id} has no row"))?;
        let (received, state): (i64, String) = (row.get("received"), row.get("state"));
        let received = received as u64;
        anyhow::ensure!(
            received >= sent.acknowledged,
            "upload {id}: {} acknowledged, {received} committed",
            sent.acknowledged
        );
        if received == 0 {
            continue;
        }
        let part = parts.data().join("uploads").join(format!("{id}.part"));
        let place = parts
            .data()
            .join("submissions")
            .join(sent.submission.to_string())
            .join(&sent.name);
        // It may be moved into place between the two looks.
        let bytes = fs::read(&part)
            .or_else(|_| fs::read(&place))
            .or_else(|_| fs::read(&part));
        let bytes = bytes.with_context(|| format!("upload {id} ({state}): {received} bytes committed, no file"))?;
        anyhow::ensure!(
            bytes.get(..received as usize) == sent.content.get(..received as usize),
            "upload {id} ({state}): the bytes below {received} are not the ones that were sent"
        );
    }
    Ok(())
}

/// Waits until everything accepted is graded, then checks invariants 1, 3 and 5 and every stored file.
pub async fn everything(parts: &mut Parts, promises: &Promises, patience: Duration) -> anyhow::Result<Found> {
    let started = Instant::now();
    let mut found = Found::default();
    loop {
        let waiting: i64 = number(
            parts,
            "SELECT count(*) FROM submissions WHERE state IN ('received', 'queued', 'running')",
        )
        .await?;
        anyhow::ensure!(
            started.elapsed() < patience,
            "{waiting} submissions are still waiting after {patience:?}"
        );
        if waiting == 0 {
            let set_aside: Vec<Uuid> = sqlx::query_scalar(
                "SELECT s.id FROM submissions s JOIN jobs j ON j.submission_id = s.id
                 WHERE s.state = 'failed' GROUP BY s.id HAVING count(*) = 1 AND bool_and(j.state = 'quarantined')",
            )
            .fetch_all(&parts.pool)
            .await?;
            if set_aside.is_empty() {
                break;
            }
            found.quarantined += set_aside.len();
            crate::team::release(parts.addresses(), &set_aside).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    found.drained = started.elapsed();
    committed_bytes(parts, promises).await?;

    let accepted = promises.with(|told| {
        found.wrong.append(&mut told.broken);
        found.files = told.files.len();
        found.bytes = told.files.values().map(|sent| sent.acknowledged).sum();
        told.accepted.clone()
    });
    found.accepted = accepted.len();
    let rows = sqlx::query("SELECT id, state FROM submissions WHERE received_at IS NOT NULL")
        .fetch_all(&parts.pool)
        .await?;
    let stored: BTreeSet<Uuid> = rows.iter().map(|row| row.get("id")).collect();
    for lost in accepted.difference(&stored) {
        found.wrong.push(format!("submission {lost} was accepted and is gone"));
    }
    for ghost in stored.difference(&accepted) {
        found
            .wrong
            .push(format!("submission {ghost} was stored, and its team never heard so"));
    }
    for row in &rows {
        let state: String = row.get("state");
        if state != "graded" {
            found
                .wrong
                .push(format!("submission {} ended as {state}", row.get::<Uuid, _>("id")));
        }
    }

    found.graded = number(parts, "SELECT count(*) FROM submissions WHERE state = 'graded'").await?;
    found.results = number(parts, "SELECT count(*) FROM results").await?;
    found.attempts = number(parts, "SELECT count(*) FROM attempts").await?;
    found.lost_leases = number(parts, "SELECT count(*) FROM attempts WHERE state = 'lost'").await?;
    for (what, query) in [
        (
            "submissions with two results",
            "SELECT count(*) FROM (SELECT 1 FROM results GROUP BY submission_id HAVING count(*) > 1) s",
        ),
        (
            "jobs that two attempts succeeded at",
            "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE state = 'succeeded' GROUP BY job_id HAVING count(*) > 1) s",
        ),
        (
            "results of an attempt that did not succeed",
            "SELECT count(*) FROM results r JOIN attempts a ON a.id = r.attempt_id WHERE a.state <> 'succeeded' OR a.fence <> r.fence",
        ),
        (
            "results under a fence that was not the live one",
            "SELECT count(*) FROM results r JOIN jobs j ON j.id = r.job_id WHERE r.fence <> j.fence",
        ),
        (
            "submissions with two jobs, neither set aside",
            "SELECT count(*) FROM (SELECT 1 FROM jobs GROUP BY submission_id HAVING count(*) FILTER (WHERE state <> 'quarantined') > 1) s",
        ),
    ] {
        let count = number(parts, query).await?;
        if count > 0 {
            found.wrong.push(format!("{count} {what}"));
        }
    }
    stored_files(parts, promises, &mut found);
    board(parts, &mut found).await?;
    Ok(found)
}

/// Every file of every submission is byte for byte what its team sent.
fn stored_files(parts: &Parts, promises: &Promises, found: &mut Found) {
    promises.with(|told| {
        for sent in told
            .files
            .values()
            .filter(|sent| told.accepted.contains(&sent.submission))
        {
            let place = parts
                .data()
                .join("submissions")
                .join(sent.submission.to_string())
                .join(&sent.name);
            if fs::read(&place).ok().as_deref() != Some(sent.content.as_slice()) {
                found.wrong.push(format!("{} is not what was sent", place.display()));
            }
        }
    });
}

/// The board shows each team once, with a submission that was accepted, and says the same from both servers.
async fn board(parts: &Parts, found: &mut Found) -> anyhow::Result<()> {
    let mut bodies = Vec::new();
    for address in parts.addresses() {
        bodies.push(reqwest::get(format!("{address}/api/v1/board")).await?.text().await?);
    }
    if bodies.windows(2).any(|pair| pair[0] != pair[1]) {
        found.wrong.push("the two servers show different boards".to_owned());
    }
    let board: Value = serde_json::from_str(&bodies[0])?;
    let rows = board["rows"].as_array().context("a board without rows")?;
    found.board_rows = rows.len();
    let teams: BTreeSet<&str> = rows.iter().filter_map(|row| row["team"].as_str()).collect();
    if teams.len() != rows.len() {
        found.wrong.push("a team is on the board twice".to_owned());
    }
    Ok(())
}

async fn number(parts: &Parts, query: &'static str) -> anyhow::Result<i64> {
    patiently(|| async { sqlx::query_scalar(query).fetch_one(&parts.pool).await }).await
}

/// A query of ours may meet a database that is just coming back.
async fn patiently<T, F: Future<Output = sqlx::Result<T>>>(query: impl Fn() -> F) -> anyhow::Result<T> {
    let mut tries = 0;
    loop {
        match query().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries > 100 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
