//! What is measured of uploads. One set a process, in every registry that asks for it.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

use crate::metrics::{Held, Metrics};

static METERS: OnceLock<Meters> = OnceLock::new();
/// Upper bounds in seconds: a commit is one fdatasync and one UPDATE.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

struct Meters {
    commit_seconds: Histogram,
    bytes: IntCounter,
    sending: IntGauge,
}

impl Meters {
    fn new() -> prometheus::Result<Meters> {
        let commit = HistogramOpts::new(
            "assay_upload_commit_seconds",
            "Time to make received bytes durable and promise them.",
        );
        Ok(Meters {
            commit_seconds: Histogram::with_opts(commit.buckets(SECONDS.to_vec()))?,
            bytes: IntCounter::new("assay_upload_bytes_total", "Bytes of uploads promised.")?,
            sending: IntGauge::new("assay_uploads_open", "Requests that send bytes now.")?,
        })
    }
}

/// Adds them to a registry.
///
/// # Errors
/// The registry has metrics of these names.
pub fn register(metrics: &Metrics) -> anyhow::Result<()> {
    let meters = match METERS.get() {
        Some(meters) => meters,
        None => {
            let meters = Meters::new()?;
            METERS.get_or_init(|| meters)
        }
    };
    metrics.register(meters.commit_seconds.clone())?;
    metrics.register(meters.bytes.clone())?;
    metrics.register(meters.sending.clone())?;
    Ok(())
}

/// `bytes` more are promised; it took this long.
pub(super) fn committed(took: Duration, bytes: u64) {
    if let Some(meters) = METERS.get() {
        meters.commit_seconds.observe(took.as_secs_f64());
        meters.bytes.inc_by(bytes);
    }
}

/// One more request sends bytes, until the value is dropped.
pub(super) fn sending() -> Option<Held> {
    METERS.get().map(|meters| Held::by(&meters.sending))
}
