//! What was done, by whom.

use askama::Template;

use super::super::page::{Page, When};
use super::Pager;

/// GET `/admin/audit`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/audit.html")]
pub struct AuditPage {
    /// What every page carries.
    pub page: Page,
    /// Newest first.
    pub rows: Vec<AuditRow>,
    /// The actor asked for.
    pub actor: String,
    /// The action asked for.
    pub action: String,
    /// The object asked for.
    pub object: String,
    /// The first day asked for: `2026-11-21`.
    pub since: String,
    /// The last day asked for.
    pub until: String,
    /// Where the list goes on.
    pub pager: Pager,
    /// The same entries as CSV and as JSON.
    pub exports: [String; 2],
}

/// One entry.
#[derive(Clone, Debug, Default)]
pub struct AuditRow {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Option<When>,
    /// Who; `None` for the system and strangers.
    pub actor: Option<String>,
    /// Their address.
    pub email: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// The address of that, where it has a page.
    pub href: Option<String>,
    /// Why, in the actor's words.
    pub reason: Option<String>,
    /// The rest: name and value.
    pub detail: Vec<(String, String)>,
    /// The request that did it.
    pub request: String,
}
