//! One job: its row in every table of the desk, its page with all attempts, and its place in the line.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::json;

use super::{done, notice, record};
use crate::auth::RequireOrganizer;
use crate::controllers::visit::{Visit, see_other};
use crate::db::ids::JobId;
use crate::db::queue::{self, AttemptRow, Row};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::outcomes::StoredProgress;
use crate::state::AppState;
use crate::views::{self, AttemptLine, JobPage, JobRow, ProblemView, SubmissionState, When};

/// Priorities an organizer may give.
const PRIORITIES: std::ops::RangeInclusive<i16> = -100..=100;

/// `/admin/jobs…`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/jobs/{id}").route(web::get().to(show)))
        .service(web::resource("/admin/jobs/{id}/priority").route(web::post().to(priority)));
}

/// A job as a row of any of the desk's tables.
pub(super) fn row(job: Row, locale: Locale, zone: Tz) -> JobRow {
    let progress = job.progress.as_ref().and_then(StoredProgress::stage);
    let progress = progress.filter(|_| job.state == "running");
    JobRow {
        job: job.job.to_string(),
        priority: job.priority,
        stopping: job.cancel_requested,
        not_before: job.waits.then(|| When::new(job.not_before, zone)),
        class: job.class,
        submission: job.submission.to_string(),
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
        seconds: Some(job.seconds as f64),
        problem: problem(job.error.as_ref().filter(|_| job.state != "succeeded"), locale),
        // An older job's submission may have a newer one: only the latest speaks for it.
        can_rerun: job.latest && !job.submission_state.is_live(),
        job_state: job.state,
    }
}

fn problem(error: Option<&serde_json::Value>, locale: Locale) -> Option<ProblemView> {
    error
        .filter(|error| error["code"].is_string())
        .map(|error| ProblemView::from_json(locale, error))
}

async fn show(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    id: Path<JobId>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let (locale, zone) = (visit.locale(), visit.zone());
    let job = queue::find(&state.pool, *id).await?.ok_or_else(ApiError::not_found)?;
    let attempts = queue::attempts(&state.pool, *id).await?;
    let job = row(job, locale, zone);
    let page = JobPage {
        rows: vec![job.clone()],
        job,
        attempts: attempts
            .into_iter()
            .map(|attempt| line(attempt, locale, zone))
            .collect(),
        here: format!("/admin/jobs/{id}"),
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

fn line(attempt: AttemptRow, locale: Locale, zone: Tz) -> AttemptLine {
    let progress = attempt.progress.stage();
    AttemptLine {
        fence: attempt.fence.unsigned_abs(),
        worker: attempt.worker,
        state: attempt.state,
        class: attempt.class,
        problem: problem(attempt.error.as_ref(), locale),
        note: attempt
            .error
            .as_ref()
            .and_then(|error| error["reason"].as_str())
            .map(str::to_owned),
        stage: progress
            .as_ref()
            .map(|progress| progress.stage.name().to_owned())
            .unwrap_or_default(),
        done: progress.as_ref().map_or(0, |progress| progress.done),
        total: progress.as_ref().map_or(0, |progress| progress.total),
        started: Some(When::new(attempt.started_at, zone)),
        seconds: attempt.seconds as f64,
        silent: attempt.silent.map(|seconds| seconds as f64),
    }
}

/// The priority a job is to have: naming it, not a step, makes a form sent twice the same as once.
#[derive(Deserialize)]
struct Priority {
    to: i16,
    #[serde(default)]
    back: String,
}

async fn priority(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<JobId>,
    Form(wish): Form<Priority>,
) -> Result<HttpResponse, ApiError> {
    let to = wish.to.clamp(*PRIORITIES.start(), *PRIORITIES.end());
    let mut transaction = state.pool.begin().await?;
    let job = queue::find(&mut *transaction, *id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let moved = queue::set_priority(&mut transaction, *id, to).await?;
    if moved {
        let detail = json!({ "from": job.priority, "to": to, "submission": job.submission });
        let object = format!("job:{id}");
        record(&mut transaction, &request, &user, "job.priority", &object, detail).await?;
    }
    transaction.commit().await?;
    let what = if moved { "priority" } else { "nothing" };
    Ok(see_other(&done(&wish.back, "/admin/queue", what)))
}
