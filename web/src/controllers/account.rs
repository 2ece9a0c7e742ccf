//! A person's own account: password and sessions.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::visit::{Visit, see_other};
use super::{account_mail, field_error};
use crate::auth::password::Verdict;
use crate::auth::throttle::Throttle;
use crate::auth::token::SecretToken;
use crate::auth::{RequireUser, User, client, session};
use crate::db::audit::{self, Entry};
use crate::db::{mail_links, sessions, users};
use crate::domain::{Email, Password, Refused};
use crate::error::ApiError;
use crate::mail::Letter;
use crate::middleware::origin;
use crate::state::AppState;
use crate::views::{self, AccountPage, FieldError, Page, SessionRow, When};

/// `/account…`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/account").route(web::get().to(show)))
        .service(
            web::resource("/account/password")
                .route(web::get().to(show_form))
                .route(web::post().to(change_password)),
        )
        .service(web::resource("/account/sessions/end").route(web::post().to(end_others)))
        .service(web::resource("/account/sessions/{id}/end").route(web::post().to(end_one)));
}

#[derive(Deserialize)]
struct Done {
    done: Option<String>,
}

async fn show(
    RequireUser(user): RequireUser,
    state: Data<AppState>,
    mut visit: Visit,
    query: web::Query<Done>,
) -> Result<HttpResponse, ApiError> {
    let notice = match query.done.as_deref() {
        Some("password") => Some("account-password-done"),
        Some("session") => Some("account-session-done"),
        Some("sessions") => Some("account-sessions-done"),
        _ => None,
    };
    visit.page.notice = notice.map(|key| visit.locale().t(key));
    draw(StatusCode::OK, &state, visit, &user, Vec::new()).await
}

/// A reload after a refused form, or the address typed by hand.
async fn show_form() -> HttpResponse {
    see_other("/account")
}

async fn draw(
    status: StatusCode,
    state: &AppState,
    visit: Visit,
    user: &User,
    errors: Vec<FieldError>,
) -> Result<HttpResponse, ApiError> {
    let (zone, digest) = (visit.zone(), own_digest(&visit)?);
    let row = |session: sessions::Listed| SessionRow {
        id: session.id.to_string(),
        device: session.device,
        network: session.network,
        started: When::new(session.created_at, zone),
        seen: When::new(session.seen_at, zone),
        current: session.current,
    };
    let list = sessions::list(&state.pool, user.id, &digest).await?;
    let page = AccountPage {
        page: Page {
            path: "/account".to_owned(),
            ..visit.page
        },
        name: user.name.clone(),
        email: user.email.clone(),
        sessions: list.into_iter().map(row).collect(),
        errors,
    };
    Ok(views::html(status, &page))
}

fn own_digest(visit: &Visit) -> Result<Vec<u8>, ApiError> {
    let token = visit.viewer.session_token().map(SecretToken::digest);
    token.ok_or_else(ApiError::login_required)
}

#[derive(Deserialize)]
struct PasswordForm {
    current: String,
    password: String,
}

/// Sets a new password. Every session ends, this one too: it goes on under a new token.
async fn change_password(
    RequireUser(user): RequireUser,
    request: HttpRequest,
    state: Data<AppState>,
    visit: Visit,
    form: web::Form<PasswordForm>,
) -> Result<HttpResponse, ApiError> {
    let locale = visit.locale();
    let faults = match check(&request, &state, &user, &form).await? {
        Ok(password) => {
            let hash = state.passwords.hash(&password).await.map_err(ApiError::internal)?;
            let mut transaction = state.pool.begin().await?;
            users::set_password_hash(&mut *transaction, user.id, &hash).await?;
            sessions::delete_of_user(&mut *transaction, user.id).await?;
            mail_links::end_of_user(&mut *transaction, user.id).await?;
            let seen_as = session::seen_as(&request, &state.settings);
            let token = session::start(&mut transaction, user.id, None, &seen_as).await?;
            let object = format!("user:{}", user.id);
            let entry = Entry::new("password.changed", &object);
            audit::record(&mut *transaction, &origin(&request), entry).await?;
            transaction.commit().await?;
            account_mail::tell(state.clone(), user.email, locale, Letter::PasswordChanged);
            let mut response = see_other("/account?done=password");
            response
                .add_cookie(&session::cookie(&state.settings, &token))
                .map_err(ApiError::internal)?;
            return Ok(response);
        }
        Err((field, refused)) => vec![field_error(locale, field, &refused)],
    };
    draw(StatusCode::UNPROCESSABLE_ENTITY, &state, visit, &user, faults).await
}

/// The new password, if the present one was right. Wrong ones are counted with the failed logins of the account: a stolen
/// session is no way to guess faster.
async fn check(
    request: &HttpRequest,
    state: &AppState,
    user: &User,
    form: &PasswordForm,
) -> Result<Result<Password, (&'static str, Refused)>, ApiError> {
    let password = match Password::parse_new(&form.password, &user.email, &user.name) {
        Ok(password) => password,
        Err(refused) => return Ok(Err(("password", refused))),
    };
    let account = Email::parse(&user.email)
        .map(|email| email.folded())
        .unwrap_or_default();
    let subjects = Throttle::subjects(&account, client::address(request, &state.settings));
    let wait = state.throttle.wait(&subjects);
    if !wait.is_zero() {
        return Err(super::login::throttled(wait));
    }
    state.throttle.failed(&subjects);
    let stored = users::password_hash(&state.pool, user.id).await?;
    let verdict = match Password::for_login(&form.current) {
        Some(current) => state
            .passwords
            .verify(&current, stored)
            .await
            .map_err(ApiError::internal)?,
        None => Verdict::Wrong,
    };
    if verdict == Verdict::Wrong {
        let object = format!("user:{}", user.id);
        audit::record(&state.pool, &origin(request), Entry::new("password.refused", &object)).await?;
        return Ok(Err((
            "current",
            Refused::new(
                "password-wrong",
                "This is not your present password.",
                "현재 비밀번호가 아닙니다.",
            ),
        )));
    }
    state.throttle.succeeded(&subjects);
    Ok(Ok(password))
}

/// Ends one of the person's sessions, perhaps this one.
async fn end_one(
    RequireUser(user): RequireUser,
    request: HttpRequest,
    state: Data<AppState>,
    id: Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let mut transaction = state.pool.begin().await?;
    if !sessions::delete_own(&mut *transaction, user.id, *id).await? {
        return Err(ApiError::not_found());
    }
    let object = format!("user:{}", user.id);
    let entry = Entry::new("session.ended", &object).detail(json!({ "session": *id }));
    audit::record(&mut *transaction, &origin(&request), entry).await?;
    transaction.commit().await?;
    Ok(see_other("/account?done=session"))
}

/// Ends all the person's sessions but this one.
async fn end_others(
    RequireUser(user): RequireUser,
    request: HttpRequest,
    state: Data<AppState>,
    visit: Visit,
) -> Result<HttpResponse, ApiError> {
    let digest = own_digest(&visit)?;
    let mut transaction = state.pool.begin().await?;
    let ended = sessions::delete_others(&mut *transaction, user.id, &digest).await?;
    let object = format!("user:{}", user.id);
    let entry = Entry::new("sessions.ended", &object).detail(json!({ "count": ended }));
    audit::record(&mut *transaction, &origin(&request), entry).await?;
    transaction.commit().await?;
    Ok(see_other("/account?done=sessions"))
}
