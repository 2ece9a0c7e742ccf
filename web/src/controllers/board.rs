//! The board: a page for people, JSON with an ETag for programs. Both are drawn from one computation.

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::rules::Judge;
use assay_contest::{Order, Standing};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::compare;
use super::precheck::current;
use super::visit::Visit;
use crate::db::ids::TeamId;
use crate::db::{board, contests};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::scoreboard::{BoardLine, Scoreboard};
use crate::state::AppState;
use crate::views::{self, BoardPage, BoardRow, BoardStanding, Cell, FloorView, MeasureColumn, PublicStanding, When};

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
    let board = state.boards.of(&state, &contest).await?;
    let etag = format!("\"{}\"", board.etag);
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
    Ok(if known {
        response.finish()
    } else {
        response.body(board.body.clone())
    })
}

/// The board as a page.
async fn page(state: Data<AppState>, visit: Visit) -> Result<HttpResponse, ApiError> {
    let locale = visit.locale();
    let zone = visit.zone();
    let mut page = BoardPage {
        page: visit.page,
        ..BoardPage::default()
    };
    if let Some(contest) = &visit.contest {
        let rules = &contest.rules;
        let board = state.boards.of(&state, contest).await?;
        let board = &board.scoreboard;
        let shown: Vec<&String> = rules.score.show.iter().filter(|key| *key != "bytes").collect();
        let organizer = visit.viewer.user.as_ref().is_some_and(|user| user.role.organizes());
        let team = visit.team.as_ref().map(|team| team.id);
        page.columns = shown.iter().map(|key| MeasureColumn::from_key(locale, key)).collect();
        page.base = Some(base(board, &shown));
        page.rows = board
            .rows
            .iter()
            .enumerate()
            .map(|(at, line)| BoardRow {
                compare: neighbour(&board.rows, at).map(|other| {
                    (
                        other.team.clone(),
                        compare::address(&line.submission, &other.submission),
                    )
                }),
                ..row(line, &shown, locale, zone, team, organizer)
            })
            .collect();
        page.formula = rules.score.formula.clone();
        page.decimals = rules.score.decimals;
        page.descending = rules.score.order == Order::Descending;
        page.confidence = views::format::confidence(rules.score.confidence);
        page.resamples = u64::from(rules.score.resamples);
        page.sealing = board.sealing;
        page.score_resolution = board.resolution.score.filter(|smallest| *smallest > 0.0);
        page.resolution = shown
            .iter()
            .filter_map(|key| {
                let smallest = board.resolution.measures.get(*key)?;
                Some((MeasureColumn::from_key(locale, key).label, *smallest))
            })
            .collect();
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

/// The row that a row is compared with: the one above it, for the first the one below.
fn neighbour(rows: &[BoardLine], at: usize) -> Option<&BoardLine> {
    rows.get(at)?.rank?;
    let other = if at == 0 { rows.get(1) } else { rows.get(at - 1) };
    other.filter(|other| other.rank.is_some())
}

fn base(board: &Scoreboard, shown: &[&String]) -> BoardRow {
    BoardRow {
        standing: BoardStanding::Base,
        team: board.base.name.clone(),
        score: board.base.score,
        bytes: Some(board.base.bytes),
        cells: cells(&board.base.measures, &BTreeMap::new(), shown),
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
                bound,
                at_least,
                ..
            } => BoardStanding::BelowFloor {
                measure: measure.clone(),
                value: *value,
                bound: *bound,
                at_least: *at_least,
            },
            Standing::Unscored { reason } => BoardStanding::Unscored(locale.pick(&reason.en, &reason.ko).to_owned()),
        },
        band: line.band.map(|band| (band.best, band.worst)),
        team: line.team.clone(),
        title: line.title.clone(),
        submission: line.submission.clone(),
        href: (mine || organizer).then(|| format!("/submissions/{}", line.submission)),
        mine,
        score: line.score,
        public: line.public.as_ref().map(|public| PublicStanding {
            rank: public.rank,
            score: public.score,
        }),
        bytes: line.bytes,
        cells: cells(&line.measures, &line.intervals, shown),
        received: received.map(|at| When::new(at, zone)),
        compare: None,
    }
}

fn cells(measures: &BTreeMap<String, f64>, intervals: &BTreeMap<String, (f64, f64)>, shown: &[&String]) -> Vec<Cell> {
    let stderr = |key: &str| {
        key.strip_prefix("acc.")
            .and_then(|rest| measures.get(&format!("acc_stderr.{rest}")))
    };
    shown
        .iter()
        .map(|key| Cell {
            value: measures.get(*key).copied(),
            stderr: stderr(key).copied(),
            interval: intervals.get(*key).copied(),
        })
        .collect()
}
