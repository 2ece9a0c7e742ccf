//! The board: a page for people, JSON with an ETag for programs. Both are drawn from one computation.

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::{Order, Standing};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::precheck::current;
use super::visit::Visit;
use crate::db::ids::TeamId;
use crate::db::{board, contests};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::scoreboard::{self, BoardLine, Scoreboard};
use crate::state::AppState;
use crate::views::{self, BoardPage, BoardRow, BoardStanding, Cell, FloorView, MeasureColumn, When};

/// `/`, `/api/v1/board` and `/board.json`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/").route(web::get().to(page)))
        .service(web::resource(["/api/v1/board", "/board.json"]).route(web::get().to(published)));
}

#[derive(Deserialize)]
struct Which {
    contest: Option<String>,
}

/// The board as JSON. Nothing in it depends on who asks or when, so an unchanged board is a 304.
async fn published(state: Data<AppState>, request: HttpRequest, which: Query<Which>) -> Result<HttpResponse, ApiError> {
    let contest = match &which.contest {
        Some(id) => contests::find(&state.pool, id).await?.ok_or_else(ApiError::not_found)?,
        None => current(&state).await?,
    };
    let scored = board::scored(&state.pool, &contest.rules.id).await?;
    let (body, digest) = scoreboard::compute(&contest.rules, &scored).published(&contest.rules, &contest.digest);
    let etag = format!("\"{digest}\"");
    let asked = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok())
        .unwrap_or_default();
    let known = asked
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*");
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, "public, no-cache"))
        .content_type("application/json");
    Ok(if known { response.finish() } else { response.body(body) })
}

/// The board as a page.
async fn page(state: Data<AppState>, visit: Visit) -> Result<HttpResponse, ApiError> {
    let locale = visit.locale();
    let zone = visit.zone();
    let mut page = BoardPage {
        page: visit.page,
        columns: Vec::new(),
        base: None,
        rows: Vec::new(),
        formula: String::new(),
        decimals: 0,
        descending: true,
        floors: Vec::new(),
        updated: None,
        events_url: None,
    };
    if let Some(contest) = &visit.contest {
        let rules = &contest.rules;
        let scored = board::scored(&state.pool, &rules.id).await?;
        let board = scoreboard::compute(rules, &scored);
        let shown: Vec<&String> = rules.score.show.iter().filter(|key| *key != "bytes").collect();
        let organizer = visit.viewer.user.as_ref().is_some_and(|user| user.role.organizes());
        let team = visit.team.as_ref().map(|team| team.id);
        page.columns = shown.iter().map(|key| MeasureColumn::from_key(locale, key)).collect();
        page.base = Some(base(&board, &shown));
        page.rows = board
            .rows
            .iter()
            .map(|line| row(line, &shown, locale, zone, team, organizer))
            .collect();
        page.formula = rules.score.formula.clone();
        page.decimals = rules.score.decimals;
        page.descending = rules.score.order == Order::Descending;
        page.floors = rules
            .score
            .floors
            .iter()
            .map(|floor| FloorView {
                measure: floor.measure.clone(),
                at_least: floor.at_least,
            })
            .collect();
        page.updated = board::updated(&state.pool, &rules.id)
            .await?
            .map(|at| When::new(at, zone));
        page.events_url = Some("/board/events".to_owned());
    }
    Ok(views::html(StatusCode::OK, &page))
}

fn base(board: &Scoreboard, shown: &[&String]) -> BoardRow {
    BoardRow {
        standing: BoardStanding::Base,
        team: board.base.name.clone(),
        score: board.base.score,
        bytes: Some(board.base.bytes),
        cells: cells(&board.base.measures, shown),
        ..BoardRow::default()
    }
}

fn row(
    line: &BoardLine,
    shown: &[&String],
    locale: Locale,
    zone: Tz,
    team: Option<TeamId>,
    organizer: bool,
) -> BoardRow {
    let mine = team == Some(line.team_id);
    let received = DateTime::parse_from_rfc3339(&line.received_at)
        .ok()
        .map(|at| at.with_timezone(&Utc));
    BoardRow {
        standing: match &line.standing {
            Standing::Ranked { rank, .. } => BoardStanding::Ranked(*rank),
            Standing::BelowFloor {
                measure,
                value,
                at_least,
                ..
            } => BoardStanding::BelowFloor {
                measure: measure.clone(),
                value: *value,
                at_least: *at_least,
            },
            Standing::Unscored { reason } => BoardStanding::Unscored(locale.pick(&reason.en, &reason.ko).to_owned()),
        },
        team: line.team.clone(),
        title: line.title.clone(),
        href: (mine || organizer).then(|| format!("/submissions/{}", line.submission)),
        mine,
        score: line.score,
        bytes: line.bytes,
        cells: cells(&line.measures, shown),
        received: received.map(|at| When::new(at, zone)),
    }
}

fn cells(measures: &BTreeMap<String, f64>, shown: &[&String]) -> Vec<Cell> {
    let stderr = |key: &str| {
        key.strip_prefix("acc.")
            .and_then(|rest| measures.get(&format!("acc_stderr.{rest}")))
    };
    shown
        .iter()
        .map(|key| Cell {
            value: measures.get(*key).copied(),
            stderr: stderr(key).copied(),
        })
        .collect()
}
