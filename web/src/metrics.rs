//! What a monitoring system scrapes. One registry a process; whoever does the work registers what counts it.
//!
//! Names follow Prometheus' rules: `assay_<what>_<unit>`, `_total` for counters. Labels are bounded: routes by pattern,
//! never by address, and nothing a stranger can invent.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use anyhow::Context as _;
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use sqlx::PgPool;

/// Upper bounds in seconds: a cached board takes one millisecond, a login fifty, an upload's chunk up to a minute.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

/// The registry, and what the HTTP server itself measures. Cheap to clone: every clone counts in the same place.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    panics: IntCounter,
    streams: IntGauge,
    refused: IntCounterVec,
    pool_wait: Histogram,
    pool_connections: IntGauge,
    pool_idle: IntGauge,
    memory: IntGauge,
}

/// A gauge that is one higher while this exists.
pub struct Held(IntGauge);

impl Held {
    /// Raises `gauge` until the value is dropped.
    #[must_use]
    pub fn by(gauge: &IntGauge) -> Held {
        gauge.inc();
        Held(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// A registry with the server's own metrics.
    pub fn new() -> anyhow::Result<Metrics> {
        let registry = Registry::new();
        let seconds = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Metrics {
            requests: IntCounterVec::new(
                Opts::new("assay_http_requests_total", "Requests answered, by route pattern."),
                &["method", "route", "status"],
            )?,
            seconds: HistogramVec::new(
                seconds(
                    "assay_http_request_seconds",
                    "Time to the head of the answer, by route pattern; bodies received count, bodies sent do not.",
                ),
                &["method", "route"],
            )?,
            in_flight: IntGauge::new("assay_http_requests_in_flight", "Requests being answered now.")?,
            panics: IntCounter::new("assay_http_panics_total", "Handlers that panicked; each answered 500.")?,
            streams: IntGauge::new("assay_event_streams_open", "Open server-sent event streams.")?,
            refused: IntCounterVec::new(
                Opts::new("assay_rate_limited_total", "Requests refused by a rate limit."),
                &["limit"],
            )?,
            pool_wait: Histogram::with_opts(seconds(
                "assay_database_pool_wait_seconds",
                "Time to get a database connection, sampled every few seconds.",
            ))?,
            pool_connections: IntGauge::new("assay_database_connections", "Open database connections.")?,
            pool_idle: IntGauge::new(
                "assay_database_connections_idle",
                "Database connections nobody uses now.",
            )?,
            memory: IntGauge::new("process_resident_memory_bytes", "Resident memory of the process.")?,
            registry,
        };
        metrics.register(metrics.requests.clone())?;
        metrics.register(metrics.seconds.clone())?;
        metrics.register(metrics.in_flight.clone())?;
        metrics.register(metrics.panics.clone())?;
        metrics.register(metrics.streams.clone())?;
        metrics.register(metrics.refused.clone())?;
        metrics.register(metrics.pool_wait.clone())?;
        metrics.register(metrics.pool_connections.clone())?;
        metrics.register(metrics.pool_idle.clone())?;
        metrics.register(metrics.memory.clone())?;
        let started = Gauge::new("process_start_time_seconds", "Unix time the process started at.")?;
        started.set(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)?
                .as_secs_f64(),
        );
        metrics.register(started)?;
        let version = Opts::new("assay_build_info", "Always 1; the version is a label.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(version)?;
        build.set(1);
        metrics.register(build)?;
        Ok(metrics)
    }

    /// Where a part of the application registers what it counts.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers one collector; keep a clone of it to count with.
    pub fn register(&self, collector: impl Collector + 'static) -> anyhow::Result<()> {
        self.registry
            .register(Box::new(collector))
            .context("a metric was registered twice")
    }

    /// Counts a request that begins; [`Timer::end`] counts its answer.
    #[must_use]
    pub fn begin(&self, method: &Method) -> Timer {
        Timer {
            metrics: self.clone(),
            method: known(method),
            begun: Instant::now(),
            _held: Held::by(&self.in_flight),
        }
    }

    /// Counts an event stream for as long as the value lives.
    #[must_use]
    pub fn stream(&self) -> Held {
        Held::by(&self.streams)
    }

    /// Counts a handler that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a request refused by the limit of this name.
    pub fn limited(&self, limit: &str) {
        self.refused.with_label_values(&[limit]).inc();
    }

    /// Takes one sample of how long a connection is waited for. A pool that gives none counts with the time it took to
    /// say so.
    pub async fn sample_pool(&self, pool: &PgPool) {
        let begun = Instant::now();
        let connection = pool.acquire().await;
        self.pool_wait.observe(begun.elapsed().as_secs_f64());
        drop(connection);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self, pool: &PgPool) -> anyhow::Result<String> {
        self.pool_connections.set(pool.size().into());
        self.pool_idle.set(i64::try_from(pool.num_idle()).unwrap_or(i64::MAX));
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .context("the metrics cannot be written")?;
        String::from_utf8(text).context("the metrics are not text")
    }
}

/// A request on its way.
pub struct Timer {
    metrics: Metrics,
    method: &'static str,
    begun: Instant,
    _held: Held,
}

impl Timer {
    /// Time since the request began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Counts the answer. `route` is the pattern that matched, if one did.
    pub fn end(self, route: Option<&str>, status: u16) {
        let route = route.unwrap_or("none");
        let metrics = &self.metrics;
        metrics
            .requests
            .with_label_values(&[self.method, route, &status.to_string()])
            .inc();
        metrics
            .seconds
            .with_label_values(&[self.method, route])
            .observe(self.begun.elapsed().as_secs_f64());
    }
}

/// The method as a label. Methods are free text on the wire; only the usual ones become a time series.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// From `/proc`; none where there is no such thing.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
