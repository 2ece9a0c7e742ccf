//! The program killed without warning: what it acknowledged is there when it comes back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::desk::{Draft, head, patch, raw_patch};
use crate::helpers::{Browser, PASSWORD, TestDatabase, repository};

/// A running program; killed with the value.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    fn start(database: &TestDatabase, data: &Path) -> Server {
        Server::of(program(database, data))
    }

    pub fn of(mut command: Command) -> Server {
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--insecure-cookies"])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Server { child, address }
    }

    /// SIGKILL: no handler runs, no buffer is written.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn program(database: &TestDatabase, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-web"));
    command
        .env("ASSAY_DATABASE_URL", &database.url)
        .env("ASSAY_DATA", data)
        .env("RUST_LOG", "warn");
    command
}

#[tokio::test]
async fn acknowledged_bytes_survive_a_kill_in_the_middle_of_an_upload() {
    let (database, data) = (TestDatabase::migrated().await, tempfile::tempdir().unwrap());
    let mut import = program(&database, data.path());
    import
        .arg("import-contest")
        .arg(repository().join("deploy/sample/contest.toml"))
        .stdout(Stdio::null());
    assert!(import.status().unwrap().success());

    let bytes: Vec<u8> = (0..4_000_000u32)
        .map(|i| (i.wrapping_mul(2_246_822_519) >> 23) as u8)
        .collect();
    let files = BTreeMap::from([
        ("config.json".to_owned(), b"{}".to_vec()),
        ("model.safetensors".to_owned(), bytes.clone()),
    ]);
    let server = Server::start(&database, data.path());
    let mut browser = Browser::new(&server.address);
    browser
        .sign_up("captain", "captain@example.org", PASSWORD)
        .await
        .location();
    browser.submit("/team", "/team", &[("name", "Team")]).await.location();
    let draft = Draft::create(&mut browser, "killed", &files).await;
    let url = &draft.urls["model.safetensors"];
    assert_eq!(
        patch(&mut browser, url, 0, bytes[..1_000_000].to_vec()).await.status,
        204
    );

    // One long request: what has been committed on the way counts, what came after the last commit does not.
    let mut stream = raw_patch(
        &server.address,
        &mut browser,
        url,
        1_000_000,
        3_000_000,
        &bytes[1_000_000..2_200_000],
    )
    .await;
    tokio::time::sleep(Duration::from_millis(5600)).await;
    stream.write_all(&bytes[2_200_000..2_900_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();

    let server = Server::start(&database, data.path());
    let session = browser.cookies.clone();
    let mut browser = Browser::new(&server.address);
    browser.cookies = session;
    let offset: usize = head(&mut browser, url).await.header("upload-offset").parse().unwrap();
    assert_eq!(
        offset, 2_200_000,
        "what was committed by the clock is promised, and no more"
    );
    let part = std::fs::read(
        data.path()
            .join("uploads")
            .join(format!("{}.part", url.trim_start_matches("/files/"))),
    )
    .unwrap();
    assert!(part[..offset] == bytes[..offset], "every promised byte is there");
    let answer = patch(&mut browser, url, offset, bytes[offset..].to_vec()).await;
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, "4000000"),
        "{}",
        answer.text
    );
}
