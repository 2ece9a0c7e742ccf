//! What wraps every request, from the inside out: [`csrf`], [`errors`], [`headers`], [`head`].

pub mod csrf;
pub mod errors;
pub mod head;
pub mod headers;

use actix_web::http::header::ACCEPT;
use actix_web::{HttpMessage as _, HttpRequest};
use tracing_actix_web::RequestId;

/// The request's id as shown to people, in the log and in the audit record.
pub fn request_id(request: &HttpRequest) -> String {
    request
        .extensions()
        .get::<RequestId>()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Is a program asking? Then errors are problem+json; else they are pages.
pub fn wants_json(request: &HttpRequest) -> bool {
    let path = request.path();
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ["/api/", "/worker/", "/files"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
        || path.ends_with(".json")
        || (accept.contains("json") && !accept.contains("text/html"))
}
