//! Two graded submissions beside each other, document by document.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Query, ServiceConfig};
use assay_contest::Score;
use assay_contest::statistics::{Table, compare};
use assay_contest::wire::ItemScores;
use serde::Deserialize;

use super::visit::{Visit, with_query};
use crate::auth::User;
use crate::boards::Board;
use crate::db::contests::StoredContest;
use crate::db::ids::{JobId, SubmissionId};
use crate::db::results;
use crate::db::submissions::{self, Reader};
use crate::error::ApiError;
use crate::outcomes::Lens;
use crate::scoreboard::whole;
use crate::state::AppState;
use crate::views::{self, ComparePage, CompareRow, Side};

/// `/compare`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/compare").route(web::get().to(page)));
}

/// Where two submissions are compared.
pub(super) fn address(a: &str, b: &str) -> String {
    with_query("/compare", &[("a", a), ("b", b)])
}

#[derive(Deserialize)]
struct Two {
    a: SubmissionId,
    b: SubmissionId,
}

async fn page(state: Data<AppState>, visit: Visit, two: Query<Two>) -> Result<HttpResponse, ApiError> {
    let contest = visit.contest.as_ref().ok_or_else(ApiError::not_found)?;
    let board = state.boards.of(&state, contest).await?;
    let user = visit.viewer.user.as_ref();
    let (job_a, first) = side(&state, contest, &board, user, two.a).await?;
    let (job_b, second) = side(&state, contest, &board, user, two.b).await?;
    let lens = Lens::of(&state, contest).await.map_err(ApiError::internal)?;
    let a = lens.items(results::items(&state.pool, job_a).await?);
    let b = lens.items(results::items(&state.pool, job_b).await?);
    let score = contest.rules.score.clone();
    let (decimals, confidence) = (score.decimals, views::format::confidence(score.confidence));
    // Documents are drawn thousands of times for each row.
    let rows = web::block(move || rows(&a, &b, &score)).await;
    let page = ComparePage {
        rows: rows.map_err(ApiError::internal)?,
        sides: [first, second],
        decimals,
        confidence,
        sealing: lens.sealing(),
        swap: address(&two.b.to_string(), &two.a.to_string()),
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

/// One of the two with the result that counts for it: what stands on the board is for everybody, a team's other graded
/// submissions for the team. Anything else is not there.
async fn side(
    state: &AppState,
    contest: &StoredContest,
    board: &Board,
    user: Option<&User>,
    id: SubmissionId,
) -> Result<(JobId, Side), ApiError> {
    let own = match user {
        Some(user) => {
            let reader = Reader {
                user: user.id,
                organizer: user.role.organizes(),
            };
            submissions::find(&state.pool, id, reader).await?
        }
        None => None,
    };
    let href = own.is_some().then(|| format!("/submissions/{id}"));
    if let Some(line) = board.scoreboard.line(&id.to_string()) {
        let side = Side {
            team: line.team.clone(),
            title: line.title.clone(),
            href,
            rank: line.rank,
            score: line.score,
            bytes: line.bytes,
        };
        return Ok((line.job, side));
    }
    let own = own.filter(|own| own.contest_id == contest.rules.id);
    let own = own.ok_or_else(ApiError::not_found)?;
    let result = results::latest(&state.pool, id).await?;
    let result = result.filter(|result| result.outcome == "graded");
    let result = result.ok_or_else(ApiError::not_found)?;
    let side = Side {
        team: own.team,
        title: own.title,
        href,
        rank: None,
        score: board.scores.get(&id).copied(),
        bytes: board
            .outcome(result.job)
            .and_then(|of| whole(*of.measures.get("bytes")?)),
    };
    Ok((result.job, side))
}

/// One row for every metric that both have outcomes of, in the order of the first.
fn rows(a: &[ItemScores], b: &[ItemScores], score: &Score) -> Vec<CompareRow> {
    let row = |a: &ItemScores| {
        let b = b.iter().find(|b| (&b.task, &b.key) == (&a.task, &a.key))?;
        let found = compare(&a.task, &a.values, &b.values, score.confidence, score.resamples)?;
        let (metric, filter) = a.key.split_once(',').unwrap_or((&a.key, "none"));
        let counts = |table: Table| [table.both, table.only_a, table.only_b, table.neither].map(|n| n as u64);
        Some(CompareRow {
            task: a.task.clone(),
            metric: metric.to_owned(),
            filter: filter.to_owned(),
            n: found.n as u64,
            table: found.table.map(counts),
            difference: found.difference,
            interval: Some(found.interval),
            p: Some(found.p()),
            differs: found.is_significant(score.confidence),
        })
    };
    a.iter().filter_map(row).collect()
}
