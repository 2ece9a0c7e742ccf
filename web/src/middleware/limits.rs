//! Answers 429 to whoever asks too often; see [`crate::auth::limits`].

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use crate::auth::{Viewer, client};
use crate::error::ApiError;
use crate::state::AppState;

/// Not counted: uploads (a chunk is a request), workers (they show a key), files of our own, probes.
const UNCOUNTED: [&str; 5] = ["/files", "/worker/", "/static/", "/livez", "/readyz"];

fn counted(request: &ServiceRequest) -> bool {
    !UNCOUNTED.iter().any(|prefix| request.path().starts_with(prefix))
}

/// By network, before anything else is looked up.
pub async fn network<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let refused = request.app_data::<web::Data<AppState>>().and_then(|state| {
        if !counted(&request) {
            return None;
        }
        let address = client::address(request.request(), &state.settings);
        let (limit, name) = if request.method().is_safe() {
            (&state.limits.reads, "reads")
        } else {
            (&state.limits.writes, "writes")
        };
        let wait = limit.take_from(address).err()?;
        state.metrics.limited(name);
        Some(too_many(wait))
    });
    match refused {
        None => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Some(refusal) => Ok(request.error_response(refusal).map_into_right_body()),
    }
}

/// By account, once the session is known: the check of form tokens has looked it up.
pub async fn account<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let refused = request.app_data::<web::Data<AppState>>().and_then(|state| {
        if request.method().is_safe() || !counted(&request) {
            return None;
        }
        let user = request.extensions().get::<Viewer>()?.user.as_ref()?.id;
        let wait = state.limits.account.take(user).err()?;
        state.metrics.limited("account");
        Some(too_many(wait))
    });
    match refused {
        None => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Some(refusal) => Ok(request.error_response(refusal).map_into_right_body()),
    }
}

/// 429 with the time to wait.
pub fn too_many(wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + 1;
    ApiError::too_many(
        "rate-limited",
        wait,
        &format!("Too many requests in a short time. Try again in {seconds} seconds."),
        &format!("짧은 시간에 요청이 너무 많았습니다. {seconds}초 뒤에 다시 시도하세요."),
    )
}
