//! Signing up. With mail, every address gets the same answer, and what it is told comes by mail. Without mail this form
//! does say when an address has an account: there is no other way to tell its owner. It is slowed down for each network
//! it is asked from (docs/security.md).

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::visit::{Visit, after, see_other};
use super::{account_mail, field_error};
use crate::auth::throttle::Subject;
use crate::auth::token::SecretToken;
use crate::auth::{client, session};
use crate::db::audit::{self, Entry};
use crate::db::users;
use crate::domain::{Email, Password, Refused, UserName};
use crate::error::{ApiError, violates};
use crate::i18n::Locale;
use crate::middleware::limits::too_many;
use crate::middleware::origin;
use crate::state::AppState;
use crate::views::{self, FieldError, SignupPage};

/// `GET` and `POST /signup`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/signup")
            .route(web::get().to(show))
            .route(web::post().to(sign_up)),
    );
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SignupForm {
    name: String,
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// Who wants an account.
struct Newcomer {
    name: UserName,
    email: Email,
}

impl SignupForm {
    /// All faults at once, each beside its field. Without mail the password is chosen here, else with the link.
    fn parse(&self, locale: Locale, by_mail: bool) -> Result<(Newcomer, Option<Password>), Vec<FieldError>> {
        let name = UserName::parse(&self.name);
        let email = Email::parse(&self.email);
        let password = (!by_mail)
            .then(|| Password::parse_new(&self.password, self.email.trim(), self.name.trim()))
            .transpose();
        match (name, email, password) {
            (Ok(name), Ok(email), Ok(password)) => Ok((Newcomer { name, email }, password)),
            (name, email, password) => {
                let faults = [
                    ("name", name.err()),
                    ("email", email.err()),
                    ("password", password.err()),
                ];
                let faults = faults.into_iter().filter_map(|(field, fault)| Some((field, fault?)));
                Err(faults
                    .map(|(field, fault)| field_error(locale, field, &fault))
                    .collect())
            }
        }
    }
}

async fn show(state: web::Data<AppState>, visit: Visit, query: web::Query<Next>) -> HttpResponse {
    let next = after(&query.next, "");
    if visit.viewer.user.is_some() {
        return see_other(after(next, "/team"));
    }
    let (name, email) = (String::new(), String::new());
    let page = SignupPage {
        page: visit.page,
        name,
        email,
        next: next.to_owned(),
        by_mail: state.mailer.works(),
        errors: Vec::new(),
    };
    views::html(StatusCode::OK, &page)
}

async fn sign_up(
    request: HttpRequest,
    state: web::Data<AppState>,
    visit: Visit,
    form: web::Form<SignupForm>,
) -> Result<HttpResponse, ApiError> {
    allow(&request, &state)?;
    let outcome = match form.parse(visit.locale(), state.mailer.works()) {
        Ok((newcomer, Some(password))) => create(&request, &state, &visit, newcomer, &password).await?,
        Ok((newcomer, None)) => {
            account_mail::invite(
                state.clone(),
                origin(&request),
                newcomer.name,
                newcomer.email,
                visit.locale(),
            );
            return Ok(account_mail::sent(visit, &form.email));
        }
        Err(errors) => Err(errors),
    };
    match outcome {
        Ok(token) => {
            let mut response = see_other(after(&form.next, "/team"));
            response
                .add_cookie(&session::cookie(&state.settings, &token))
                .map_err(ApiError::internal)?;
            Ok(response)
        }
        Err(errors) => {
            let next = after(&form.next, "").to_owned();
            let page = SignupPage {
                page: visit.page,
                name: form.name.clone(),
                email: form.email.clone(),
                next,
                by_mail: state.mailer.works(),
                errors,
            };
            Ok(views::html(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
    }
}

/// Sign-ups and resets of one network are counted together, whether they succeed or not.
pub(super) fn allow(request: &HttpRequest, state: &AppState) -> Result<(), ApiError> {
    let taken = state
        .limits
        .signups
        .take_from(client::address(request, &state.settings));
    taken.map_err(|wait| {
        state.metrics.limited("signups");
        too_many(wait)
    })
}

async fn create(
    request: &HttpRequest,
    state: &AppState,
    visit: &Visit,
    newcomer: Newcomer,
    password: &Password,
) -> Result<Result<SecretToken, Vec<FieldError>>, ApiError> {
    let subjects = [Subject::network(client::address(request, &state.settings))];
    let wait = state.throttle.wait(&subjects);
    if !wait.is_zero() {
        return Err(ApiError::too_many(
            "signup-throttled",
            wait,
            &format!(
                "Too many attempts from your network. Try again in {} seconds.",
                wait.as_secs() + 1
            ),
            &format!(
                "같은 네트워크에서 너무 많이 시도했습니다. {}초 뒤에 다시 시도하세요.",
                wait.as_secs() + 1
            ),
        ));
    }
    let hash = state.passwords.hash(password).await.map_err(ApiError::internal)?;
    let mut transaction = state.pool.begin().await?;
    let locale = visit.locale();
    let inserted = users::insert(
        &mut *transaction,
        &newcomer.email,
        &newcomer.name,
        &hash,
        "participant",
        locale.code(),
    )
    .await;
    let user = match inserted {
        Ok(user) => user,
        Err(error) if violates(&error, users::EMAIL_KEY) => {
            state.throttle.failed(&subjects);
            let taken = Refused::new(
                "email-taken",
                "This address already has an account. Log in instead.",
                "이미 가입된 주소입니다. 로그인해 주세요.",
            );
            return Ok(Err(vec![field_error(locale, "email", &taken)]));
        }
        Err(error) => return Err(error.into()),
    };
    let object = format!("user:{user}");
    let entry = Entry::new("signup", &object).by(user);
    audit::record(&mut *transaction, &origin(request), entry).await?;
    let seen_as = session::seen_as(request, &state.settings);
    let token = session::start(&mut transaction, user, visit.viewer.session_token(), &seen_as).await?;
    transaction.commit().await?;
    Ok(Ok(token))
}
