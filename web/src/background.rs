//! Work that no request asks for: leases that ran out, uploads that were given up, announcements, measurements.

use std::time::Duration;

use actix_web::web;

use crate::db::ids::{FileId, SubmissionId};
use crate::db::{attempts, outbox, submissions, uploads};
use crate::health::Peer;
use crate::relay::Relay;
use crate::state::AppState;
use crate::storage::ignore_missing;
use crate::transfers;
use crate::uploader::blocking;

/// How often uploads past their time are given up.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// Bytes without a row this old are nobody's; younger ones may belong to a request that is about to make it.
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How often the outbox is rid of what was published long ago.
const SWEEP_OUTBOX_EVERY: Duration = Duration::from_secs(3600);
/// How often depths, lags and tallies are read for whoever scrapes them.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Starts all of it; it ends when the process stops. Any number of processes may run them against one database.
pub fn start(state: web::Data<AppState>) {
    // Often enough that a lost lease is noticed soon after it ends, seldom enough to cost nothing.
    let reap_every = Duration::from_secs(state.settings.lease_seconds)
        .div_f64(4.0)
        .min(Duration::from_secs(5));
    tokio::spawn(every(state.clone(), reap_every, "lost leases", reap));
    tokio::spawn(every(state.clone(), EXPIRE_EVERY, "idle uploads", expire));
    tokio::spawn(every(
        state.clone(),
        SWEEP_OUTBOX_EVERY,
        "old announcements",
        sweep_outbox,
    ));
    tokio::spawn(every(state.clone(), MEASURE_EVERY, "measurements", measure));
    tokio::spawn(every(state.clone(), MEASURE_EVERY, "the object store", ask_store));
    if let Some(url) = &state.settings.broker.amqp_url {
        let relay = Relay {
            pool: state.pool.clone(),
            url: url.clone(),
            queue: state.settings.broker.amqp_queue.clone(),
            metrics: state.dispatch.clone(),
            stopping: state.stopping.clone(),
        };
        tokio::spawn(relay.run());
    }
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

async fn sweep_outbox(state: web::Data<AppState>) -> anyhow::Result<usize> {
    Ok(usize::try_from(outbox::sweep(&state.pool).await?)?)
}

async fn measure(state: web::Data<AppState>) -> anyhow::Result<usize> {
    state.health.set_broker(match state.settings.broker.amqp_url {
        None => Peer::Off,
        Some(_) if state.dispatch.broker_up.get() == 1 => Peer::Up,
        Some(_) => Peer::Down,
    });
    state.dispatch.refresh(&state.pool).await?;
    Ok(0)
}

async fn ask_store(state: web::Data<AppState>) -> anyhow::Result<usize> {
    transfers::measure(&state).await?;
    Ok(0)
}

async fn expire(state: web::Data<AppState>) -> anyhow::Result<usize> {
    let expired: Vec<FileId> = uploads::expire(&state.pool).await?;
    let abandoned = submissions::delete_abandoned(&state.pool).await?;
    let lost = give_up_lost(&state).await?;
    // What a crash between a row's end and its bytes' end left behind: bytes without a row.
    let storage = state.storage.clone();
    let (parts, drafts) = blocking(move || {
        Ok((
            storage.idle_parts(ORPHAN_AFTER)?,
            storage.idle_submissions(ORPHAN_AFTER)?,
        ))
    })
    .await?;
    let known = uploads::known(&state.pool, &parts).await?;
    let parts: Vec<FileId> = expired
        .into_iter()
        .chain(parts.into_iter().filter(|part| !known.contains(part)))
        .collect();
    let known = submissions::known(&state.pool, &drafts).await?;
    let drafts: Vec<SubmissionId> = abandoned
        .into_iter()
        .chain(drafts.into_iter().filter(|draft| !known.contains(draft)))
        .collect();
    let count = parts.len() + drafts.len() + lost;
    for part in &parts {
        state.storage.slots().forget_digest(*part);
    }
    let storage = state.storage.clone();
    let scratch = blocking(move || {
        for part in parts {
            ignore_missing(std::fs::remove_file(storage.part(part)))?;
        }
        for draft in drafts {
            storage.remove_draft(draft, &[])?;
        }
        storage.clean_scratch(ORPHAN_AFTER)
    });
    Ok(count + scratch.await?)
}

/// The other direction: rows whose bytes are gone, after a disk was lost or restored from an older copy. Their team is told
/// to send them again, now and not at the moment of submission. Returns how many there were.
pub async fn give_up_lost(state: &AppState) -> anyhow::Result<usize> {
    let resting = uploads::resting(&state.pool).await?;
    let storage = state.storage.clone();
    let missing = blocking(move || {
        Ok(resting
            .into_iter()
            .filter(|file| {
                let promised = file.received.unsigned_abs();
                !storage.holds(file.id, file.submission, &file.name, promised, file.complete)
            })
            .collect::<Vec<_>>())
    })
    .await?;
    let mut count = 0;
    for file in missing {
        if uploads::lost(&state.pool, file.id).await? {
            tracing::error!(file = %file.id, submission = %file.submission, "promised bytes are not on disk");
            count += 1;
        }
    }
    Ok(count)
}
