//! The end of an upload: the whole is held against what was declared, and only then moved into place.

use std::fs::File;
use std::io;

use sha2::Digest as _;
use sqlx::PgPool;

use super::{Slot, blocking};
use crate::db::uploads::{self, Settled, UploadFile};
use crate::storage::{FileName, Storage, ignore_missing, move_into_place, sha256_file};

/// Closes an upload whose every byte has arrived: compare its digest with what was declared, move it into place, and only
/// then say so in the database. The digest was computed as the bytes came in; after a restart the file is read once more.
/// Safe to repeat at any point of a crash. The caller holds the slot.
///
/// # Errors
/// The disk or the database refused; the upload stays open and can be settled later.
pub async fn settle(pool: &PgPool, storage: &Storage, file: &UploadFile, _slot: &Slot) -> anyhow::Result<Settled> {
    if file.received != file.length {
        return Ok(Settled::Open);
    }
    let name = FileName::parse(&file.name).ok_or_else(|| anyhow::anyhow!("a stored name is not allowed"))?;
    let part = storage.part(file.id);
    let place = storage.submission_dir(file.submission_id).join(name.as_str());
    let (length, expected) = (file.length, file.sha256_expected.clone());
    let running = storage.slots().digest(file.id, length);
    let actual = blocking(move || -> io::Result<Result<String, String>> {
        if length == 0 && !part.exists() && !place.exists() {
            File::create(&part)?.sync_all()?;
        }
        // A crash between the rename and the commit leaves the finished file and no part.
        let (here, moved) = if part.exists() { (&part, false) } else { (&place, true) };
        let (found, actual) = match running {
            Some(digest) if !moved => (here.metadata()?.len(), hex::encode(digest.finalize())),
            _ => sha256_file(here)?,
        };
        if found != length || actual != expected {
            return Ok(Err(actual));
        }
        if !moved {
            move_into_place(&part, &place)?;
        }
        Ok(Ok(actual))
    })
    .await?;
    let settled = match actual {
        Ok(sha256) => uploads::complete(pool, file.id, &sha256).await?,
        Err(sha256) => {
            // The verdict first, the bytes after: the other way round a crash would leave a full upload without a file.
            let settled = uploads::corrupt(pool, file.id, &sha256).await?;
            let leftovers = [
                storage.part(file.id),
                storage.submission_dir(file.submission_id).join(name.as_str()),
            ];
            blocking(move || {
                leftovers
                    .into_iter()
                    .try_for_each(|path| ignore_missing(std::fs::remove_file(path)))
            })
            .await?;
            settled
        }
    };
    storage.slots().forget_digest(file.id);
    Ok(settled)
}
