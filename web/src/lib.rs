//! The HTTP application of Assay: pages, API, uploads, queue and admin.
//!
//! The shape, from the outside in: `commands` parse a command line and call [`startup`]; `startup` builds one
//! [`AppState`](state::AppState) and hands it to every HTTP worker; `middleware` wraps each request (request id, security
//! headers, error pages, CSRF); `controllers` hold one file a page or verb, each with
//! `pub fn configure(cfg: &mut ServiceConfig)`; `db` holds all SQL, one module an aggregate; `views` turn plain data into
//! HTML. A controller never writes SQL and a view never sees a connection.

pub mod auth;
pub mod background;
pub mod boards;
pub mod commands;
pub mod controllers;
pub mod db;
pub mod dispatch_metrics;
pub mod domain;
pub mod error;
pub mod health;
pub mod i18n;
pub mod ingest;
pub mod job_token;
pub mod live;
pub mod mail;
pub mod metrics;
pub mod middleware;
pub mod outcomes;
pub mod particles;
pub mod precheck;
pub mod reconciler;
pub mod relay;
pub mod scoreboard;
pub mod sealing;
pub mod serve;
pub mod settings;
pub mod spreadsheet;
pub mod sse;
pub mod startup;
pub mod state;
pub mod storage;
pub mod telemetry;
pub mod transfers;
pub mod upload_token;
pub mod uploader;
pub mod views;
pub mod worker_session;

/// The schema, compiled in: the same files serve `assay-web migrate`, the start-up check and every test's own database.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
