//! What an operator can set: command-line flags, each with an environment variable, parsed once at the start.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::auth::limits::LimitSettings;

/// Time a request waits for a database connection before it fails: longer than any healthy query, shorter than a
/// visitor's patience.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Grace given to requests in flight when the process is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// A silent connection is kept this long: longer than any client or proxy in common use keeps one to send on it again
/// (Caddy two minutes, reqwest and Go 90 s, nginx and load balancers 60 s). Whoever closes first must be the client: a
/// request that crosses the server's close on its way fails, and one that writes may not be sent again.
pub const KEEP_ALIVE: Duration = Duration::from_secs(125);

/// Kept free on the data folder's disk: Postgres often lives there too, and a full disk stops everything.
const DISK_RESERVE_BYTES: u64 = 1 << 30;

/// Where the data is: all a maintenance command needs.
#[derive(Args, Clone)]
pub struct StoreSettings {
    /// Postgres connection address.
    #[arg(long, env = "ASSAY_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Folder for uploads, contest files, outputs and the secret key.
    #[arg(long, env = "ASSAY_DATA", default_value = "data")]
    pub data_dir: PathBuf,
}

/// Where jobs are announced. Without an address workers wait at the claim endpoint alone.
#[derive(Args, Clone, Default)]
pub struct BrokerSettings {
    /// RabbitMQ to announce jobs to, for example amqp://name:password@host/%2f. Without it workers poll.
    #[arg(long, env = "ASSAY_AMQP_URL", hide_env_values = true)]
    pub amqp_url: Option<String>,
    /// Queue that jobs are announced on.
    #[arg(long, env = "ASSAY_AMQP_QUEUE", default_value = "jobs.gpu")]
    pub amqp_queue: String,
}

/// Where finished files go.
#[derive(Args, Clone, Default)]
pub struct ObjectSettings {
    /// Object store for finished files, for example s3://bucket/prefix. Endpoint, region and credentials come from AWS_*
    /// variables. Without it they stay in the data folder.
    #[arg(long, env = "ASSAY_OBJECT_STORE_URL")]
    pub object_store_url: Option<String>,
    /// Names and values that stand in for all AWS_* variables; empty: the process's own count.
    #[arg(skip)]
    pub aws: Vec<(String, String)>,
}

/// Everything `serve` needs.
#[derive(Args, Clone)]
pub struct Settings {
    /// Database and data folder.
    #[command(flatten)]
    pub store: StoreSettings,
    /// The object store.
    #[command(flatten)]
    pub objects: ObjectSettings,
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, env = "ASSAY_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address under which people reach this server, for example https://assay.example.org. Default: the listening one.
    #[arg(long, env = "ASSAY_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Send cookies without `Secure` and without the `__Host-` prefix: only for plain http on this machine.
    #[arg(long, env = "ASSAY_INSECURE_COOKIES")]
    pub insecure_cookies: bool,
    /// Proxies whose X-Forwarded-For is believed. Repeat or separate by commas.
    #[arg(long, env = "ASSAY_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpAddr>,
    /// HTTP worker threads. Default: one a core.
    #[arg(long, env = "ASSAY_HTTP_THREADS")]
    pub http_threads: Option<usize>,
    /// Most database connections held open.
    #[arg(long, env = "ASSAY_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
    /// Seconds a worker keeps a job without a heartbeat.
    #[arg(long, env = "ASSAY_LEASE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub lease_seconds: u64,
    /// Address for Prometheus metrics and probes, for example 127.0.0.1:9464. Default: none. Never on the public address.
    #[arg(long, env = "ASSAY_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Bytes that the open drafts of one team may declare together. Default: four times the contest's largest submission.
    #[arg(long, env = "ASSAY_UPLOAD_QUOTA_BYTES")]
    pub upload_quota_bytes: Option<u64>,
    /// Free bytes of the data folder's disk below which nothing new is taken in.
    #[arg(long, env = "ASSAY_DISK_RESERVE_BYTES", default_value_t = DISK_RESERVE_BYTES)]
    pub disk_reserve_bytes: u64,
    /// Uploads that may be sending at once, all teams together.
    #[arg(long, env = "ASSAY_OPEN_UPLOADS", default_value_t = 256)]
    pub open_uploads: usize,
    /// Uploads of one team that may be sending at once.
    #[arg(long, env = "ASSAY_TEAM_UPLOADS", default_value_t = 16)]
    pub team_uploads: usize,
    /// Jobs of one team that may run at once.
    #[arg(long, env = "ASSAY_RUNNING_PER_TEAM", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub running_per_team: u32,
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// The broker's address as workers are told it: an account that may read the queue and nothing else. Without it
    /// workers are told of no broker.
    #[arg(long, env = "ASSAY_AMQP_WORKER_URL", hide_env_values = true)]
    pub amqp_worker_url: Option<String>,
    /// Where mail goes: smtps://user:password@host, smtp://host:port, or file:FOLDER while developing. Default: no mail;
    /// then sign-ups are not confirmed and forgotten passwords are reset by `create-organizer` or not at all.
    #[arg(long, env = "ASSAY_MAIL", hide_env_values = true)]
    pub mail: Option<String>,
    /// Sender of the mail.
    #[arg(long, env = "ASSAY_MAIL_FROM", default_value = "Assay <no-reply@localhost>")]
    pub mail_from: String,
    /// How often anyone may ask.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Write logs as JSON lines.
    #[arg(long, env = "ASSAY_LOG_JSON")]
    pub log_json: bool,
}

impl Settings {
    /// Settings for `store` on a free loopback port with plain-http cookies: what tests and local tools start from.
    pub fn local(store: StoreSettings) -> Settings {
        Settings {
            store,
            objects: ObjectSettings::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            insecure_cookies: true,
            trusted_proxies: Vec::new(),
            http_threads: Some(2),
            database_connections: 8,
            lease_seconds: 60,
            metrics_listen: None,
            upload_quota_bytes: None,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            open_uploads: 256,
            team_uploads: 16,
            running_per_team: 1,
            broker: BrokerSettings {
                amqp_url: None,
                amqp_queue: "jobs.gpu".to_owned(),
            },
            amqp_worker_url: None,
            mail: None,
            mail_from: "Assay <no-reply@localhost>".to_owned(),
            limits: LimitSettings::off(),
            log_json: false,
        }
    }

    /// Name of the session cookie. The `__Host-` prefix makes a browser refuse it without `Secure`, from another path,
    /// or from a sibling domain; over plain http it could not be set at all.
    pub fn session_cookie(&self) -> &'static str {
        if self.insecure_cookies {
            "session"
        } else {
            "__Host-session"
        }
    }

    /// Name of the cookie that ties forms to a visitor who is not logged in.
    pub fn visitor_cookie(&self) -> &'static str {
        if self.insecure_cookies {
            "visitor"
        } else {
            "__Host-visitor"
        }
    }
}

/// The database address may carry a password, so it is never printed.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// The broker's address carries a password, too.
impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSettings")
            .field("used", &self.amqp_url.is_some())
            .field("queue", &self.amqp_queue)
            .finish()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("store", &self.store)
            .field("object_store_url", &self.objects.object_store_url)
            .field("listen", &self.listen)
            .field("public_url", &self.public_url)
            .field("insecure_cookies", &self.insecure_cookies)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("http_threads", &self.http_threads)
            .field("database_connections", &self.database_connections)
            .field("lease_seconds", &self.lease_seconds)
            .field("metrics_listen", &self.metrics_listen)
            .field("upload_quota_bytes", &self.upload_quota_bytes)
            .field("disk_reserve_bytes", &self.disk_reserve_bytes)
            .field("open_uploads", &self.open_uploads)
            .field("team_uploads", &self.team_uploads)
            .field("running_per_team", &self.running_per_team)
            .field("broker", &self.broker)
            .field("mail", &self.mail.is_some())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
