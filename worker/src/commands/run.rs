//! `run`: the service mode.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use assay_contest::wire::{Device, Doorbell, Enrol, enrolment_statement};

use super::Compute;
use crate::host;
use crate::service::attempt::{self, Bench, End};
use crate::service::cache::Cache;
use crate::service::client::Server;
use crate::service::identity::{self, Identity, OwnKey};
use crate::service::intake::{self, Intake, Patience as _};
use crate::service::retry::Backoff;
use crate::service::session::{Login, Means};
use crate::service::signals::{self, Wishes};

/// A worker that fails so many attempts in a row takes itself out: the fault is most likely here.
const MAX_FAILURES: u32 = 3;

/// Take jobs from a server, grade them, report.
#[derive(clap::Args)]
pub struct Args {
    /// Address of the server
    #[arg(long, value_name = "URL", env = "ASSAY_SERVER")]
    server: String,
    /// Folder of this worker's key, cache and scratch files
    #[arg(long, value_name = "DIR", env = "ASSAY_WORKER_DATA")]
    data: PathBuf,
    /// One-time enrolment token; needed once. The key that is enrolled is made in DIR/worker.key and stays there
    #[arg(long, value_name = "TOKEN", env = "ASSAY_ENROL_TOKEN", hide_env_values = true)]
    enrol: Option<String>,
    /// The name organizers see; this machine's name unless said otherwise
    #[arg(long)]
    name: Option<String>,
    /// Broker on which jobs are announced, where the server does not say it itself
    #[arg(long, value_name = "URL", env = "ASSAY_AMQP_URL", hide_env_values = true)]
    amqp_url: Option<String>,
    /// Queue that jobs are announced on; goes with --amqp-url
    #[arg(long, value_name = "NAME", env = "ASSAY_AMQP_QUEUE", default_value = "jobs.gpu")]
    amqp_queue: String,
    /// Leave after one attempt
    #[arg(long)]
    once: bool,
    /// Most bytes of fetched files kept between attempts
    #[arg(long, value_name = "BYTES", default_value_t = 40 << 30)]
    cache_bytes: u64,
    /// Seconds to go on looking for a server that has never answered
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.compute.device != assay_engine::Device::Fast,
        "cpu:fast is for a quick look: what a server compares is computed exactly (--device cpu)"
    );
    // Submissions and hidden documents are kept here: nobody else's business.
    let mut folder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder
        .recursive(true)
        .create(&args.data)
        .with_context(|| format!("cannot make {}", args.data.display()))?;
    let _lock = identity::lock(&args.data).with_context(|| args.data.display().to_string())?;
    let wishes = signals::listen()?;
    let server = Server::new(&args.server).with_context(|| format!("{} is not a usable address", args.server))?;
    let device = args.compute.describe()?;
    let mut patience = Patience {
        until: Instant::now() + Duration::from_secs(args.patience),
        answered: false,
    };
    let Some(identity) = identify(&args, &server, &device, &wishes, &mut patience).await? else {
        return Ok(ExitCode::SUCCESS);
    };

    let means = match &identity.key {
        Some(key) => Means::Bearer(key.clone()),
        None => Means::Own(OwnKey::open(&args.data).context("worker.key cannot be used")?),
    };
    let login = Login::new(server.clone(), identity.worker_id.clone(), means);
    let told = args.amqp_url.clone().map(|url| Doorbell {
        url,
        queue: args.amqp_queue.clone(),
    });
    let name = args.name.clone().unwrap_or_else(host::host_name);
    let mut intake = Intake::new(server.clone(), login, device.clone(), wishes.clone(), told, name);
    let bench = Bench {
        server,
        cache: Cache::open(args.data.join("cache"), args.cache_bytes)?,
        scratch: args.data.join("scratch"),
        options: args.compute.options(),
        wishes,
    };
    // What a worker that was killed left behind.
    attempt::clear(&bench.scratch)?;
    tracing::info!(
        worker = identity.worker_id,
        device = device.name,
        kind = device.kind,
        "ready"
    );

    let mut failures = 0;
    while !bench.wishes.is_draining() {
        let Some(claim) = intake.next(&mut patience).await? else {
            continue;
        };
        match attempt::work(&bench, claim).await {
            End::MachineFailed => failures += 1,
            End::Reported => failures = 0,
            End::Dropped(_) => {}
        }
        if failures >= MAX_FAILURES {
            bail!("{failures} attempts in a row failed on this machine; taking it out of service");
        }
        if args.once {
            break;
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// How long a silent server is waited for: without end once it has answered, so that it may be restarted.
struct Patience {
    until: Instant,
    answered: bool,
}

impl intake::Patience for Patience {
    fn lasts(&self) -> bool {
        self.answered || Instant::now() < self.until
    }

    fn answered(&mut self) {
        self.answered = true;
    }
}

/// The key on disk, or a new one for the enrolment token. None: asked to stop meanwhile.
async fn identify(
    args: &Args,
    server: &Server,
    device: &Device,
    wishes: &Wishes,
    patience: &mut Patience,
) -> anyhow::Result<Option<Identity>> {
    let path = identity::path(&args.data);
    let kept = Identity::read(&args.data).with_context(|| format!("{} cannot be read", path.display()))?;
    if let Some(identity) = kept {
        if identity.server.trim_end_matches('/') != args.server.trim_end_matches('/') {
            // The same server may have a new address; another one will not know the key.
            tracing::warn!(
                enrolled_at = identity.server,
                server = args.server,
                "the key was made at another address"
            );
        }
        return Ok(Some(identity));
    }
    let Some(token) = &args.enrol else {
        bail!(
            "{} is not there: enrol this worker with --enrol TOKEN, made on the organizer's page",
            path.display()
        );
    };
    // Made before the token is used: an answer that is lost on the way can be asked for again.
    let key = OwnKey::open(&args.data).context("worker.key cannot be made")?;
    let enrol = Enrol {
        public_key: key.public(),
        signature: key.sign(&enrolment_statement(token)),
        token: token.clone(),
        name: args.name.clone().unwrap_or_else(host::host_name),
        device: device.clone(),
    };
    let mut backoff = Backoff::default();
    loop {
        let answer = tokio::select! {
            answer = server.enrol(&enrol) => answer,
            () = wishes.draining.cancelled() => return Ok(None),
        };
        match answer {
            Ok(enrolled) => {
                patience.answered = true;
                let identity = Identity {
                    server: args.server.clone(),
                    worker_id: enrolled.worker_id,
                    key: enrolled.key,
                };
                identity
                    .write(&args.data)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                return Ok(Some(identity));
            }
            Err(error) if error.is_passing() && patience.lasts() => {
                tracing::warn!(%error, "server not reached, trying again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next(error.after())) => {}
                    () = wishes.draining.cancelled() => return Ok(None),
                }
            }
            Err(error) => return Err(error).context("the server does not enrol this worker"),
        }
    }
}
