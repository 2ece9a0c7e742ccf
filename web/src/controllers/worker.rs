//! The workers' API: enrol, session, claim, heartbeat, files, outputs, result. Bearer tokens only; no cookie is looked at.

mod claim;
mod enrol;
mod session;

use std::time::Duration;

use actix_web::dev;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Data, Json, Path, Payload, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use assay_contest::wire::{Heartbeat, HeartbeatAnswer, Outcome, Release, Report, ResultBody};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{Ready, ready};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::db::attempts::{self, Claimed, Standing};
use crate::db::ids::AttemptId;
use crate::db::results::{self, Accepted};
use crate::db::{contests, uploads};
use crate::error::ApiError;
use crate::job_token::{self, JobClaims};
use crate::scoreboard::whole;
use crate::serve;
use crate::state::AppState;
use crate::storage::{Key, ignore_missing, move_into_place, output_name};
use crate::uploader::blocking;

/// Largest result body: a report with every task and sample.
const RESULT_BYTES: usize = 16 << 20;
/// Largest output file: every prompt and answer of a task.
const OUTPUT_BYTES: u64 = 512 << 20;
/// Longest silence in the body of an output.
const OUTPUT_IDLE: Duration = Duration::from_secs(30);

/// `/worker/v1/…`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::scope("/worker/v1")
            .route("/enrol", web::post().to(enrol::enrol))
            .route("/challenge", web::post().to(session::challenge))
            .route("/session", web::post().to(session::open))
            .route("/claim", web::post().to(claim::claim))
            .route("/attempts/{id}/heartbeat", web::post().to(heartbeat))
            .route("/attempts/{id}/submission/{name}", web::get().to(submission_file))
            .route("/attempts/{id}/contest/{path:.*}", web::get().to(contest_file))
            .route("/attempts/{id}/outputs/{name}", web::put().to(output))
            .service(
                web::resource("/attempts/{id}/result")
                    .app_data(web::PayloadConfig::new(RESULT_BYTES))
                    .route(web::put().to(result)),
            )
            .route("/attempts/{id}/release", web::post().to(release)),
    );
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// The attempt a job token speaks for; the address must name the same one.
struct Job(JobClaims);

impl FromRequest for Job {
    type Error = ApiError;
    type Future = Ready<Result<Job, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(job(request))
    }
}

fn job(request: &HttpRequest) -> Result<Job, ApiError> {
    let state = request.app_data::<Data<AppState>>();
    let claims = state
        .zip(bearer(request))
        .and_then(|(state, token)| job_token::read(&state.keys, token));
    let claims = claims.ok_or_else(|| {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "job-token-invalid",
            "The job token is missing, damaged or expired.",
            "작업 토큰이 없거나, 손상되었거나, 만료되었습니다.",
        )
    })?;
    let named: Option<AttemptId> = request.match_info().get("id").and_then(|id| id.parse().ok());
    if named == Some(claims.sub) {
        Ok(Job(claims))
    } else {
        Err(ApiError::not_found())
    }
}

fn lease_lost() -> ApiError {
    ApiError::conflict(
        "lease-lost",
        "This attempt has lost its lease: another one has the job, or it is over. Stop and discard.",
        "이 시도의 임대가 끝났습니다. 다른 시도가 작업을 맡았거나 작업이 끝났습니다. 중단하고 결과를 버리세요.",
    )
}

async fn heartbeat(
    state: Data<AppState>,
    Job(claims): Job,
    Json(beat): Json<Heartbeat>,
) -> Result<HttpResponse, ApiError> {
    if beat.fence != claims.fence {
        return Err(lease_lost());
    }
    let lease = Duration::from_secs(state.settings.lease_seconds);
    let directive = attempts::heartbeat(&state.pool, claims.sub, beat.fence, &beat.progress, lease).await?;
    let directive = directive.ok_or_else(lease_lost)?;
    Ok(HttpResponse::Ok().json(HeartbeatAnswer {
        directive,
        lease_seconds: state.settings.lease_seconds,
    }))
}

/// The attempt, if its lease still runs.
async fn live(state: &AppState, claims: &JobClaims) -> Result<Claimed, ApiError> {
    attempts::live(&state.pool, claims.sub, claims.fence)
        .await?
        .ok_or_else(lease_lost)
}

async fn submission_file(
    state: Data<AppState>,
    request: HttpRequest,
    Job(claims): Job,
    path: Path<(AttemptId, String)>,
) -> Result<HttpResponse, ApiError> {
    let attempt = live(&state, &claims).await?;
    let files = uploads::of_submission(&state.pool, attempt.submission).await?;
    // The name is looked up in the manifest and never joined as it came.
    let file = files
        .into_iter()
        .find(|file| file.name == path.1)
        .ok_or_else(ApiError::not_found)?;
    serve::file(&request, &state.storage, &file.key(), Some(&file.sha256_expected)).await
}

async fn contest_file(
    state: Data<AppState>,
    request: HttpRequest,
    Job(claims): Job,
    path: Path<(AttemptId, String)>,
) -> Result<HttpResponse, ApiError> {
    let attempt = live(&state, &claims).await?;
    let files = contests::files(&state.pool, &attempt.contest).await?;
    let file = files
        .into_iter()
        .find(|file| file.name == path.1)
        .ok_or_else(ApiError::not_found)?;
    serve::file(&request, &state.storage, &Key::blob(&file.sha256), Some(&file.sha256)).await
}

/// Keeps one output of an attempt. The folder's name holds the fence, so a late writer cannot touch what a later attempt
/// wrote; the same name again replaces the file as a whole.
async fn output(
    state: Data<AppState>,
    Job(claims): Job,
    path: Path<(AttemptId, String)>,
    mut payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let name = &path.1;
    if !output_name(name) {
        return Err(ApiError::bad_request(
            "output-name-invalid",
            "Output names are 1 to 128 letters, digits, dots, hyphens and underscores, not beginning with a dot.",
            "출력 파일 이름은 글자, 숫자, 점, 하이픈, 밑줄 1~128자이며 점으로 시작할 수 없습니다.",
        ));
    }
    let attempt = live(&state, &claims).await?;
    let scratch = state.storage.scratch();
    let kept = store_body(&scratch, &mut payload).await;
    // A long body may outlast the lease, and outputs of an accepted result never change.
    let kept = match kept {
        Ok(()) => live(&state, &claims).await.map(drop),
        failed => failed,
    };
    let place = state.storage.output_dir(attempt.job, attempt.fence).join(name);
    let outcome = match kept {
        Ok(()) => {
            let scratch = scratch.clone();
            blocking(move || move_into_place(&scratch, &place))
                .await
                .map_err(ApiError::internal)
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        let _ = blocking(move || ignore_missing(std::fs::remove_file(scratch))).await;
    }
    outcome.map(|()| HttpResponse::NoContent().finish())
}

async fn store_body(scratch: &std::path::Path, payload: &mut Payload) -> Result<(), ApiError> {
    let mut file = tokio::fs::File::create_new(scratch).await.map_err(ApiError::internal)?;
    let mut total = 0u64;
    loop {
        let chunk = match tokio::time::timeout(OUTPUT_IDLE, payload.next()).await {
            Ok(None) => break,
            Ok(Some(chunk)) => {
                chunk.map_err(|error| ApiError::of_status(StatusCode::BAD_REQUEST).with_source(error))?
            }
            Err(_) => return Err(ApiError::of_status(StatusCode::REQUEST_TIMEOUT)),
        };
        total += chunk.len() as u64;
        if total > OUTPUT_BYTES {
            return Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        file.write_all(&chunk).await.map_err(ApiError::internal)?;
    }
    file.sync_all().await.map_err(ApiError::internal)
}

/// Takes an attempt's outcome, once. The digest of the body makes a repeated request recognisable.
async fn result(state: Data<AppState>, Job(claims): Job, body: Bytes) -> Result<HttpResponse, ApiError> {
    let parsed: ResultBody = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(
            "result-invalid",
            &format!("The result cannot be read: {error}."),
            &format!("결과를 읽을 수 없습니다: {error}."),
        )
    })?;
    if parsed.fence != claims.fence {
        return Err(lease_lost());
    }
    sound(&parsed.outcome)?;
    if let Outcome::Graded { report } = &parsed.outcome
        && let Some(attempt) = attempts::live(&state.pool, claims.sub, claims.fence).await?
    {
        weighed_right(&uploads::of_submission(&state.pool, attempt.submission).await?, report)?;
    }
    let digest = hex::encode(Sha256::digest(&body));
    let mut transaction = state.pool.begin().await?;
    let accepted = results::accept(&mut transaction, claims.sub, parsed.fence, &digest, &parsed.outcome).await?;
    transaction.commit().await?;
    state.boards.changed();
    match accepted {
        Accepted::Now => Ok(HttpResponse::Ok().json(json!({ "accepted": "now" }))),
        Accepted::Before => Ok(HttpResponse::Ok().json(json!({ "accepted": "before" }))),
        Accepted::LeaseLost => Err(lease_lost()),
    }
}

/// JSON has no NaN, so a number that is not one arrives as null and does not parse; what is left to ask for is a reason.
fn sound(outcome: &Outcome) -> Result<(), ApiError> {
    let reasonless = matches!(outcome, Outcome::Rejected { problems, .. } if problems.is_empty());
    let unmeasured = matches!(outcome, Outcome::Graded { report } if report.measures.is_empty());
    if reasonless || unmeasured {
        return Err(ApiError::unprocessable(
            "result-empty",
            "A rejection needs at least one problem, and a grade at least one measure.",
            "거절에는 하나 이상의 사유가, 채점 결과에는 하나 이상의 측정값이 있어야 합니다.",
        ));
    }
    Ok(())
}

/// The one measure this side knows for itself: what the stored weight files weigh.
fn weighed_right(files: &[uploads::UploadFile], report: &Report) -> Result<(), ApiError> {
    let stored: u64 = files
        .iter()
        .filter(|file| file.name.ends_with(".safetensors"))
        .map(|file| file.length)
        .sum();
    let reported = report.measures.get("bytes").copied().and_then(whole);
    if reported == Some(stored) {
        return Ok(());
    }
    Err(ApiError::unprocessable(
        "result-weight-differs",
        &format!("The submission's weight files have {stored} bytes, the report says {reported:?}."),
        &format!("제출된 가중치 파일은 {stored}바이트인데 보고서에는 {reported:?}로 되어 있습니다."),
    ))
}

async fn release(
    state: Data<AppState>,
    Job(claims): Job,
    Json(release): Json<Release>,
) -> Result<HttpResponse, ApiError> {
    if release.fence != claims.fence {
        return Err(lease_lost());
    }
    let reason: String = release.reason.chars().filter(|c| !c.is_control()).take(500).collect();
    let mut transaction = state.pool.begin().await?;
    match attempts::lock(&mut transaction, claims.sub, release.fence).await? {
        Standing::Live(live) => attempts::release(&mut transaction, live, &reason).await?,
        Standing::Settled(_) | Standing::Lost => {
            // Now, not whenever the connection is next used: a claim passes over rows that are locked.
            transaction.rollback().await?;
            return Err(lease_lost());
        }
    }
    transaction.commit().await?;
    Ok(HttpResponse::Ok().json(json!({ "released": true })))
}
