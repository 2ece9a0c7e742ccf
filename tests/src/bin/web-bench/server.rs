//! A server of its own: database, data folder, a contest about a model of 1.2 billion parameters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// Killed and removed with the value; the database stays in the cluster that `tests/run` throws away.
pub struct Server {
    pub address: String,
    pub data: TempDir,
    /// The address of its database.
    pub database: String,
    child: Child,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// config.json of EXAONE-4.0-1.2B's shape, in the words of a fixture's.
pub fn config(fixture: &str) -> anyhow::Result<Value> {
    let path = root()
        .join("tests/fixtures/checkpoints")
        .join(fixture)
        .join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(path)?)?;
    for (key, value) in [
        ("hidden_size", json!(2048)),
        ("intermediate_size", json!(4096)),
        ("num_hidden_layers", json!(30)),
        ("num_attention_heads", json!(32)),
        ("num_key_value_heads", json!(8)),
        ("vocab_size", json!(102_400)),
        ("layer_types", json!(vec!["full_attention"; 30])),
    ] {
        config[key] = value;
    }
    Ok(config)
}

/// The sample contest, about the larger base, with room for the upload.
fn contest(folder: &Path, bytes: u64) -> anyhow::Result<PathBuf> {
    let fixtures = root().join("tests/fixtures");
    let base = folder.join("base");
    fs::create_dir(&base)?;
    for name in ["tokenizer.json", "chat_template.jinja"] {
        fs::copy(fixtures.join("checkpoints/base").join(name), base.join(name))?;
    }
    let config = serde_json::to_vec_pretty(&config("base")?)?;
    fs::write(base.join("config.json"), &config)?;
    // Paths of a contest are relative to it.
    let up = "../".repeat(folder.components().count() - 1);
    let from_here = |path: &Path| format!("{up}{}", path.display().to_string().trim_start_matches('/'));
    let mut text = String::new();
    for line in fs::read_to_string(root().join("deploy/sample/contest.toml"))?.lines() {
        let line = match line.split(" = ").next() {
            Some("dir") => format!("dir = \"{}\"", from_here(&base)),
            Some("config_sha256") => format!("config_sha256 = \"{}\"", hex::encode(Sha256::digest(&config))),
            Some("max_bytes") => format!("max_bytes = {}", bytes.saturating_mul(2).max(1 << 32)),
            _ => line.replace("../../tests/fixtures", &from_here(&fixtures)),
        };
        text += &line;
        text.push('\n');
    }
    let path = folder.join("contest.toml");
    fs::write(&path, text)?;
    Ok(path)
}

impl Server {
    pub async fn start(bytes: u64) -> anyhow::Result<Server> {
        let admin =
            std::env::var("ASSAY_TEST_DATABASE_URL").context("ASSAY_TEST_DATABASE_URL is not set; use tests/bench")?;
        let name = format!("assay_bench_{}", std::process::id());
        let mut connection = PgConnection::connect(&admin).await?;
        // CREATE DATABASE takes no parameters; the name is made of our own process id.
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await?;
        let (cluster, _) = admin.rsplit_once('/').context("no database in the address")?;
        let database_url = format!("{cluster}/{name}");
        let data = tempfile::Builder::new().prefix("assay-bench.").tempdir()?;
        let contest = contest(data.path(), bytes)?;
        let port = free_port()?;
        let address = format!("http://127.0.0.1:{port}");
        let program = std::env::current_exe()?.with_file_name("assay-web");
        ensure!(
            program.exists(),
            "{} is missing: build the workspace first",
            program.display()
        );
        let command = || {
            let mut command = Command::new(&program);
            command
                .env("ASSAY_DATABASE_URL", &database_url)
                .env("ASSAY_DATA", data.path().join("web"))
                .env("ASSAY_PUBLIC_URL", &address)
                .env("RUST_LOG", "warn")
                // One client asks for everybody here; the limits on that are not what is measured.
                .env("ASSAY_LIMIT_READS", "0")
                .env("ASSAY_LIMIT_WRITES", "0")
                .stdin(Stdio::null());
            command
        };
        for arguments in [
            vec!["migrate"],
            vec!["import-contest", contest.to_str().context("the path is not UTF-8")?],
        ] {
            let output = command().args(&arguments).output()?;
            ensure!(
                output.status.success(),
                "{arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let child = command()
            .args(["serve", "--insecure-cookies", "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server {
            address,
            data,
            database: database_url,
            child,
        };
        let began = Instant::now();
        while !reqwest::get(format!("{}/readyz", server.address))
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            ensure!(began.elapsed() < Duration::from_secs(30), "the server is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// Resident bytes: now, and the most there ever were.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
        };
        field("VmRSS").zip(field("VmHWM")).context("no memory in /proc")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
