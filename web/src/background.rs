//! Work that no request asks for: leases that ran out, uploads that were given up.

use std::time::Duration;

use actix_web::web;

use crate::db::ids::FileId;
use crate::db::{attempts, uploads};
use crate::state::AppState;
use crate::storage::ignore_missing;
use crate::uploader::blocking;

/// How often uploads past their time are given up.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Starts both sweeps; they end when the process stops. Any number of processes may run them against one database.
pub fn start(state: web::Data<AppState>) {
    // Often enough that a lost lease is noticed soon after it ends, seldom enough to cost nothing.
    let reap_every = Duration::from_secs(state.settings.lease_seconds).div_f64(4.0).min(Duration::from_secs(5));
    tokio::spawn(every(state.clone(), reap_every, "lost leases", reap));
    tokio::spawn(every(state, EXPIRE_EVERY, "idle uploads", expire));
}

async fn every<F>(state: web::Data<AppState>, period: Duration, what: &str, work: impl Fn(web::Data<AppState>) -> F)
where
    F: Future<Output = anyhow::Result<usize>>,
{
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if state.pool.is_closed() {
            return;
        }
        match work(state.clone()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "swept {what}"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "could not sweep {what}"),
        }
    }
}

async fn reap(state: web::Data<AppState>) -> anyhow::Result<usize> {
    let mut transaction = state.pool.begin().await?;
    let lost = attempts::reap(&mut transaction).await?;
    transaction.commit().await?;
    Ok(lost)
}

async fn expire(state: web::Data<AppState>) -> anyhow::Result<usize> {
    let expired: Vec<FileId> = uploads::expire(&state.pool).await?;
    let count = expired.len();
    let parts: Vec<_> = expired.into_iter().map(|file| state.storage.part(file)).collect();
    blocking(move || parts.into_iter().try_for_each(|part| ignore_missing(std::fs::remove_file(part)))).await?;
    Ok(count)
}
