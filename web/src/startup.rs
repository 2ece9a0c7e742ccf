//! From settings to a running server, in the same steps for the program and for every test.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tracing_actix_web::TracingLogger;

use crate::auth::limits::Limits;
use crate::auth::password::Passwords;
use crate::auth::throttle::Throttle;
use crate::boards::Boards;
use crate::dispatch_metrics::DispatchMetrics;
use crate::health::Health;
use crate::live::Live;
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::outcomes::TaskSets;
use crate::settings::{ACQUIRE_TIMEOUT, KEEP_ALIVE, SHUTDOWN_GRACE, Settings, StoreSettings};
use crate::state::{AppState, Keys};
use crate::storage::{Bucket, Storage};
use crate::telemetry::RequestSpan;
use crate::{MIGRATOR, background, boards, controllers, db, live, middleware, transfers, uploader};

/// How often sessions past their end are deleted. They are refused the moment they end; this only keeps the table small.
const SESSION_SWEEP: Duration = Duration::from_secs(3600);

/// How often rate limits forget who has not asked for a while.
const LIMIT_SWEEP: Duration = Duration::from_secs(60);
/// How often the wait for a database connection is measured.
const POOL_SAMPLE: Duration = Duration::from_secs(5);

/// A bound server that has not begun to answer yet.
pub struct Application {
    server: Server,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    state: web::Data<AppState>,
}

impl Application {
    /// Connects, checks that the schema is the one this program was built for, binds, and starts the background work.
    pub async fn build(settings: Settings) -> anyhow::Result<Application> {
        let pool = connect(&settings.store, settings.database_connections).await?;
        check_schema(&pool).await?;
        let listener = bind(settings.listen)?;
        let address = listener.local_addr().context("cannot read the listening address")?;
        let public_url = match &settings.public_url {
            Some(url) => check_public_url(url, settings.insecure_cookies)?,
            None => format!("http://{address}"),
        };
        let metrics_listener = settings.metrics_listen.map(bind).transpose()?;
        let threads = settings.http_threads.unwrap_or_else(cores).max(1);
        let stopping = CancellationToken::new();
        let metrics = Metrics::new()?;
        let bucket = Bucket::open(&settings.objects, metrics.registry())?;
        let storage = Storage::open(&settings.store.data_dir)?.with_bucket(bucket);
        transfers::check(&pool, &storage).await?;
        let state = web::Data::new(AppState {
            live: Live::new(),
            boards: Boards::default(),
            task_sets: TaskSets::default(),
            storage,
            keys: Keys::open(&settings.store.data_dir)?,
            passwords: Passwords::new(cores())?,
            throttle: Throttle::default(),
            dispatch: DispatchMetrics::new(metrics.registry())?,
            metrics,
            limits: Limits::new(&settings.limits),
            mailer: Mailer::open(settings.mail.as_deref(), &settings.mail_from)?,
            health: Health::default(),
            public_url,
            settings: Arc::new(settings),
            stopping: stopping.clone(),
            pool,
        });
        uploader::register(&state.metrics)?;
        tokio::spawn(sweep_sessions(state.clone()));
        tokio::spawn(prune_limits(state.clone()));
        live::start(state.clone());
        boards::start(state.clone());
        background::start(state.clone());
        transfers::start(state.clone());
        let metrics_address = match metrics_listener {
            Some(listener) => Some(serve_metrics(listener, state.clone())?),
            None => None,
        };

        let data = state.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .configure(controllers::configure)
                .wrap(from_fn(middleware::limits::account))
                .wrap(from_fn(middleware::csrf::guard))
                .wrap(from_fn(middleware::limits::network))
                .wrap(from_fn(middleware::strict::guard))
                .wrap(from_fn(middleware::errors::render))
                .wrap(from_fn(middleware::headers::secure))
                .wrap(from_fn(middleware::head::as_get))
                .wrap(from_fn(middleware::measure::measure))
                .wrap(TracingLogger::<RequestSpan>::new())
        })
        .workers(threads)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(SHUTDOWN_GRACE.as_secs())
        .shutdown_signal(stopping.cancelled_owned())
        .listen(listener)
        .context("cannot serve on the listening address")?
        .run();
        Ok(Application {
            server,
            address,
            metrics_address,
            state,
        })
    }

    /// The address the server really listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The shared state, for tests and for the program's own start-up work.
    pub fn state(&self) -> web::Data<AppState> {
        self.state.clone()
    }

    /// Cancelling it begins a graceful stop: no new connections, streams end, requests in flight get
    /// [`SHUTDOWN_GRACE`].
    pub fn stopper(&self) -> CancellationToken {
        self.state.stopping.clone()
    }

    /// Answers requests until stopped.
    pub async fn run(self) -> std::io::Result<()> {
        self.server.await
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// Metrics and probes on a listener of their own, which no proxy forwards strangers to.
fn serve_metrics(listener: TcpListener, state: web::Data<AppState>) -> anyhow::Result<SocketAddr> {
    let address = listener.local_addr().context("cannot read the metrics address")?;
    let stopping = state.stopping.clone();
    tokio::spawn(sample_pool(state.clone()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .configure(controllers::metrics::configure)
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .shutdown_signal(stopping.cancelled_owned())
    .listen(listener)
    .context("cannot serve on the metrics address")?
    .run();
    tokio::spawn(server);
    tracing::info!(%address, "serving metrics");
    Ok(address)
}

async fn sample_pool(state: web::Data<AppState>) {
    let mut ticks = tokio::time::interval(POOL_SAMPLE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            _ = ticks.tick() => state.metrics.sample_pool(&state.pool).await,
        }
    }
}

/// An origin without a trailing slash, which is what browsers compare with. Cookies and scheme have to fit together.
fn check_public_url(url: &str, insecure_cookies: bool) -> anyhow::Result<String> {
    let origin = url.trim_end_matches('/');
    let secure = origin.starts_with("https://");
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let host = host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@']));
    anyhow::ensure!(
        host.is_some(),
        "the public URL must be like https://assay.example.org, without a path: {url}"
    );
    anyhow::ensure!(
        !(secure && insecure_cookies),
        "--insecure-cookies is for plain http, but the public URL is {url}"
    );
    if !secure && !insecure_cookies {
        tracing::warn!(
            url,
            "over plain http most browsers drop the login cookie: use https, or --insecure-cookies"
        );
    }
    Ok(origin.to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Opens a connection pool whose statements cannot hang forever. (A migration may take its time: it connects by itself.)
pub async fn connect(store: &StoreSettings, connections: u32) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = store
        .database_url
        .parse()
        .context("the database address cannot be understood")?;
    let options = options.application_name("assay-web").options([
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .context("cannot reach the database")
}

/// Refuses a database that lacks a migration this program needs, or holds one under another checksum. A newer database
/// is accepted: migrations only ever add, so that old and new programs can overlap.
pub async fn check_schema(pool: &PgPool) -> anyhow::Result<()> {
    let encoding = db::encoding(pool)
        .await
        .context("cannot read the database's encoding")?;
    anyhow::ensure!(encoding == "UTF8", "the database must be in UTF8, not {encoding}");
    let applied = db::applied_migrations(pool)
        .await
        .context("cannot read the schema's version")?;
    for migration in MIGRATOR
        .iter()
        .filter(|migration| !migration.migration_type.is_down_migration())
    {
        match applied.get(&migration.version) {
            None => anyhow::bail!(
                "the database lacks migration {}: run `assay-web migrate`",
                migration.version
            ),
            Some(checksum) => anyhow::ensure!(
                checksum.as_slice() == &*migration.checksum,
                "migration {} was applied from another file",
                migration.version
            ),
        }
    }
    Ok(())
}

/// What is remembered of who asked how often would only grow.
async fn prune_limits(state: web::Data<AppState>) {
    let mut ticks = tokio::time::interval(LIMIT_SWEEP);
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            _ = ticks.tick() => {
                state.limits.prune();
                state.throttle.prune();
            }
        }
    }
}

async fn sweep_sessions(state: web::Data<AppState>) {
    let mut ticks = tokio::time::interval(SESSION_SWEEP);
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            _ = ticks.tick() => {
                if let Err(error) = db::sessions::delete_ended(&state.pool).await {
                    tracing::warn!(%error, "ended sessions were not deleted");
                }
                if let Err(error) = db::mail_links::delete_old(&state.pool).await {
                    tracing::warn!(%error, "old links were not deleted");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_public_url;

    #[test]
    fn the_public_url_is_an_origin_that_fits_the_cookies() {
        assert_eq!(
            check_public_url("https://assay.example.org/", false).unwrap(),
            "https://assay.example.org"
        );
        assert_eq!(
            check_public_url("http://127.0.0.1:8080", true).unwrap(),
            "http://127.0.0.1:8080"
        );
        for (url, insecure) in [
            ("assay.example.org", false),
            ("https://", false),
            ("https://assay.example.org/app", false),
            ("https://user@assay.example.org", false),
            ("ftp://assay.example.org", false),
            ("https://assay.example.org", true),
        ] {
            assert!(check_public_url(url, insecure).is_err(), "{url} {insecure}");
        }
    }
}
