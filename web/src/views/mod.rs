//! The pages as plain data and their templates. No database types, no HTTP beyond [`html`].
//!
//! A handler fills one of these structs and answers [`html`]. Every page carries a [`Page`].

mod account;
mod admin;
mod board;
mod certificate;
mod chart;
mod compare;
mod error;
mod filters;
pub mod format;
mod inspection;
mod lineage;
mod measures;
mod page;
mod problem;
mod report;
mod report_json;
mod sample;
mod stages;
mod submission;
mod submissions;
mod team;
mod time_track;
mod treemap;
mod weight;

pub use account::{AccountPage, ChoosePage, FieldError, LoginPage, MailedPage, ResetPage, SessionRow, SignupPage};
pub use admin::{
    AdminPage, AdminTeamPage, AttemptLine, AuditPage, AuditRow, ConfirmPage, ContestPage, Difference, DisqualifiedRow,
    EnrolmentView, JobPage, JobRow, Move, Pager, PersonRow, PreviewPage, QueuePage, ReasonField, SealView, StateCount,
    SubmissionLine, SubmissionsDeskPage, TeamLine, TeamsPage, UsersPage, VersionPage, VersionRow, WorkerRow,
    WorkerStatus, WorkersPage,
};
pub(crate) use admin::{job_key, role_key};
pub use board::{BoardFilter, BoardPage, BoardRow, BoardStanding, ColumnGroup, FloorView, Heading, PublicStanding};
pub use certificate::CertificateView;
pub use chart::{Chart, Point, PointKind};
pub use compare::{ComparePage, CompareRow, Side};
pub use error::ErrorPage;
pub use inspection::InspectionFragment;
pub use lineage::LineageFragment;
pub use measures::{Cell, MeasureColumn, MeasureKind, spread};
pub use page::{ContestInfo, Page, PhaseInfo, Theme, ViewerInfo, When};
pub use problem::ProblemView;
pub use report::{ReportFragment, ScoreView, Sealing, TaskMeasure, TaskView};
pub use sample::{Parting, SampleView};
pub use stages::{DisqualifiedView, STEPS, StageFacts, StagesFragment, Step, StepStatus, SubmissionState};
pub use submission::{FileRow, SubmissionPage, snapshot};
pub use submissions::{
    DraftFile, DraftView, NewSubmissionPage, QuotaView, SubmissionRow, SubmissionsPage, SubmitGate, UploadLimits,
};
pub use team::{MemberRow, TeamInfo, TeamPage};
pub use time_track::{TimeTrackView, workload};
pub use weight::{Area, DeviceView, HintView, MemoryView, Room, WeightFragment, WeightGroup};

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use askama::Template;

/// A page as a response. It varies by language and by who asks, and is never kept by a shared cache.
pub fn html(status: StatusCode, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(body) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((header::VARY, "Accept-Language, Cookie"))
            .insert_header((header::CACHE_CONTROL, "private, no-cache"))
            .body(body),
        Err(error) => {
            tracing::error!(%error, "a template failed");
            HttpResponse::InternalServerError().finish()
        }
    }
}

#[cfg(test)]
mod tests;
