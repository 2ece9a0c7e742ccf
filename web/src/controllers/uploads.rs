//! Resumable uploads: tus 1.0 (core, termination, expiration). Uploads are made by our own API, so `POST` only serves
//! clients that must tunnel other methods through it.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use anyhow::anyhow;
use chrono::{DateTime, Utc};

use crate::auth::RequireUploader;
use crate::db::ids::FileId;
use crate::db::uploads::{self, FileState, Owner, Settled, UploadFile};
use crate::error::ApiError;
use crate::state::AppState;
use crate::storage::ignore_missing;
use crate::uploader::{Ended, Pace, Slot, SlotBusy, blocking, receive, settle};

/// The one version of the protocol spoken.
const VERSION: &str = "1.0.0";
const BYTES: &str = "application/offset+octet-stream";

/// `/files/{id}`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource(["/files", "/files/{id}"])
            .wrap(
                DefaultHeaders::new()
                    .add(("Tus-Resumable", VERSION))
                    .add((CACHE_CONTROL, "no-store")),
            )
            .route(web::head().to(head))
            .route(web::patch().to(patch))
            .route(web::delete().to(delete))
            .route(web::post().to(tunnel))
            .route(web::method(actix_web::http::Method::OPTIONS).to(options)),
    );
}

/// What is spoken here. The only request that need not name a version.
async fn options() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(("Tus-Version", VERSION))
        .insert_header(("Tus-Extension", "termination,expiration"))
        .finish()
}

/// Where an upload stands. An old request that still writes is told to save what it has first, so that the offset is
/// never outdated.
async fn head(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    check_version(&request)?;
    find(&state, *id, owner).await?;
    let slot = take_slot(&state, *id).await?;
    let mut file = find(&state, *id, owner).await?;
    if file.state == FileState::Open && file.received == file.length && !file.sealed {
        // Every byte is here, but a crash came before the verdict on the whole.
        settle(&state.pool, &state.storage, &file, &slot).await.map_err(disk)?;
        file = find(&state, *id, owner).await?;
    }
    refuse_gone(&file)?;
    let mut response = HttpResponse::NoContent();
    response
        .insert_header(("Upload-Offset", file.received))
        .insert_header(("Upload-Length", file.length))
        .insert_header(("Upload-Expires", http_date(file.expires_at)));
    if !file.metadata.is_empty() {
        response.insert_header(("Upload-Metadata", file.metadata.as_str()));
    }
    Ok(response.finish())
}

async fn patch(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    payload: Payload,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    check_version(&request)?;
    append(state, *id, &request, payload, owner).await
}

async fn delete(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    check_version(&request)?;
    terminate(&state, *id, owner).await
}

/// `X-HTTP-Method-Override`, for networks that let nothing but GET and POST through.
async fn tunnel(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    payload: Payload,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    check_version(&request)?;
    match text(&request, "x-http-method-override") {
        Some("PATCH") => append(state, *id, &request, payload, owner).await,
        Some("DELETE") => terminate(&state, *id, owner).await,
        _ => Err(ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Appends the body. Everything that can be refused is refused before a byte is read.
async fn append(
    state: Data<AppState>,
    id: FileId,
    request: &HttpRequest,
    payload: Payload,
    owner: Owner,
) -> Result<HttpResponse, ApiError> {
    let media = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if media != BYTES {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "upload-content-type",
            "Send the bytes with Content-Type: application/offset+octet-stream.",
            "Content-Type: application/offset+octet-stream 헤더와 함께 바이트를 보내세요.",
        ));
    }
    let offset: u64 = number(request, "upload-offset").ok_or_else(|| {
        ApiError::bad_request(
            "upload-offset-missing",
            "The request must say in Upload-Offset where its bytes begin.",
            "Upload-Offset 헤더로 바이트가 시작되는 위치를 알려야 합니다.",
        )
    })?;
    let announced: Option<u64> = number(request, CONTENT_LENGTH.as_str());
    let file = find(&state, id, owner).await?;
    refuse_gone(&file)?;
    if offset
        .checked_add(announced.unwrap_or(0))
        .is_none_or(|end| end > file.length)
    {
        return Err(too_long());
    }
    let slot = take_slot(&state, id).await?;
    // Whatever becomes of this connection, bytes that arrived are kept: the loop runs on its own, and its end of the body
    // fails when the connection does.
    let work = actix_web::rt::spawn(write(state, slot, id, owner, offset, payload));
    work.await.map_err(ApiError::internal)?
}

async fn write(
    state: Data<AppState>,
    slot: Slot,
    id: FileId,
    owner: Owner,
    offset: u64,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let Some(lease) = uploads::begin(&state.pool, id, owner, offset).await? else {
        let file = find(&state, id, owner).await?;
        refuse_gone(&file)?;
        if file.state == FileState::Complete && file.received == offset {
            // The answer to the last PATCH was lost; there is nothing left to do.
            return Ok(written(&file));
        }
        return Err(if file.sealed {
            sealed()
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
    let (received, ended) = receive(&state.pool, &state.storage, &lease, payload, stop, Pace::default())
        .await
        .map_err(disk)?;
    tracing::debug!(file = %id, offset, received, ?ended, "an upload paused");
    let file = find(&state, id, owner).await?;
    if received == lease.length() && ended != Ended::Fenced && ended != Ended::TooLong {
        return match settle(&state.pool, &state.storage, &file, &slot).await.map_err(disk)? {
            Settled::Complete => Ok(written(&file)),
            Settled::Corrupt => Err(corrupt()),
            Settled::Open => Err(wrong_offset(file.received)),
        };
    }
    match ended {
        // A client may end early on purpose; it goes on from the offset it is told.
        Ended::Body => Ok(written(&file)),
        Ended::TooLong => Err(too_long()),
        Ended::Fenced => Err(wrong_offset(file.received)),
        // Clients do not come back after a 4xx; all of these are worth coming back for.
        Ended::Cancelled if state.stopping.is_cancelled() => Err(ApiError::unavailable(anyhow!("stopping"))),
        Ended::Cancelled => Err(superseded()),
        Ended::Stalled | Ended::Broken => Err(stalled()),
    }
}

/// Gives a declared file up: its bytes are deleted and it leaves the draft's manifest.
async fn terminate(state: &AppState, id: FileId, owner: Owner) -> Result<HttpResponse, ApiError> {
    let file = find(state, id, owner).await?;
    let _slot = take_slot(state, id).await?;
    if !uploads::delete(&state.pool, id, owner).await? {
        return Err(if file.sealed { sealed() } else { ApiError::not_found() });
    }
    let leftovers = [
        state.storage.part(id),
        state.storage.submission_dir(file.submission_id).join(&file.name),
    ];
    blocking(move || {
        leftovers
            .into_iter()
            .try_for_each(|path| ignore_missing(std::fs::remove_file(path)))
    })
    .await
    .map_err(ApiError::internal)?;
    Ok(HttpResponse::NoContent().finish())
}

fn written(file: &UploadFile) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(("Upload-Offset", file.received))
        .insert_header(("Upload-Expires", http_date(file.expires_at)))
        .finish()
}

async fn find(state: &AppState, id: FileId, owner: Owner) -> Result<UploadFile, ApiError> {
    uploads::find(&state.pool, id, owner)
        .await?
        .ok_or_else(ApiError::not_found)
}

async fn take_slot(state: &AppState, id: FileId) -> Result<Slot, ApiError> {
    state.storage.slots().take(id).await.map_err(|SlotBusy| superseded())
}

fn text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request
        .headers()
        .get(name)
        .map(HeaderValue::to_str)
        .and_then(Result::ok)
}

/// Digits only: `+1` and ` 1` are not numbers of this protocol.
fn number(request: &HttpRequest, name: &str) -> Option<u64> {
    text(request, name)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// RFC 9110 §5.6.7.
fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn check_version(request: &HttpRequest) -> Result<(), ApiError> {
    if text(request, "tus-resumable") == Some(VERSION) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "tus-version",
        "Uploads speak tus 1.0.0: send Tus-Resumable: 1.0.0.",
        "업로드는 tus 1.0.0을 사용합니다. Tus-Resumable: 1.0.0 헤더를 보내세요.",
    ))
}

/// A file that was given up, or is not what was declared, takes no more bytes under this address.
fn refuse_gone(file: &UploadFile) -> Result<(), ApiError> {
    match file.state {
        FileState::Open | FileState::Complete => Ok(()),
        FileState::Corrupt => Err(ApiError {
            status: StatusCode::GONE,
            ..corrupt()
        }),
        FileState::Expired => Err(ApiError::new(
            StatusCode::GONE,
            "upload-expired",
            "This upload was idle for too long and was given up. Declare the file again and start over.",
            "업로드가 너무 오래 멈춰 있어 취소되었습니다. 파일을 다시 등록하고 처음부터 올려 주세요.",
        )),
    }
}

/// 460 is tus's own status for bytes that do not match their checksum.
fn corrupt() -> ApiError {
    ApiError::new(
        StatusCode::from_u16(460).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY),
        "sha256-mismatch",
        "The file that arrived does not have the declared sha256: it changed on your side after it was chosen, or was damaged on the way. Choose it again.",
        "도착한 파일의 sha256이 등록한 값과 다릅니다. 선택한 뒤에 파일이 바뀌었거나 전송 중에 손상되었습니다. 파일을 다시 선택해 주세요.",
    )
}

fn too_long() -> ApiError {
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

fn superseded() -> ApiError {
    ApiError::conflict(
        "upload-superseded",
        "Another request took this upload over.",
        "다른 요청이 이 업로드를 이어받았습니다.",
    )
}

fn sealed() -> ApiError {
    ApiError::conflict(
        "submission-sealed",
        "The submission has been sent; its files can no longer change.",
        "이미 제출되어 파일을 바꿀 수 없습니다.",
    )
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
fn disk(error: anyhow::Error) -> ApiError {
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
