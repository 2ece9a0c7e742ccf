//! HEAD wherever there is a GET: monitors and link checkers ask that way.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;

/// Routes HEAD as GET; the server leaves the body out by itself. Uploads answer HEAD in their own way, and a stream of
/// events has no head worth opening it for.
pub async fn as_get<B: MessageBody>(mut request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let own = request.path().starts_with("/files") || request.path().ends_with("/events");
    if request.method() == Method::HEAD && !own {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}
