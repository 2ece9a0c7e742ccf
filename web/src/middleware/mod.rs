//! What wraps every request, from the inside out: [`limits`] by account, [`csrf`], [`limits`] by network, [`strict`], [`errors`], [`headers`], [`head`], [`measure`],
//! and around them the request's span with its id ([`crate::telemetry`]).

pub mod csrf;
pub mod errors;
pub mod head;
pub mod headers;
pub mod limits;
pub mod measure;
pub mod strict;

use actix_web::http::header::ACCEPT;
use actix_web::{HttpMessage as _, HttpRequest, web};

use crate::auth::{Viewer, client};
use crate::db::audit::Origin;
use crate::state::AppState;
use crate::telemetry::RequestId;

/// The request's id as shown to people, in the log and in the audit record.
pub fn request_id(request: &HttpRequest) -> String {
    request
        .extensions()
        .get::<RequestId>()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Who asks and from where, for the audit record. The session is known once a handler or a middleware has looked it up.
pub fn origin(request: &HttpRequest) -> Origin {
    let viewer = request.extensions().get::<Viewer>().cloned();
    let network = request
        .app_data::<web::Data<AppState>>()
        .map(|state| client::shown_network(client::address(request, &state.settings)));
    Origin {
        actor: viewer.and_then(|viewer| viewer.user).map(|user| user.id),
        network: network.unwrap_or_default(),
        request_id: request_id(request),
    }
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
