//! The queue: by state and age, and what can be done to one job or to all that match.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{Answer, CameFrom, PAGE, address, done, notice, optional, record, words};
use crate::auth::{RequireOrganizer, User};
use crate::controllers::visit::{Visit, after, see_other};
use crate::db::fleet;
use crate::db::ids::{JobId, SubmissionId};
use crate::db::jobs::{self, Cancelled};
use crate::db::queue::{self, AttemptRow, Cursor, Filter, Row};
use crate::db::submissions::{self, Reader, Submission};
use crate::error::ApiError;
use crate::i18n::{self, Locale};
use crate::outcomes::StoredProgress;
use crate::state::AppState;
use crate::views::{
    self, AttemptLine, ConfirmPage, JobPage, JobRow, Pager, ProblemView, QueuePage, ReasonField, StateCount,
    SubmissionState, When,
};

/// States of jobs, those that need a person first.
const STATES: [&str; 6] = ["quarantined", "queued", "running", "failed", "succeeded", "cancelled"];
/// Most submissions graded again by one confirmation.
const MOST_RERUNS: usize = 500;
/// Priorities an organizer may give.
const PRIORITIES: std::ops::RangeInclusive<i16> = -100..=100;

/// `/admin/queue…`, `/admin/jobs…` and the orders about submissions.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/queue").route(web::get().to(list)))
        .service(
            web::resource("/admin/queue/rerun")
                .route(web::get().to(ask_many))
                .route(web::post().to(rerun_many)),
        )
        .service(web::resource("/admin/jobs/{id}").route(web::get().to(show)))
        .service(web::resource("/admin/jobs/{id}/priority").route(web::post().to(priority)))
        .service(
            web::resource("/admin/submissions/{id}/rerun")
                .route(web::get().to(ask_rerun))
                .route(web::post().to(rerun)),
        )
        .service(
            web::resource("/admin/submissions/{id}/cancel")
                .route(web::get().to(ask_cancel))
                .route(web::post().to(cancel)),
        );
}

/// What the addresses of the queue say.
#[derive(Clone, Deserialize, Default)]
struct Asked {
    #[serde(default)]
    state: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    older: String,
    #[serde(default)]
    order: String,
    #[serde(default)]
    from: String,
}

impl Asked {
    fn filter(&self) -> Result<Filter, ApiError> {
        Ok(Filter {
            state: STATES.contains(&self.state.as_str()).then(|| self.state.clone()),
            class: words(&self.class),
            search: words(&self.q),
            worker: optional(&self.worker)?,
            older: optional::<i32>(&self.older)?.map(|minutes| minutes.max(0)),
        })
    }

    /// The live states are worked off from the oldest; of what ended the newest matters.
    fn oldest_first(&self) -> bool {
        match self.order.as_str() {
            "old" => true,
            "new" => false,
            _ => matches!(self.state.as_str(), "queued" | "running"),
        }
    }

    fn address(&self, path: &str, state: &str, order: &str, from: &str) -> String {
        address(
            path,
            &[
                ("state", state),
                ("class", &self.class),
                ("q", &self.q),
                ("worker", &self.worker),
                ("older", &self.older),
                ("order", order),
                ("from", from),
            ],
        )
    }
}

async fn list(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let (locale, zone) = (visit.locale(), visit.zone());
    let filter = asked.filter()?;
    let cursor = Cursor {
        from: optional(&asked.from)?,
        oldest_first: asked.oldest_first(),
    };
    let mut rows = queue::page(&state.pool, &filter, cursor, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let last = rows.last().filter(|_| more).map(|row| row.job.to_string());
    let counted = queue::counts(&state.pool).await?;
    let chosen = filter.state.as_deref().unwrap_or_default();
    let of = |name: &str| {
        let found = counted.iter().find(|(state, ..)| state == name);
        StateCount {
            state: name.to_owned(),
            n: found.map_or(0, |(_, n, _)| n.unsigned_abs()),
            href: asked.address("/admin/queue", name, "", ""),
            chosen: chosen == name,
            oldest: found
                .filter(|_| matches!(name, "queued" | "running"))
                .map(|(_, _, seconds)| *seconds as f64),
        }
    };
    let all = StateCount {
        n: counted.iter().map(|(_, n, _)| n.unsigned_abs()).sum(),
        ..of("")
    };
    let here = asked.address("/admin/queue", chosen, &asked.order, &asked.from);
    let page = QueuePage {
        states: std::iter::once(all).chain(STATES.map(of)).collect(),
        classes: queue::classes(&state.pool)
            .await?
            .into_iter()
            .map(|(class, n)| (class, n.unsigned_abs()))
            .collect(),
        workers: fleet::names(&state.pool)
            .await?
            .into_iter()
            .map(|(id, name)| (id.to_string(), name))
            .collect(),
        state: chosen.to_owned(),
        class: asked.class.clone(),
        worker: asked.worker.clone(),
        search: asked.q.clone(),
        older: asked.older.clone(),
        rows: rows.into_iter().map(|job| row(job, locale, zone)).collect(),
        set_aside: queue::set_aside(&state.pool).await?.unsigned_abs(),
        oldest_first: cursor.oldest_first,
        pager: Pager {
            first: cursor
                .from
                .map(|_| asked.address("/admin/queue", chosen, &asked.order, "")),
            next: last.map(|last| asked.address("/admin/queue", chosen, &asked.order, &last)),
        },
        rerun: asked.address("/admin/queue/rerun", chosen, "", ""),
        here,
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
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

/// The submission, for organizers.
pub(super) async fn submission(state: &AppState, id: SubmissionId, user: &User) -> Result<Submission, ApiError> {
    let reader = Reader {
        user: user.id,
        organizer: true,
    };
    submissions::find(&state.pool, id, reader)
        .await?
        .ok_or_else(ApiError::not_found)
}

/// What a confirmation says of a submission.
pub(super) fn facts(locale: Locale, submission: &Submission, zone: Tz) -> Vec<(String, String)> {
    let mut facts = vec![
        (locale.t("nav-team"), submission.team.clone()),
        (
            locale.t("submission"),
            if submission.title.is_empty() {
                submission.id.to_string()
            } else {
                submission.title.clone()
            },
        ),
        (
            locale.t("submission-state"),
            locale.t(SubmissionState::parse(submission.state.name()).key()),
        ),
    ];
    if let Some(at) = submission.received_at {
        let when = When::new(at, zone);
        facts.push((locale.t("board-received"), format!("{} {}", when.local, when.zone)));
    }
    facts
}

pub(super) fn audited(locale: Locale, required: bool, answer: &Answer) -> ReasonField {
    ReasonField {
        hint: locale.t("reason-audit"),
        required,
        typed: answer.reason.clone(),
    }
}

/// What a page says that asks before an order about one submission is given.
struct Order {
    act: &'static str,
    title: &'static str,
    lead: &'static str,
    button: &'static str,
    reasoned: bool,
}

async fn ask(
    state: &AppState,
    user: &User,
    visit: Visit,
    id: SubmissionId,
    from: &CameFrom,
    order: Order,
) -> Result<HttpResponse, ApiError> {
    let submission = submission(state, id, user).await?;
    let (locale, zone) = (visit.locale(), visit.zone());
    let page = ConfirmPage {
        title: locale.t(order.title),
        lead: locale.t(order.lead),
        facts: facts(locale, &submission, zone),
        action: format!("/admin/submissions/{id}/{}", order.act),
        reason: Some(audited(locale, order.reasoned, &Answer::default())),
        button: locale.t(order.button),
        back: after(&from.back, "/admin/queue").to_owned(),
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(StatusCode::OK, &page))
}

async fn ask_rerun(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let order = Order {
        act: "rerun",
        title: "confirm-rerun",
        lead: "confirm-rerun-lead",
        button: "admin-rerun",
        reasoned: true,
    };
    ask(&state, &user, visit, *id, &from, order).await
}

/// Orders a new grade of a submission. Its old result stands until a new one is accepted.
async fn rerun(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<SubmissionId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    submission(&state, *id, &user).await?;
    let reason = answer.reason()?;
    let mut transaction = state.pool.begin().await?;
    let job = jobs::rerun(&mut transaction, *id).await?.ok_or_else(|| {
        ApiError::conflict(
            "not-rerunnable",
            "This submission was never sent, or a grade of it waits or runs now.",
            "아직 제출되지 않았거나, 이미 채점을 기다리거나 진행 중인 제출입니다.",
        )
    })?;
    let detail = json!({ "job": job, "reason": reason });
    ordered(&mut transaction, &request, &user, *id, detail).await?;
    transaction.commit().await?;
    Ok(see_other(&done(&answer.back, "/admin", "rerun")))
}

async fn ordered(
    transaction: &mut PgConnection,
    request: &HttpRequest,
    user: &User,
    id: SubmissionId,
    detail: serde_json::Value,
) -> sqlx::Result<()> {
    let object = format!("submission:{id}");
    record(transaction, request, user, "submission.rerun", &object, detail).await
}

async fn ask_cancel(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let order = Order {
        act: "cancel",
        title: "confirm-cancel",
        lead: "confirm-cancel-lead",
        button: "confirm-cancel-button",
        reasoned: false,
    };
    ask(&state, &user, visit, *id, &from, order).await
}

/// Calls a waiting or running grade off.
async fn cancel(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<SubmissionId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    submission(&state, *id, &user).await?;
    let reason = answer.reason()?;
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
        json!({ "how": how, "reason": reason }),
    )
    .await?;
    transaction.commit().await?;
    Ok(see_other(&done(&answer.back, "/admin", "cancelled")))
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

async fn ask_many(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let matching = queue::rerunnable(&state.pool, &asked.filter()?, MOST_RERUNS as i64 + 1).await?;
    Ok(many(
        StatusCode::OK,
        visit,
        &asked,
        matching.len(),
        &Answer::default(),
        None,
    ))
}

/// Says how many it is: the one thing a button "all" hides.
fn many(
    status: StatusCode,
    visit: Visit,
    asked: &Asked,
    found: usize,
    answer: &Answer,
    wrong: Option<String>,
) -> HttpResponse {
    let locale = visit.locale();
    let n = found.min(MOST_RERUNS);
    let number = |key: &str| i18n::t(locale, key, &[("n", &n)]);
    let back = asked.address("/admin/queue", &asked.state, "", "");
    let mut lead = locale.t(if n == 0 {
        "confirm-rerun-many-none"
    } else {
        "confirm-rerun-many-lead"
    });
    if found > MOST_RERUNS {
        lead.push(' ');
        lead.push_str(&number("confirm-rerun-many-most"));
    }
    let filter = [
        ("state", "submission-state", &asked.state),
        ("class", "filter-class", &asked.class),
        ("q", "filter-words", &asked.q),
        ("worker", "worker", &asked.worker),
        ("older", "filter-older", &asked.older),
    ];
    let filter = filter.into_iter().filter(|(.., value)| !value.is_empty());
    let (mut facts, mut hidden) = (Vec::new(), vec![("expected".to_owned(), n.to_string())]);
    for (name, key, value) in filter {
        facts.push((locale.t(key), value.clone()));
        hidden.push((name.to_owned(), value.clone()));
    }
    let page = ConfirmPage {
        title: number("confirm-rerun-many"),
        lead,
        facts,
        action: "/admin/queue/rerun".to_owned(),
        hidden,
        reason: (n > 0).then(|| audited(locale, true, answer)),
        button: number("confirm-rerun-many-button"),
        back,
        wrong,
        page: visit.page,
    };
    views::html(status, &page)
}

/// The filter again, with the number that was agreed to.
#[derive(Deserialize)]
struct Many {
    #[serde(default)]
    state: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    older: String,
    #[serde(default)]
    reason: String,
    expected: usize,
}

/// Orders new grades of all that match, if it is still the number that was agreed to.
async fn rerun_many(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
    Form(form): Form<Many>,
) -> Result<HttpResponse, ApiError> {
    let asked = Asked {
        state: form.state,
        class: form.class,
        q: form.q,
        worker: form.worker,
        older: form.older,
        ..Asked::default()
    };
    visit.page.path = asked.address("/admin/queue/rerun", &asked.state, "", "");
    let answer = Answer {
        reason: form.reason,
        back: String::new(),
    };
    let mut transaction = state.pool.begin().await?;
    let matching = queue::rerunnable(&mut *transaction, &asked.filter()?, MOST_RERUNS as i64 + 1).await?;
    let (n, locale) = (matching.len().min(MOST_RERUNS), visit.locale());
    if n != form.expected || n == 0 {
        let wrong = i18n::t(
            locale,
            "confirm-rerun-many-changed",
            &[("before", &form.expected), ("n", &n)],
        );
        return Ok(many(
            StatusCode::CONFLICT,
            visit,
            &asked,
            matching.len(),
            &answer,
            Some(wrong),
        ));
    }
    let Some(reason) = answer.reason().ok().filter(|reason| !reason.is_empty()) else {
        let wrong = Some(locale.t("reason-missing"));
        return Ok(many(
            StatusCode::UNPROCESSABLE_ENTITY,
            visit,
            &asked,
            matching.len(),
            &answer,
            wrong,
        ));
    };
    let mut jobs_made = 0;
    for id in matching.into_iter().take(MOST_RERUNS) {
        if let Some(job) = jobs::rerun(&mut transaction, id).await? {
            let detail = json!({ "job": job, "reason": reason, "one_of": n });
            ordered(&mut transaction, &request, &user, id, detail).await?;
            jobs_made += 1;
        }
    }
    let filter = json!({ "state": asked.state, "class": asked.class, "q": asked.q, "worker": asked.worker, "older": asked.older });
    let detail = json!({ "submissions": jobs_made, "filter": filter, "reason": reason });
    record(&mut transaction, &request, &user, "queue.rerun-many", "queue", detail).await?;
    transaction.commit().await?;
    Ok(see_other(&done("", "/admin/queue?state=queued", "rerun")))
}
