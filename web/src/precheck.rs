//! The verdict before the upload: the worker's own `verify`, on headers alone.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use assay_checkpoint::{BaseModel, Content, Inspection, ListedFile, Listing, verify};
use assay_contest::wire::{CONTEST_BASE, RemoteFile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::db::contests::{self, StoredContest};
use crate::storage::Storage;
use sqlx::PgPool;

/// Largest precheck body: headers and small texts, base64 in JSON. A 1.2B model's header has about 100 KB, its tokenizer a
/// few MB.
pub const BODY_BYTES: usize = 32 << 20;
/// Base models kept parsed. One contest runs at a time; a few more leave room for its versions.
const BASES: usize = 4;

/// A file as the browser describes it.
#[derive(Deserialize)]
pub struct SlicedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The first `8 + n` bytes of a safetensors file.
    #[serde(default)]
    pub header_base64: Option<String>,
    /// The whole of a small text.
    #[serde(default)]
    pub text_base64: Option<String>,
}

/// A slice was not base64.
#[derive(Debug, thiserror::Error)]
#[error("the content of {0} is not base64")]
pub struct NotBase64(pub String);

/// What the browser sent as `verify` wants it.
///
/// # Errors
/// [`NotBase64`].
pub fn listing(files: Vec<SlicedFile>) -> Result<Listing, NotBase64> {
    let decode = |name: &str, text: &str| STANDARD.decode(text).map_err(|_| NotBase64(name.to_owned()));
    let files = files
        .into_iter()
        .map(|file| {
            let content = match (&file.header_base64, &file.text_base64) {
                (Some(header), _) => Content::Header(decode(&file.name, header)?),
                (None, Some(text)) => Content::Text(decode(&file.name, text)?),
                (None, None) => Content::Absent,
            };
            Ok(ListedFile {
                name: file.name,
                bytes: file.bytes,
                content,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Listing { files })
}

/// Holds a listing against a contest, off the request threads.
///
/// # Errors
/// The base model's files cannot be read.
pub async fn inspect(
    pool: &PgPool,
    storage: &Storage,
    contest: &StoredContest,
    listing: impl FnOnce() -> io::Result<Listing> + Send + 'static,
) -> anyhow::Result<Inspection> {
    let files = contests::files(pool, &contest.rules.id).await?;
    let (storage, rules) = (storage.clone(), contest.rules.checkpoint.clone());
    let inspection = crate::uploader::blocking(move || {
        let base = base_model(&storage, &files)?;
        Ok(verify(&listing()?, Some(&base), Some(&rules)))
    })
    .await?;
    Ok(inspection)
}

/// The contest's base model, from storage; kept, because parsing a large tokenizer costs more than everything else here.
fn base_model(storage: &Storage, files: &[RemoteFile]) -> io::Result<Arc<BaseModel>> {
    static KEPT: OnceLock<Mutex<HashMap<String, Arc<BaseModel>>>> = OnceLock::new();
    let of_base = |name: &str| files.iter().find(|file| file.name == format!("{CONTEST_BASE}/{name}"));
    let key = [
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    ]
    .map(|name| of_base(name).map_or("-", |file| file.sha256.as_str()))
    .join(" ");
    let kept = KEPT.get_or_init(Mutex::default);
    if let Some(base) = kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(base.clone());
    }
    let read = |name: &str| {
        of_base(name)
            .map(|file| std::fs::read(storage.blob(&file.sha256)))
            .transpose()
    };
    let config = read("config.json")?.ok_or_else(|| io::Error::other("the contest has no base/config.json"))?;
    let base = Arc::new(BaseModel::new(
        serde_json::from_slice(&config)?,
        read("tokenizer.json")?,
        read("chat_template.jinja")?,
        read("generation_config.json")?
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()?,
    ));
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= BASES {
        kept.clear();
    }
    kept.insert(key, base.clone());
    Ok(base)
}
