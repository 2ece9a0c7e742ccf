//! One file of an attempt: ranged, resumed after a cut, checked by length and sha256.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use assay_contest::wire::{Claim, RemoteFile};
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::client::{CallError, Server};
use super::retry::Backoff;
use crate::files;

/// How often a file may arrive whole and wrong before the server is held to have another file than it says.
const WRONG_DIGESTS: u32 = 2;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server said no.
    #[error("{name}: {error}")]
    Call { name: String, error: CallError },
    /// What the server sends is not what it announced.
    #[error("{name}: what arrived is not the announced file ({detail})")]
    Wrong { name: String, detail: String },
    /// This machine's disk.
    #[error("{name}: {error}")]
    Disk { name: String, error: io::Error },
}

/// Brings `file` into the cache. Passing failures are tried again without end: the heartbeat decides when to give up.
/// `grown` is told of every byte that is on disk: negative when bytes had to be thrown away.
pub async fn fetch(
    server: &Server,
    claim: &Claim,
    kind: &str,
    file: &RemoteFile,
    cache: &Cache,
    grown: &(dyn Fn(i64) + Sync),
) -> Result<(), FetchError> {
    let disk = |error| FetchError::Disk {
        name: file.name.clone(),
        error,
    };
    if cache.has(&file.sha256, file.bytes).map_err(disk)? {
        grown(file.bytes as i64);
        return Ok(());
    }
    let part = cache.part(&file.sha256);
    let mut backoff = Backoff::default();
    let mut wrong = 0;
    let mut gathered = Gathered::resume(&part, file.bytes).map_err(disk)?;
    grown(gathered.bytes as i64);
    loop {
        let before = gathered.bytes;
        let outcome = gather(server, claim, kind, file, &mut gathered, grown).await;
        match outcome {
            Ok(()) => {
                let digest = hex::encode(gathered.hasher.clone().finalize());
                if digest == file.sha256 {
                    gathered.file.sync_all().map_err(disk)?;
                    fs::rename(&part, cache.path(&file.sha256)).map_err(disk)?;
                    return Ok(());
                }
                wrong += 1;
                if wrong >= WRONG_DIGESTS {
                    let _ = fs::remove_file(&part);
                    let detail = format!("sha256 {digest}, announced {}", file.sha256);
                    return Err(FetchError::Wrong {
                        name: file.name.clone(),
                        detail,
                    });
                }
                grown(-(gathered.bytes as i64));
                gathered.restart().map_err(disk)?;
            }
            Err(FetchError::Call { error, .. }) if error.is_passing() => {
                if gathered.bytes > before {
                    backoff.reset();
                }
                tracing::warn!(file = file.name, at = gathered.bytes, %error, "fetch interrupted, trying again");
                tokio::time::sleep(backoff.next(error.after())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The part of a file that is on disk.
struct Gathered {
    file: fs::File,
    bytes: u64,
    hasher: Sha256,
}

impl Gathered {
    /// Opens what an earlier try left, at most `limit` bytes of it.
    fn resume(part: &Path, limit: u64) -> io::Result<Gathered> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .append(true)
            .open(part)?;
        if file.metadata()?.len() > limit {
            file.set_len(0)?;
        }
        let mut hasher = Sha256::new();
        let bytes = files::feed(part, &mut hasher)?;
        Ok(Gathered { file, bytes, hasher })
    }

    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hasher.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        self.hasher = Sha256::new();
        Ok(())
    }
}

/// One request: from where we are to the end of the file.
async fn gather(
    server: &Server,
    claim: &Claim,
    kind: &str,
    file: &RemoteFile,
    gathered: &mut Gathered,
    grown: &(dyn Fn(i64) + Sync),
) -> Result<(), FetchError> {
    if gathered.bytes == file.bytes && file.bytes > 0 {
        return Ok(());
    }
    let disk = |error| FetchError::Disk {
        name: file.name.clone(),
        error,
    };
    let call = |error| FetchError::Call {
        name: file.name.clone(),
        error,
    };
    let mut response = match server.open(claim, kind, &file.name, gathered.bytes).await {
        // "Range not satisfiable": what we hold is not a part of what the server holds.
        Err(CallError::Refused { status: 416, .. }) if gathered.bytes > 0 => {
            grown(-(gathered.bytes as i64));
            gathered.restart().map_err(disk)?;
            return Err(call(CallError::Passing {
                message: "range refused, starting over".into(),
                after: None,
            }));
        }
        opened => opened.map_err(call)?,
    };
    let resumed = response.status() == StatusCode::PARTIAL_CONTENT;
    if resumed {
        let range = response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if range_start(range) != Some(gathered.bytes) {
            let detail = format!("asked for bytes from {}, got {range:?}", gathered.bytes);
            return Err(FetchError::Wrong {
                name: file.name.clone(),
                detail,
            });
        }
    } else if gathered.bytes > 0 {
        // A server that knows no ranges sends the whole file.
        grown(-(gathered.bytes as i64));
        gathered.restart().map_err(disk)?;
    }
    while let Some(chunk) = response.chunk().await.map_err(|error| call(error.into()))? {
        if gathered.bytes.saturating_add(chunk.len() as u64) > file.bytes {
            let detail = format!("more than the announced {} bytes", file.bytes);
            return Err(FetchError::Wrong {
                name: file.name.clone(),
                detail,
            });
        }
        gathered.push(&chunk).map_err(disk)?;
        grown(chunk.len() as i64);
    }
    if gathered.bytes < file.bytes {
        let message = format!("cut after {} of {} bytes", gathered.bytes, file.bytes);
        return Err(call(CallError::Passing { message, after: None }));
    }
    Ok(())
}

/// The first byte of `bytes 5-9/10`.
fn range_start(header: &str) -> Option<u64> {
    header.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn content_range_is_read() {
        assert_eq!(super::range_start("bytes 5-9/10"), Some(5));
        assert_eq!(super::range_start("bytes */10"), None);
        assert_eq!(super::range_start(""), None);
    }
}
