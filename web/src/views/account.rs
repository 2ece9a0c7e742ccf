//! Signing up, logging in, one's account, and passwords set by mail.

use super::page::{Page, When};
use askama::Template;

/// A sentence about one field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's `name`, or an empty string for the form as a whole.
    pub field: String,
    /// The sentence, in the page's language.
    pub message: String,
}

/// GET and failed POST `/signup`. The form posts `csrf`, `name`, `email`, `password` and `next`.
#[derive(Debug, Template)]
#[template(path = "signup.html")]
pub struct SignupPage {
    /// What every page carries.
    pub page: Page,
    /// As typed, when the form comes back with errors.
    pub name: String,
    /// As typed.
    pub email: String,
    /// Where to go afterwards: a local path, or empty.
    pub next: String,
    /// The password is chosen with a link sent by mail, not here.
    pub by_mail: bool,
    /// What was wrong; empty at first sight.
    pub errors: Vec<FieldError>,
}

/// GET and failed POST `/login`. The form posts `csrf`, `email`, `password` and `next`.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    /// What every page carries.
    pub page: Page,
    /// As typed, when the form comes back with errors.
    pub email: String,
    /// Where to go afterwards: a local path, or empty.
    pub next: String,
    /// What was wrong; empty at first sight.
    pub errors: Vec<FieldError>,
}

/// What `/signup` and `/reset` answer to every address: look into your mail.
#[derive(Debug, Template)]
#[template(path = "account_mailed.html")]
pub struct MailedPage {
    /// What every page carries.
    pub page: Page,
    /// The address as typed.
    pub email: String,
    /// Minutes a link is good for.
    pub minutes: u32,
}

/// GET and failed POST `/reset`. The form posts `csrf` and `email`.
#[derive(Debug, Template)]
#[template(path = "reset.html")]
pub struct ResetPage {
    /// What every page carries.
    pub page: Page,
    /// As typed, when the form comes back with errors.
    pub email: String,
    /// This installation sends mail; if not, the page says whom to ask.
    pub works: bool,
    /// What was wrong; empty at first sight.
    pub errors: Vec<FieldError>,
}

/// GET and failed POST `/reset/choose`. The form posts `csrf`, `token` and `password`.
#[derive(Debug, Template)]
#[template(path = "reset_choose.html")]
pub struct ChoosePage {
    /// What every page carries.
    pub page: Page,
    /// The link's token.
    pub token: String,
    /// The address the link was sent to.
    pub email: String,
    /// It finishes a sign-up; else it sets a new password.
    pub signup: bool,
    /// What was wrong; empty at first sight.
    pub errors: Vec<FieldError>,
}

/// A session in the list of one's own.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Names it in the form that ends it.
    pub id: String,
    /// The browser in a few words; may be empty.
    pub device: String,
    /// The truncated address it was started from; may be empty.
    pub network: String,
    /// When it was started.
    pub started: When,
    /// When it was last used.
    pub seen: When,
    /// The one that looks at the page.
    pub current: bool,
}

/// GET `/account` and failed POST `/account/password`. Forms: `/account/password` (`current`, `password`),
/// `/account/sessions/<id>/end`, `/account/sessions/end`.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// What every page carries.
    pub page: Page,
    /// Display name.
    pub name: String,
    /// Address.
    pub email: String,
    /// Live sessions, this one first.
    pub sessions: Vec<SessionRow>,
    /// What was wrong; empty at first sight.
    pub errors: Vec<FieldError>,
}

/// The first error of `field`.
pub(super) fn error_of<'a>(errors: &'a [FieldError], field: &str) -> Option<&'a str> {
    errors
        .iter()
        .find(|error| error.field == field)
        .map(|error| error.message.as_str())
}

impl SignupPage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}

impl LoginPage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}

impl ResetPage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}

impl ChoosePage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}

impl AccountPage {
    /// The first error of `field`.
    pub fn error(&self, field: &str) -> Option<&str> {
        error_of(&self.errors, field)
    }
}
