//! Resumable uploads: tus 1.0 with creation, creation-with-upload, termination, checksum and expiration.
//!
//! Whoever is logged in or shows an upload token may use the uploads of their own team's drafts; everyone else's are not
//! there.

mod append;
mod create;
mod tus;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

use crate::auth::RequireUploader;
use crate::db::contests;
use crate::db::ids::FileId;
use crate::db::uploads::{self, FileState, Owner, UploadFile};
use crate::error::ApiError;
use crate::state::AppState;
use crate::storage::ignore_missing;
use crate::uploader::{Checksum, Slot, SlotBusy, blocking, settle};

use append::append;

/// The one version of the protocol spoken.
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination,checksum,expiration";

/// `/files` and `/files/{id}`.
pub fn configure(cfg: &mut ServiceConfig) {
    let headers = || {
        DefaultHeaders::new()
            .add(("Tus-Resumable", VERSION))
            .add((CACHE_CONTROL, "no-store"))
    };
    cfg.service(
        web::resource("/files")
            .wrap(headers())
            .route(web::post().to(create::create))
            .route(web::method(Method::OPTIONS).to(options)),
    )
    .service(
        web::resource("/files/{id}")
            .wrap(headers())
            .route(web::head().to(head))
            .route(web::patch().to(patch))
            .route(web::delete().to(delete))
            .route(web::post().to(tunnel))
            .route(web::method(Method::OPTIONS).to(options)),
    );
}

/// What is spoken here. The only request that need not name a version.
async fn options(state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::NoContent();
    response
        .insert_header(("Tus-Version", VERSION))
        .insert_header(("Tus-Extension", EXTENSIONS))
        .insert_header(("Tus-Checksum-Algorithm", Checksum::ALGORITHMS));
    if let Some(contest) = contests::current(&state.pool).await? {
        response.insert_header(("Tus-Max-Size", contest.rules.checkpoint.max_bytes));
    }
    Ok(response.finish())
}

async fn head(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    if let Some(refusal) = tus::check_version(&request) {
        return Ok(refusal);
    }
    stand(&state, *id, owner).await
}

/// Where an upload stands. An old request that still writes is told to save what it has first, so that the offset is
/// never outdated.
async fn stand(state: &AppState, id: FileId, owner: Owner) -> Result<HttpResponse, ApiError> {
    find(state, id, owner).await?;
    let slot = take_slot(state, id).await?;
    let mut file = find(state, id, owner).await?;
    if file.state == FileState::Open && file.received == file.length && !file.sealed {
        // Every byte is here, but a crash came before the verdict on the whole.
        settle(&state.pool, &state.storage, &file, &slot)
            .await
            .map_err(append::disk)?;
        file = find(state, id, owner).await?;
    }
    refuse_gone(&file)?;
    let mut response = HttpResponse::NoContent();
    response
        .insert_header(("Upload-Offset", file.received))
        .insert_header(("Upload-Length", file.length))
        .insert_header(tus::expires(&file));
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
    if let Some(refusal) = tus::check_version(&request) {
        return Ok(refusal);
    }
    patched(state, *id, &request, payload, owner).await
}

async fn patched(
    state: Data<AppState>,
    id: FileId,
    request: &HttpRequest,
    payload: Payload,
    owner: Owner,
) -> Result<HttpResponse, ApiError> {
    match append(state.clone(), id, request, payload, owner).await {
        Ok(file) => Ok(HttpResponse::NoContent()
            .insert_header(("Upload-Offset", file.received))
            .insert_header(tus::expires(&file))
            .finish()),
        // Every answer to a PATCH of a living upload says how long it lives. What is our own fault goes the usual way.
        Err(error) if error.status.is_client_error() && error.status != StatusCode::NOT_FOUND => {
            let mut response = error.error_response();
            if let Ok(Some(file)) = uploads::find(&state.pool, id, owner).await
                && file.state == FileState::Open
            {
                let (name, value) = tus::expires(&file);
                tus::insert(&mut response, name, &value);
            }
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

async fn delete(
    state: Data<AppState>,
    id: Path<FileId>,
    request: HttpRequest,
    RequireUploader(owner): RequireUploader,
) -> Result<HttpResponse, ApiError> {
    if let Some(refusal) = tus::check_version(&request) {
        return Ok(refusal);
    }
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
    if let Some(refusal) = tus::check_version(&request) {
        return Ok(refusal);
    }
    match tus::text(&request, "x-http-method-override") {
        Some("PATCH") => patched(state, *id, &request, payload, owner).await,
        Some("DELETE") => terminate(&state, *id, owner).await,
        Some("HEAD") => stand(&state, *id, owner).await,
        _ => {
            // What is not theirs is not there, whatever was asked of it.
            find(&state, *id, owner).await?;
            Err(ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED))
        }
    }
}

/// Gives a declared file up: its bytes are deleted and it leaves the draft's manifest.
async fn terminate(state: &AppState, id: FileId, owner: Owner) -> Result<HttpResponse, ApiError> {
    let file = find(state, id, owner).await?;
    let _slot = take_slot(state, id).await?;
    if !uploads::delete(&state.pool, id, owner).await? {
        return Err(if file.sealed {
            super::drafts::sealed()
        } else {
            ApiError::not_found()
        });
    }
    state.storage.slots().forget_digest(id);
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

async fn find(state: &AppState, id: FileId, owner: Owner) -> Result<UploadFile, ApiError> {
    uploads::find(&state.pool, id, owner)
        .await?
        .ok_or_else(ApiError::not_found)
}

async fn take_slot(state: &AppState, id: FileId) -> Result<Slot, ApiError> {
    state
        .storage
        .slots()
        .take(id)
        .await
        .map_err(|SlotBusy| append::superseded())
}

/// A file that was given up, or is not what was declared, takes no more bytes under this address.
fn refuse_gone(file: &UploadFile) -> Result<(), ApiError> {
    match file.state {
        FileState::Open | FileState::Complete => Ok(()),
        FileState::Corrupt => Err(ApiError {
            status: StatusCode::GONE,
            ..append::corrupt()
        }),
        FileState::Expired => Err(ApiError::new(
            StatusCode::GONE,
            "upload-expired",
            "This upload was idle for too long and was given up. Declare the file again and start over.",
            "업로드가 너무 오래 멈춰 있어 취소되었습니다. 파일을 다시 등록하고 처음부터 올려 주세요.",
        )),
    }
}
