//! One complete Assay of its own for a test: database, data folder, web process, workers.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection, PgPool};
use tempfile::TempDir;

/// Leases this short let a test watch one expire; a real deployment keeps the default.
const LEASE_SECONDS: &str = "6";
/// How many times longer than on a machine of its own something may take.
const PATIENCE: u64 = 4;

pub struct Deployment {
    pub address: String,
    pub pool: PgPool,
    port: u16,
    database_url: String,
    data: TempDir,
    web: Option<Child>,
    workers: Vec<(String, Child)>,
    /// The queue that jobs are announced on, where a broker is used.
    queue: Option<String>,
}

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/checkpoints").join(name)
}

/// A program built beside this test; the path holds for any target folder.
fn program(name: &str) -> PathBuf {
    let path = env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: build the workspace first, as tests/run does",
        path.display()
    );
    path
}

impl Deployment {
    /// Migrated, with the sample contest imported and the web application answering. No worker yet.
    pub async fn start() -> Deployment {
        Deployment::start_on(None).await
    }

    /// As [`Deployment::start`], with jobs announced on a queue of `ASSAY_TEST_AMQP_URL`.
    pub async fn start_with_broker() -> Deployment {
        let moment = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Deployment::start_on(Some(format!("test.e2e.{}.{}", std::process::id(), moment.as_nanos()))).await
    }

    async fn start_on(queue: Option<String>) -> Deployment {
        let admin = env::var("ASSAY_TEST_DATABASE_URL").expect("ASSAY_TEST_DATABASE_URL is not set; use tests/run");
        let data = tempfile::Builder::new().prefix("assay-e2e.").tempdir().unwrap();
        let name = format!(
            "e2e_{}_{}",
            std::process::id(),
            data.path()
                .file_name()
                .unwrap()
                .to_string_lossy()
                .replace(['.', '-'], "_")
                .to_lowercase()
        );
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        // CREATE DATABASE takes no parameters; the name is made of our own process id and folder.
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        let database_url = format!("{server}/{name}");

        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut deployment = Deployment {
            address: format!("http://127.0.0.1:{port}"),
            pool: PgPool::connect_lazy(&database_url).unwrap(),
            port,
            database_url,
            data,
            web: None,
            workers: Vec::new(),
            queue,
        };
        deployment.admin(&["migrate"]);
        deployment.admin(&["import-contest", "deploy/sample/contest.toml"]);
        deployment.start_web().await;
        deployment
    }

    /// The web application's data folder.
    pub fn web_data(&self) -> PathBuf {
        self.data.path().join("web")
    }

    fn web_command(&self) -> Command {
        let mut command = Command::new(program("assay-web"));
        command
            .current_dir(root())
            .env("ASSAY_DATABASE_URL", &self.database_url)
            .env("ASSAY_DATA", self.data.path().join("web"))
            .env("ASSAY_PUBLIC_URL", &self.address)
            .env("ASSAY_LEASE_SECONDS", LEASE_SECONDS);
        if let Some(queue) = &self.queue {
            let broker = env::var("ASSAY_TEST_AMQP_URL").expect("ASSAY_TEST_AMQP_URL is not set; use tests/run");
            command
                .env("ASSAY_AMQP_URL", &broker)
                .env("ASSAY_AMQP_WORKER_URL", &broker)
                .env("ASSAY_AMQP_QUEUE", queue);
        }
        command
    }

    /// Runs an administrative subcommand of `assay-web` and gives back what it printed.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let output = self
            .web_command()
            .args(arguments)
            .env("ASSAY_PASSWORD", "a long enough password")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "assay-web {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn log(&self, name: &str) -> Stdio {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.path().join(name))
            .unwrap()
            .into()
    }

    pub async fn start_web(&mut self) {
        let child = self
            .web_command()
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{}", self.port),
                "--insecure-cookies",
            ])
            .stdin(Stdio::null())
            .stdout(self.log("web.log"))
            .stderr(self.log("web.log"))
            .spawn()
            .unwrap();
        self.web = Some(child);
        let started = Instant::now();
        loop {
            if let Ok(answer) = reqwest::get(format!("{}/readyz", self.address)).await
                && answer.status().is_success()
            {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the web application is not ready:\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `kill -9`.
    pub fn kill_web(&mut self) {
        if let Some(mut child) = self.web.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts a worker under `name`; the first start of a name enrols it.
    pub fn start_worker(&mut self, name: &str) {
        let folder = self.data.path().join(name);
        let mut command = Command::new(program("assay-worker"));
        command
            .args([
                "run",
                "--server",
                &self.address,
                "--device",
                "cpu",
                "--name",
                name,
                "--data",
            ])
            .arg(&folder);
        if !folder.join("worker.json").exists() {
            command.args(["--enrol", &self.admin(&["enrol-worker"])]);
        }
        let log = format!("{name}.log");
        let child = command
            .stdin(Stdio::null())
            .stdout(self.log(&log))
            .stderr(self.log(&log))
            .spawn()
            .unwrap();
        self.workers.push((name.to_owned(), child));
    }

    /// `kill -9`.
    pub fn kill_worker(&mut self, name: &str) {
        let at = self
            .workers
            .iter()
            .position(|(known, _)| known == name)
            .expect("no such worker");
        let (_, mut child) = self.workers.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the query (one boolean) answers true: what takes so many seconds on a machine of its own, with patience for a
    /// busy one. Waiting costs nothing where it holds.
    pub async fn until(&self, what: &str, seconds: u64, query: &'static str) {
        let started = Instant::now();
        loop {
            let holds: bool = sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap();
            if holds {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(PATIENCE * seconds),
                "waited {:?} for: {what}\n{}",
                started.elapsed(),
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// The last lines of every log, for a failing test's message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.data.path()).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let content = fs::read_to_string(entry.path()).unwrap_or_default();
                let tail: Vec<&str> = content.lines().rev().take(25).collect();
                text += &format!("--- {}\n", entry.path().display());
                text += &tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                text.push('\n');
            }
        }
        text
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.kill_web();
        for (_, child) in &mut self.workers {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
