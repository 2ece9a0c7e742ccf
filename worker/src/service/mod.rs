//! Service mode: claim an attempt, grade it, report it, again.
//!
//! - [`identity`]: the worker's key on disk
//! - [`session`]: a signed challenge becomes a short session
//! - [`intake`]: where work comes from
//! - [`doorbell`]: announcements on the broker
//! - [`client`]: one call to the server each
//! - [`retry`]: how long to wait before the next try
//! - [`cache`]: fetched files by sha256, bounded
//! - [`fetch`]: one file, ranged, resumed, checked
//! - [`heartbeat`]: keeps the lease alive while the pipeline works
//! - [`abort`]: why an attempt should stop
//! - [`attempt`]: one attempt from claim to result
//! - [`signals`]: SIGTERM drains, a second one releases

pub mod abort;
pub mod attempt;
pub mod cache;
pub mod client;
pub mod doorbell;
pub mod fetch;
pub mod heartbeat;
pub mod identity;
pub mod intake;
pub mod retry;
pub mod session;
pub mod signals;
