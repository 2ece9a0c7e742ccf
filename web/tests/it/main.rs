//! The application as a whole, over HTTP: every test starts its own on a free port with its own database.

mod accounts;
mod commands;
mod csrf;
mod errors;
mod helpers;
mod locale;
mod sessions;
mod teams;
