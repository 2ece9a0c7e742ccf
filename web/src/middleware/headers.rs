//! Headers every response carries.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use super::request_id;
use crate::auth::Viewer;
use crate::state::AppState;

/// The pages hold no inline script, style or handler, so no nonce is needed: what is not a file of ours does not run.
/// `worker-src` is for hashing files in the background.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'; object-src 'none'";

const FIXED: [(&str, &str); 7] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    ("x-frame-options", "DENY"),
];

/// One year; only sent by an installation that people reach over https.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000; includeSubDomains";

/// Adds the security headers a handler did not set itself, the request id, and the visitor cookie where one is due.
pub async fn secure<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let id = request_id(response.request());
    let state = response.request().app_data::<web::Data<AppState>>().cloned();
    let viewer = response.request().extensions().get::<Viewer>().cloned();
    let https = state
        .as_ref()
        .is_some_and(|state| state.public_url.starts_with("https://"));
    add(response.headers_mut(), &id, https);
    let Some(state) = state else { return Ok(response) };
    let cookie = viewer.and_then(|viewer| viewer.visitor_cookie(&state));
    if let Some(value) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie.to_string()).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// The fixed headers, where a handler did not set its own. `https`: people reach the installation that way.
pub(super) fn add(headers: &mut HeaderMap, id: &str, https: bool) {
    let mut add = |name: &'static str, value: HeaderValue| {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    for (name, value) in FIXED {
        add(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        add("x-request-id", id);
    }
    if https {
        add(
            "strict-transport-security",
            HeaderValue::from_static(STRICT_TRANSPORT_SECURITY),
        );
    }
}
