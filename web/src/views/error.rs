//! A page for what went wrong.

use super::page::Page;
use askama::Template;

/// An error as people see it.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// What every page carries.
    pub page: Page,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What happened, in the page's language.
    pub message: String,
    /// The request's id, for the log; may be empty.
    pub request_id: String,
}

impl ErrorPage {
    /// Whether asking again may help.
    pub fn again(&self) -> bool {
        self.status == 429 || self.status >= 500
    }

    /// The message key of what to do now.
    pub fn way_key(&self) -> &'static str {
        match self.status {
            401 | 403 => "error-way-forbidden",
            404 => "error-way-not-found",
            410 => "error-way-gone",
            429 => "error-way-too-many",
            400..500 => "error-way-request",
            _ => "error-way-server",
        }
    }

    /// The heading's message key: one for each status people meet.
    pub fn heading_key(&self) -> &'static str {
        match self.status {
            401 | 403 => "error-heading-forbidden",
            404 => "error-heading-not-found",
            410 => "error-heading-gone",
            429 => "error-heading-too-many",
            400..500 => "error-heading-request",
            _ => "error-heading-server",
        }
    }
}
