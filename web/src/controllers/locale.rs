//! Choosing the language: a cookie, and for people with an account their account's language.

use actix_web::HttpResponse;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;

use super::visit::{after, see_other};
use crate::auth::Viewer;
use crate::auth::viewer::LOCALE_COOKIE;
use crate::db::users;
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::state::AppState;

/// `POST /locale`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/locale", web::post().to(choose));
}

#[derive(Deserialize)]
struct Choice {
    locale: String,
    #[serde(default)]
    next: String,
}

async fn choose(state: web::Data<AppState>, viewer: Viewer, form: web::Form<Choice>) -> Result<HttpResponse, ApiError> {
    let Some(locale) = Locale::parse(&form.locale) else {
        return Err(ApiError::bad_request(
            "locale-unknown",
            "Choose English or Korean.",
            "한국어와 영어 중에서 고르세요.",
        ));
    };
    if let Some(user) = &viewer.user {
        users::set_locale(&state.pool, user.id, locale.code()).await?;
    }
    let cookie = Cookie::build(LOCALE_COOKIE, locale.code())
        .path("/")
        .secure(!state.settings.insecure_cookies)
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::days(365))
        .finish();
    let mut response = see_other(after(&form.next, "/"));
    response.add_cookie(&cookie).map_err(ApiError::internal)?;
    Ok(response)
}
