//! An S3-compatible bucket, with the verbs we need and no other.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::SpawnedReqwestConnector;
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Key;
use super::objects::read_exact;
use crate::settings::ObjectSettings;
use crate::uploader::blocking;

/// Size of the parts of a multipart upload; all but the last are equal, as some stores demand. S3 takes 10,000 of them,
/// which is far above the largest file of any contest.
pub const PART: u64 = 8 << 20;
/// Parts of one file on their way at once.
const PARTS_AT_ONCE: usize = 2;
/// Longest time for one request; the largest is one part.
const REQUEST_SECONDS: &str = "120 seconds";
/// What we retry inside one request. Whoever moves files tries again anyway; whoever reads waits.
const RETRIES: usize = 3;
/// Longest time for all tries of a request.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for the first questions: a start must not hang on a store that takes connections and says nothing.
const GREETING_PATIENCE: Duration = Duration::from_secs(15);
/// Longest time for the question whether the store answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// Upper bounds in seconds: a HEAD takes ten milliseconds, a part over a slow line a minute.
const SECONDS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0];
/// The object that says whose place this is.
const OWNER: &str = "assay-installation";

/// A place in a bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    store: AmazonS3,
    prefix: Path,
    url: String,
    meters: Meters,
}

/// What is measured of the store.
pub struct Meters {
    seconds: HistogramVec,
    failures: IntCounterVec,
    /// 1 while it answers.
    pub up: IntGauge,
    /// Objects we know of, their bytes, and what waits to be moved.
    pub objects: IntGauge,
    /// Bytes of the objects we know of.
    pub bytes: IntGauge,
    /// Files and results that wait to be moved.
    pub waiting: IntGauge,
    /// Bytes of files that wait.
    pub waiting_bytes: IntGauge,
    /// Objects the last sweep did not find.
    pub missing: IntGauge,
}

/// What the store said to the first questions.
pub enum Greeting {
    /// It holds, gives back and deletes what it is told to, and the place is ours.
    Works,
    /// It is not as it has to be, and will not be by waiting.
    Refused(anyhow::Error),
    /// It does not answer, or not now.
    Unreachable(anyhow::Error),
}

impl Bucket {
    /// The place the settings name; none where they name none. Asks nothing of the network yet; what is asked later runs on
    /// the runtime this is called on.
    ///
    /// # Errors
    /// The settings cannot be understood.
    pub fn open(settings: &ObjectSettings, registry: &Registry) -> anyhow::Result<Option<Bucket>> {
        let Some(url) = &settings.object_store_url else {
            return Ok(None);
        };
        let place = url.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        ensure!(
            !bucket.is_empty() && !bucket.contains(['?', '#', '@', ':']),
            "the object store must be like s3://bucket/prefix: {url}"
        );
        let prefix = Path::parse(prefix).with_context(|| format!("the object store's prefix cannot be used: {url}"))?;
        let mut builder = AmazonS3Builder::new().with_config("timeout".parse()?, REQUEST_SECONDS);
        let named: Vec<(String, String)> = if settings.aws.is_empty() {
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect()
        } else {
            settings.aws.clone()
        };
        for (name, value) in named {
            let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else {
                continue;
            };
            // Spelling the scheme out is consent enough.
            let endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
            if endpoint && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
            builder = builder.with_config(key, value);
        }
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let store = builder
            .with_bucket_name(bucket)
            .with_retry(retry)
            // Requests come from many small runtimes, connections are shared: one that stays drives them all.
            .with_http_connector(SpawnedReqwestConnector::new(tokio::runtime::Handle::current()))
            .build()
            .with_context(|| format!("the object store {url} cannot be used"))?;
        let inner = Inner {
            store,
            prefix,
            url: url.clone(),
            meters: Meters::new(registry)?,
        };
        Ok(Some(Bucket { inner: Arc::new(inner) }))
    }

    /// The address as the operator wrote it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// What is measured.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    fn path(&self, name: &str) -> Path {
        self.inner.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    async fn timed<T>(&self, verb: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let begun = Instant::now();
        let result = work.await;
        let meters = &self.inner.meters;
        meters
            .seconds
            .with_label_values(&[verb])
            .observe(begun.elapsed().as_secs_f64());
        if let Err(error) = &result
            && !matches!(error, Error::NotFound { .. })
        {
            meters.failures.with_label_values(&[verb]).inc();
        }
        result
    }

    /// Writes, reads back and deletes a probe, and makes sure that no other installation uses the place: its sweep would
    /// delete our files, and ours its.
    pub async fn greet(&self, installation: Uuid) -> Greeting {
        let asked = tokio::time::timeout(GREETING_PATIENCE, self.probe(installation)).await;
        asked.unwrap_or_else(|_| Greeting::Unreachable(anyhow!("the object store {} does not answer", self.url())))
    }

    async fn probe(&self, installation: Uuid) -> Greeting {
        let told = |what: &str, error: Error| {
            let cause = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            let sentence = anyhow!(
                "the object store {} cannot be used, {what} failed: check the bucket's name, AWS_ENDPOINT_URL, AWS_REGION, \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({cause})",
                self.url()
            );
            match error {
                Error::Generic { .. } | Error::JoinError { .. } => Greeting::Unreachable(sentence),
                _ => Greeting::Refused(sentence),
            }
        };
        let (store, probe) = (&self.inner.store, self.path(&format!("assay-probe/{}", Uuid::now_v7())));
        let text = installation.to_string();
        if let Err(error) = self.timed("put", store.put(&probe, text.clone().into())).await {
            return told("a write", error);
        }
        match self.timed("get", store.get_range(&probe, 0..text.len() as u64)).await {
            Ok(read) if read == text => {}
            Ok(_) => return Greeting::Refused(anyhow!("the object store {} gave back other bytes", self.url())),
            Err(error) => return told("a read", error),
        }
        if let Err(error) = self.timed("delete", store.delete(&probe)).await {
            return told("a deletion", error);
        }
        let owner = self.path(OWNER);
        match self.timed("get", store.get_range(&owner, 0..text.len() as u64)).await {
            Ok(read) if read == text => Greeting::Works,
            Ok(_) => Greeting::Refused(anyhow!(
                "the object store {} belongs to another installation: give this one a bucket or a prefix of its own",
                self.url()
            )),
            Err(Error::NotFound { .. }) => match self.timed("put", store.put(&owner, text.into())).await {
                Ok(_) => Greeting::Works,
                Err(error) => told("a write", error),
            },
            Err(error) => told("a read", error),
        }
    }

    /// Does it answer?
    pub async fn answers(&self) -> bool {
        let (owner, store) = (self.path(OWNER), &self.inner.store);
        let asked = tokio::time::timeout(PATIENCE, self.timed("head", store.head(&owner))).await;
        let answers = matches!(asked, Ok(Ok(_)));
        self.inner.meters.up.set(answers.into());
        answers
    }

    /// Length of an object in bytes; none when it is not there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn length(&self, key: &Key) -> io::Result<Option<u64>> {
        match self
            .timed("head", self.inner.store.head(&self.path(key.as_str())))
            .await
        {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(far(error)),
        }
    }

    /// Bytes `begin..end` of an object.
    ///
    /// # Errors
    /// The store does not answer, or has less.
    pub async fn range(&self, key: &Key, begin: u64, end: u64) -> io::Result<Bytes> {
        if begin == end {
            return Ok(Bytes::new());
        }
        let path = self.path(key.as_str());
        let read = self.timed("get", self.inner.store.get_range(&path, begin..end)).await;
        let read = read.map_err(far)?;
        if read.len() as u64 != end - begin {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the object is too short"));
        }
        Ok(read)
    }

    /// sha256 of an object of `length` bytes as the store gives it back, in lowercase hex.
    ///
    /// # Errors
    /// See [`Bucket::range`].
    pub async fn sha256(&self, key: &Key, length: u64) -> io::Result<String> {
        let mut blocks = std::pin::pin!(self.object(key, length).stream(0, length));
        let mut hasher = Sha256::new();
        while let Some(block) = blocks.try_next().await? {
            hasher.update(&block);
        }
        Ok(hex::encode(hasher.finalize()))
    }

    /// Stores a file of at most [`PART`] bytes in one request.
    ///
    /// # Errors
    /// The file cannot be read, or the store refuses.
    pub async fn put(&self, key: &Key, file: Arc<File>, length: u64) -> io::Result<()> {
        let bytes = blocking(move || read_exact(&file, 0, length)).await?;
        let path = self.path(key.as_str());
        let done = self.timed("put", self.inner.store.put(&path, bytes.into()));
        done.await.map(drop).map_err(far)
    }

    /// Begins a multipart upload and returns its id, which [`Bucket::abort`] wants should anything go wrong.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn begin(&self, key: &Key) -> io::Result<String> {
        let path = self.path(key.as_str());
        let begun = self.timed("begin", self.inner.store.create_multipart(&path));
        begun.await.map_err(far)
    }

    /// Sends a file part by part and completes the upload. Never holds more than a few parts in memory.
    ///
    /// # Errors
    /// The file cannot be read, or the store refuses.
    pub async fn send(&self, key: &Key, upload: &String, file: Arc<File>, length: u64) -> io::Result<()> {
        let path = &self.path(key.as_str());
        let parts = stream::iter(0..length.div_ceil(PART)).map(|part| {
            let file = file.clone();
            async move {
                let begin = part * PART;
                let bytes = blocking(move || read_exact(&file, begin, length.min(begin + PART))).await?;
                let number = usize::try_from(part).map_err(io::Error::other)?;
                let sent = self.inner.store.put_part(path, upload, number, bytes.into());
                self.timed("part", sent).await.map_err(far)
            }
        });
        let parts: Vec<_> = parts.buffered(PARTS_AT_ONCE).try_collect().await?;
        let done = self.timed("complete", self.inner.store.complete_multipart(path, upload, parts));
        done.await.map(drop).map_err(far)
    }

    /// Gives a multipart upload up and frees its parts. One that is over already is fine.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn abort(&self, key: &Key, upload: &String) -> io::Result<()> {
        let path = self.path(key.as_str());
        let aborted = self.timed("abort", self.inner.store.abort_multipart(&path, upload));
        match aborted.await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(far(error)),
        }
    }

    /// Deletes an object. One that is not there is fine.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn delete(&self, key: &Key) -> io::Result<()> {
        let path = self.path(key.as_str());
        let deleted = self.timed("delete", self.inner.store.delete(&path));
        match deleted.await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(far(error)),
        }
    }

    /// The files of ours it holds below `folder`, each with the time it was written.
    pub fn list(&self, folder: &str) -> BoxStream<'static, io::Result<(Key, chrono::DateTime<chrono::Utc>)>> {
        let prefix = self.inner.prefix.clone();
        let name = move |found: ObjectMeta| -> Option<(Key, chrono::DateTime<chrono::Utc>)> {
            let parts: Vec<String> = found
                .location
                .prefix_match(&prefix)?
                .map(|part| part.as_ref().to_owned())
                .collect();
            Some((Key::known(parts.join("/")), found.last_modified))
        };
        self.inner
            .store
            .list(Some(&self.path(folder)))
            .map_err(far)
            .try_filter_map(move |found| std::future::ready(Ok(name(found))))
            .boxed()
    }
}

/// A store's error as one of a file: `NotFound` stays, all else means that nobody knows.
fn far(error: Error) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        _ => io::ErrorKind::HostUnreachable,
    };
    io::Error::new(kind, error)
}

impl Meters {
    fn new(registry: &Registry) -> anyhow::Result<Meters> {
        let seconds = HistogramOpts::new("assay_object_store_seconds", "Time of a request to the object store.");
        let meters = Meters {
            seconds: HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["verb"])?,
            failures: IntCounterVec::new(
                Opts::new(
                    "assay_object_store_failures_total",
                    "Requests that the object store failed or did not answer.",
                ),
                &["verb"],
            )?,
            up: IntGauge::new("assay_object_store_up", "1 while the object store answers.")?,
            objects: IntGauge::new("assay_objects", "Objects the store is known to hold.")?,
            bytes: IntGauge::new("assay_object_bytes", "Bytes of these objects.")?,
            waiting: IntGauge::new(
                "assay_objects_waiting",
                "Files and results that wait to be moved to the store.",
            )?,
            waiting_bytes: IntGauge::new("assay_object_waiting_bytes", "Bytes of the files that wait.")?,
            missing: IntGauge::new(
                "assay_objects_missing",
                "Objects that the last sweep did not find: lost files.",
            )?,
        };
        registry.register(Box::new(meters.seconds.clone()))?;
        registry.register(Box::new(meters.failures.clone()))?;
        for gauge in [
            &meters.up,
            &meters.objects,
            &meters.bytes,
            &meters.waiting,
            &meters.waiting_bytes,
            &meters.missing,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(meters)
    }
}
