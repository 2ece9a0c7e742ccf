//! The relay: takes outbox rows under a lease, publishes them with confirms, and marks them when the broker has said yes.
//!
//! Any number may run, inside `serve` and as `assay-web relay`. It is at least once by construction: a relay that dies
//! between publishing and marking leaves rows that another one sends again, under the same message id. That is harmless,
//! because a message is only a bell; who gets the job is decided by the claim.

mod broker;

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::outbox::{self, Due, JOB_QUEUED};
use crate::dispatch_metrics::DispatchMetrics;
use crate::reconciler;
use broker::{Broker, Published};

/// How long rows are taken for: longer than a batch's confirms may take, short enough that a dead relay is not missed.
const LEASE: Duration = Duration::from_secs(30);
/// Rows taken at once: all are on the way before the first confirm is waited for.
const BATCH: i64 = 64;
/// How often the table is looked at when nobody rings: rows become due by themselves, and notifications may be lost.
const POLL: Duration = Duration::from_secs(2);
/// First wait before the broker is tried again; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Short: a broker that is back should hear of what waits soon, and one that is not is asked for nothing but a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A connection that lasted this long was a good one: the next failure is a first one.
const GOOD: Duration = Duration::from_secs(30);

/// What a relay needs.
#[derive(Clone)]
pub struct Relay {
    /// The database.
    pub pool: PgPool,
    /// The broker's address; it may carry a password and is never printed.
    pub url: String,
    /// The queue jobs are announced on.
    pub queue: String,
    /// What it tells of itself.
    pub metrics: DispatchMetrics,
    /// Cancelled when the process stops.
    pub stopping: CancellationToken,
}

impl Relay {
    /// Relays until stopped, whatever happens to the broker.
    pub async fn run(self) {
        let mut wait = FIRST_WAIT;
        loop {
            let begun = Instant::now();
            let error = tokio::select! {
                () = self.stopping.cancelled() => return,
                ended = self.session() => match ended {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
            };
            self.metrics.broker_up.set(0);
            if self.pool.is_closed() {
                return;
            }
            if begun.elapsed() > GOOD {
                wait = FIRST_WAIT;
            }
            tracing::warn!(
                error = format!("{error:#}"),
                "the relay lost the broker; trying again in {wait:?}"
            );
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One connection to the broker, until it breaks.
    async fn session(&self) -> anyhow::Result<Infallible> {
        let mut broker = Broker::connect(&self.url, &self.queue, &self.metrics).await?;
        let mut bell = PgListener::connect_with(&self.pool)
            .await
            .context("cannot listen to the database")?;
        bell.listen("assay_jobs").await?;
        self.metrics.broker_up.set(1);
        tracing::info!(queue = self.queue, "relaying to the broker");
        let mut reconcile = tokio::time::interval(reconciler::EVERY);
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        reconcile.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // A broker that is out of memory or disk asks for silence; rows wait in the table, where they are safe.
            broker.ready().await?;
            while self.drain(&broker).await? == usize::try_from(BATCH)? {}
            tokio::select! {
                notified = bell.try_recv() => { notified?; }
                _ = poll.tick() => {}
                _ = reconcile.tick() => reconciler::run(&self.pool).await?,
                changed = broker.changed() => changed?,
            }
        }
    }

    /// Takes and publishes one batch; returns how many rows were taken. An error ends the session.
    async fn drain(&self, broker: &Broker) -> anyhow::Result<usize> {
        let token = Uuid::new_v4();
        let rows = outbox::claim(&self.pool, token, LEASE, BATCH).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let published = self.publish(broker, &rows).await;
        if !published.confirmed.is_empty() {
            outbox::published(&self.pool, token, &published.confirmed).await?;
            self.metrics.published.inc_by(published.confirmed.len() as u64);
        }
        if let Some((failed, error)) = published.failed {
            self.metrics.publish_failures.inc_by(failed.len() as u64);
            outbox::failed(&self.pool, token, &failed, &error).await?;
            // Whatever it was, a new connection declares the queue again and begins from a known state.
            anyhow::bail!(
                "{} of {} announcements were not taken: {error}",
                failed.len(),
                rows.len()
            );
        }
        Ok(rows.len())
    }

    async fn publish(&self, broker: &Broker, rows: &[Due]) -> Published {
        let (known, unknown): (Vec<&Due>, Vec<&Due>) = rows.iter().partition(|row| row.topic == JOB_QUEUED);
        let mut published = broker.publish(&known).await;
        if !unknown.is_empty() {
            let ids = unknown.iter().map(|row| row.id);
            let error = format!("no queue for topic {}", unknown[0].topic);
            published.failed.get_or_insert((Vec::new(), error)).0.extend(ids);
        }
        published
    }
}
