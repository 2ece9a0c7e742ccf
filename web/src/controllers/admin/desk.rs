//! The overview: what waits, what runs, what needs a person.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use assay_contest::rules::Revealed;

use super::job::row;
use super::notice;
use crate::auth::RequireOrganizer;
use crate::controllers::visit::Visit;
use crate::db::contests::StoredContest;
use crate::db::queue::{self, Cursor, Filter};
use crate::db::submissions::{self, State};
use crate::error::ApiError;
use crate::state::AppState;
use crate::views::{self, AdminPage, SealView, SubmissionState, When, WorkerStatus};

/// Ended jobs on the page.
const RECENT: i64 = 10;
/// Live jobs on the page; the queue's own page has the others.
const SHOWN: i64 = 20;
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

/// `/admin`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin").route(web::get().to(desk)));
}

async fn desk(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    draw(&state, visit, Said::default()).await
}

/// What the desk says back to a form.
#[derive(Default)]
pub(crate) struct Said {
    /// What was wrong with the confirmation of a reveal.
    pub(crate) wrong: Option<String>,
}

pub(crate) async fn draw(state: &AppState, visit: Visit, said: Said) -> Result<HttpResponse, ApiError> {
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
    let some = |state: &str| Filter {
        state: Some(state.to_owned()),
        ..Filter::default()
    };
    let first = Cursor {
        oldest_first: true,
        from: None,
    };
    let live = queue::page(&state.pool, &some("live"), first, SHOWN).await?;
    let ended = queue::page(&state.pool, &some("ended"), Cursor::default(), RECENT).await?;
    let oldest = queue::counts(&state.pool).await?.into_iter();
    let oldest = oldest
        .filter(|(state, ..)| state == "queued")
        .map(|(_, _, seconds)| seconds as f64)
        .next();
    let workers = super::workers::rows(state, zone).await?;
    let silent = workers
        .iter()
        .filter(|worker| worker.status == WorkerStatus::Silent && !worker.drained);
    let page = AdminPage {
        page: visit.page,
        counts: WAY
            .iter()
            .map(|state| (SubmissionState::parse(state.name()), count(*state)))
            .collect(),
        queue: live.into_iter().map(|job| row(job, locale, zone)).collect(),
        recent: ended.into_iter().map(|job| row(job, locale, zone)).collect(),
        silent: silent.count() as u64,
        workers,
        enrolment: None,
        seal,
        oldest_wait: oldest,
        set_aside: queue::set_aside(&state.pool).await?.unsigned_abs(),
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
