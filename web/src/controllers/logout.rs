//! Logging out: the session ends on the server, not only in the browser.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};

use super::visit::see_other;
use crate::auth::{Viewer, session};
use crate::db::sessions;
use crate::error::ApiError;
use crate::state::AppState;

/// `POST /logout`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/logout", web::post().to(log_out));
}

async fn log_out(state: web::Data<AppState>, viewer: Viewer) -> Result<HttpResponse, ApiError> {
    if let Some(token) = viewer.session_token() {
        sessions::delete(&state.pool, &token.digest()).await?;
    }
    let mut response = see_other("/");
    response
        .add_cookie(&session::removal(&state.settings))
        .map_err(ApiError::internal)?;
    Ok(response)
}
