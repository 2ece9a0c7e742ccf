//! One upload in one request, against writing and hashing the same bytes with nothing around it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use assay_e2e::person::Person;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Line;
use crate::server::Server;

const BLOCK: usize = 1 << 20;

/// The bytes of the upload: one block over and over, the last one cut.
fn blocks(block: &Bytes, bytes: u64) -> impl Iterator<Item = Bytes> + use<> {
    let block = block.clone();
    (0..bytes.div_ceil(BLOCK as u64)).map(move |i| {
        let left = bytes - i * BLOCK as u64;
        block.slice(..usize::try_from(left).unwrap_or(BLOCK).min(BLOCK))
    })
}

/// Seconds to write the bytes and have them on the disk: in the quicker of two ways, with one sync at the end, or one after
/// every 64 MiB. Which one that is differs between disks.
fn write(folder: &Path, block: &Bytes, bytes: u64) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for often in [false, true] {
        let path = folder.join("floor");
        let began = Instant::now();
        let mut file = File::create(&path)?;
        for (index, block) in blocks(block, bytes).enumerate() {
            file.write_all(&block)?;
            if often && index % 64 == 63 {
                file.sync_data()?;
            }
        }
        file.sync_data()?;
        least = least.min(began.elapsed().as_secs_f64());
        std::fs::remove_file(path)?;
    }
    Ok(least)
}

pub async fn measure(server: &Server, bytes: u64) -> anyhow::Result<Vec<Line>> {
    let mut seed = 1u64;
    let block: Bytes = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    })
    .take(BLOCK)
    .collect();
    let began = Instant::now();
    let mut hasher = Sha256::new();
    blocks(&block, bytes).for_each(|block| hasher.update(&block));
    let sha256 = hex::encode(hasher.finalize());
    let hashing = began.elapsed().as_secs_f64();
    let before = write(server.data.path(), &block, bytes)?;

    let mut person = Person::in_a_team(&server.address, "bench").await?;
    let config = b"{}";
    let manifest = json!({ "title": "bench", "files": [
        { "name": "config.json", "bytes": config.len(), "sha256": hex::encode(Sha256::digest(config)) },
        { "name": "model.safetensors", "bytes": bytes, "sha256": sha256 },
    ] });
    let draft = person.post("/api/v1/submissions", &manifest).await?;
    let token = draft["upload_token"].as_str().context("no token")?;
    let url = draft["files"][1]["upload_url"].as_str().context("no address")?;
    let (resting, _) = server.memory()?;
    let body = blocks(&block, bytes).map(Ok::<_, std::io::Error>);
    let request = person
        .http
        .patch(format!("{}{url}", server.address))
        .bearer_auth(token)
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", 0)
        .header("content-length", bytes)
        .header("content-type", "application/offset+octet-stream")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(body)));
    let began = Instant::now();
    let answer = request.send().await?;
    let took = began.elapsed().as_secs_f64();
    let (status, offset) = (answer.status(), answer.headers().get("upload-offset").cloned());
    ensure!(
        status == 204 && offset.is_some_and(|offset| offset.to_str().ok() == Some(bytes.to_string().as_str())),
        "the upload was answered {status}: {}",
        answer.text().await?
    );
    let (_, peak) = server.memory()?;
    let after = write(server.data.path(), &block, bytes)?;

    let writing = f64::midpoint(before, after);
    let rate = |seconds: f64| format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds);
    println!(
        "disk {} and {} before and after, sha256 alone {}; upload {took:.2} s",
        rate(before),
        rate(after),
        rate(hashing)
    );
    let ratio = writing.max(hashing) / took;
    let grown = peak.saturating_sub(resting);
    Ok(vec![
        Line {
            what: "upload, written, hashed, promised",
            figure: rate(took),
            floor: rate(writing.max(hashing)),
            ratio: format!("{:.0} %", 100.0 * ratio),
            goal: ">= 70 % of the slower of disk and sha256",
            met: ratio >= 0.7,
        },
        Line {
            what: "server's memory over that upload",
            figure: format!("+{:.1} MB at the peak", grown as f64 / 1e6),
            floor: format!("{:.1} MB resting", resting as f64 / 1e6),
            ratio: format!("{:.1} %", 100.0 * grown as f64 / bytes as f64),
            goal: "flat: under 32 MB more",
            met: grown < 32 << 20,
        },
    ])
}
