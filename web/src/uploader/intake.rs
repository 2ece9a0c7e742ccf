//! A body on its way to the disk. Three things go on at once: bytes are gathered, the gathered ones are written and hashed,
//! and what was written before that is synced; only what has been synced is promised.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, Context};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::meters;
use crate::db::uploads::{self, WriterLease};

/// A chunk of a body is rarely larger: room for the last one in a buffer.
const CHUNK: usize = 128 << 10;
/// How patient a writer is with its client, and how often it commits.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest silence.
    pub idle: Duration,
    /// Bytes a second, averaged over `window`, below which the client holds a slot for nothing.
    pub floor: u64,
    /// What the floor is averaged over.
    pub window: Duration,
    /// Bytes gathered before they are handed to the disk. A request holds two of these at most.
    pub buffer: usize,
    /// At most this much is written between two commits.
    pub commit_bytes: u64,
    /// And at most this much time passes.
    pub commit_every: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Duration::from_secs(30),
            floor: 64 << 10,
            window: Duration::from_secs(60),
            buffer: 1 << 20,
            commit_bytes: 64 << 20,
            commit_every: Duration::from_secs(5),
        }
    }
}

/// What a client says the bytes of one request come to.
#[derive(Clone, Debug)]
pub struct Checksum {
    algorithm: &'static digest::Algorithm,
    expected: Vec<u8>,
}

impl Checksum {
    /// The algorithms' names, as tus writes them.
    pub const ALGORITHMS: &'static str = "sha1,sha256";

    /// None for an algorithm that is not among [`Checksum::ALGORITHMS`], or a digest that is not one of its.
    #[must_use]
    pub fn new(algorithm: &str, expected: Vec<u8>) -> Option<Checksum> {
        let algorithm = match algorithm {
            "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &digest::SHA256,
            _ => return None,
        };
        (expected.len() == algorithm.output_len()).then_some(Checksum { algorithm, expected })
    }
}

/// Why a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client sent all it wanted to.
    Body,
    /// A newer request took over, or the server is shutting down.
    Cancelled,
    /// Nothing arrived for too long, or too little.
    Stalled,
    /// The connection broke.
    Broken,
    /// More bytes than declared.
    TooLong,
    /// The bytes do not match the checksum that came with them; none of them is kept.
    Mismatch,
    /// The epoch has moved on: another process writes now.
    Fenced,
}

/// What became of a body.
pub struct Received {
    /// Bytes of the file that are promised now.
    pub committed: u64,
    /// Why it stopped.
    pub ended: Ended,
    /// The digest of the promised bytes, if the one before was known.
    pub digest: Option<Sha256>,
}

/// Where bytes go: a file; in tests, one that forgets what was not synced.
pub trait Disk: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The disk's.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The disk's.
    fn sync_data(&self) -> io::Result<()>;
}

impl Disk for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// Writes a body to `disk` from the lease's offset on; see [`super::receive`]. `digest` is that of the bytes before.
///
/// # Errors
/// The disk or the database refused.
#[allow(
    clippy::too_many_arguments,
    reason = "the one seam between the engine and everything it works on"
)]
pub async fn take_in<S, E>(
    pool: &PgPool,
    disk: Arc<dyn Disk>,
    digest: Option<Sha256>,
    lease: &WriterLease,
    mut body: S,
    stop: impl Future<Output = ()>,
    pace: Pace,
    checksum: Option<Checksum>,
) -> anyhow::Result<Received>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut writer = Writer::new(pool, disk, lease, digest, checksum.as_ref(), pace);
    let received = writer.run(&mut body, stop, checksum).await;
    // Whatever happened, nothing of ours may still be on its way to the file when the slot is given up.
    writer.rest().await;
    received
}

/// Digests that grow with what is written.
struct Hashes {
    /// Of the file, where that of its beginning is known.
    file: Option<Sha256>,
    /// Of this body, where a checksum came with it.
    body: Option<Context>,
}

impl Hashes {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            file.update(bytes);
        }
        if let Some(body) = &mut self.body {
            body.update(bytes);
        }
    }
}

/// A buffer that is empty again, and the digests that have seen what was in it.
type Written = (Vec<u8>, Hashes);

/// A file being written: `committed <= syncing <= handed <= handed + buffer`.
struct Writer<'a> {
    pool: &'a PgPool,
    lease: &'a WriterLease,
    pace: Pace,
    disk: Arc<dyn Disk>,
    buffer: Vec<u8>,
    /// The other buffer, when it is empty and nothing is being written.
    spare: Option<Written>,
    writing: Option<JoinHandle<io::Result<Written>>>,
    /// End of what was handed to the disk.
    handed: u64,
    /// Answers with the offset it covers.
    syncing: Option<JoinHandle<io::Result<u64>>>,
    /// End of what the last sync covers, and when it began.
    covered: (u64, Instant),
    committed: u64,
}

/// The result of a task that may not be there; never, if it is not.
async fn join(task: &mut Option<JoinHandle<io::Result<u64>>>) -> io::Result<u64> {
    let result = match task {
        Some(running) => running.await.map_err(io::Error::other)?,
        None => std::future::pending().await,
    };
    *task = None;
    result
}

impl<'a> Writer<'a> {
    fn new(
        pool: &'a PgPool,
        disk: Arc<dyn Disk>,
        lease: &'a WriterLease,
        file: Option<Sha256>,
        checksum: Option<&Checksum>,
        pace: Pace,
    ) -> Writer<'a> {
        let start = lease.offset();
        let hashes = Hashes {
            file,
            body: checksum.map(|checksum| Context::new(checksum.algorithm)),
        };
        Writer {
            pool,
            lease,
            pace,
            disk,
            buffer: Vec::with_capacity(pace.buffer + CHUNK),
            spare: Some((Vec::with_capacity(pace.buffer + CHUNK), hashes)),
            writing: None,
            handed: start,
            syncing: None,
            covered: (start, Instant::now()),
            committed: start,
        }
    }

    async fn run<S, E>(
        &mut self,
        body: &mut S,
        stop: impl Future<Output = ()>,
        checksum: Option<Checksum>,
    ) -> anyhow::Result<Received>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let pace = self.pace;
        let mut stop = std::pin::pin!(stop);
        let before = self.spare.as_ref().and_then(|(_, hashes)| hashes.file.clone());
        // With a checksum nothing is promised before all of it is known to be right.
        let promising = checksum.is_none();
        let mut heard = Instant::now();
        let mut window = (Instant::now(), 0u64);

        let ended = loop {
            let quiet_until = heard + pace.idle;
            let wake = match self.due().filter(|_| promising) {
                Some(due) => quiet_until.min(due),
                None => quiet_until,
            };
            let item = tokio::select! {
                biased;
                () = &mut stop => break Ended::Cancelled,
                synced = join(&mut self.syncing), if self.syncing.is_some() => {
                    if !self.promise(synced?).await? {
                        return Ok(self.fenced());
                    }
                    continue;
                }
                item = tokio::time::timeout_at(wake, body.next()) => item,
            };
            match item {
                Ok(None) => break Ended::Body,
                Ok(Some(Err(_))) => break Ended::Broken,
                Ok(Some(Ok(chunk))) => {
                    heard = Instant::now();
                    window.1 += chunk.len() as u64;
                    if self.end() + chunk.len() as u64 > self.lease.length() {
                        break Ended::TooLong;
                    }
                    self.buffer.extend_from_slice(&chunk);
                    if self.buffer.len() >= pace.buffer {
                        self.hand_over().await?;
                    }
                }
                Err(_) if Instant::now() >= quiet_until => break Ended::Stalled,
                Err(_) => {}
            }
            if promising && self.due().is_some_and(|due| due <= Instant::now()) && !self.sync().await? {
                return Ok(self.fenced());
            }
            if window.0.elapsed() >= pace.window {
                if window.1 < pace.floor.saturating_mul(pace.window.as_secs().max(1)) {
                    break Ended::Stalled;
                }
                window = (Instant::now(), 0);
            }
        };

        self.hand_over().await?;
        let mut hashes = self.written().await?;
        if let Some(checksum) = checksum {
            let whole = ended == Ended::Body;
            let actual = hashes.body.take().map(Context::finish);
            if !whole || actual.is_none_or(|actual| actual.as_ref() != checksum.expected) {
                return Ok(Received {
                    committed: self.committed,
                    ended: if whole { Ended::Mismatch } else { ended },
                    digest: before,
                });
            }
        }
        if !self.finish().await? {
            return Ok(self.fenced());
        }
        Ok(Received {
            committed: self.committed,
            ended,
            digest: hashes.file,
        })
    }

    /// Waits for whatever is still going on.
    async fn rest(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _: Result<_, _> = writing.await;
        }
        if let Some(syncing) = self.syncing.take() {
            let _: Result<_, _> = syncing.await;
        }
    }

    fn end(&self) -> u64 {
        self.handed + self.buffer.len() as u64
    }

    /// When the next sync should begin; None while there is nothing new to sync.
    fn due(&self) -> Option<Instant> {
        let (offset, began) = self.covered;
        match self.end() - offset {
            0 => None,
            new if new >= self.pace.commit_bytes => Some(began),
            // One sync at a time, unless the disk falls far behind.
            _ if self.syncing.is_some() => None,
            _ => Some(began + self.pace.commit_every),
        }
    }

    /// Waits for the disk to have taken what it was given.
    async fn written(&mut self) -> io::Result<Hashes> {
        self.land().await?;
        let (_, hashes) = self
            .spare
            .take()
            .ok_or_else(|| io::Error::other("an earlier write failed"))?;
        Ok(hashes)
    }

    async fn land(&mut self) -> io::Result<()> {
        if let Some(writing) = self.writing.take() {
            self.spare = Some(writing.await.map_err(io::Error::other)??);
        }
        Ok(())
    }

    /// Hands the buffer to the disk as soon as it has taken the one before.
    async fn hand_over(&mut self) -> io::Result<()> {
        self.land().await?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (spare, mut hashes) = self
            .spare
            .take()
            .ok_or_else(|| io::Error::other("an earlier write failed"))?;
        let (disk, at) = (self.disk.clone(), self.handed);
        let mut full = std::mem::replace(&mut self.buffer, spare);
        self.handed += full.len() as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            disk.write_all_at(&full, at)?;
            hashes.update(&full);
            full.clear();
            Ok((full, hashes))
        }));
        Ok(())
    }

    /// Begins to sync all that has arrived, after the sync before has been promised. False: fenced.
    async fn sync(&mut self) -> anyhow::Result<bool> {
        self.hand_over().await?;
        self.land().await?;
        if self.syncing.is_some() {
            let offset = join(&mut self.syncing).await?;
            if !self.promise(offset).await? {
                return Ok(false);
            }
        }
        let (disk, offset) = (self.disk.clone(), self.handed);
        self.covered = (offset, Instant::now());
        self.syncing = Some(tokio::task::spawn_blocking(move || disk.sync_data().map(|()| offset)));
        Ok(true)
    }

    /// The bytes below `offset` are on disk: only now are they promised. False: fenced.
    async fn promise(&mut self, offset: u64) -> sqlx::Result<bool> {
        if offset > self.committed {
            if !uploads::commit(self.pool, self.lease, offset).await? {
                return Ok(false);
            }
            meters::committed(self.covered.1.elapsed(), offset - self.committed);
            self.committed = offset;
        }
        Ok(true)
    }

    /// Syncs and promises what is left. Everything has been handed over and has landed.
    async fn finish(&mut self) -> anyhow::Result<bool> {
        if self.syncing.is_some() {
            let offset = join(&mut self.syncing).await?;
            if offset == self.handed || self.handed == self.committed {
                return Ok(self.promise(offset).await?);
            }
        }
        if self.handed == self.committed {
            return Ok(true);
        }
        let (disk, offset) = (self.disk.clone(), self.handed);
        self.covered = (offset, Instant::now());
        super::blocking(move || disk.sync_data()).await?;
        Ok(self.promise(offset).await?)
    }

    fn fenced(&self) -> Received {
        Received {
            committed: self.committed,
            ended: Ended::Fenced,
            digest: None,
        }
    }
}
