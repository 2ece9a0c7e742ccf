//! Orders about one submission: grade it again, call its grade off. A page asks before either.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde_json::json;
use sqlx::PgConnection;

use super::{Answer, CameFrom, done, record};
use crate::auth::{RequireOrganizer, User};
use crate::controllers::visit::{Visit, after, see_other};
use crate::db::ids::SubmissionId;
use crate::db::jobs::{self, Cancelled};
use crate::db::submissions::{self, Reader, Submission};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::state::AppState;
use crate::views::{self, ConfirmPage, ReasonField, SubmissionState, When};

/// `/admin/submissions/{id}/rerun` and `…/cancel`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
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

/// Writes a new grade of a submission into the audit log.
pub(super) async fn ordered(
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
