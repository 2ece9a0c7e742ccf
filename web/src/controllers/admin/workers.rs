//! The workers: who they are, how they fare, and what they may do.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::orders::audited;
use super::{Answer, CameFrom, done, notice, record};
use crate::auth::{RequireOrganizer, User};
use crate::controllers::visit::{Visit, after, see_other};
use crate::db::fleet;
use crate::db::ids::WorkerId;
use crate::db::workers::{self, ENROLMENT_LIFE};
use crate::error::ApiError;
use crate::outcomes::StoredProgress;
use crate::state::AppState;
use crate::views::{self, ConfirmPage, EnrolmentView, When, WorkerRow, WorkerStatus, WorkersPage};

/// `/admin/workers…` and `/admin/enrol`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/workers").route(web::get().to(list)))
        .service(web::resource("/admin/enrol").route(web::post().to(enrol)))
        .service(web::resource("/admin/workers/{id}/drain").route(web::post().to(drain)))
        .service(web::resource("/admin/workers/{id}/resume").route(web::post().to(resume)))
        .service(
            web::resource("/admin/workers/{id}/revoke")
                .route(web::get().to(ask_revoke))
                .route(web::post().to(revoke)),
        );
}

async fn list(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    draw(&state, visit, None).await
}

async fn draw(state: &AppState, visit: Visit, enrolment: Option<EnrolmentView>) -> Result<HttpResponse, ApiError> {
    let page = WorkersPage {
        workers: rows(state, visit.zone()).await?,
        enrolment,
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

/// All workers as rows.
pub(super) async fn rows(state: &AppState, zone: Tz) -> Result<Vec<WorkerRow>, ApiError> {
    let lease = i64::try_from(state.settings.lease_seconds).unwrap_or(i64::MAX);
    let workers = fleet::list(&state.pool).await?;
    Ok(workers.into_iter().map(|worker| row(worker, lease, zone)).collect())
}

fn row(worker: fleet::Worker, lease: i64, zone: Tz) -> WorkerRow {
    let status = if worker.revoked {
        WorkerStatus::Revoked
    } else if worker.silent_seconds.is_none_or(|silent| silent > lease) {
        WorkerStatus::Silent
    } else if worker.draining {
        WorkerStatus::Draining
    } else if worker.job.is_some() {
        WorkerStatus::Busy
    } else {
        WorkerStatus::Idle
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let progress = worker.progress.as_ref().and_then(StoredProgress::stage);
    WorkerRow {
        id: worker.id.to_string(),
        name: worker.name,
        device: text(&worker.device["name"]),
        driver: text(&worker.device["driver"]),
        seen: worker.seen_at.map(|at| When::new(at, zone)),
        silent_seconds: worker.silent_seconds.map(|seconds| seconds as f64),
        job: worker
            .title
            .map(|title| if title.is_empty() { "…".to_owned() } else { title }),
        job_href: worker.job.map(|job| format!("/admin/jobs/{job}")),
        stage: progress
            .as_ref()
            .map(|progress| progress.stage.name().to_owned())
            .unwrap_or_default(),
        done: progress.as_ref().map_or(0, |progress| progress.done),
        total: progress.as_ref().map_or(0, |progress| progress.total),
        enrolled: Some(When::new(worker.enrolled_at, zone)),
        succeeded: worker.succeeded.unsigned_abs(),
        failures: worker.failures.unsigned_abs(),
        drained: worker.draining,
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
    // This address answers no GET: whoever changes the language here comes back to the workers.
    visit.page.path = "/admin/workers".to_owned();
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
    draw(&state, visit, Some(enrolment)).await
}

async fn drain(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
) -> Result<HttpResponse, ApiError> {
    let said = ("worker.drain", "drained");
    set_draining(&state, &request, &user, *id, true, said).await
}

async fn resume(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
) -> Result<HttpResponse, ApiError> {
    let said = ("worker.resume", "resumed");
    set_draining(&state, &request, &user, *id, false, said).await
}

async fn set_draining(
    state: &AppState,
    request: &HttpRequest,
    user: &User,
    id: WorkerId,
    draining: bool,
    (action, what): (&str, &str),
) -> Result<HttpResponse, ApiError> {
    let mut transaction = state.pool.begin().await?;
    let before = fleet::find(&mut *transaction, id).await?;
    if !workers::set_draining(&mut *transaction, id, draining).await? {
        return Err(ApiError::not_found());
    }
    let changed = before.is_some_and(|before| before.draining != draining);
    if changed {
        let object = format!("worker:{id}");
        record(&mut transaction, request, user, action, &object, json!({})).await?;
    }
    transaction.commit().await?;
    let what = if changed { what } else { "nothing" };
    Ok(see_other(&done("", "/admin/workers", what)))
}

async fn ask_revoke(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    id: Path<WorkerId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let worker = fleet::find(&state.pool, *id).await?.filter(|worker| !worker.revoked);
    let worker = worker.ok_or_else(ApiError::not_found)?;
    let locale = visit.locale();
    let mut facts = vec![(locale.t("worker"), worker.name)];
    facts.extend(worker.title.map(|title| (locale.t("worker-job"), title)));
    let page = ConfirmPage {
        title: locale.t("confirm-revoke"),
        lead: locale.t("confirm-revoke-lead"),
        facts,
        action: format!("/admin/workers/{id}/revoke"),
        reason: Some(audited(locale, false, &Answer::default())),
        button: locale.t("worker-revoke"),
        back: after(&from.back, "/admin/workers").to_owned(),
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(StatusCode::OK, &page))
}

async fn revoke(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<WorkerId>,
    web::Form(answer): web::Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    let reason = answer.reason()?;
    let mut transaction = state.pool.begin().await?;
    if !workers::revoke(&mut transaction, *id).await? {
        return Err(ApiError::not_found());
    }
    let (object, detail) = (format!("worker:{id}"), json!({ "reason": reason }));
    record(&mut transaction, &request, &user, "worker.revoke", &object, detail).await?;
    transaction.commit().await?;
    Ok(see_other(&done(&answer.back, "/admin/workers", "revoked")))
}
