//! What happens by mail: finishing a sign-up, and choosing a new password. Both forms answer every address alike and at
//! once; whatever depends on the address happens after the answer.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::field_error;
use super::signup::allow;
use super::visit::{Visit, see_other, with_query};
use crate::auth::session;
use crate::auth::token::SecretToken;
use crate::db::audit::{self, Entry, Origin};
use crate::db::ids::UserId;
use crate::db::mail_links::{self, MINUTES, MailLink};
use crate::db::{sessions, users};
use crate::domain::{Email, Password, UserName};
use crate::error::{ApiError, violates};
use crate::i18n::Locale;
use crate::mail::Letter;
use crate::middleware::origin;
use crate::state::AppState;
use crate::views::{self, ChoosePage, FieldError, MailedPage, ResetPage};

/// `/reset` and `/reset/choose`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/reset")
            .route(web::get().to(show_reset))
            .route(web::post().to(reset)),
    )
    .service(
        web::resource("/reset/choose")
            .route(web::get().to(show_choose))
            .route(web::post().to(choose)),
    );
}

/// Says: look into your mail.
pub(super) fn sent(visit: Visit, email: &str) -> HttpResponse {
    let page = MailedPage {
        page: visit.page,
        email: email.trim().to_owned(),
        minutes: MINUTES.unsigned_abs(),
    };
    views::html(StatusCode::OK, &page)
}

async fn show_reset(state: Data<AppState>, visit: Visit) -> HttpResponse {
    draw_reset(StatusCode::OK, &state, visit, String::new(), Vec::new())
}

fn draw_reset(
    status: StatusCode,
    state: &AppState,
    visit: Visit,
    email: String,
    errors: Vec<FieldError>,
) -> HttpResponse {
    let page = ResetPage {
        page: visit.page,
        email,
        works: state.mailer.works(),
        errors,
    };
    views::html(status, &page)
}

#[derive(Deserialize)]
struct ResetForm {
    email: String,
}

async fn reset(
    request: HttpRequest,
    state: Data<AppState>,
    visit: Visit,
    form: web::Form<ResetForm>,
) -> Result<HttpResponse, ApiError> {
    if !state.mailer.works() {
        return Ok(draw_reset(StatusCode::OK, &state, visit, String::new(), Vec::new()));
    }
    allow(&request, &state)?;
    match Email::parse(&form.email) {
        Ok(email) => {
            in_background(offer_reset(state, origin(&request), email, visit.locale()));
            Ok(sent(visit, &form.email))
        }
        Err(refused) => {
            let errors = vec![field_error(visit.locale(), "email", &refused)];
            let email = form.into_inner().email;
            Ok(draw_reset(
                StatusCode::UNPROCESSABLE_ENTITY,
                &state,
                visit,
                email,
                errors,
            ))
        }
    }
}

fn in_background(work: impl Future<Output = anyhow::Result<()>> + 'static) {
    actix_web::rt::spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(error = format!("{error:#}"), "a mail was not sent");
        }
    });
}

/// Sends a mail that needs no link, after the answer.
pub(super) fn tell(state: Data<AppState>, email: String, locale: Locale, letter: Letter) {
    if !state.mailer.works() {
        return;
    }
    in_background(async move {
        let Ok(email) = Email::parse(&email) else { return Ok(()) };
        let site = state.public_url.clone();
        state.mailer.send(&email, locale, letter, &[("site", &site)]).await
    });
}

/// Sends the link that finishes a sign-up, or tells the owner of a known address that someone tried.
pub(super) fn invite(state: Data<AppState>, origin: Origin, name: UserName, email: Email, locale: Locale) {
    in_background(async move {
        if !may_mail(&state, &email) {
            return Ok(());
        }
        let known = users::credentials(&state.pool, &email).await?;
        if let Some(account) = known {
            let object = format!("user:{}", account.id);
            audit::record(&state.pool, &origin, Entry::new("signup.known", &object)).await?;
            let (login, reset) = (
                format!("{}/login", state.public_url),
                format!("{}/reset", state.public_url),
            );
            let arguments: [(&str, &dyn crate::i18n::Arg); 2] = [("login", &login), ("reset", &reset)];
            return state.mailer.send(&email, locale, Letter::SignupKnown, &arguments).await;
        }
        let token = SecretToken::random();
        mail_links::insert_signup(&state.pool, &token.digest(), &email, &name, locale.code()).await?;
        audit::record(&state.pool, &origin, Entry::new("signup.asked", "user:unknown")).await?;
        send_link(&state, &email, locale, Letter::Signup, &token).await
    });
}

/// Sends the link that sets a new password, if the address has an account. To others nothing: someone who mistypes an
/// address should not cause mail to strangers.
async fn offer_reset(state: Data<AppState>, origin: Origin, email: Email, locale: Locale) -> anyhow::Result<()> {
    if !may_mail(&state, &email) {
        return Ok(());
    }
    let Some(account) = users::credentials(&state.pool, &email).await? else {
        audit::record(&state.pool, &origin, Entry::new("reset.asked", "user:unknown")).await?;
        return Ok(());
    };
    let token = SecretToken::random();
    mail_links::insert_reset(&state.pool, &token.digest(), account.id, &email, locale.code()).await?;
    let object = format!("user:{}", account.id);
    audit::record(&state.pool, &origin, Entry::new("reset.asked", &object)).await?;
    send_link(&state, &email, locale, Letter::Reset, &token).await
}

/// A form that anyone can send must not fill anyone's mailbox.
fn may_mail(state: &AppState, email: &Email) -> bool {
    let allowed = state.limits.mails.take(email.folded()).is_ok();
    if !allowed {
        state.metrics.limited("mails");
    }
    allowed
}

async fn send_link(
    state: &AppState,
    email: &Email,
    locale: Locale,
    letter: Letter,
    token: &SecretToken,
) -> anyhow::Result<()> {
    let path = with_query("/reset/choose", &[("token", token.expose())]);
    let link = format!("{}{path}", state.public_url);
    let arguments: [(&str, &dyn crate::i18n::Arg); 2] = [("link", &link), ("minutes", &MINUTES)];
    state.mailer.send(email, locale, letter, &arguments).await
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Opening a link changes nothing: mail scanners open links, too.
async fn show_choose(state: Data<AppState>, visit: Visit, query: web::Query<Token>) -> Result<HttpResponse, ApiError> {
    let (_, link) = live(&state, &query.token).await?;
    Ok(draw_choose(StatusCode::OK, visit, &query.token, link, Vec::new()))
}

fn draw_choose(status: StatusCode, visit: Visit, token: &str, link: MailLink, errors: Vec<FieldError>) -> HttpResponse {
    let page = ChoosePage {
        page: visit.page,
        token: token.to_owned(),
        email: link.email,
        signup: link.user.is_none(),
        errors,
    };
    let mut response = views::html(status, &page);
    // The address of this page opens an account: no other page is told it, no cache keeps it.
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn live(state: &AppState, token: &str) -> Result<(SecretToken, MailLink), ApiError> {
    let token = SecretToken::parse(token).ok_or_else(link_over)?;
    let link = mail_links::find(&state.pool, &token.digest()).await?;
    Ok((token, link.ok_or_else(link_over)?))
}

fn link_over() -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        "link-over",
        "This link was used already or is too old. Ask for a new one where you asked for this one.",
        "이미 사용했거나 너무 오래된 링크입니다. 처음 요청한 곳에서 새 링크를 요청하세요.",
    )
}

#[derive(Deserialize)]
struct ChooseForm {
    token: String,
    password: String,
}

/// Uses the link up: makes the account or sets its password, and starts a session. All older sessions end.
async fn choose(
    request: HttpRequest,
    state: Data<AppState>,
    visit: Visit,
    form: web::Form<ChooseForm>,
) -> Result<HttpResponse, ApiError> {
    let (token, link) = live(&state, &form.token).await?;
    let password = match Password::parse_new(&form.password, &link.email, &link.name) {
        Ok(password) => password,
        Err(refused) => {
            let errors = vec![field_error(visit.locale(), "password", &refused)];
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(draw_choose(status, visit, &form.token, link, errors));
        }
    };
    let hash = state.passwords.hash(&password).await.map_err(ApiError::internal)?;
    let mut transaction = state.pool.begin().await?;
    let link = mail_links::take(&mut *transaction, &token.digest())
        .await?
        .ok_or_else(link_over)?;
    let (user, action) = match link.user {
        Some(user) => {
            users::set_password_hash(&mut *transaction, user, &hash).await?;
            sessions::delete_of_user(&mut *transaction, user).await?;
            mail_links::end_of_user(&mut *transaction, user).await?;
            (user, "password.reset")
        }
        None => (make(&mut transaction, &link, &hash).await?, "signup"),
    };
    users::set_verified(&mut *transaction, user).await?;
    let seen_as = session::seen_as(&request, &state.settings);
    let session = session::start(&mut transaction, user, visit.viewer.session_token(), &seen_as).await?;
    let object = format!("user:{user}");
    let entry = Entry::new(action, &object).by(user);
    audit::record(&mut *transaction, &origin(&request), entry).await?;
    transaction.commit().await?;
    if link.user.is_some() {
        tell(state.clone(), link.email, visit.locale(), Letter::PasswordChanged);
    }
    let mut response = see_other(if link.user.is_some() {
        "/account?done=password"
    } else {
        "/team"
    });
    response
        .add_cookie(&session::cookie(&state.settings, &session))
        .map_err(ApiError::internal)?;
    Ok(response)
}

async fn make(transaction: &mut sqlx::PgConnection, link: &MailLink, hash: &str) -> Result<UserId, ApiError> {
    let stored = |_| ApiError::internal(anyhow::anyhow!("a stored sign-up is malformed"));
    let email = Email::parse(&link.email).map_err(stored)?;
    let name = UserName::parse(&link.name).map_err(stored)?;
    match users::insert(transaction, &email, &name, hash, "participant", &link.locale).await {
        // Two links for one address: the other one was first.
        Err(error) if violates(&error, users::EMAIL_KEY) => Err(link_over()),
        other => Ok(other?),
    }
}
