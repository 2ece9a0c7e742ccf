//! New grades of all jobs that a filter of the queue finds, after a page that says how many it is.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::orders::{audited, ordered};
use super::queue::Asked;
use super::{Answer, done, record};
use crate::auth::RequireOrganizer;
use crate::controllers::visit::{Visit, see_other};
use crate::db::{jobs, queue};
use crate::error::ApiError;
use crate::i18n;
use crate::state::AppState;
use crate::views::{self, ConfirmPage, job_key};

/// Most submissions graded again by one confirmation.
const MOST_RERUNS: usize = 500;

/// `/admin/queue/rerun`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/admin/queue/rerun")
            .route(web::get().to(ask_many))
            .route(web::post().to(rerun_many)),
    );
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
        let shown = match name {
            "state" => locale.t(job_key(value)),
            _ => value.clone(),
        };
        facts.push((locale.t(key), shown));
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
