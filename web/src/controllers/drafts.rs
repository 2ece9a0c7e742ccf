//! Drafts: what a team declares before it uploads, what of it is here already, and throwing it away again.

use actix_web::http::header;
use actix_web::web::{self, Data, Json, Path, ServiceConfig};
use actix_web::{HttpResponse, http::header::CACHE_CONTROL};
use serde_json::{Value, json};

use super::admission::{self, Admitted};
use super::manifest::{DeclaredContent, Manifest, check_file, check_manifest, refused, title};
use super::precheck::current;
use crate::auth::{RequireUploader, RequireUser};
use crate::db::contests;
use crate::db::ids::{FileId, SubmissionId, UserId};
use crate::db::submissions::{self, Reader, State};
use crate::db::uploads::{self, FileState, Owner, UploadFile};
use crate::error::{ApiError, violates};
use crate::state::AppState;
use crate::storage::ignore_missing;
use crate::upload_token;
use crate::uploader::blocking;

/// Drafts a team may have open at once: each may hold a whole checkpoint on disk.
const OPEN_DRAFTS: i64 = 10;

/// `/api/v1/submissions…`, what changes drafts.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/v1/submissions").route(web::post().to(create)))
        .service(web::resource("/api/v1/submissions/{id}/uploads").route(web::get().to(list)))
        .service(web::resource("/api/v1/submissions/{id}/files/{name}").route(web::put().to(declare)));
}

/// Makes a draft from a manifest. Names, lengths and digests are declared before a byte moves, so that a file that
/// changes on the way is caught. Without a manifest the draft is empty: clients that only speak tus declare each file as
/// they create its upload.
async fn create(
    state: Data<AppState>,
    RequireUser(user): RequireUser,
    Json(manifest): Json<Manifest>,
) -> Result<HttpResponse, ApiError> {
    let contest = current(&state).await?.rules;
    let title = title(&manifest.title)?;
    let files = match &manifest.files {
        Some(files) => check_manifest(&contest, files)?,
        None => Vec::new(),
    };
    let mut transaction = state.pool.begin().await?;
    let team = submissions::lock_team_of(&mut transaction, &contest.id, user.id)
        .await?
        .ok_or_else(|| {
            ApiError::conflict(
                "no-team",
                "Create a team or join one first: submissions belong to teams.",
                "먼저 팀을 만들거나 팀에 들어가세요. 제출은 팀 단위로 합니다.",
            )
        })?;
    if submissions::open_drafts(&mut *transaction, team).await? >= OPEN_DRAFTS {
        return Err(ApiError::conflict(
            "too-many-drafts",
            &format!("Your team has {OPEN_DRAFTS} unfinished uploads. Finish or delete one first."),
            &format!("팀에 끝나지 않은 업로드가 {OPEN_DRAFTS}개 있습니다. 먼저 하나를 끝내거나 삭제하세요."),
        ));
    }
    let admitted = admission::admit(&state, &mut transaction, &contest, team, &files).await?;
    let (id, ids) =
        submissions::create_draft(&mut transaction, &contest.id, team, Some(user.id), &title, &files).await?;
    transaction.commit().await?;

    if let Err(error) = admission::settle(&state, id, &files, &ids, admitted).await {
        // Nothing was promised yet: a draft that has no room does not stay.
        submissions::discard(&state.pool, id).await?;
        let storage = state.storage.clone();
        blocking(move || storage.remove_draft(id, &ids))
            .await
            .map_err(ApiError::internal)?;
        return Err(error);
    }
    let files = uploads::of_submission(&state.pool, id).await?;
    let order: Vec<FileId> = ids;
    let body = shape(&state, id, State::Draft, user.id, sorted(files, &order))?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/api/v1/submissions/{id}")))
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body))
}

/// In the order they were declared.
fn sorted(mut files: Vec<UploadFile>, order: &[FileId]) -> Vec<UploadFile> {
    files.sort_by_key(|file| order.iter().position(|id| *id == file.id));
    files
}

/// Where every upload of a draft stands, with a fresh token: what a client asks for after a reload.
async fn list(
    state: Data<AppState>,
    uploader: RequireUploader,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    let owner = uploader.for_draft(*id)?;
    let draft = find_mine(&state, *id, owner).await?;
    let files = uploads::of_submission(&state.pool, *id).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(shape(&state, *id, draft.state, owner.user, files)?))
}

/// The submission, if `owner` is in its team: organizers look at drafts, but only its team changes one.
pub(super) async fn find_mine(
    state: &AppState,
    id: SubmissionId,
    owner: Owner,
) -> Result<submissions::Submission, ApiError> {
    let reader = Reader {
        user: owner.user,
        organizer: false,
    };
    submissions::find(&state.pool, id, reader)
        .await?
        .ok_or_else(ApiError::not_found)
}

/// A draft as upload clients see it. `expires_at` is when the token ends; both are null once the draft was sent.
fn shape(
    state: &AppState,
    id: SubmissionId,
    now: State,
    user: UserId,
    files: Vec<UploadFile>,
) -> Result<Value, ApiError> {
    let token = match now {
        State::Draft => Some(upload_token::issue(&state.keys, id, user).map_err(ApiError::internal)?),
        _ => None,
    };
    let (token, ends) = token.unzip();
    Ok(json!({
        "id": id,
        "state": now,
        "upload_token": token,
        "expires_at": ends,
        "files": files.iter().map(shape_file).collect::<Vec<_>>(),
    }))
}

/// `state` is `open`, `complete`, `corrupt` or `expired`; the last two need the file declared anew.
fn shape_file(file: &UploadFile) -> Value {
    json!({
        "id": file.id,
        "name": file.name,
        "bytes": file.length,
        "sha256": file.sha256_expected,
        "upload_url": upload_url(file.id),
        "received": file.received,
        "state": file.state,
        "origin": file.origin,
        "expires_at": file.expires_at,
    })
}

pub(super) fn upload_url(file: FileId) -> String {
    format!("/files/{file}")
}

/// Declares a file of a draft anew: in place of one that was corrupt, given up or changed. Its address is a new one, for
/// the bytes of the old upload never come back.
async fn declare(
    state: Data<AppState>,
    uploader: RequireUploader,
    path: Path<(SubmissionId, String)>,
    Json(content): Json<DeclaredContent>,
) -> Result<HttpResponse, ApiError> {
    let (id, name) = path.into_inner();
    let owner = uploader.for_draft(id)?;
    let file = check_file(&name, &content).map_err(|problem| refused(vec![*problem]))?;
    find_mine(&state, id, owner).await?;
    let made = replace(&state, id, owner, file, "", true).await?;
    Ok(HttpResponse::Created().json(shape_file(&made)))
}

/// Puts a file into a draft's manifest, in place of another one of that name. What is there already with the same bytes
/// stays: this request may be an old one whose client has long asked again and gone on with that upload. `reuse`: bytes that are here already are not asked
/// for again. The caller has found the draft.
pub(super) async fn replace(
    state: &AppState,
    id: SubmissionId,
    owner: Owner,
    file: submissions::Declared,
    metadata: &str,
    reuse: bool,
) -> Result<UploadFile, ApiError> {
    let old = uploads::of_submission(&state.pool, id)
        .await?
        .into_iter()
        .find(|old| old.name == file.name.as_str());
    if let Some(old) = old {
        if same(&old, &file) {
            return Ok(old);
        }
        // An upload that still runs is told to leave; its bytes go with its row.
        let _slot = state
            .storage
            .slots()
            .take(old.id)
            .await
            .map_err(|_| ApiError::unavailable(anyhow::anyhow!("busy")))?;
        if uploads::delete(&state.pool, old.id, owner).await? {
            let places = [
                state.storage.part(old.id),
                state.storage.submission_dir(id).join(&old.name),
            ];
            let remove = move || {
                places
                    .into_iter()
                    .try_for_each(|p| ignore_missing(std::fs::remove_file(p)))
            };
            blocking(remove).await.map_err(ApiError::internal)?;
        }
    }
    let mut transaction = state.pool.begin().await?;
    let draft = submissions::lock_draft(&mut transaction, id, owner.user)
        .await?
        .ok_or_else(sealed)?;
    let rules = contests::find(&mut *transaction, &draft.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?
        .rules;
    let others = uploads::of_submission(&mut *transaction, id).await?;
    let total = others
        .iter()
        .fold(file.bytes.unsigned_abs(), |sum, file| sum.saturating_add(file.length));
    if others.len() >= rules.checkpoint.max_files as usize || total > rules.checkpoint.max_bytes {
        return Err(ApiError::unprocessable(
            "too-many-bytes",
            "With this file the submission would have more files or bytes than the contest allows.",
            "이 파일을 더하면 대회에서 허용한 파일 수나 크기를 넘습니다.",
        ));
    }
    let files = [file];
    let admitted = if reuse {
        admission::admit(state, &mut transaction, &rules, draft.team_id, &files).await?
    } else {
        admission::admit_unseen(state, &mut transaction, &rules, draft.team_id, &files).await?
    };
    let made = submissions::declare(&mut *transaction, id, &files[0], metadata).await;
    let made = made.map_err(
        |error| match violates(&error, "submission_files_submission_id_name_key") {
            true => ApiError::conflict(
                "file-twice",
                "Somebody declared this file just now.",
                "방금 다른 사람이 이 파일을 등록했습니다.",
            ),
            false => error.into(),
        },
    )?;
    transaction.commit().await?;
    if let Err(error) = admission::settle(state, id, &files, &[made], admitted).await {
        uploads::delete(&state.pool, made, owner).await?;
        let part = state.storage.part(made);
        blocking(move || ignore_missing(std::fs::remove_file(part)))
            .await
            .map_err(ApiError::internal)?;
        return Err(error);
    }
    uploads::find(&state.pool, made, owner)
        .await?
        .ok_or_else(ApiError::not_found)
}

/// Throws a draft away, bytes included.
pub(super) async fn discard(
    state: Data<AppState>,
    uploader: RequireUploader,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    let owner = uploader.for_draft(*id)?;
    let found = find_mine(&state, *id, owner).await?;
    if found.state != State::Draft {
        return Err(sealed());
    }
    let files: Vec<FileId> = uploads::of_submission(&state.pool, *id)
        .await?
        .iter()
        .map(|file| file.id)
        .collect();
    let mut slots = Vec::new();
    for file in &files {
        slots.push(
            state
                .storage
                .slots()
                .take(*file)
                .await
                .map_err(|_| ApiError::unavailable(anyhow::anyhow!("busy")))?,
        );
    }
    if !submissions::delete_draft(&state.pool, *id, owner.user).await? {
        return Err(sealed());
    }
    let storage = state.storage.clone();
    blocking(move || storage.remove_draft(*id, &files))
        .await
        .map_err(ApiError::internal)?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) fn sealed() -> ApiError {
    ApiError::conflict(
        "submission-sealed",
        "The submission has been sent; its files can no longer change.",
        "이미 제출되어 파일을 바꿀 수 없습니다.",
    )
}

/// True when an upload of these very bytes is under way or done: asking for it again is asking where it stands.
fn same(file: &UploadFile, declared: &submissions::Declared) -> bool {
    matches!(file.state, FileState::Open | FileState::Complete)
        && file.name == declared.name.as_str()
        && file.length == declared.bytes.unsigned_abs()
        && file.sha256_expected == declared.sha256
}

impl Admitted {
    /// Nothing of it is here.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Admitted::New)
    }
}
