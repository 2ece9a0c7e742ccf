//! The workers.

use askama::Template;

use super::super::filters;
use super::super::page::Page;
use super::{EnrolmentView, WorkerRow};

/// GET `/admin/workers`. Forms: POST `/admin/enrol`, POST `/admin/workers/{id}/drain` and `/resume` (`csrf`).
#[derive(Debug, Default, Template)]
#[template(path = "admin/workers.html")]
pub struct WorkersPage {
    /// What every page carries.
    pub page: Page,
    /// All workers.
    pub workers: Vec<WorkerRow>,
    /// A fresh one-time enrolment token, shown once after it was made.
    pub enrolment: Option<EnrolmentView>,
}
