//! A database for one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

/// Created empty, dropped with the value unless the test is failing.
pub struct TestDatabase {
    /// Address of the new database.
    pub url: String,
    name: String,
    server: PgConnectOptions,
}

/// Databases made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// An empty database.
    pub async fn empty() -> TestDatabase {
        let server = std::env::var("ASSAY_TEST_DATABASE_URL").or_else(|_| std::env::var("DATABASE_URL"));
        let server =
            server.expect("ASSAY_TEST_DATABASE_URL names a Postgres where databases may be created; see tests/run");
        let options: PgConnectOptions = server.parse().unwrap();
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let name = format!(
            "assay_test_{moment}_{}_{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        execute(&options, format!("CREATE DATABASE {name}")).await;
        let url = options.clone().database(&name).to_url_lossy().to_string();
        TestDatabase {
            url,
            name,
            server: options,
        }
    }

    /// A database with today's schema.
    pub async fn migrated() -> TestDatabase {
        let database = TestDatabase::empty().await;
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        assay_web::MIGRATOR.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        database
    }
}

async fn execute(server: &PgConnectOptions, statement: String) {
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    // CREATE and DROP DATABASE take no parameters; the names are made here.
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test's database is kept: {}", self.url);
            return;
        }
        // The test's own runtime may be on its way out, so a thread with another one does it. Nobody waits for it: a task of that
        // runtime may just be connecting, and Postgres drops nothing while a connection stands half open.
        let (server, statement) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(execute(&server, statement));
        });
    }
}
