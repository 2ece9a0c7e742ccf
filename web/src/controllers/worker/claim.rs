//! `POST /worker/v1/claim`: the next job, as an attempt with a fence, a lease and a token of its own.

use std::time::Duration;

use actix_web::web::{Data, Json, Query};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::wire::{Claim, ClaimAsk, RemoteFile};
use serde::Deserialize;
use tokio::time::Instant;

use super::enrol::bounded;
use super::session::worker;
use crate::db::attempts::{self, Claimed};
use crate::db::ids::WorkerId;
use crate::db::{contests, uploads};
use crate::error::ApiError;
use crate::job_token;
use crate::live::Note;
use crate::state::AppState;

/// Longest a claim waits for a job. Below the 60 s after which most proxies give up on a silent connection.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A job becomes due by itself when its wait after a failure is over; nobody rings for that.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a grade may take beyond the contest's wall time (fetching, loading, reporting) before its token expires.
const TOKEN_SLACK: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
pub(super) struct Wait {
    #[serde(default)]
    wait: u64,
}

/// Hands out the next job, waiting for one if there is none. A worker that asks has no job: what it still held is
/// declared lost first.
pub(super) async fn claim(
    state: Data<AppState>,
    request: HttpRequest,
    query: Query<Wait>,
    body: Option<Json<ClaimAsk>>,
) -> Result<HttpResponse, ApiError> {
    let ask = body.map(|Json(ask)| ask).unwrap_or_default();
    let device = ask.device.map(bounded).transpose()?;
    let worker = worker(&state, &request, device.as_ref()).await?;
    let mut transaction = state.pool.begin().await?;
    attempts::forget(&mut transaction, worker).await?;
    transaction.commit().await?;

    let until = Instant::now() + Duration::from_secs(query.wait).min(LONGEST_WAIT);
    let mut notes = state.live.subscribe();
    loop {
        if let Some(claimed) = take(&state, worker).await? {
            if let Some(rung) = ask.job_id.filter(|rung| *rung != claimed.job.to_string()) {
                tracing::debug!(rung, job = %claimed.job, "heard one job's bell and got the one whose turn it is");
            }
            return Ok(HttpResponse::Ok().json(describe(&state, claimed).await?));
        }
        let look = until.min(Instant::now() + LOOK_EVERY);
        let rung = async { while !matches!(notes.next().await, Note::Jobs | Note::Everything) {} };
        tokio::select! {
            () = state.stopping.cancelled() => return Ok(HttpResponse::NoContent().finish()),
            _ = tokio::time::timeout_at(look, rung) => {}
        }
        if Instant::now() >= until {
            return Ok(HttpResponse::NoContent().finish());
        }
    }
}

async fn take(state: &AppState, worker: WorkerId) -> sqlx::Result<Option<Claimed>> {
    let lease = Duration::from_secs(state.settings.lease_seconds);
    let mut transaction = state.pool.begin().await?;
    let claimed = attempts::claim(&mut transaction, worker, lease, state.settings.running_per_team).await?;
    transaction.commit().await?;
    Ok(claimed)
}

async fn describe(state: &AppState, claimed: Claimed) -> Result<Claim, ApiError> {
    let contest = contests::find(&state.pool, &claimed.contest)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let contest_files = contests::files(&state.pool, &claimed.contest).await?;
    let submission_files = uploads::of_submission(&state.pool, claimed.submission)
        .await?
        .into_iter()
        .map(|file| RemoteFile {
            name: file.name,
            bytes: file.length,
            sha256: file.sha256_expected,
        })
        .collect();
    let life = Duration::from_secs(contest.rules.grading.wall_seconds).saturating_add(TOKEN_SLACK);
    let token = job_token::issue(&state.keys, claimed.attempt, claimed.fence, life).map_err(ApiError::internal)?;
    Ok(Claim {
        attempt_id: claimed.attempt.to_string(),
        job_id: claimed.job.to_string(),
        submission_id: claimed.submission.to_string(),
        fence: claimed.fence,
        lease_seconds: state.settings.lease_seconds,
        token,
        contest_id: contest.rules.id,
        contest_digest: contest.digest,
        submission_files,
        contest_files,
    })
}
