//! [`TestApp`]: a running application. [`Browser`]: someone who uses it.

#![allow(dead_code, reason = "each test module uses its own part")]

mod browser;
mod database;
mod s3;

use std::path::PathBuf;
use std::time::Duration;

use actix_web::web;
use assay_web::settings::{Settings, StoreSettings};
use assay_web::startup::Application;
use assay_web::state::AppState;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub use browser::{Answer, Browser};
pub use database::TestDatabase;
pub use s3::S3;

/// A password that is good enough for anyone.
pub const PASSWORD: &str = "correct horse battery";

/// An application of this test's own, stopped and removed with it. After a failed test its database stays, and its name
/// is printed.
pub struct TestApp {
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    /// Where metrics are served, if the settings ask for it.
    pub metrics_address: Option<std::net::SocketAddr>,
    /// The application's own connections.
    pub pool: PgPool,
    /// The application's own state.
    pub state: web::Data<AppState>,
    /// Its data folder.
    pub data: TempDir,
    server: Option<JoinHandle<std::io::Result<()>>>,
    // Dropped last: the connections above must be let go first.
    _database: TestDatabase,
}

impl TestApp {
    /// Starts one with an empty, migrated database.
    pub async fn spawn() -> TestApp {
        TestApp::spawn_with(|_| {}).await
    }

    /// Starts one with other settings.
    pub async fn spawn_with(change: impl FnOnce(&mut Settings)) -> TestApp {
        if std::env::var_os("RUST_LOG").is_some() {
            assay_web::telemetry::init(false);
        }
        let database = TestDatabase::migrated().await;
        let data = tempfile::tempdir().unwrap();
        let store = StoreSettings {
            database_url: database.url.clone(),
            data_dir: data.path().to_owned(),
        };
        let mut settings = Settings {
            http_threads: Some(1),
            ..Settings::local(store)
        };
        change(&mut settings);
        let application = Application::build(settings).await.unwrap();
        let (address, state) = (format!("http://{}", application.address()), application.state());
        let metrics_address = application.metrics_address();
        let server = Some(tokio::spawn(application.run()));
        TestApp {
            address,
            metrics_address,
            pool: state.pool.clone(),
            state,
            data,
            server,
            _database: database,
        }
    }

    /// Starts one with the sample contest.
    pub async fn with_contest() -> TestApp {
        let app = TestApp::spawn().await;
        app.import_sample().await;
        app
    }

    /// Imports the sample contest.
    pub async fn import_sample(&self) {
        let file = repository().join("deploy/sample/contest.toml");
        assay_web::ingest::import_contest(&self.pool, &self.state.storage, &file, None)
            .await
            .unwrap();
    }

    /// Someone new, with an empty cookie jar.
    pub fn browser(&self) -> Browser {
        Browser::new(&self.address)
    }

    /// Someone with an account, logged in.
    pub async fn member(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.sign_up(name, &format!("{name}@example.org"), PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        browser
    }

    /// Someone in a team of their own; the sample contest must be there.
    pub async fn captain(&self, name: &str, team: &str) -> Browser {
        let mut browser = self.member(name).await;
        let answer = browser.submit("/team", "/team", &[("name", team)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        browser
    }

    /// An organizer, logged in.
    pub async fn organizer(&self) -> Browser {
        let browser = self.member("organizer").await;
        sqlx::query("UPDATE users SET role = 'organizer' WHERE email = 'organizer@example.org'")
            .execute(&self.pool)
            .await
            .unwrap();
        browser
    }

    /// Tells the server to stop and waits until it has.
    pub async fn stop(&mut self) {
        self.state.stopping.cancel();
        if let Some(server) = self.server.take() {
            tokio::time::timeout(Duration::from_secs(20), server)
                .await
                .expect("the server stops")
                .unwrap()
                .unwrap();
        }
        // Connections of the server's pool belonged to its threads, which are gone: what a test asks now goes over new ones.
        self.pool = PgPool::connect_lazy_with((*self.pool.connect_options()).clone());
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.state.stopping.cancel();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The sample contest's rules for a file that lies elsewhere: paths in a contest are relative to it.
pub fn sample_elsewhere() -> String {
    let source = std::fs::read_to_string(repository().join("deploy/sample/contest.toml")).unwrap();
    let folder = repository().join("tests/fixtures").display().to_string();
    let up = "../".repeat(12);
    source.replace(
        "../../tests/fixtures",
        &format!("{up}{}", folder.trim_start_matches('/')),
    )
}
