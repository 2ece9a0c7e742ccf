//! `/metrics` and the probes, on a listener of their own.

use actix_web::http::header;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, ResponseError as _};

use super::health;
use crate::error::ApiError;
use crate::state::AppState;

/// `GET /metrics`, `GET /livez`, `GET /readyz`: all that the internal listener answers.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/metrics", web::get().to(metrics));
    health::configure(cfg);
    cfg.default_service(web::to(|| async { ApiError::not_found().error_response() }));
}

async fn metrics(state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let text = state.metrics.render(&state.pool).map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(text))
}
