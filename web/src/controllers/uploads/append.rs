//! PATCH, and the body of a creation-with-upload.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Data, Payload};
use anyhow::anyhow;

use super::{find, refuse_gone, take_slot, tus};
use crate::db::ids::FileId;
use crate::db::uploads::{self, FileState, Owner, Settled, UploadFile};
use crate::error::ApiError;
use crate::state::AppState;
use crate::uploader::{Checksum, Ended, Lane, Lanes, Pace, Slot, receive, settle};

/// Appends the body. Everything that can be refused is refused before a byte is read.
pub(super) async fn append(
    state: Data<AppState>,
    id: FileId,
    request: &HttpRequest,
    payload: Payload,
    owner: Owner,
) -> Result<UploadFile, ApiError> {
    if !tus::has_bytes(request) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "upload-content-type",
            "Send the bytes with Content-Type: application/offset+octet-stream.",
            "Content-Type: application/offset+octet-stream 헤더와 함께 바이트를 보내세요.",
        ));
    }
    let offset: u64 = tus::number(request, "upload-offset").ok_or_else(|| {
        ApiError::bad_request(
            "upload-offset-missing",
            "The request must say in Upload-Offset where its bytes begin.",
            "Upload-Offset 헤더로 바이트가 시작되는 위치를 알려야 합니다.",
        )
    })?;
    append_at(state, id, request, payload, owner, offset).await
}

/// [`append`] at an offset that is known.
pub(super) async fn append_at(
    state: Data<AppState>,
    id: FileId,
    request: &HttpRequest,
    payload: Payload,
    owner: Owner,
    offset: u64,
) -> Result<UploadFile, ApiError> {
    let checksum = tus::checksum(request)?;
    let announced: Option<u64> = tus::number(request, CONTENT_LENGTH.as_str());
    let file = find(&state, id, owner).await?;
    refuse_gone(&file)?;
    if offset
        .checked_add(announced.unwrap_or(0))
        .is_none_or(|end| end > file.length)
    {
        return Err(too_long());
    }
    let slot = take_slot(&state, id).await?;
    let limits = Lanes {
        process: state.settings.open_uploads,
        team: state.settings.team_uploads,
    };
    // After the slot: an old request for the same file has left its lane by now.
    let lane = state.storage.slots().lane(file.team_id, limits).ok_or_else(crowded)?;
    // Whatever becomes of this connection, bytes that arrived are kept: the loop runs on its own, and its end of the body
    // fails when the connection does.
    let work = actix_web::rt::spawn(write(state, (slot, lane), id, owner, offset, payload, checksum));
    work.await.map_err(ApiError::internal)?
}

async fn write(
    state: Data<AppState>,
    (slot, _lane): (Slot, Lane),
    id: FileId,
    owner: Owner,
    offset: u64,
    payload: Payload,
    checksum: Option<Checksum>,
) -> Result<UploadFile, ApiError> {
    let Some(lease) = uploads::begin(&state.pool, id, owner, offset).await? else {
        let file = find(&state, id, owner).await?;
        refuse_gone(&file)?;
        if file.state == FileState::Complete && file.received == offset {
            // The answer to the last PATCH was lost; there is nothing left to do.
            return Ok(file);
        }
        return Err(if file.sealed {
            crate::controllers::drafts::sealed()
        } else {
            wrong_offset(file.received)
        });
    };
    let cancelled = slot.cancelled();
    let stop = async {
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = state.stopping.cancelled() => {}
        }
    };
    let (received, ended) = receive(
        &state.pool,
        &state.storage,
        &lease,
        payload,
        stop,
        Pace::default(),
        checksum,
    )
    .await
    .map_err(disk)?;
    tracing::debug!(file = %id, offset, received, ?ended, "an upload paused");
    let file = find(&state, id, owner).await?;
    if received == lease.length() && !matches!(ended, Ended::Fenced | Ended::TooLong | Ended::Mismatch) {
        return match settle(&state.pool, &state.storage, &file, &slot).await.map_err(disk)? {
            Settled::Complete => Ok(file),
            Settled::Corrupt => Err(corrupt()),
            Settled::Open => Err(wrong_offset(file.received)),
        };
    }
    match ended {
        // A client may end early on purpose; it goes on from the offset it is told.
        Ended::Body => Ok(file),
        Ended::TooLong => Err(too_long()),
        Ended::Fenced => Err(wrong_offset(file.received)),
        Ended::Mismatch => Err(damaged()),
        // Clients do not come back after a 4xx; all of these are worth coming back for.
        Ended::Cancelled if state.stopping.is_cancelled() => Err(ApiError::unavailable(anyhow!("stopping"))),
        Ended::Cancelled => Err(superseded()),
        Ended::Stalled | Ended::Broken => Err(stalled()),
    }
}

/// 460 is tus's own status for bytes that do not match their checksum.
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY)
}

pub(super) fn corrupt() -> ApiError {
    ApiError::new(
        checksum_mismatch(),
        "sha256-mismatch",
        "The file that arrived does not have the declared sha256: it changed on your side after it was chosen, or was damaged on the way. Choose it again.",
        "도착한 파일의 sha256이 등록한 값과 다릅니다. 선택한 뒤에 파일이 바뀌었거나 전송 중에 손상되었습니다. 파일을 다시 선택해 주세요.",
    )
}

fn damaged() -> ApiError {
    ApiError::new(
        checksum_mismatch(),
        "checksum-mismatch",
        "These bytes do not match their Upload-Checksum. None of them was kept; send them again from the same offset.",
        "보낸 바이트가 Upload-Checksum과 다릅니다. 아무것도 저장하지 않았으니 같은 위치에서 다시 보내세요.",
    )
}

pub(super) fn too_long() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "upload-too-long",
        "These bytes go past the declared length of the file.",
        "등록한 파일 길이를 넘는 바이트입니다.",
    )
}

fn wrong_offset(committed: u64) -> ApiError {
    ApiError::conflict(
        "upload-offset-mismatch",
        &format!("The upload continues at byte {committed}. Ask for the offset and go on from there."),
        &format!("업로드는 {committed}바이트 위치에서 이어집니다. 위치를 다시 조회한 뒤 이어서 올려 주세요."),
    )
}

pub(super) fn superseded() -> ApiError {
    ApiError::conflict(
        "upload-superseded",
        "Another request took this upload over.",
        "다른 요청이 이 업로드를 이어받았습니다.",
    )
}

/// 503 and not 429: upload clients give up at most 4xx, and come back after a 5xx.
fn crowded() -> ApiError {
    ApiError {
        retry_after: Some(std::time::Duration::from_secs(5)),
        ..ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-uploads",
            "Too many uploads are being sent at this moment, by your team or by all. Send fewer at once; this one goes on in a few seconds.",
            "지금 팀 또는 전체에서 동시에 보내는 업로드가 너무 많습니다. 한 번에 더 적게 보내세요. 몇 초 뒤에 이어서 올릴 수 있습니다.",
        )
    }
}

fn stalled() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "upload-stalled",
        "The connection went quiet or broke. What arrived is kept; go on from the offset.",
        "연결이 멈추거나 끊어졌습니다. 도착한 바이트는 보존되어 있으니 현재 위치에서 이어서 올려 주세요.",
    )
}

/// A full disk is said plainly; everything else is ours to look at.
pub(super) fn disk(error: anyhow::Error) -> ApiError {
    let full = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    });
    if !full {
        return ApiError::internal(error);
    }
    ApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "storage-full",
        "The server's disk is full. What arrived is kept; the organizers have been told.",
        "서버의 저장 공간이 가득 찼습니다. 도착한 바이트는 보존되어 있으며 운영진에게 알렸습니다.",
    )
    .with_source(error)
}
