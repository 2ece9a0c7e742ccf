//! Who makes this request, found once a request and shared by middleware and handlers.

use std::cell::Cell;
use std::rc::Rc;

use actix_web::cookie::Cookie;
use actix_web::dev::Payload;
use actix_web::http::header::ACCEPT_LANGUAGE;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use super::csrf::CsrfKey;
use super::session;
use super::token::SecretToken;
use crate::db::audit::{self, Entry};
use crate::db::ids::UserId;
use crate::db::sessions;
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::middleware;
use crate::state::AppState;

/// Cookie that holds the chosen language.
pub const LOCALE_COOKIE: &str = "locale";

/// A logged-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// E-mail address as signed up.
    pub email: String,
    /// What the person may do.
    pub role: Role,
}

/// What a person may do beyond their own team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing beyond.
    Participant,
    /// Runs the contest.
    Organizer,
    /// Runs the installation; may do all an organizer may.
    Admin,
}

impl Role {
    /// From the database's word; an unknown one gives no rights.
    pub fn from_column(word: &str) -> Role {
        match word {
            "organizer" => Role::Organizer,
            "admin" => Role::Admin,
            _ => Role::Participant,
        }
    }

    /// May this role use the organizers' pages?
    pub fn organizes(self) -> bool {
        matches!(self, Role::Organizer | Role::Admin)
    }
}

/// Whoever makes the request: logged in or not, with a language and a key for form tokens. Extracting it never fails for
/// want of a login; only the database can make it fail.
#[derive(Clone)]
pub struct Viewer {
    /// The person, if a live session came with the request.
    pub user: Option<User>,
    /// Language of the answer: cookie, else the account's, else `Accept-Language`.
    pub locale: Locale,
    csrf: CsrfKey,
    session: Option<SecretToken>,
    fresh_visitor: Option<String>,
    token_given: Rc<Cell<bool>>,
}

impl Viewer {
    /// The viewer of `request`, looked up at the first call and remembered in the request.
    pub async fn of(request: &HttpRequest) -> Result<Viewer, ApiError> {
        if let Some(viewer) = request.extensions().get::<Viewer>() {
            return Ok(viewer.clone());
        }
        let state = state(request)?;
        let viewer = Viewer::look_up(request, &state).await?;
        if let Some(user) = &viewer.user {
            tracing::Span::current().record("user_id", tracing::field::display(user.id));
        }
        request.extensions_mut().insert(viewer.clone());
        Ok(viewer)
    }

    /// A viewer without a login, made from the request's headers alone: for pages shown while the database is away.
    pub fn nobody(request: &HttpRequest, state: &AppState) -> Viewer {
        let visitor = request
            .cookie(state.settings.visitor_cookie())
            .map(|cookie| cookie.value().to_owned());
        let known = visitor.and_then(|value| SecretToken::parse(&value));
        let fresh = known.is_none();
        let visitor = known.unwrap_or_else(SecretToken::random);
        Viewer {
            user: None,
            locale: locale(request, None),
            csrf: CsrfKey::for_visitor(&state.keys.derive("visitor csrf"), visitor.expose()),
            session: session_token(request, state),
            fresh_visitor: fresh.then(|| visitor.expose().to_owned()),
            token_given: Rc::default(),
        }
    }

    /// The language `request` asks for by its headers alone.
    pub fn asked_locale(request: &HttpRequest) -> Locale {
        locale(request, None)
    }

    async fn look_up(request: &HttpRequest, state: &AppState) -> Result<Viewer, ApiError> {
        let nobody = Viewer::nobody(request, state);
        let Some(token) = &nobody.session else {
            return Ok(nobody);
        };
        let digest = token.digest();
        let Some(found) = sessions::find(&state.pool, &digest).await? else {
            return Ok(nobody);
        };
        if found.stale {
            sessions::touch(&state.pool, &digest).await?;
        }
        Ok(Viewer {
            locale: locale(request, Locale::parse(&found.locale)),
            csrf: CsrfKey::new(&found.csrf_secret),
            user: Some(found.user),
            fresh_visitor: None,
            ..nobody
        })
    }

    /// A token for the forms and scripts of one page.
    pub fn csrf_token(&self) -> String {
        self.token_given.set(true);
        self.csrf.token()
    }

    /// Is this token one given to this viewer?
    pub fn accepts_csrf(&self, token: &str) -> bool {
        self.csrf.accepts(token)
    }

    /// The session token the browser came with, live or not.
    pub fn session_token(&self) -> Option<&SecretToken> {
        self.session.as_ref()
    }

    /// The visitor cookie to set: only when a form token was given to someone who has neither a session nor that cookie.
    pub(crate) fn visitor_cookie(&self, state: &AppState) -> Option<Cookie<'static>> {
        let value = self.fresh_visitor.clone().filter(|_| self.token_given.get())?;
        Some(session::hardened(
            &state.settings,
            state.settings.visitor_cookie(),
            value,
        ))
    }

    /// The person, or 401.
    pub fn require_user(self) -> Result<User, ApiError> {
        self.user.ok_or_else(ApiError::login_required)
    }
}

fn state(request: &HttpRequest) -> Result<web::Data<AppState>, ApiError> {
    let state = request.app_data::<web::Data<AppState>>().cloned();
    state.ok_or_else(|| ApiError::internal(anyhow::anyhow!("the application state is not registered")))
}

fn session_token(request: &HttpRequest, state: &AppState) -> Option<SecretToken> {
    SecretToken::parse(request.cookie(state.settings.session_cookie())?.value())
}

fn locale(request: &HttpRequest, account: Option<Locale>) -> Locale {
    let chosen = request
        .cookie(LOCALE_COOKIE)
        .and_then(|cookie| Locale::parse(cookie.value()));
    let asked = || {
        let header = request
            .headers()
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        Locale::from_accept_language(header.unwrap_or_default())
    };
    chosen.or(account).unwrap_or_else(asked)
}

impl FromRequest for Viewer {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Viewer, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Viewer::of(&request).await })
    }
}

/// Argument of handlers that need someone logged in: others get 401, on a page a redirect to the login form.
#[derive(Debug, Clone)]
pub struct RequireUser(pub User);

impl FromRequest for RequireUser {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<RequireUser, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Viewer::of(&request).await?.require_user().map(RequireUser) })
    }
}

/// Argument of handlers for organizers: 401 without a login, 403 for everyone else.
#[derive(Debug, Clone)]
pub struct RequireOrganizer(pub User);

impl FromRequest for RequireOrganizer {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<RequireOrganizer, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let user = Viewer::of(&request).await?.require_user()?;
            if user.role.organizes() {
                return Ok(RequireOrganizer(user));
            }
            denied(&request, &user)?;
            Err(ApiError::forbidden())
        })
    }
}

/// Puts a refused attempt at an organizers' route on record, a few a minute for each account. Not waited for: the refusal
/// must not come later than one about the rest of the request.
fn denied(request: &HttpRequest, user: &User) -> Result<(), ApiError> {
    let state = state(request)?;
    if state.limits.denials.take(user.id).is_err() {
        return Ok(());
    }
    let object = format!("route:{}", request.match_pattern().unwrap_or_default());
    let method = request.method().to_string();
    let origin = middleware::origin(request);
    actix_web::rt::spawn(async move {
        let entry = Entry::new("access.denied", &object).detail(json!({ "method": method }));
        if let Err(error) = audit::record(&state.pool, &origin, entry).await {
            tracing::error!(%error, "a refusal is not on record");
        }
    });
    Ok(())
}
