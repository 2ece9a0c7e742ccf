//! Refuses requests that change something unless they come from our own pages.
//!
//! Two independent checks (OWASP CSRF Prevention Cheat Sheet): where the browser says the request started, and a token
//! that only our pages hold. Both are here, before any handler, so that no handler can forget them. Requests of workers
//! are left out: their endpoints look at bearer tokens alone, which no browser adds by itself.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::wants_json;
use crate::auth::{Viewer, csrf, uploader};
use crate::error::ApiError;
use crate::state::AppState;

/// Largest form: the longest one holds a contest.toml, whose Korean triples on the way.
pub const FORM_BYTES: usize = 256 * 1024;

/// See the module.
pub async fn guard<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let exempt = request.method().is_safe()
        || request.path().starts_with("/worker/")
        || uploader::judged_by_token(request.request());
    if !exempt && let Err(refusal) = check(&mut request).await {
        return Ok(request.error_response(refusal).map_into_right_body());
    }
    next.call(request).await.map(ServiceResponse::map_into_left_body)
}

async fn check(request: &mut ServiceRequest) -> Result<(), ApiError> {
    let viewer = Viewer::of(request.request()).await?;
    if !own_origin(request.request()) {
        return Err(cross_site());
    }
    let form = is_form(request.request());
    if viewer.user.is_none() && !form && wants_json(request.request()) {
        // Nobody is logged in, so there is nothing to misuse; the handler says 401, which tells a script what to do.
        return Ok(());
    }
    let token = match header(request.request(), csrf::HEADER) {
        Some(token) => Some(token.to_owned()),
        None if form => form_token(request).await?,
        None => None,
    };
    match token {
        Some(token) if viewer.accepts_csrf(&token) => Ok(()),
        Some(_) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "csrf-invalid",
            "This page was open too long, or you logged in or out meanwhile. Reload it and try again.",
            "페이지를 연 지 너무 오래되었거나, 그사이에 로그인 상태가 바뀌었습니다. 새로고침한 뒤 다시 시도하세요.",
        )),
        None => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "csrf-missing",
            "The request carries no form token. Reload the page and try again; programs send it as X-CSRF-Token.",
            "요청에 폼 토큰이 없습니다. 페이지를 새로고침한 뒤 다시 시도하세요. 프로그램은 X-CSRF-Token 헤더로 보내야 합니다.",
        )),
    }
}

fn cross_site() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "csrf-cross-site",
        "The request was started by another site. Open the page here and try again.",
        "다른 사이트에서 시작된 요청입니다. 이 사이트의 페이지를 열어 다시 시도하세요.",
    )
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `Sec-Fetch-Site` decides where the browser sends it; older browsers and plain-http addresses have `Origin`. A client
/// that sends neither is no browser and holds no cookies by accident; the token still has to be right.
fn own_origin(request: &HttpRequest) -> bool {
    if let Some(site) = header(request, "sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.headers().get(ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else { return false };
    let public = request
        .app_data::<web::Data<AppState>>()
        .map(|state| state.public_url.as_str());
    // The Host header is the browser's own word for where it sends the request; another site cannot choose it.
    let host = header(request, HOST.as_str()).unwrap_or_default();
    let origin_host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    Some(origin) == public || origin_host.is_some_and(|origin| !host.is_empty() && origin == host)
}

fn is_form(request: &HttpRequest) -> bool {
    let media = header(request, CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

#[derive(Deserialize)]
struct TokenField {
    csrf: Option<String>,
}

/// Reads the whole form, takes the token from it, and puts the form back for the handler.
async fn form_token(request: &mut ServiceRequest) -> Result<Option<String>, ApiError> {
    let mut payload = request.take_payload();
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiError::of_status(StatusCode::BAD_REQUEST).with_source(error))?;
        if body.len() + chunk.len() > FORM_BYTES {
            return Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        body.extend_from_slice(&chunk);
    }
    let body: Bytes = body.freeze();
    let fields = web::Query::<TokenField>::from_query(std::str::from_utf8(&body).unwrap_or_default());
    let again = futures_util::stream::once(std::future::ready(Ok(body)));
    request.set_payload(Payload::Stream {
        payload: Box::pin(again),
    });
    Ok(fields.ok().and_then(|fields| fields.into_inner().csrf))
}
