//! The board: a page for people, JSON with an ETag for programs, a table for spreadsheets. All are drawn from one computation.

mod arrange;
mod rows;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::Order;
use assay_contest::rules::Judge;
use serde::Deserialize;
use std::sync::Arc;

use super::precheck::current;
use super::visit::Visit;
use crate::boards::{Board, Published};
use crate::db::{board, contests};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::scoreboard::counting;
use crate::state::AppState;
use crate::views::{self, BoardPage, FloorView, MeasureColumn, When};

/// `/`, `/api/v1/board`, `/board.json` and `/board.csv`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/").route(web::get().to(page)))
        .service(web::resource(["/api/v1/board", "/board.json"]).route(web::get().to(json)))
        .service(web::resource("/board.csv").route(web::get().to(csv)));
}

#[derive(Deserialize)]
struct Which {
    contest: Option<String>,
}

impl Which {
    async fn board(&self, state: &AppState) -> Result<Arc<Board>, ApiError> {
        match &self.contest {
            Some(id) => {
                let contest = contests::find(&state.pool, id).await?.ok_or_else(ApiError::not_found)?;
                state.boards.of(state, &contest).await
            }
            None => match state.boards.current(state).await? {
                Some(board) => Ok(board),
                // Says why there is none.
                None => Err(current(state).await.err().unwrap_or_else(ApiError::not_found)),
            },
        }
    }
}

/// The board as JSON. Nothing in it depends on who asks or when, so an unchanged board is a 304.
async fn json(state: Data<AppState>, request: HttpRequest, which: Query<Which>) -> Result<HttpResponse, ApiError> {
    let board = which.board(&state).await?;
    Ok(published(&request, &board.body, "application/json", None))
}

/// The board as a table to keep.
async fn csv(state: Data<AppState>, request: HttpRequest, which: Query<Which>) -> Result<HttpResponse, ApiError> {
    let board = which.board(&state).await?;
    let name = Some("attachment; filename=\"board.csv\"");
    Ok(published(&request, &board.csv, "text/csv; charset=utf-8", name))
}

fn published(request: &HttpRequest, body: &Published, media: &'static str, name: Option<&'static str>) -> HttpResponse {
    let asked = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok())
        .unwrap_or_default();
    let known = asked
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag.as_bytes() == body.etag.as_bytes());
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, body.etag.clone()))
        .insert_header((header::CACHE_CONTROL, "public, no-cache"))
        .content_type(media);
    if let Some(name) = name {
        response.insert_header((header::CONTENT_DISPOSITION, name));
    }
    if known {
        response.finish()
    } else {
        response.body(body.bytes.clone())
    }
}

/// How the page is looked at. All of it is in the address, so that what one sees can be sent to another.
#[derive(Clone, Debug, Default, Deserialize)]
struct Look {
    /// A column, with `-` before it from its largest value down.
    #[serde(default)]
    sort: String,
    /// Part of a team's or a submission's name.
    #[serde(default)]
    q: String,
    /// Only teams with a rank.
    #[serde(default)]
    ranked: String,
    /// The accuracy in the drawing.
    #[serde(default)]
    chart: String,
}

/// The board as a page.
async fn page(state: Data<AppState>, visit: Visit, look: Query<Look>) -> Result<HttpResponse, ApiError> {
    let locale = visit.locale();
    let zone = visit.zone();
    let mut page = BoardPage {
        page: visit.page,
        ..BoardPage::default()
    };
    if let Some(contest) = &visit.contest {
        let rules = &contest.rules;
        let board = state.boards.of(&state, contest).await?;
        page.digest = board.body.digest().to_owned();
        let board = &board.scoreboard;
        let counting = counting(rules);
        let columns = rows::columns(locale, rules, board, &counting);
        let viewer = rows::Viewer {
            team: visit.team.as_ref().map(|team| team.id),
            organizer: visit.viewer.user.as_ref().is_some_and(|user| user.role.organizes()),
        };
        let all = rows::teams(board, &columns, locale, zone, &viewer);
        page.pinned = rows::pinned(board, &columns, locale);
        page.total = all.len();
        page.ranked = all.iter().filter(|row| row.standing.is_ranked()).count();
        page.chart = arrange::chart(rules, &columns, &page.pinned, &all, &look);
        page.rivals = rows::rivals(&all);
        page.groups = arrange::groups(locale, &columns);
        page.headings = arrange::headings(&columns, &look);
        page.rows = arrange::rows(all, &columns, &look);
        page.filter = arrange::filter(&look);
        page.columns = columns;
        page.formula = rules.score.formula.clone();
        page.decimals = rules.score.decimals;
        page.descending = rules.score.order == Order::Descending;
        page.confidence = views::format::confidence(rules.score.confidence);
        page.resamples = u64::from(rules.score.resamples);
        page.workload = rules.grading.time.map(|work| views::workload(locale, &work));
        page.sealing = board.sealing;
        // What the decimals shown cannot tell apart is no luck.
        let least = 0.5 * 10f64.powi(-i32::try_from(rules.score.decimals).unwrap_or(0));
        page.score_resolution = board.resolution.score.filter(|smallest| *smallest >= least);
        page.resolution = resolution(locale, &board.resolution.measures);
        page.floors = rules
            .score
            .floors
            .iter()
            .map(|floor| FloorView {
                measure: floor.measure.clone(),
                at_least: floor.at_least,
                bound: floor.judge == Judge::LowerBound,
            })
            .collect();
        page.updated = board::updated(&state.pool, &rules.id)
            .await?
            .map(|at| When::new(at, zone));
        page.events_url = Some("/board/events".to_owned());
    }
    Ok(views::html(StatusCode::OK, &page))
}

/// The least differences of accuracies, those of the same value together: with equally many documents they are the same.
fn resolution(locale: Locale, least: &std::collections::BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = Vec::new();
    for (key, smallest) in least {
        let name = MeasureColumn::from_key(locale, key).label;
        match found.iter_mut().find(|(_, known)| known == smallest) {
            Some((names, _)) if names.split(", ").any(|known| known == name) => {}
            Some((names, _)) => {
                names.push_str(", ");
                names.push_str(&name);
            }
            None => found.push((name, *smallest)),
        }
    }
    found
}
