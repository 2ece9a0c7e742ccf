//! `POST /worker/v1/challenge` and `/session`: a signature becomes a short session.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::wire::{Challenge, Challenged, Device, Doorbell, OpenSession, Session, session_statement};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::bearer;
use crate::auth::token::SecretToken;
use crate::db::ids::WorkerId;
use crate::db::workers;
use crate::error::ApiError;
use crate::state::AppState;
use crate::worker_session;

pub(super) async fn challenge(state: Data<AppState>, Json(ask): Json<Challenge>) -> Result<HttpResponse, ApiError> {
    let worker: WorkerId = ask.worker_id.parse().map_err(|_| unknown())?;
    let challenge = workers::challenge(&state.pool, worker).await?;
    Ok(HttpResponse::Ok().json(Challenged { challenge }))
}

pub(super) async fn open(state: Data<AppState>, Json(ask): Json<OpenSession>) -> Result<HttpResponse, ApiError> {
    let worker: WorkerId = ask.worker_id.parse().map_err(|_| unknown())?;
    let challenge = SecretToken::parse(&ask.challenge).ok_or_else(unknown)?;
    let signature = hex::decode(&ask.signature).map_err(|_| unknown())?;
    let key = workers::answer(&state.pool, worker, &challenge)
        .await?
        .ok_or_else(unknown)?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(session_statement(&ask.worker_id, &ask.challenge).as_bytes(), &signature)
        .map_err(|_| unknown())?;
    if !workers::seen(&state.pool, worker, None).await? {
        return Err(unknown());
    }
    let token = worker_session::issue(&state.keys, worker).map_err(ApiError::internal)?;
    let queue = &state.settings.broker.amqp_queue;
    Ok(HttpResponse::Ok().json(Session {
        token,
        seconds: worker_session::LIFE.as_secs(),
        doorbell: state.settings.amqp_worker_url.as_ref().map(|url| Doorbell {
            url: url.clone(),
            queue: queue.clone(),
        }),
    }))
}

/// The worker whose session token (or key, from before there were sessions) came with the request.
pub(super) async fn worker(
    state: &AppState,
    request: &HttpRequest,
    device: Option<&Device>,
) -> Result<WorkerId, ApiError> {
    let shown = bearer(request).ok_or_else(unknown)?;
    if let Some(key) = SecretToken::parse(shown) {
        let found = workers::authenticate(&state.pool, &key, device).await?;
        return found.ok_or_else(unknown);
    }
    let worker = worker_session::read(&state.keys, shown).ok_or_else(ended)?;
    if workers::seen(&state.pool, worker, device).await? {
        Ok(worker)
    } else {
        Err(unknown())
    }
}

fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "worker-key-invalid",
        "No worker has this key, or it was revoked. Enrol again with a new token.",
        "이 키를 가진 작업 노드가 없거나 키가 폐기되었습니다. 새 토큰으로 다시 등록하세요.",
    )
}

/// Told apart from a key that is worth nothing: the worker signs a new challenge and goes on.
fn ended() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "worker-session-ended",
        "The session has ended or is damaged. Sign a new challenge.",
        "세션이 끝났거나 손상되었습니다. 새 챌린지에 서명하세요.",
    )
}
