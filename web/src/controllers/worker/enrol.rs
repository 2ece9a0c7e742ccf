//! `POST /worker/v1/enrol`: a one-time token lets a worker's own key in.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::wire::{Device, Enrol, Enrolled, enrolment_statement};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;

use crate::auth::token::SecretToken;
use crate::db::audit::{self, Entry};
use crate::db::workers::{self, Enrolment};
use crate::domain::UserName;
use crate::error::ApiError;
use crate::middleware::origin;
use crate::state::AppState;

pub(super) async fn enrol(
    request: HttpRequest,
    state: Data<AppState>,
    Json(ask): Json<Enrol>,
) -> Result<HttpResponse, ApiError> {
    let name = UserName::parse(&ask.name)
        .map_err(|refused| ApiError::unprocessable("worker-name-invalid", &refused.message.en, &refused.message.ko))?;
    let device = bounded(ask.device)?;
    let public_key = held_key(&ask.token, &ask.public_key, &ask.signature)?;
    let refused = || {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "enrolment-token-invalid",
            "This enrolment token is unknown, was used, or is too old. Ask an organizer for a new one.",
            "등록 토큰을 찾을 수 없거나, 이미 사용되었거나, 만료되었습니다. 운영진에게 새 토큰을 요청하세요.",
        )
    };
    let token = SecretToken::parse(ask.token.trim()).ok_or_else(refused)?;
    let mut transaction = state.pool.begin().await?;
    let enrolled = workers::enrol(&mut transaction, &token, name.as_str(), &device, &public_key)
        .await?
        .ok_or_else(refused)?;
    let id = match enrolled {
        // The answer got lost on the way: the same question gets the same answer.
        Enrolment::Before(id) => id,
        Enrolment::Now(id) => {
            let object = format!("worker:{id}");
            let entry = Entry::new("worker.enrolled", &object)
                .after(json!({ "name": name.as_str(), "device": device, "public_key": ask.public_key }));
            audit::record(&mut *transaction, &origin(&request), entry).await?;
            id
        }
    };
    transaction.commit().await?;
    Ok(HttpResponse::Ok().json(Enrolled {
        worker_id: id.to_string(),
        key: None,
    }))
}

/// The key a worker enrols, once it has shown that it holds the private half.
fn held_key(token: &str, public_key: &str, signature: &str) -> Result<[u8; 32], ApiError> {
    if public_key.is_empty() {
        return Err(ApiError::unprocessable(
            "worker-too-old",
            "This worker brings no key of its own: it is older than this server. Update assay-worker and enrol again.",
            "이 작업 노드는 자체 키를 보내지 않습니다. 서버보다 오래된 버전이니 assay-worker를 업데이트한 뒤 다시 등록하세요.",
        ));
    }
    let invalid = || {
        ApiError::unprocessable(
            "worker-key-unproven",
            "The public key is no Ed25519 key, or the signature over the enrolment is not by it.",
            "공개 키가 Ed25519 키가 아니거나, 등록 서명이 그 키로 만든 것이 아닙니다.",
        )
    };
    let key: [u8; 32] = hex::decode(public_key)
        .ok()
        .and_then(|key| key.try_into().ok())
        .ok_or_else(invalid)?;
    let signature = hex::decode(signature).map_err(|_| invalid())?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(enrolment_statement(token).as_bytes(), &signature)
        .map_err(|_| invalid())?;
    Ok(key)
}

/// What a worker says about its device is shown to organizers and teams: short and visible, or not at all.
pub(super) fn bounded(device: Device) -> Result<Device, ApiError> {
    let fine = |text: &str| text.chars().count() <= 120 && !text.chars().any(char::is_control);
    if fine(&device.name) && fine(&device.kind) {
        return Ok(device);
    }
    Err(ApiError::unprocessable(
        "worker-device-invalid",
        "The device's name and kind must be at most 120 visible characters.",
        "장치 이름과 종류는 눈에 보이는 글자 120자 이하여야 합니다.",
    ))
}
