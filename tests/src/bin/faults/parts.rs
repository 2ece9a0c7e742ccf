//! The processes of one complete Assay, each of which can be killed and started again.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::chance::Chance;

/// Who can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Victim {
    Web,
    Relay,
    Worker,
    Broker,
    Database,
}

impl Victim {
    pub const ALL: [Victim; 5] = [
        Victim::Web,
        Victim::Worker,
        Victim::Database,
        Victim::Relay,
        Victim::Broker,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Victim::Web => "web",
            Victim::Relay => "relay",
            Victim::Worker => "worker",
            Victim::Broker => "RabbitMQ",
            Victim::Database => "Postgres",
        }
    }
}

/// Leases this short let a run of minutes see many of them expire; a real deployment keeps the default.
const LEASE_SECONDS: &str = "8";
/// How long a part may take to come up.
const START: Duration = Duration::from_secs(90);
const COPIES: usize = 2;

/// See the module.
pub struct Parts {
    folder: TempDir,
    ports: [u16; COPIES],
    web: [Option<Child>; COPIES],
    workers: [Option<Child>; COPIES],
    relay: Option<Child>,
    database: String,
    broker: String,
    pub pool: PgPool,
    /// Which copy was killed last.
    gone: usize,
}

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

impl Parts {
    pub async fn start(keep: bool) -> anyhow::Result<Parts> {
        let mut folder = tempfile::Builder::new().prefix("assay-faults.").tempdir()?;
        folder.disable_cleanup(keep);
        println!("everything is in {}", folder.path().display());
        // The database and the broker run as users of their own and have to get here.
        Command::new("chmod").arg("755").arg(folder.path()).status()?;
        let server = shell(folder.path(), "pg_start \"$2/postgres\" && echo \"$database_url\"")?;
        let broker = shell(folder.path(), "rabbit_start \"$2/broker\" && echo \"$amqp_url\"")?;
        let admin = PgPool::connect(&server).await?;
        sqlx::query("CREATE DATABASE assay").execute(&admin).await?;
        let (address, _) = server.rsplit_once('/').context("no database in the address")?;
        let database = format!("{address}/assay");
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&database)?;
        let mut parts = Parts {
            ports: [free_port()?, free_port()?],
            web: [None, None],
            workers: [None, None],
            relay: None,
            database,
            broker,
            pool,
            gone: 0,
            folder,
        };
        parts.admin(&["migrate"])?;
        let contest = parts.contest()?;
        parts.admin(&["import-contest", contest.to_str().context("a strange path")?])?;
        parts.admin(&[
            "create-organizer",
            "--email",
            "organizer@example.org",
            "--name",
            "Organizer",
        ])?;
        for copy in 0..COPIES {
            parts.start_web(copy).await?;
        }
        parts.start_relay()?;
        for copy in 0..COPIES {
            parts.start_worker(copy)?;
        }
        Ok(parts)
    }

    /// The sample contest with so few documents that a grade takes a second, and no limit on grades a day.
    fn contest(&self) -> anyhow::Result<PathBuf> {
        let sample = fs::read_to_string(root().join("deploy/sample/contest.toml"))?;
        // Paths in it are relative to it: up to the root of the file system and down again.
        let up = "../".repeat(self.folder.path().canonicalize()?.components().count() - 1);
        let tests = root().join("tests").canonicalize()?;
        let tests = format!("{up}{}", tests.to_string_lossy().trim_start_matches('/'));
        let mut text = sample.replace("../../tests", &tests);
        anyhow::ensure!(
            text.contains("\nlimit = 100\n"),
            "the sample contest no longer says `limit = 100`"
        );
        text = text.replace("\nlimit = 100\n", "\nlimit = 6\n");
        let text: Vec<String> = text
            .lines()
            .map(|line| {
                if line.starts_with("graded_per_day") {
                    "graded_per_day = 1000".to_owned()
                } else {
                    line.to_owned()
                }
            })
            .collect();
        let place = self.folder.path().join("contest.toml");
        fs::write(&place, text.join("\n"))?;
        Ok(place)
    }

    pub fn addresses(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    /// The data folder of the web application.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str, log: &str) -> anyhow::Result<Command> {
        let path = std::env::current_exe()?.with_file_name(name);
        anyhow::ensure!(
            path.exists(),
            "{} is missing: build the workspace first",
            path.display()
        );
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(log))?;
        let mut command = Command::new(path);
        command
            .current_dir(self.folder.path())
            .env("ASSAY_DATABASE_URL", &self.database)
            .env("ASSAY_AMQP_URL", &self.broker)
            .env("ASSAY_AMQP_WORKER_URL", &self.broker)
            .env("ASSAY_DATA", self.data())
            .env("ASSAY_LEASE_SECONDS", LEASE_SECONDS)
            .env("ASSAY_PASSWORD", crate::team::PASSWORD)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(command)
    }

    fn admin(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .program("assay-web", "admin.log")?
            .args(arguments)
            .stdout(Stdio::piped())
            .output()?;
        anyhow::ensure!(output.status.success(), "assay-web {arguments:?} failed; see admin.log");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    async fn start_web(&mut self, copy: usize) -> anyhow::Result<()> {
        let listen = format!("127.0.0.1:{}", self.ports[copy]);
        let child = self
            .program("assay-web", "web.log")?
            .env("ASSAY_PUBLIC_URL", format!("http://127.0.0.1:{}", self.ports[0]))
            .args(["serve", "--insecure-cookies", "--listen", &listen])
            .spawn()?;
        self.web[copy] = Some(child);
        let started = Instant::now();
        loop {
            if let Ok(answer) = reqwest::get(format!("http://{listen}/readyz")).await
                && answer.status().is_success()
            {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < START, "web did not get ready; see web.log");
            // It gives up when the database is not there yet, as a supervisor's child would: start it again.
            if self.web[copy]
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|end| end.is_some()))
            {
                self.web[copy] = Some(
                    self.program("assay-web", "web.log")?
                        .env("ASSAY_PUBLIC_URL", format!("http://127.0.0.1:{}", self.ports[0]))
                        .args(["serve", "--insecure-cookies", "--listen", &listen])
                        .spawn()?,
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What was just killed may still be in the process table, or its name with the port mapper, and stand in the way of its
    /// successor: asked again until it starts, as a supervisor would.
    async fn insist(&self, line: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            match shell(self.folder.path(), line) {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    fn start_relay(&mut self) -> anyhow::Result<()> {
        self.relay = Some(self.program("assay-web", "relay.log")?.arg("relay").spawn()?);
        Ok(())
    }

    fn start_worker(&mut self, copy: usize) -> anyhow::Result<()> {
        let folder = self.folder.path().join(format!("worker-{copy}"));
        let mut command = self.program("assay-worker", &format!("worker-{copy}.log"))?;
        let server = format!("http://127.0.0.1:{}", self.ports[copy]);
        command
            .args([
                "run",
                "--server",
                &server,
                "--device",
                "cpu",
                "--patience",
                "600",
                "--data",
            ])
            .arg(&folder);
        command.args(["--name", &format!("worker-{copy}")]);
        if !folder.exists() {
            command.args(["--enrol", &self.admin(&["enrol-worker"])?]);
        }
        self.workers[copy] = Some(command.spawn()?);
        Ok(())
    }

    /// `kill -9`. Says what exactly was hit.
    pub fn kill(&mut self, victim: Victim, chance: &mut Chance) -> anyhow::Result<String> {
        self.gone = chance.below(COPIES as u64) as usize;
        Ok(match victim {
            Victim::Web => {
                end(&mut self.web[self.gone])?;
                format!("web {}", self.gone)
            }
            Victim::Worker => {
                end(&mut self.workers[self.gone])?;
                format!("worker {}", self.gone)
            }
            Victim::Relay => {
                end(&mut self.relay)?;
                "the relay".to_owned()
            }
            Victim::Broker => {
                let group = fs::read_to_string(self.folder.path().join("broker/pid"))?;
                let status = Command::new("kill")
                    .args(["-9", "--", &format!("-{}", group.trim())])
                    .status()?;
                anyhow::ensure!(status.success(), "no broker was there to kill");
                "the broker's node".to_owned()
            }
            Victim::Database => {
                let file = self.folder.path().join("postgres/cluster/postmaster.pid");
                let postmaster: u32 = fs::read_to_string(file)?
                    .lines()
                    .next()
                    .context("no postmaster")?
                    .parse()?;
                let children = children(postmaster)?;
                if chance.below(2) == 0 && !children.is_empty() {
                    let one = children[chance.below(children.len() as u64) as usize];
                    signal(&[one])?;
                    "one process of Postgres".to_owned()
                } else {
                    // The postmaster first, or it would clean up after its children.
                    signal(&[postmaster])?;
                    signal(&children).ok();
                    "all of Postgres".to_owned()
                }
            }
        })
    }

    /// Starts again what [`Parts::kill`] hit last.
    pub async fn restart(&mut self, victim: Victim) -> anyhow::Result<()> {
        match victim {
            Victim::Web => self.start_web(self.gone).await?,
            Victim::Worker => self.start_worker(self.gone)?,
            Victim::Relay => self.start_relay()?,
            Victim::Broker => self.insist("rabbit_start \"$2/broker\"").await?,
            Victim::Database => {
                let line = "pg_start \"$2/postgres\" && port_busy \"$(cat \"$2/postgres/port\")\"";
                self.insist(line).await?;
            }
        }
        // What gave up in the meantime is started again, as systemd would.
        for copy in 0..COPIES {
            if ended(&mut self.web[copy]) {
                self.start_web(copy).await?;
            }
            if ended(&mut self.workers[copy]) {
                self.start_worker(copy)?;
            }
        }
        if ended(&mut self.relay) {
            self.start_relay()?;
        }
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for child in self.web.iter_mut().chain(&mut self.workers).chain([&mut self.relay]) {
            end(child).ok();
        }
        shell(self.folder.path(), "rabbit_stop \"$2/broker\"; pg_stop \"$2/postgres\"").ok();
    }
}

/// Runs functions of `deploy/lib.sh`; `$2` is `folder`. Gives back the last line printed.
fn shell(folder: &Path, line: &str) -> anyhow::Result<String> {
    let script = format!("set -euo pipefail; root=$1; . \"$root/deploy/lib.sh\"; {line}");
    let output = Command::new("bash")
        .args(["-c", &script, "faults"])
        .arg(root())
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "failed: {line}");
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn end(child: &mut Option<Child>) -> anyhow::Result<()> {
    if let Some(mut child) = child.take() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

fn ended(child: &mut Option<Child>) -> bool {
    child
        .as_mut()
        .is_none_or(|child| child.try_wait().is_ok_and(|end| end.is_some()))
}

fn signal(processes: &[u32]) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .arg("-9")
        .args(processes.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "nobody was there to kill");
    Ok(())
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| {
            line.strip_prefix("PPid:")
                .is_some_and(|rest| rest.trim() == parent.to_string())
        }) {
            found.push(pid);
        }
    }
    Ok(found)
}
