//! Refuses what no client of ours sends and what only helps an attacker.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::error::ApiError;

/// Most parameters after the question mark: no page of ours has a tenth of it.
const PARAMETERS: usize = 64;

/// TRACE echoes headers back to scripts, CONNECT asks for a proxy; a repeated key means one thing to us and perhaps
/// another to what stands in front (ASVS 15.3.7).
pub async fn guard<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match check(&request) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Err(refusal) => Ok(request.error_response(refusal).map_into_right_body()),
    }
}

fn check(request: &ServiceRequest) -> Result<(), ApiError> {
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return Err(ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let query = request.query_string();
    if query.is_empty() {
        return Ok(());
    }
    // Decoded as handlers decode it, so that `a` and `%61` are one key.
    let Ok(pairs) = web::Query::<Vec<(String, String)>>::from_query(query) else {
        // What cannot be read is refused by the handler that wants to read it; others never looked.
        return Ok(());
    };
    let pairs = pairs.into_inner();
    let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    if pairs.len() > PARAMETERS || keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::bad_request(
            "query-repeated",
            "A parameter in the address is given twice. Give each one once.",
            "주소의 매개변수가 중복되었습니다. 각각 한 번씩만 지정하세요.",
        ));
    }
    Ok(())
}
