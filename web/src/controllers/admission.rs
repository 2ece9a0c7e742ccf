//! What declared files must pass before anything is promised: the team's quota of declared bytes, room on the disk, and the
//! question whether their bytes are here already.

use actix_web::http::StatusCode;
use assay_contest::Contest;
use assay_contest::problem::grouped;
use assay_contest::wire::CONTEST_BASE;
use sqlx::PgConnection;

use crate::db::contests;
use crate::db::ids::{FileId, SubmissionId, TeamId};
use crate::db::submissions::Declared;
use crate::db::uploads::{self, Origin};
use crate::error::ApiError;
use crate::state::AppState;
use crate::storage::{self, Key};
use crate::uploader::blocking;

/// Largest submissions' worth of bytes a team may have in drafts where the operator sets nothing.
const QUOTA_SUBMISSIONS: u64 = 4;

/// What is known of one declared file.
pub(super) enum Admitted {
    /// Its bytes must be sent.
    New,
    /// They are here.
    Known { from: Key, origin: Origin },
}

/// Judges the files of a team whose row the transaction has locked, so that two requests at once cannot both use the last
/// of the quota.
pub(super) async fn admit(
    state: &AppState,
    tx: &mut PgConnection,
    contest: &Contest,
    team: TeamId,
    files: &[Declared],
) -> Result<Vec<Admitted>, ApiError> {
    let digests: Vec<String> = files.iter().map(|file| file.sha256.clone()).collect();
    let mine = uploads::finished_of_team(&mut *tx, team, &digests).await?;
    let base: Vec<_> = contests::files(&mut *tx, &contest.id)
        .await?
        .into_iter()
        .filter(|file| {
            file.name
                .strip_prefix(CONTEST_BASE)
                .is_some_and(|rest| rest.starts_with('/'))
        })
        .collect();
    let admitted: Vec<Admitted> = files
        .iter()
        .map(|file| {
            let yours = mine
                .iter()
                .find(|known| known.sha256 == file.sha256 && known.length == file.bytes);
            let of_base = base
                .iter()
                .find(|known| known.sha256 == file.sha256 && known.bytes == file.bytes.unsigned_abs());
            match (yours, of_base) {
                (Some(known), _) => Admitted::Known {
                    from: known.key(),
                    origin: Origin::Yours,
                },
                (None, Some(known)) => Admitted::Known {
                    from: Key::blob(&known.sha256),
                    origin: Origin::Base,
                },
                (None, None) => Admitted::New,
            }
        })
        .collect();
    let unseen = files
        .iter()
        .zip(&admitted)
        .filter(|(_, known)| known.is_new())
        .fold(0u64, |sum, (file, _)| sum.saturating_add(file.bytes.unsigned_abs()));
    room_for(state, tx, contest, team, unseen).await?;
    Ok(admitted)
}

/// [`admit`] for a client that will send the bytes whatever it is told.
pub(super) async fn admit_unseen(
    state: &AppState,
    tx: &mut PgConnection,
    contest: &Contest,
    team: TeamId,
    files: &[Declared],
) -> Result<Vec<Admitted>, ApiError> {
    let bytes = files
        .iter()
        .fold(0u64, |sum, file| sum.saturating_add(file.bytes.unsigned_abs()));
    room_for(state, tx, contest, team, bytes).await?;
    Ok(files.iter().map(|_| Admitted::New).collect())
}

async fn room_for(
    state: &AppState,
    tx: &mut PgConnection,
    contest: &Contest,
    team: TeamId,
    bytes: u64,
) -> Result<(), ApiError> {
    if bytes == 0 {
        return Ok(());
    }
    let quota = state
        .settings
        .upload_quota_bytes
        .unwrap_or(contest.checkpoint.max_bytes.saturating_mul(QUOTA_SUBMISSIONS));
    let held = uploads::declared_bytes(&mut *tx, team).await?;
    if held.saturating_add(bytes) > quota {
        return Err(over_quota(quota, held, bytes));
    }
    let storage = state.storage.clone();
    let free = blocking(move || storage.free_bytes())
        .await
        .map_err(ApiError::internal)?;
    if free < bytes.saturating_add(state.settings.disk_reserve_bytes) {
        return Err(no_room().with_source(anyhow::anyhow!("{free} bytes are free, {bytes} were asked for")));
    }
    Ok(())
}

/// After the rows are there: links what is known into place, reserves blocks for the rest. The order of the three lists is
/// the same.
pub(super) async fn settle(
    state: &AppState,
    draft: SubmissionId,
    files: &[Declared],
    ids: &[FileId],
    admitted: Vec<Admitted>,
) -> Result<(), ApiError> {
    for ((file, id), known) in files.iter().zip(ids).zip(admitted) {
        let bytes = file.bytes.unsigned_abs();
        if let Admitted::Known { from, origin } = known {
            let (storage, name, sha256) = (state.storage.clone(), file.name.clone(), file.sha256.clone());
            let place = storage.place(&from);
            match blocking(move || storage.link(&place, draft, &name, (bytes, &sha256))).await {
                Ok(true) => {
                    uploads::adopted(&state.pool, *id, Some(origin)).await?;
                    continue;
                }
                // Moved to the object store: the new file is the same object.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && uploads::adopted_stored(&state.pool, *id, origin, &from).await? =>
                {
                    continue;
                }
                // What was there a moment ago may be gone by now: then the bytes are asked for after all.
                Ok(false) => tracing::warn!(file = %id, "a known file is not what it was"),
                Err(error) => tracing::warn!(file = %id, %error, "a known file could not be used again"),
            }
        }
        let part = state.storage.part(*id);
        blocking(move || storage::reserve(&part, bytes))
            .await
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::FileTooLarge => no_room().with_source(error),
                _ => ApiError::internal(error),
            })?;
    }
    Ok(())
}

fn over_quota(quota: u64, held: u64, bytes: u64) -> ApiError {
    let [quota, held, bytes] = [quota, held, bytes].map(grouped);
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "upload-quota",
        &format!(
            "Your team's unfinished uploads may have {quota} bytes together; they have {held} now, and this adds {bytes}. \
             Send or delete a draft first."
        ),
        &format!(
            "팀의 끝나지 않은 업로드는 모두 합해 {quota}바이트까지 가능합니다. 지금 {held}바이트가 있고 이번에 {bytes}바이트가 \
             더해집니다. 먼저 임시 제출 하나를 제출하거나 삭제하세요."
        ),
    )
}

fn no_room() -> ApiError {
    ApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "disk-reserve",
        "The server has no room for these files now. Nothing was taken in; try again later or tell the organizers.",
        "서버에 이 파일들을 받을 저장 공간이 없습니다. 아직 아무것도 저장되지 않았습니다. 나중에 다시 시도하거나 운영진에게 알려 주세요.",
    )
}
