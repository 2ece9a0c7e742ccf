//! A browser's login: an opaque random token in a cookie, its digest in the database.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::USER_AGENT;
use sqlx::PgConnection;

use super::token::{SecretToken, random_bytes};
use super::{client, device};
use crate::db::ids::UserId;
use crate::db::sessions::{self, SeenAs};
use crate::settings::Settings;

/// A session ends this long after its start, whatever happens (ASVS 7.3.2).
pub const ABSOLUTE_HOURS: i32 = 7 * 24;
/// A session ends this long after its last request (ASVS 7.3.1).
pub const IDLE_HOURS: i32 = 12;
/// A request updates the time of last use only when it is older than this: one write a minute, not one a request.
pub const TOUCH_SECONDS: i32 = 60;

/// Starts a session for `user` under a token nobody has seen before, and ends `previous`, the one the browser came
/// with: a token planted before the login is worth nothing after it. Inside the transaction of what it follows from.
pub async fn start(
    connection: &mut PgConnection,
    user: UserId,
    previous: Option<&SecretToken>,
    seen_as: &SeenAs,
) -> sqlx::Result<SecretToken> {
    let token = SecretToken::random();
    if let Some(previous) = previous {
        sessions::delete(&mut *connection, &previous.digest()).await?;
    }
    sessions::insert(connection, &token.digest(), user, &random_bytes::<32>(), seen_as).await?;
    Ok(token)
}

/// What its owner will recognise a session started by `request` by.
pub fn seen_as(request: &HttpRequest, settings: &Settings) -> SeenAs {
    let header = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    SeenAs {
        device: device::words(header.unwrap_or_default()),
        network: client::shown_network(client::address(request, settings)),
    }
}

/// The session cookie that carries `token`.
pub fn cookie(settings: &Settings, token: &SecretToken) -> Cookie<'static> {
    let mut cookie = hardened(settings, settings.session_cookie(), token.expose().to_owned());
    cookie.set_max_age(CookieDuration::hours(ABSOLUTE_HOURS.into()));
    cookie
}

/// The cookie that makes a browser forget its session.
pub fn removal(settings: &Settings) -> Cookie<'static> {
    let mut cookie = hardened(settings, settings.session_cookie(), String::new());
    cookie.make_removal();
    cookie
}

/// A cookie no script reads and no other site can make the browser send along with its own forms.
pub fn hardened(settings: &Settings, name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build(name, value)
        .path("/")
        .http_only(true)
        .secure(!settings.insecure_cookies)
        .same_site(SameSite::Lax)
        .finish()
}
