//! Signing up. This form does say when an address has an account: without mail there is no other way to tell its owner.
//! It is therefore slowed down for each address it is asked from.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::field_error;
use super::visit::{Visit, after, see_other};
use crate::auth::throttle::Subject;
use crate::auth::{client, session};
use crate::db::audit::{self, Entry};
use crate::db::ids::UserId;
use crate::db::users;
use crate::domain::{Email, Password, Refused, UserName};
use crate::error::{ApiError, violates};
use crate::i18n::Locale;
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
    password: String,
    #[serde(default)]
    next: String,
}

/// A form whose every field is valid.
struct NewAccount {
    name: UserName,
    email: Email,
    password: Password,
}

impl SignupForm {
    /// All faults at once, each beside its field.
    fn parse(&self, locale: Locale) -> Result<NewAccount, Vec<FieldError>> {
        let name = UserName::parse(&self.name);
        let email = Email::parse(&self.email);
        let password = Password::parse_new(&self.password, self.email.trim(), self.name.trim());
        match (name, email, password) {
            (Ok(name), Ok(email), Ok(password)) => Ok(NewAccount { name, email, password }),
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

async fn show(visit: Visit, query: web::Query<Next>) -> HttpResponse {
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
    let outcome = match form.parse(visit.locale()) {
        Ok(account) => create(&request, &state, &visit, account).await?,
        Err(errors) => Err(errors),
    };
    match outcome {
        Ok(user) => {
            let token = session::start(&state.pool, user, visit.viewer.session_token()).await?;
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
                errors,
            };
            Ok(views::html(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
    }
}

async fn create(
    request: &HttpRequest,
    state: &AppState,
    visit: &Visit,
    account: NewAccount,
) -> Result<Result<UserId, Vec<FieldError>>, ApiError> {
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
    let hash = state
        .passwords
        .hash(&account.password)
        .await
        .map_err(ApiError::internal)?;
    let mut transaction = state.pool.begin().await?;
    let locale = visit.locale();
    let inserted = users::insert(
        &mut *transaction,
        &account.email,
        &account.name,
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
    transaction.commit().await?;
    Ok(Ok(user))
}
