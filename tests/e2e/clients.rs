//! tuspy and tus-js-client, which know nothing of us, through a line that breaks all the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;

use assay_e2e::person::Person;
use serde_json::{Value, json};

use crate::deployment::{Deployment, root};
use crate::proxy::{Dice, Proxy};

/// Files of each client.
const FILES: usize = 25;
/// Repeat a run with its seed.
const SEED: &str = "ASSAY_PROXY_SEED";

/// Writes files of mixed sizes and the plan that names them. Returns what was written.
fn plan(folder: &Path, proxy: &Proxy, draft: &Value, dice: &Dice) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut listed = Vec::new();
    for number in 0..FILES {
        let length = match number % 5 {
            0 => 1 + dice.below(100),
            1 => dice.below(70_000),
            2 => 262_144,
            _ => 300_000 + dice.below(700_000),
        };
        let salt = dice.below(1 << 30);
        let bytes: Vec<u8> = (0..length)
            .map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let name = format!("part-{number:02}.safetensors");
        let path = folder.join(&name);
        std::fs::write(&path, &bytes).unwrap();
        let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        listed.push(json!({ "path": path, "name": name, "sha256": sha256, "chunk": 60_000 + dice.below(400_000) }));
        files.insert(name, bytes);
    }
    let plan = json!({
        "endpoint": format!("http://{}/files", proxy.address),
        "token": draft["upload_token"],
        "submission": draft["id"],
        "parallel": 4,
        "files": listed,
    });
    std::fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    files
}

async fn client(program: &Path, script: &str, folder: &Path) {
    let output = tokio::process::Command::new(program)
        .arg(root().join("tests/clients").join(script))
        .arg(folder.join("plan.json"))
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(480), output);
    let output = output
        .await
        .unwrap_or_else(|_| panic!("{script} is not done after eight minutes"))
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{}", said.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_uploads_of_other_peoples_clients_arrive_over_a_line_that_breaks() {
    let python = root().join("tests/clients/.venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing; tests/run installs it",
        python.display()
    );
    let seed = std::env::var(SEED).map_or_else(
        |_| u64::from(std::process::id()) << 20 | 7,
        |seed| seed.parse().unwrap(),
    );
    println!("{SEED}={seed}");
    let assay = Deployment::start().await;
    let proxy = Proxy::start(assay.address.trim_start_matches("http://").parse().unwrap(), seed).await;
    let mut person = Person::in_a_team(&assay.address, "clients").await.unwrap();
    let empty = json!({ "title": "by tus" });
    let dice = Dice(AtomicU64::new(seed));
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = person.post("/api/v1/submissions", &empty).await.unwrap();
    let second = person.post("/api/v1/submissions", &empty).await.unwrap();
    let files = [
        (first["id"].clone(), plan(ours.path(), &proxy, &first, &dice)),
        (second["id"].clone(), plan(theirs.path(), &proxy, &second, &dice)),
    ];
    tokio::join!(
        client(&python, "send.py", ours.path()),
        client(Path::new("node"), "send.mjs", theirs.path())
    );

    let cuts = proxy.cuts.all();
    println!(
        "cuts: up FIN {}, up RST {}, down FIN {}, down RST {}",
        cuts[0], cuts[1], cuts[2], cuts[3]
    );
    assert!(
        cuts.iter().all(|cuts| *cuts > 0),
        "every kind of cut must have been made: {cuts:?}"
    );
    assert_eq!(
        assay
            .count("SELECT count(*) FROM submission_files WHERE state = 'complete' AND sha256_actual = sha256_expected")
            .await,
        2 * FILES as i64,
        "{}",
        assay.logs()
    );
    assert_eq!(
        assay.count("SELECT count(*) FROM submission_files").await,
        2 * FILES as i64
    );
    for (draft, files) in files {
        let folder = assay.web_data().join("submissions").join(draft.as_str().unwrap());
        for (name, bytes) in files {
            assert!(
                std::fs::read(folder.join(&name)).unwrap() == bytes,
                "{name} is not what was sent"
            );
        }
    }
}
