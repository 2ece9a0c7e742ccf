//! The page between a button and an act that cannot simply be done again.

use askama::Template;

use super::super::page::Page;

/// Says what is about to happen and asks. The form goes to `action` with `csrf`, `back`, `reason` and `hidden`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/confirm.html")]
pub struct ConfirmPage {
    /// What every page carries.
    pub page: Page,
    /// What is asked.
    pub title: String,
    /// What it does and what it does not do.
    pub lead: String,
    /// What it is about: label and value.
    pub facts: Vec<(String, String)>,
    /// Where the form goes.
    pub action: String,
    /// Fields that go with it.
    pub hidden: Vec<(String, String)>,
    /// Whether and how a reason is asked for.
    pub reason: Option<ReasonField>,
    /// The word on the button.
    pub button: String,
    /// Where "no" leads, and where to go afterwards.
    pub back: String,
    /// What was wrong with the answer.
    pub wrong: Option<String>,
}

/// A reason.
#[derive(Clone, Debug, Default)]
pub struct ReasonField {
    /// Who will read it.
    pub hint: String,
    /// It cannot be left empty.
    pub required: bool,
    /// What was typed before.
    pub typed: String,
}
