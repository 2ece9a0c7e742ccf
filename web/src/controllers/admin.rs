//! The organizers' desk: queue, workers, re-runs. Every action is one audited transaction.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::rules::Revealed;
use chrono::Utc;
use chrono_tz::Tz;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::visit::{Visit, see_other};
use crate::auth::{RequireOrganizer, User};
use crate::db::audit::{self, Entry};
use crate::db::contests::StoredContest;
use crate::db::ids::{SubmissionId, WorkerId};
use crate::db::jobs::{self, Cancelled, QueueRow};
use crate::db::submissions::{self, Reader, State};
use crate::db::workers::{self, ENROLMENT_LIFE};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::middleware::origin;
use crate::outcomes::StoredProgress;
use crate::state::AppState;
use crate::views::{
    self, AdminPage, EnrolmentView, JobRow, ProblemView, SealView, SubmissionState, When, WorkerRow, WorkerStatus,
};

/// Ended jobs on the page.
const RECENT: i64 = 30;
/// States in the order of a submission's way.
const WAY: [State; 7] = [
    State::Draft,
    State::Queued,
    State::Running,
    State::Graded,
    State::Rejected,
    State::Failed,
    State::Cancelled,
];

/// `/admin…`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin").route(web::get().to(desk)))
        .service(web::resource("/admin/enrol").route(web::post().to(enrol)))
        .service(web::resource("/admin/submissions/{id}/rerun").route(web::post().to(rerun)))
        .service(web::resource("/admin/submissions/{id}/cancel").route(web::post().to(cancel)))
        .service(web::resource("/admin/workers/{id}/drain").route(web::post().to(drain)))
        .service(web::resource("/admin/workers/{id}/resume").route(web::post().to(resume)))
        .service(web::resource("/admin/workers/{id}/revoke").route(web::post().to(revoke)));
}

async fn desk(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
) -> Result<HttpResponse, ApiError> {
    draw(&state, visit, Said::default()).await
}

/// What the desk says back to a form.
#[derive(Default)]
pub(super) struct Said {
    /// A token that was made, shown this once.
    pub(super) enrolment: Option<EnrolmentView>,
    /// What was wrong with the confirmation of a reveal.
    pub(super) wrong: Option<String>,
}

pub(super) async fn draw(state: &AppState, visit: Visit, said: Said) -> Result<HttpResponse, ApiError> {
    let (locale, zone) = (visit.locale(), visit.zone());
    let status = if said.wrong.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let seal = visit
        .contest
        .as_ref()
        .and_then(|contest| seal_view(contest, said.wrong));
    let counted = submissions::counts(&state.pool).await?;
    let count = |wanted: State| {
        counted
            .iter()
            .find(|(state, _)| *state == wanted)
            .map_or(0, |(_, n)| n.unsigned_abs())
    };
    let jobs = jobs::overview(&state.pool, RECENT).await?;
    let oldest = jobs
        .iter()
        .filter(|job| job.state == "queued")
        .map(|job| job.age_seconds)
        .max();
    let (live, ended): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.finished_at.is_none());
    let lease = i64::try_from(state.settings.lease_seconds).unwrap_or(i64::MAX);
    let page = AdminPage {
        page: visit.page,
        counts: WAY
            .iter()
            .map(|state| (SubmissionState::parse(state.name()), count(*state)))
            .collect(),
        queue: live.into_iter().map(|job| row(job, locale, zone)).collect(),
        recent: ended.into_iter().map(|job| row(job, locale, zone)).collect(),
        workers: workers::list(&state.pool)
            .await?
            .into_iter()
            .map(|worker| desk_of(worker, lease, zone))
            .collect(),
        enrolment: said.enrolment,
        seal,
        oldest_wait: oldest.map(|seconds| seconds as f64),
    };
    Ok(views::html(status, &page))
}

fn seal_view(contest: &StoredContest, wrong: Option<String>) -> Option<SealView> {
    let (seal, announced) = (contest.seal.as_ref()?, contest.rules.grading.sealed.as_ref()?);
    Some(SealView {
        contest: contest.rules.id.clone(),
        documents: seal.documents.documents().count() as u64,
        share: announced.share,
        digest: announced.digest.clone(),
        all: announced.after == Revealed::All,
        revealed: seal.revealed_at.map(|at| When::new(at, contest.rules.zone())),
        wrong,
    })
}

fn row(job: QueueRow, locale: Locale, zone: Tz) -> JobRow {
    let progress = job.progress.as_ref().and_then(StoredProgress::stage);
    let progress = progress.filter(|_| job.state == "running");
    let problem = job
        .reason
        .as_ref()
        .and_then(|reason| reason.get(0))
        .or(job.error.as_ref());
    JobRow {
        submission: job.submission_id.to_string(),
        title: job.title,
        team: job.team,
        state: SubmissionState::parse(job.submission_state.name()),
        stage: progress
            .as_ref()
            .map(|progress| progress.stage.name().to_owned())
            .unwrap_or_default(),
        done: progress.as_ref().map_or(0, |progress| progress.done),
        total: progress.as_ref().map_or(0, |progress| progress.total),
        attempts: u32::try_from(job.attempts).unwrap_or(0),
        max_attempts: u32::try_from(job.max_attempts).unwrap_or(0),
        worker: job.worker,
        received: Some(When::new(job.created_at, zone)),
        seconds: Some(job.age_seconds as f64),
        problem: problem
            .filter(|problem| problem["code"].is_string())
            .filter(|_| job.submission_state != State::Graded)
            .map(|problem| ProblemView::from_json(locale, problem)),
        can_rerun: !job.submission_state.is_live(),
    }
}

fn desk_of(worker: workers::WorkerRow, lease: i64, zone: Tz) -> WorkerRow {
    let status = if worker.revoked {
        WorkerStatus::Revoked
    } else if worker.silent_seconds.is_none_or(|silent| silent > lease) {
        WorkerStatus::Silent
    } else if worker.draining {
        WorkerStatus::Draining
    } else if worker.current.is_some() {
        WorkerStatus::Busy
    } else {
        WorkerStatus::Idle
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    WorkerRow {
        id: worker.id.to_string(),
        name: worker.name,
        device: text(&worker.device["name"]),
        seen: worker.seen_at.map(|at| When::new(at, zone)),
        silent_seconds: worker.silent_seconds.map(|seconds| seconds as f64),
        job: worker.current,
        status,
    }
}

/// Makes a one-time enrolment token and shows it, this once.
async fn enrol(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
) -> Result<HttpResponse, ApiError> {
    // This address answers no GET: whoever changes the language here comes back to the desk.
    visit.page.path = "/admin".to_owned();
    let mut transaction = state.pool.begin().await?;
    let token = workers::create_enrolment(&mut *transaction, ENROLMENT_LIFE).await?;
    record(
        &mut transaction,
        &request,
        &user,
        "worker.enrolment-made",
        "workers",
        json!({}),
    )
    .await?;
    transaction.commit().await?;
    let enrolment = EnrolmentView {
        command: format!(
            "assay-worker run --server {} --data worker --enrol {token}",
            state.public_url
        ),
        token,
        expires: Some(When::new(Utc::now() + ENROLMENT_LIFE, visit.zone())),
    };
    let said = Said {
        enrolment: Some(enrolment),
        ..Said::default()
    };
    draw(&state, visit, said).await
}

pub(super) async fn record(
    transaction: &mut PgConnection,
    request: &HttpRequest,
    user: &User,
    action: &str,
    object: &str,
    detail: Value,
) -> sqlx::Result<()> {
    let entry = Entry::new(action, object).by(user.id).detail(detail);
    audit::record(transaction, &origin(request), entry).await
}

/// Orders a new grade of a submission. Its old result stands until a new one is accepted.
async fn rerun(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    exists(&state, *id, &user).await?;
    let mut transaction = state.pool.begin().await?;
    let job = jobs::rerun(&mut transaction, *id).await?.ok_or_else(|| {
        ApiError::conflict(
            "not-rerunnable",
            "This submission was never sent, or a grade of it waits or runs now.",
            "아직 제출되지 않았거나, 이미 채점을 기다리거나 진행 중인 제출입니다.",
        )
    })?;
    record(
        &mut transaction,
        &request,
        &user,
        "submission.rerun",
        &format!("submission:{id}"),
        json!({ "job": job }),
    )
    .await?;
    transaction.commit().await?;
    Ok(see_other("/admin"))
}

/// Calls a waiting or running grade off.
async fn cancel(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    exists(&state, *id, &user).await?;
    let mut transaction = state.pool.begin().await?;
    let how = match jobs::cancel(&mut transaction, *id).await? {
        Cancelled::Now => "before it began",
        Cancelled::Asked => "while running",
        Cancelled::Nothing => {
            return Err(ApiError::conflict(
                "nothing-to-cancel",
                "No grade of this submission waits or runs now.",
                "채점을 기다리거나 진행 중인 작업이 없습니다.",
            ));
        }
    };
    record(
        &mut transaction,
        &request,
        &user,
        "submission.cancel",
        &format!("submission:{id}"),
        json!({ "how": how }),
    )
    .await?;
    transaction.commit().await?;
    Ok(see_other("/admin"))
}

async fn exists(state: &AppState, id: SubmissionId, user: &User) -> Result<(), ApiError> {
    let reader = Reader {
        user: user.id,
        organizer: true,
    };
    submissions::find(&state.pool, id, reader)
        .await?
        .map(drop)
        .ok_or_else(ApiError::not_found)
}

/// What may be done to a worker.
#[derive(Clone, Copy)]
enum Order {
    Drain,
    Resume,
    Revoke,
}

async fn drain(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
) -> Result<HttpResponse, ApiError> {
    tell(&state, &request, &user, *id, Order::Drain).await
}

async fn resume(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
) -> Result<HttpResponse, ApiError> {
    tell(&state, &request, &user, *id, Order::Resume).await
}

async fn revoke(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
) -> Result<HttpResponse, ApiError> {
    tell(&state, &request, &user, *id, Order::Revoke).await
}

async fn tell(
    state: &AppState,
    request: &HttpRequest,
    user: &User,
    id: WorkerId,
    order: Order,
) -> Result<HttpResponse, ApiError> {
    let mut transaction = state.pool.begin().await?;
    let (found, action) = match order {
        Order::Drain => (
            workers::set_draining(&mut *transaction, id, true).await?,
            "worker.drain",
        ),
        Order::Resume => (
            workers::set_draining(&mut *transaction, id, false).await?,
            "worker.resume",
        ),
        Order::Revoke => (workers::revoke(&mut *transaction, id).await?, "worker.revoke"),
    };
    if !found {
        return Err(ApiError::not_found());
    }
    record(
        &mut transaction,
        request,
        user,
        action,
        &format!("worker:{id}"),
        json!({}),
    )
    .await?;
    transaction.commit().await?;
    Ok(see_other("/admin"))
}
