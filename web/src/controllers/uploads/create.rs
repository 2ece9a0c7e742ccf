//! tus creation: for clients that know nothing of our manifest. They are given `/files` as their endpoint and name the
//! draft, the file and its digest in Upload-Metadata.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::append::{append_at, corrupt, disk, too_long};
use super::{find, refuse_gone, take_slot, tus};
use crate::auth::RequireUploader;
use crate::controllers::drafts::{find_mine, replace, sealed, upload_url};
use crate::controllers::manifest::{DeclaredContent, check_file, refused};
use crate::db::contests;
use crate::db::ids::SubmissionId;
use crate::db::submissions::State;
use crate::db::uploads::{FileState, Settled};
use crate::error::ApiError;
use crate::state::AppState;
use crate::uploader::settle;

/// `POST /files`. Asking again for an upload that is under way leads to that upload, at its offset: a client that believes
/// it must start over (tus-js-client after any failed HEAD) does not lose what has arrived.
pub(super) async fn create(
    state: Data<AppState>,
    request: HttpRequest,
    payload: Payload,
    uploader: RequireUploader,
) -> Result<HttpResponse, ApiError> {
    if let Some(refusal) = tus::check_version(&request) {
        return Ok(refusal);
    }
    if request.headers().contains_key("upload-concat") {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "upload-concat-unsupported",
            "Uploads cannot be joined from parts here: send each file as one upload.",
            "여러 업로드를 하나로 합칠 수 없습니다. 파일마다 하나의 업로드로 보내세요.",
        ));
    }
    let length = tus::length(&request)?;
    let metadata = match request.headers().get("upload-metadata") {
        None => "",
        Some(value) => value.to_str().map_err(|_| tus::bad_metadata())?,
    };
    let fields = tus::Metadata::parse(metadata)?;
    let (Some(name), Some(sha256)) = (fields.filename, fields.sha256) else {
        return Err(tus::bad_metadata());
    };
    let draft: SubmissionId = match (&fields.submission, uploader.0.only) {
        (Some(id), _) => id.parse().map_err(|_| ApiError::not_found())?,
        (None, Some(only)) => only,
        (None, None) => return Err(tus::bad_metadata()),
    };
    let owner = uploader.for_draft(draft)?;
    let found = find_mine(&state, draft, owner).await?;
    if found.state != State::Draft {
        return Err(sealed());
    }
    let rules = contests::find(&state.pool, &found.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?
        .rules;
    if length > rules.checkpoint.max_bytes {
        return Err(too_long());
    }
    let content = DeclaredContent { bytes: length, sha256 };
    let declared = check_file(&name, &content).map_err(|problem| refused(vec![*problem]))?;
    // The client sends its bytes whatever it is told, so that nothing is looked for that may be here already.
    let mut file = replace(&state, draft, owner, declared, metadata, false).await?;
    if file.length == 0 && file.state == FileState::Open {
        // An empty file has no last byte that could close it.
        let slot = take_slot(&state, file.id).await?;
        if settle(&state.pool, &state.storage, &file, &slot).await.map_err(disk)? == Settled::Corrupt {
            return Err(corrupt());
        }
    } else if tus::has_bytes(&request) && file.received == 0 {
        file = append_at(state.clone(), file.id, &request, payload, owner, 0).await?;
    }
    let file = find(&state, file.id, owner).await?;
    refuse_gone(&file)?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, upload_url(file.id)))
        .insert_header(("Upload-Offset", file.received))
        .insert_header(tus::expires(&file))
        .finish())
}
