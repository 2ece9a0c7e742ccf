//! The queue by state and age.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Query, ServiceConfig};
use serde::Deserialize;

use super::job::row;
use super::{PAGE, address, notice, optional, words};
use crate::auth::RequireOrganizer;
use crate::controllers::visit::Visit;
use crate::db::fleet;
use crate::db::queue::{self, Cursor, Filter};
use crate::error::ApiError;
use crate::state::AppState;
use crate::views::{self, Pager, QueuePage, StateCount};

/// States of jobs, those that need a person first.
const STATES: [&str; 6] = ["quarantined", "queued", "running", "failed", "succeeded", "cancelled"];

/// `/admin/queue`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/queue").route(web::get().to(list)));
}

/// What the addresses of the queue say.
#[derive(Clone, Deserialize, Default)]
pub(super) struct Asked {
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) class: String,
    #[serde(default)]
    pub(super) q: String,
    #[serde(default)]
    pub(super) worker: String,
    #[serde(default)]
    pub(super) older: String,
    #[serde(default)]
    pub(super) order: String,
    #[serde(default)]
    pub(super) from: String,
}

impl Asked {
    /// Which jobs it asks for.
    pub(super) fn filter(&self) -> Result<Filter, ApiError> {
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

    /// The address at `path` that asks for the same jobs in `state`.
    pub(super) fn address(&self, path: &str, state: &str, order: &str, from: &str) -> String {
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
