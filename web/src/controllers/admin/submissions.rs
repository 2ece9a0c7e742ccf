//! All teams' submissions, and the acts that take one, or a team, out of the ranking and back.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{self, Data, Form, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};

use super::orders::{audited, facts, submission};
use super::{Answer, CameFrom, PAGE, address, done, notice, optional, record, words};
use crate::auth::{RequireOrganizer, User};
use crate::boards::Board;
use crate::controllers::precheck::current;
use crate::controllers::visit::{Visit, after, see_other};
use crate::db::disqualifications::{self, Disqualification, Done, Subject};
use crate::db::ids::{SubmissionId, TeamId};
use crate::db::people::{self, SubmissionRow, Wanted};
use crate::error::ApiError;
use crate::state::AppState;
use crate::views::{
    self, ConfirmPage, DisqualifiedRow, Pager, ReasonField, SubmissionLine, SubmissionState, SubmissionsDeskPage, When,
    format,
};

/// `/admin/submissions…`, the same two acts for teams, and the list for programs.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/submissions").route(web::get().to(list)))
        .service(web::resource("/api/v1/board/disqualified").route(web::get().to(published)))
        .service(
            web::resource("/admin/submissions/{id}/disqualify")
                .route(web::get().to(ask_submission))
                .route(web::post().to(disqualify_submission)),
        )
        .service(
            web::resource("/admin/submissions/{id}/reinstate")
                .route(web::get().to(ask_undo_submission))
                .route(web::post().to(undo_submission)),
        )
        .service(
            web::resource("/admin/teams/{id}/disqualify")
                .route(web::get().to(ask_team))
                .route(web::post().to(disqualify_team)),
        )
        .service(
            web::resource("/admin/teams/{id}/reinstate")
                .route(web::get().to(ask_undo_team))
                .route(web::post().to(undo_team)),
        );
}

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    out: String,
    #[serde(default)]
    before: String,
}

async fn list(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let zone = visit.zone();
    let states = ["queued", "running", "graded", "rejected", "failed", "cancelled"];
    let known = states.contains(&asked.state.as_str());
    let wanted = Wanted {
        search: words(&asked.q),
        state: known.then(|| asked.state.clone()),
        team: None,
        disqualified: !asked.out.is_empty(),
        before: optional(&asked.before)?,
    };
    let mut page = SubmissionsDeskPage {
        search: asked.q.clone(),
        state: asked.state.clone(),
        only_out: wanted.disqualified,
        states: states.into_iter().map(SubmissionState::parse).collect(),
        ..SubmissionsDeskPage::default()
    };
    if let Some(contest) = &visit.contest {
        let id = &contest.rules.id;
        let board = state.boards.of(&state, contest).await?;
        let mut rows = people::submissions(&state.pool, id, &wanted, PAGE as i64 + 1).await?;
        let more = rows.len() > PAGE;
        rows.truncate(PAGE);
        let link = |before: &str| {
            let pairs = [("q", asked.q.as_str()), ("state", &asked.state), ("out", &asked.out)];
            address("/admin/submissions", &[&pairs[..], &[("before", before)]].concat())
        };
        page.pager = Pager {
            first: wanted.before.map(|_| link("")),
            next: rows.last().filter(|_| more).map(|row| link(&row.id.to_string())),
        };
        let decimals = contest.rules.score.decimals;
        page.rows = rows.into_iter().map(|row| line(row, &board, decimals, zone)).collect();
        let out = disqualifications::in_force(&state.pool, id).await?;
        page.disqualified = out.into_iter().map(|row| disqualified(row, zone)).collect();
    }
    page.page = visit.page;
    Ok(views::html(StatusCode::OK, &page))
}

/// A submission as a row.
pub(super) fn line(row: SubmissionRow, board: &Board, decimals: u32, zone: Tz) -> SubmissionLine {
    let id = row.id.to_string();
    SubmissionLine {
        rank: board.scoreboard.line(&id).and_then(|line| line.rank),
        score: board.scores.get(&row.id).map(|score| format::score(*score, decimals)),
        id,
        title: row.title,
        team: row.team,
        team_id: row.team_id.to_string(),
        state: SubmissionState::parse(row.state.name()),
        received: row.received_at.map(|at| When::new(at, zone)),
        own: row.own,
        whole: row.whole,
    }
}

fn disqualified(row: Disqualification, zone: Tz) -> DisqualifiedRow {
    let (submission, undo) = match row.submission {
        Some(id) => {
            let title = row.title.filter(|title| !title.is_empty());
            let title = title.unwrap_or_else(|| id.to_string());
            (
                Some((title, format!("/submissions/{id}"))),
                format!("/admin/submissions/{id}/reinstate"),
            )
        }
        None => (None, format!("/admin/teams/{}/reinstate", row.team_id)),
    };
    DisqualifiedRow {
        submission,
        team: row.team,
        team_id: row.team_id.to_string(),
        reason: row.reason,
        by: row.by,
        at: Some(When::new(row.at, zone)),
        undo,
    }
}

/// What is out of the ranking, for organizers' programs: the board itself is the same for everybody and lists none of it.
async fn published(state: Data<AppState>, RequireOrganizer(_): RequireOrganizer) -> Result<HttpResponse, ApiError> {
    let contest = current(&state).await?.rules.id;
    let rows = disqualifications::in_force(&state.pool, &contest).await?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "standing": "disqualified", "team": row.team, "submission": row.submission, "title": row.title,
                "reason": row.reason, "by": row.by, "at": row.at,
            })
        })
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "contest": contest, "rows": rows })))
}

/// What a confirmation needs to know of what it is about.
struct About {
    facts: Vec<(String, String)>,
    place: String,
    list: String,
}

async fn about(state: &AppState, visit: &Visit, user: &User, subject: Subject) -> Result<About, ApiError> {
    let locale = visit.locale();
    match subject {
        Subject::Submission(id) => Ok(About {
            facts: facts(locale, &submission(state, id, user).await?, visit.zone()),
            place: format!("/admin/submissions/{id}"),
            list: "/admin/submissions".to_owned(),
        }),
        Subject::Team(id) => {
            let contest = visit.contest.as_ref().ok_or_else(ApiError::not_found)?;
            let found = people::teams(&state.pool, &contest.rules.id, None, Some(id), None, 1).await?;
            let team = found.into_iter().next().ok_or_else(ApiError::not_found)?;
            Ok(About {
                facts: vec![
                    (locale.t("nav-team"), team.name),
                    (locale.t("tab-submissions"), team.submissions.to_string()),
                ],
                place: format!("/admin/teams/{id}"),
                list: format!("/admin/teams/{id}"),
            })
        }
    }
}

async fn ask(
    state: &AppState,
    visit: Visit,
    user: &User,
    subject: Subject,
    answer: &Answer,
    wrong: Option<String>,
) -> Result<HttpResponse, ApiError> {
    let About { facts, place, list } = about(state, &visit, user, subject).await?;
    let locale = visit.locale();
    let (title, lead, button) = match subject {
        Subject::Submission(_) => ("confirm-disqualify", "confirm-disqualify-lead", "disqualify"),
        Subject::Team(_) => (
            "confirm-disqualify-team",
            "confirm-disqualify-team-lead",
            "disqualify-team",
        ),
    };
    let status = if wrong.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let page = ConfirmPage {
        title: locale.t(title),
        lead: locale.t(lead),
        facts,
        action: format!("{place}/disqualify"),
        reason: Some(ReasonField {
            hint: locale.t("reason-team-reads"),
            required: true,
            typed: answer.reason.clone(),
        }),
        button: locale.t(button),
        back: after(&answer.back, &list).to_owned(),
        wrong,
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(status, &page))
}

async fn ask_undo(
    state: &AppState,
    visit: Visit,
    user: &User,
    subject: Subject,
    from: &CameFrom,
) -> Result<HttpResponse, ApiError> {
    let About { mut facts, place, list } = about(state, &visit, user, subject).await?;
    let locale = visit.locale();
    let reason = match subject {
        Subject::Submission(id) => disqualifications::of_submission(&state.pool, id)
            .await?
            .filter(|found| found.submission.is_some())
            .map(|found| found.reason),
        Subject::Team(id) => disqualifications::of_team(&state.pool, id).await?,
    };
    facts.push((locale.t("reason"), reason.ok_or_else(ApiError::not_found)?));
    let page = ConfirmPage {
        title: locale.t("confirm-reinstate"),
        lead: locale.t("confirm-reinstate-lead"),
        facts,
        action: format!("{place}/reinstate"),
        reason: Some(audited(locale, false, &Answer::default())),
        button: locale.t("confirm-reinstate-button"),
        back: after(&from.back, &list).to_owned(),
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(StatusCode::OK, &page))
}

/// Name of what an act was about in the audit log.
fn object(subject: Subject) -> String {
    match subject {
        Subject::Submission(id) => format!("submission:{id}"),
        Subject::Team(id) => format!("team:{id}"),
    }
}

async fn disqualify(
    state: &AppState,
    request: &HttpRequest,
    user: &User,
    mut visit: Visit,
    subject: Subject,
    answer: &Answer,
) -> Result<HttpResponse, ApiError> {
    let Some(reason) = answer.reason().ok().filter(|reason| !reason.is_empty()) else {
        visit.page.path = request.path().to_owned();
        let wrong = visit.locale().t("reason-missing");
        return ask(state, visit, user, subject, answer, Some(wrong)).await;
    };
    let About { list, .. } = about(state, &visit, user, subject).await?;
    let (action, detail) = match subject {
        Subject::Submission(_) => ("submission.disqualify", json!({ "reason": reason })),
        Subject::Team(_) => ("team.disqualify", json!({ "reason": reason })),
    };
    let mut transaction = state.pool.begin().await?;
    let what = match disqualifications::disqualify(&mut transaction, subject, &reason, user.id).await? {
        Done::Nothing => return Err(ApiError::not_found()),
        Done::Before => "nothing",
        Done::Now => {
            record(&mut transaction, request, user, action, &object(subject), detail).await?;
            "disqualified"
        }
    };
    transaction.commit().await?;
    state.boards.changed();
    Ok(see_other(&done(&answer.back, &list, what)))
}

async fn undo(
    state: &AppState,
    request: &HttpRequest,
    user: &User,
    visit: &Visit,
    subject: Subject,
    answer: &Answer,
) -> Result<HttpResponse, ApiError> {
    let reason = answer.reason()?;
    let About { list, .. } = about(state, visit, user, subject).await?;
    let action = match subject {
        Subject::Submission(_) => "submission.reinstate",
        Subject::Team(_) => "team.reinstate",
    };
    let mut transaction = state.pool.begin().await?;
    let what = match disqualifications::undo(&mut transaction, subject, user.id).await? {
        Done::Now => {
            let detail = json!({ "reason": reason });
            record(&mut transaction, request, user, action, &object(subject), detail).await?;
            "reinstated"
        }
        Done::Before | Done::Nothing => "nothing",
    };
    transaction.commit().await?;
    state.boards.changed();
    Ok(see_other(&done(&answer.back, &list, what)))
}

async fn ask_submission(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let answer = Answer {
        back: from.into_inner().back,
        ..Answer::default()
    };
    ask(&state, visit, &user, Subject::Submission(*id), &answer, None).await
}

async fn disqualify_submission(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    disqualify(&state, &request, &user, visit, Subject::Submission(*id), &answer).await
}

async fn ask_undo_submission(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    ask_undo(&state, visit, &user, Subject::Submission(*id), &from).await
}

async fn undo_submission(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<SubmissionId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    undo(&state, &request, &user, &visit, Subject::Submission(*id), &answer).await
}

async fn ask_team(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<TeamId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let answer = Answer {
        back: from.into_inner().back,
        ..Answer::default()
    };
    ask(&state, visit, &user, Subject::Team(*id), &answer, None).await
}

async fn disqualify_team(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<TeamId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    disqualify(&state, &request, &user, visit, Subject::Team(*id), &answer).await
}

async fn ask_undo_team(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<TeamId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    ask_undo(&state, visit, &user, Subject::Team(*id), &from).await
}

async fn undo_team(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<TeamId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    undo(&state, &request, &user, &visit, Subject::Team(*id), &answer).await
}
