//! What dispatch tells of itself. Depths, lags and tallies are read from the tables, so that every process shows the same
//! truth; what a relay does is counted where it happens.

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use sqlx::PgPool;

use crate::db::{attempts, jobs, outbox};

/// The collectors. Cheap to clone.
#[derive(Clone)]
pub struct DispatchMetrics {
    /// Announcements the broker has confirmed to this process.
    pub published: IntCounter,
    /// Announcements it has not.
    pub publish_failures: IntCounter,
    /// 1 while this process's relay is connected.
    pub broker_up: IntGauge,
    /// 1 while the broker asks this process for silence.
    pub broker_blocked: IntGauge,
    outbox_lag: Gauge,
    outbox_waiting: IntGauge,
    queue: IntGaugeVec,
    attempts: IntGaugeVec,
    seconds: GaugeVec,
    expiries: IntGauge,
}

impl DispatchMetrics {
    /// New ones, registered.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<DispatchMetrics> {
        let metrics = DispatchMetrics {
            published: IntCounter::new("assay_outbox_published_total", "Announcements confirmed by the broker")?,
            publish_failures: IntCounter::new(
                "assay_outbox_publish_failures_total",
                "Announcements the broker returned, refused or did not confirm",
            )?,
            broker_up: IntGauge::new("assay_broker_up", "1 while the relay is connected to the broker")?,
            broker_blocked: IntGauge::new("assay_broker_blocked", "1 while the broker takes no messages")?,
            outbox_lag: Gauge::new(
                "assay_outbox_lag_seconds",
                "Age of the oldest announcement that is due and not published",
            )?,
            outbox_waiting: IntGauge::new("assay_outbox_waiting", "Announcements that are due and not published")?,
            queue: IntGaugeVec::new(Opts::new("assay_jobs", "Jobs by state"), &["state"])?,
            attempts: IntGaugeVec::new(
                Opts::new("assay_attempts", "Attempts by outcome"),
                &["outcome", "device"],
            )?,
            seconds: GaugeVec::new(
                Opts::new("assay_device_seconds", "Seconds that attempts held a worker's device"),
                &["outcome", "device"],
            )?,
            expiries: IntGauge::new("assay_lease_expiries", "Attempts whose worker stopped answering")?,
        };
        let all: [Box<dyn Collector>; 10] = [
            Box::new(metrics.published.clone()),
            Box::new(metrics.publish_failures.clone()),
            Box::new(metrics.broker_up.clone()),
            Box::new(metrics.broker_blocked.clone()),
            Box::new(metrics.outbox_lag.clone()),
            Box::new(metrics.outbox_waiting.clone()),
            Box::new(metrics.queue.clone()),
            Box::new(metrics.attempts.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.expiries.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Reads the tables again.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh(&self, pool: &PgPool) -> sqlx::Result<()> {
        let lag = outbox::lag(pool).await?;
        self.outbox_lag.set(lag.seconds);
        self.outbox_waiting.set(lag.waiting);
        for state in ["queued", "running", "succeeded", "failed", "cancelled", "quarantined"] {
            self.queue.with_label_values(&[state]).set(0);
        }
        for (state, count) in jobs::depth(pool).await? {
            self.queue.with_label_values(&[state.as_str()]).set(count);
        }
        self.attempts.reset();
        self.seconds.reset();
        let mut lost = 0;
        for tally in attempts::tally(pool).await? {
            let labels = [tally.outcome.as_str(), tally.device.as_str()];
            self.attempts.with_label_values(&labels).set(tally.attempts);
            self.seconds.with_label_values(&labels).set(tally.seconds);
            if tally.outcome == "lost" {
                lost += tally.attempts;
            }
        }
        self.expiries.set(lost);
        Ok(())
    }
}
