//! The audit log: read, filtered, taken away as CSV or JSON. Nothing here changes it.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Query, ServiceConfig};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::Value;

use super::{PAGE, address, optional, words};
use crate::auth::RequireOrganizer;
use crate::controllers::visit::Visit;
use crate::db::trail::{self, Filter, Line};
use crate::error::ApiError;
use crate::state::AppState;
use crate::views::{self, AuditPage, AuditRow, Pager, When};

/// Most entries of one export; the filter by time gives the rest.
const EXPORTED: i64 = 50_000;

/// `/admin/audit`, `/admin/audit.csv` and `/admin/audit.json`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/audit").route(web::get().to(list)))
        .service(web::resource("/admin/audit.csv").route(web::get().to(csv)))
        .service(web::resource("/admin/audit.json").route(web::get().to(json)));
}

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    before: String,
}

impl Asked {
    fn filter(&self, zone: Tz) -> Result<Filter, ApiError> {
        let day = |text: &str, later: u64| -> Result<Option<DateTime<Utc>>, ApiError> {
            let day: Option<NaiveDate> = optional(text)?;
            Ok(day.and_then(|day| {
                let midnight = day.checked_add_days(Days::new(later))?.and_hms_opt(0, 0, 0)?;
                Some(zone.from_local_datetime(&midnight).earliest()?.to_utc())
            }))
        };
        Ok(Filter {
            actor: words(&self.actor),
            action: words(&self.action),
            object: words(&self.object),
            since: day(&self.since, 0)?,
            // The last day belongs to what was asked for.
            until: day(&self.until, 1)?,
            before: optional(&self.before)?,
        })
    }

    fn address(&self, path: &str, before: &str) -> String {
        address(
            path,
            &[
                ("actor", &self.actor),
                ("action", &self.action),
                ("object", &self.object),
                ("since", &self.since),
                ("until", &self.until),
                ("before", before),
            ],
        )
    }
}

async fn list(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let zone = visit.zone();
    let filter = asked.filter(zone)?;
    let mut lines = trail::find(&state.pool, &filter, PAGE as i64 + 1).await?;
    let more = lines.len() > PAGE;
    lines.truncate(PAGE);
    let last = lines.last().filter(|_| more).map(|line| line.id.to_string());
    let page = AuditPage {
        rows: lines.into_iter().map(|line| row(line, zone)).collect(),
        actor: asked.actor.clone(),
        action: asked.action.clone(),
        object: asked.object.clone(),
        since: asked.since.clone(),
        until: asked.until.clone(),
        pager: Pager {
            first: filter.before.map(|_| asked.address("/admin/audit", "")),
            next: last.map(|last| asked.address("/admin/audit", &last)),
        },
        exports: [
            asked.address("/admin/audit.csv", ""),
            asked.address("/admin/audit.json", ""),
        ],
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

fn row(line: Line, zone: Tz) -> AuditRow {
    let href = line.object.split_once(':').and_then(|(kind, id)| match kind {
        "submission" => Some(format!("/submissions/{id}")),
        "job" => Some(format!("/admin/jobs/{id}")),
        "team" => Some(format!("/admin/teams/{id}")),
        "worker" => Some("/admin/workers".to_owned()),
        "contest" => Some("/admin/contest".to_owned()),
        _ => None,
    });
    let mut detail = Vec::new();
    let mut reason = None;
    if let Value::Object(fields) = line.detail {
        for (name, value) in fields {
            let value = plain(&value);
            if value.is_empty() {
                continue;
            }
            if name == "reason" {
                reason = Some(value);
            } else {
                detail.push((name, value));
            }
        }
    }
    for (name, value) in [("before", line.before), ("after", line.after)] {
        detail.extend(value.map(|value| (name.to_owned(), plain(&value))));
    }
    AuditRow {
        id: line.id,
        at: Some(When::new(line.at, zone)),
        actor: line.actor,
        email: line.email.unwrap_or_default(),
        action: line.action,
        object: line.object,
        href,
        reason,
        detail,
        request: [line.network, line.request_id].join(" ").trim().to_owned(),
    }
}

/// A value as people read it: `role: organizer, sessions: 2`. The downloads have it as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

fn attachment(kind: &'static str, name: &str, body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

async fn json(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let lines = trail::find(&state.pool, &asked.filter(visit.zone())?, EXPORTED).await?;
    let body = serde_json::to_vec(&lines).map_err(ApiError::internal)?;
    Ok(attachment("application/json", "audit.json", body))
}

async fn csv(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let lines = trail::find(&state.pool, &asked.filter(visit.zone())?, EXPORTED).await?;
    // The mark at the start is what makes Excel read it as UTF-8.
    let mut body = String::from("\u{feff}id,at,actor,email,action,object,detail,before,after,network,request_id\r\n");
    for line in lines {
        let cells = [
            line.id.to_string(),
            line.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            line.actor.unwrap_or_default(),
            line.email.unwrap_or_default(),
            line.action,
            line.object,
            line.detail.to_string(),
            line.before.map(|value| value.to_string()).unwrap_or_default(),
            line.after.map(|value| value.to_string()).unwrap_or_default(),
            line.network,
            line.request_id,
        ];
        body.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        body.push_str("\r\n");
    }
    Ok(attachment("text/csv; charset=utf-8", "audit.csv", body.into_bytes()))
}

/// A cell. What a spreadsheet would take for a formula gets a mark in front: names are people's own words.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = cell.replace('"', "\"\"");
    if formula {
        format!("\"'{cell}\"")
    } else {
        format!("\"{cell}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, quoted};
    use serde_json::json;

    #[test]
    fn values_are_read_without_knowing_json() {
        let before = json!({"quota": null, "roles": ["organizer", "admin"], "why": {"n": 2}});
        assert_eq!(plain(&before), "quota: –, roles: organizer, admin, why: n: 2");
        assert_eq!(plain(&json!("as it is")), "as it is");
    }

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
