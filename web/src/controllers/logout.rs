//! Logging out: the session ends on the server, not only in the browser.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::visit::see_other;
use crate::auth::{Viewer, session};
use crate::db::audit::{self, Entry};
use crate::db::sessions;
use crate::error::ApiError;
use crate::middleware::origin;
use crate::state::AppState;

/// `POST /logout`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/logout", web::post().to(log_out));
}

async fn log_out(request: HttpRequest, state: web::Data<AppState>, viewer: Viewer) -> Result<HttpResponse, ApiError> {
    if let (Some(token), Some(user)) = (viewer.session_token(), &viewer.user) {
        let mut transaction = state.pool.begin().await?;
        sessions::delete(&mut *transaction, &token.digest()).await?;
        let object = format!("user:{}", user.id);
        audit::record(&mut *transaction, &origin(&request), Entry::new("logout", &object)).await?;
        transaction.commit().await?;
    }
    let mut response = see_other("/");
    response
        .add_cookie(&session::removal(&state.settings))
        .map_err(ApiError::internal)?;
    Ok(response)
}
