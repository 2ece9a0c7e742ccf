//! The organizers' desk, one file a domain. Every act is one audited transaction; what cannot simply be done again has a
//! page before it that asks. Nothing here needs a script.

mod audit;
mod contest;
mod desk;
mod job;
mod orders;
mod people;
mod queue;
mod rerun_many;
mod submissions;
mod workers;

use actix_web::HttpRequest;
use actix_web::web::ServiceConfig;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::visit::{Visit, after, with_query};
use crate::auth::User;
use crate::auth::viewer::Role;
use crate::db::audit::{self as log, Entry};
use crate::error::ApiError;
use crate::middleware::origin;

pub(super) use desk::{Said, draw};

/// Rows of a page of a list.
const PAGE: usize = 50;
/// Longest reason, in characters.
const REASON_CHARS: usize = 500;
/// Longest text to look for, in characters.
const SEARCH_CHARS: usize = 100;

/// `/admin…`.
pub fn configure(cfg: &mut ServiceConfig) {
    desk::configure(cfg);
    queue::configure(cfg);
    rerun_many::configure(cfg);
    job::configure(cfg);
    orders::configure(cfg);
    workers::configure(cfg);
    submissions::configure(cfg);
    contest::configure(cfg);
    people::configure(cfg);
    audit::configure(cfg);
}

/// Writes one line of the audit log, in the transaction of what it records.
pub(super) async fn record(
    transaction: &mut PgConnection,
    request: &HttpRequest,
    user: &User,
    action: &str,
    object: &str,
    detail: Value,
) -> sqlx::Result<()> {
    let entry = Entry::new(action, object).by(user.id).detail(detail);
    log::record(transaction, &origin(request), entry).await
}

/// What the form of a confirmation carries beside its own fields.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    back: String,
}

/// Where a page of ours was asked from.
#[derive(Deserialize, Default)]
struct CameFrom {
    #[serde(default)]
    back: String,
}

impl Answer {
    /// The reason as it is kept: one line, bounded.
    ///
    /// # Errors
    /// 422 when it is too long.
    fn reason(&self) -> Result<String, ApiError> {
        let reason = self.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
        if reason.chars().count() <= REASON_CHARS {
            return Ok(reason);
        }
        Err(ApiError::unprocessable(
            "reason-invalid",
            "Give a reason of at most 500 characters.",
            "500자 이내로 사유를 적으세요.",
        ))
    }
}

/// Where to go after an act, saying what was done.
fn done(back: &str, otherwise: &str, what: &str) -> String {
    let to = after(back, otherwise);
    let (to, fragment) = to.split_once('#').unwrap_or((to, ""));
    // Whatever was said before is over.
    let (path, query) = to.split_once('?').unwrap_or((to, ""));
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("done="));
    let mut address = path.to_owned();
    for (at, pair) in kept.chain([format!("done={what}").as_str()]).enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(pair);
    }
    if !fragment.is_empty() {
        address.push('#');
        address.push_str(fragment);
    }
    address
}

/// Says on the page what was just done: the sentence of `done=…` in its address.
fn notice(visit: &mut Visit) {
    let query = visit.page.path.split_once('?').map_or("", |(_, query)| query);
    let said = query.split('&').find_map(|pair| pair.strip_prefix("done="));
    let key = match said {
        Some("cancelled") => "done-cancelled",
        Some("rerun") => "done-rerun",
        Some("priority") => "done-priority",
        Some("disqualified") => "done-disqualified",
        Some("reinstated") => "done-reinstated",
        Some("drained") => "done-drained",
        Some("resumed") => "done-resumed",
        Some("revoked") => "done-revoked",
        Some("role") => "done-role",
        Some("sessions") => "done-sessions",
        Some("quota") => "done-quota",
        Some("adopted") => "done-adopted",
        Some("revealed") => "done-revealed",
        Some("nothing") => "done-nothing",
        _ => return,
    };
    visit.page.notice = Some(visit.locale().t(key));
}

/// A text to look for, bounded; nothing when it is blank.
fn words(text: &str) -> Option<String> {
    let text: String = text.trim().chars().take(SEARCH_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

/// A field that may be left empty. An id that is no id finds nothing, which is said as such.
fn optional<T: std::str::FromStr>(text: &str) -> Result<Option<T>, ApiError> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(
                "query-invalid",
                "The part of the address after the question mark cannot be understood.",
                "주소에서 물음표 뒤의 내용을 이해할 수 없습니다.",
            )
        }),
    }
}

/// `path` with those pairs that say something.
fn address(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
    with_query(path, &pairs)
}

/// An admin, or 403.
fn admin_only(user: &User) -> Result<(), ApiError> {
    if user.role == Role::Admin {
        return Ok(());
    }
    Err(ApiError::new(
        actix_web::http::StatusCode::FORBIDDEN,
        "admins-only",
        "Only an admin can do this.",
        "관리자만 할 수 있는 작업입니다.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_once() {
        assert_eq!(done("", "/admin", "rerun"), "/admin?done=rerun");
        assert_eq!(
            done("/admin/queue?state=failed&done=cancelled", "/admin", "rerun"),
            "/admin/queue?state=failed&done=rerun"
        );
        assert_eq!(done("//evil.example", "/admin", "rerun"), "/admin?done=rerun");
        assert_eq!(done("/x#y", "/admin", "rerun"), "/x?done=rerun#y");
    }

    #[test]
    fn reasons_are_one_bounded_line() {
        let reason = |text: &str| {
            Answer {
                reason: text.to_owned(),
                back: String::new(),
            }
            .reason()
            .ok()
        };
        assert_eq!(reason("  two\r\n lines\u{7} "), Some("two lines".to_owned()));
        assert_eq!(reason(&"가".repeat(500)).map(|text| text.chars().count()), Some(500));
        assert_eq!(reason(&"a".repeat(501)), None);
    }
}
