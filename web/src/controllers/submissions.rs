//! A team's submissions: the API. Sending and reading; drafts are in [`drafts`].

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::problem::grouped;
use assay_contest::wire::ItemScores;
use assay_contest::{Contest, Problem, Text};
use serde_json::{Value, json};

use super::precheck::Drawn;
use super::{drafts, submission_pages};
use crate::auth::{RequireUploader, RequireUser, User};
use crate::db::audit::{self, Entry};
use crate::db::ids::SubmissionId;
use crate::db::receipt::{Sent, Usage};
use crate::db::results::{self, Stored};
use crate::db::submissions::{self, Reader, State, Submission};
use crate::db::uploads::{self, FileState, UploadFile};
use crate::db::{contests, jobs};
use crate::error::ApiError;
use crate::ingest::{Submitted, submit as gate};
use crate::middleware::origin;
use crate::outcomes::Lens;
use crate::serve;
use crate::state::AppState;
use crate::storage::{Key, output_name};

/// `/api/v1/submissions…` and the pages.
pub fn configure(cfg: &mut ServiceConfig) {
    drafts::configure(cfg);
    cfg.service(
        web::resource("/api/v1/submissions/{id}")
            .route(web::get().to(show))
            .route(web::delete().to(drafts::discard)),
    )
    .service(web::resource("/api/v1/submissions/{id}/submit").route(web::post().to(submit)))
    .service(web::resource("/submissions/{id}/outputs/{name}").route(web::get().to(output)));
    submission_pages::configure(cfg);
}

/// The submission, if this user may see it; else 404, which says nothing about whether it exists.
pub(super) async fn find(state: &AppState, id: SubmissionId, user: &User) -> Result<Submission, ApiError> {
    let reader = Reader {
        user: user.id,
        organizer: user.role.organizes(),
    };
    submissions::find(&state.pool, id, reader)
        .await?
        .ok_or_else(ApiError::not_found)
}

/// Sends a draft.
async fn submit(
    state: Data<AppState>,
    request: HttpRequest,
    uploader: RequireUploader,
    id: Path<SubmissionId>,
    drawn: Query<Drawn>,
) -> Result<HttpResponse, ApiError> {
    let owner = uploader.for_draft(*id)?;
    // Organizers may look at drafts, but only a member of the team sends one.
    let reader = Reader {
        user: owner.user,
        organizer: false,
    };
    let draft = submissions::find(&state.pool, *id, reader)
        .await?
        .ok_or_else(ApiError::not_found)?;
    if draft.state != State::Draft {
        return Ok(accepted(*id, draft.state));
    }
    let contest = contests::find(&state.pool, &draft.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let gated = gate(&state.pool, &state.storage, &contest, *id).await;
    // Files that the team had sent before may lie in an object store that is away just now.
    let away = |error: &anyhow::Error| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::HostUnreachable)
    };
    match gated.map_err(|error| match away(&error) {
        true => ApiError::unavailable(error),
        false => ApiError::internal(error),
    })? {
        Submitted::Rejected(inspection) => {
            let answer = drawn.answer(&inspection, &contest.rules).map_err(ApiError::internal)?;
            Ok(HttpResponse::UnprocessableEntity().json(answer))
        }
        Submitted::Incomplete(files) => Err(incomplete(&files)),
        Submitted::Sent(Sent::Incomplete) => Err(incomplete(&[])),
        Submitted::Sent(Sent::Already(now)) => Ok(accepted(*id, now)),
        Submitted::Sent(Sent::Closed) => Err(ApiError::conflict(
            "contest-closed",
            "No phase of the contest is open now, by the server's clock. The draft is kept until it expires.",
            "서버 시각 기준으로 지금은 제출을 받는 기간이 아닙니다. 임시 저장된 파일은 만료될 때까지 보관됩니다.",
        )),
        Submitted::Sent(Sent::QuotaReached(usage)) => Err(quota_reached(&contest.rules, usage)),
        Submitted::Sent(Sent::Queued(job)) => {
            let object = format!("submission:{id}");
            let entry = Entry::new("submission.sent", &object)
                .by(owner.user)
                .detail(json!({ "job": job }));
            audit::record(&state.pool, &origin(&request), entry).await?;
            Ok(accepted(*id, State::Queued))
        }
    }
}

fn accepted(id: SubmissionId, state: State) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "id": id, "state": state, "url": format!("/submissions/{id}") }))
}

fn quota_reached(rules: &Contest, usage: Usage) -> ApiError {
    let (limit, published, waiting) = (usage.limit(rules), usage.published, usage.on_the_way);
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "quota-reached",
        &format!(
            "Your team may have {limit} scores published a day: {published} were published today and {waiting} submissions \
             are on the way. Only published scores count; if one of those fails, its place is free again."
        ),
        &format!(
            "팀당 하루에 점수 {limit}개까지 공개됩니다. 오늘 {published}개가 공개되었고 {waiting}개가 채점을 기다리고 있습니다. \
             공개된 점수만 차감되므로, 채점에 실패하면 그 자리는 다시 비워집니다."
        ),
    )
}

fn incomplete(files: &[UploadFile]) -> ApiError {
    let problems = files
        .iter()
        .map(|file| match file.state {
            FileState::Corrupt => Problem::new(
                "sha256-mismatch",
                &file.name,
                Text::new(
                    "What arrived is not what was declared.",
                    "도착한 파일이 등록한 내용과 다릅니다.",
                ),
                Text::new(
                    "Choose the file again and upload it anew.",
                    "파일을 다시 선택해 새로 올리세요.",
                ),
            ),
            FileState::Expired => Problem::new(
                "upload-expired",
                &file.name,
                Text::new(
                    "The upload was idle for too long.",
                    "업로드가 너무 오래 멈춰 있었습니다.",
                ),
                Text::new(
                    "Choose the file again and upload it anew.",
                    "파일을 다시 선택해 새로 올리세요.",
                ),
            ),
            FileState::Open | FileState::Complete => Problem::new(
                "upload-incomplete",
                &file.name,
                Text::new(
                    format!(
                        "{} of {} bytes have arrived.",
                        grouped(file.received),
                        grouped(file.length)
                    ),
                    format!(
                        "{}바이트 중 {}바이트가 도착했습니다.",
                        grouped(file.length),
                        grouped(file.received)
                    ),
                ),
                Text::new("Let the upload finish.", "업로드가 끝날 때까지 기다리세요."),
            ),
        })
        .collect();
    ApiError::conflict(
        "files-incomplete",
        "Not every file has arrived as declared.",
        "등록한 파일이 모두 제대로 도착하지 않았습니다.",
    )
    .with_problems(problems)
}

/// Everything about a submission, for programs.
async fn show(
    state: Data<AppState>,
    RequireUser(user): RequireUser,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    let submission = find(&state, *id, &user).await?;
    let files = uploads::of_submission(&state.pool, *id).await?;
    let contest = contests::find(&state.pool, &submission.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let lens = Lens::of(&state, &contest).await.map_err(ApiError::internal)?;
    let job = jobs::latest(&state.pool, *id).await?;
    let result = results::latest(&state.pool, *id).await?;
    let result = match &result {
        Some(result) => Some(published(&state, &lens, result).await?),
        None => None,
    };
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "id": file.id, "name": file.name, "bytes": file.length, "received": file.received, "state": file.state,
                "sha256": file.sha256_expected, "upload_url": drafts::upload_url(file.id),
            })
        })
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        .json(json!({
            "id": submission.id,
            "version": submission.version,
            "contest": submission.contest_id,
            "team": submission.team,
            "title": submission.title,
            "state": submission.state,
            "created_at": submission.created_at,
            "received_at": submission.received_at,
            "finished_at": submission.finished_at,
            "files": files,
            "inspection": submission.verdict,
            "problems": submission.reason,
            "job": job.map(|job| json!({
                "id": job.job, "state": job.state, "ahead": job.ahead, "attempts": job.attempts,
                "max_attempts": job.max_attempts, "progress": job.progress.as_ref().and_then(|progress| lens.progress(progress)), "cancel_requested": job.cancel_requested,
            })),
            "result": result,
        })))
}

/// A result as the API shows it.
async fn published(state: &AppState, lens: &Lens, result: &Stored) -> Result<Value, ApiError> {
    let items = items(state, lens, result).await?;
    let shown = lens.report(&result.report, &items);
    let mut report = shown.as_ref().map(|shown| json!(shown.report)).unwrap_or_default();
    if let Some(report) = report.as_object_mut() {
        // Outcomes by document are among the raw outputs.
        report.remove("items");
    }
    let mut body = json!({ "outcome": result.outcome, "report": report });
    if let Some(public) = shown.and_then(|shown| shown.public) {
        body["public_measures"] = json!(public);
    }
    Ok(body)
}

/// Outcomes by document, where the lens looks through them.
pub(super) async fn items(state: &AppState, lens: &Lens, result: &Stored) -> sqlx::Result<Vec<ItemScores>> {
    if !lens.needs_items() {
        return Ok(Vec::new());
    }
    results::items(&state.pool, result.job).await
}

/// They hold every answer, those to sealed documents among them.
fn outputs_sealed() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "outputs-sealed",
        "Raw outputs hold the answers to sealed documents. They are given out once those are revealed.",
        "원본 출력에는 봉인 문항의 답이 들어 있어, 봉인 문항이 공개된 뒤에 받을 수 있습니다.",
    )
}

/// A file that the worker handed back with the result that counts.
async fn output(
    state: Data<AppState>,
    request: HttpRequest,
    RequireUser(user): RequireUser,
    path: Path<(SubmissionId, String)>,
) -> Result<HttpResponse, ApiError> {
    let (id, name) = path.into_inner();
    let submission = find(&state, id, &user).await?;
    let contest = contests::find(&state.pool, &submission.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let lens = Lens::of(&state, &contest).await.map_err(ApiError::internal)?;
    if lens.hides() {
        return Err(outputs_sealed());
    }
    let result = results::latest(&state.pool, id)
        .await?
        .filter(|_| output_name(&name))
        .ok_or_else(ApiError::not_found)?;
    serve::file(
        &request,
        &state.storage,
        &Key::output(result.job, result.fence, &name),
        None,
    )
    .await
}
