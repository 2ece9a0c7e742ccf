//! Signing up and logging in.

use super::page::Page;
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
