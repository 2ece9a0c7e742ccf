//! One file a page or verb. Each has `pub fn configure(cfg: &mut ServiceConfig)`, which names its own paths.

pub mod account;
mod account_mail;
pub mod admin;
mod admission;
pub mod assets;
pub mod board;
mod compare;
mod drafts;
pub mod events;
pub mod health;
pub mod locale;
pub mod login;
pub mod logout;
mod manifest;
pub mod metrics;
pub mod precheck;
mod sealed;
pub mod signup;
mod submission_pages;
pub mod submissions;
pub mod teams;
pub mod uploads;
pub mod visit;
pub mod worker;

use actix_web::error::{JsonPayloadError, QueryPayloadError, UrlencodedError};
use actix_web::http::StatusCode;
use actix_web::web::{self, FormConfig, JsonConfig, PathConfig, QueryConfig, ServiceConfig};

use crate::error::ApiError;
use crate::middleware::csrf::FORM_BYTES;
use crate::views::FieldError;

/// Largest JSON body where a route does not say otherwise.
const JSON_BYTES: usize = 1024 * 1024;

/// All routes, and what is said when an argument cannot be read.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.app_data(json_config(JSON_BYTES))
        .app_data(
            FormConfig::default()
                .limit(FORM_BYTES)
                .error_handler(|error, _| form_error(error).into()),
        )
        .app_data(QueryConfig::default().error_handler(|error, _| query_error(error).into()))
        // An id that is no id names nothing.
        .app_data(PathConfig::default().error_handler(|_, _| ApiError::not_found().into()));
    assets::configure(cfg);
    health::configure(cfg);
    locale::configure(cfg);
    login::configure(cfg);
    logout::configure(cfg);
    signup::configure(cfg);
    account::configure(cfg);
    account_mail::configure(cfg);
    teams::configure(cfg);
    precheck::configure(cfg);
    uploads::configure(cfg);
    // Before the pages of submissions: `/submissions/{id}/events` is the longer path.
    events::configure(cfg);
    submissions::configure(cfg);
    worker::configure(cfg);
    admin::configure(cfg);
    sealed::configure(cfg);
    compare::configure(cfg);
    board::configure(cfg);
    cfg.default_service(web::to(|| async { Err::<&str, _>(ApiError::not_found()) }));
}

/// JSON bodies up to `limit` bytes, refused with our own codes.
pub fn json_config(limit: usize) -> JsonConfig {
    JsonConfig::default()
        .limit(limit)
        .error_handler(|error, _| json_error(error).into())
}

fn json_error(error: JsonPayloadError) -> ApiError {
    match error {
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
            ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        JsonPayloadError::ContentType => ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        JsonPayloadError::Deserialize(cause) => ApiError::bad_request(
            "json-invalid",
            &format!("The body is not the JSON this address expects: {cause}."),
            &format!("본문이 이 주소에서 받는 JSON 형식과 다릅니다: {cause}."),
        ),
        other => ApiError::of_status(StatusCode::BAD_REQUEST).with_source(anyhow::anyhow!("{other}")),
    }
}

fn form_error(error: UrlencodedError) -> ApiError {
    match error {
        UrlencodedError::Overflow { .. } => ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE),
        UrlencodedError::ContentType => ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        other => ApiError::bad_request(
            "form-invalid",
            "The form is incomplete. Reload the page and send it again.",
            "폼의 내용이 온전하지 않습니다. 페이지를 새로고침한 뒤 다시 보내 주세요.",
        )
        .with_source(anyhow::anyhow!("{other}")),
    }
}

fn query_error(error: QueryPayloadError) -> ApiError {
    ApiError::bad_request(
        "query-invalid",
        "The part of the address after the question mark cannot be understood.",
        "주소에서 물음표 뒤의 내용을 이해할 수 없습니다.",
    )
    .with_source(anyhow::anyhow!("{error}"))
}

/// A refusal beside its field, in the page's language.
fn field_error(locale: crate::i18n::Locale, field: &str, refused: &crate::domain::Refused) -> FieldError {
    let message = locale.pick(&refused.message.en, &refused.message.ko).to_owned();
    FieldError {
        field: field.to_owned(),
        message,
    }
}
