//! Logging in. A wrong password and an unknown address get the same answer after the same time.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::field_error;
use super::visit::{Visit, after, see_other};
use crate::auth::password::Verdict;
use crate::auth::throttle::Throttle;
use crate::auth::{client, session};
use crate::db::audit::{self, Entry};
use crate::db::ids::UserId;
use crate::db::users;
use crate::domain::{Email, Password, Refused};
use crate::error::ApiError;
use crate::middleware::origin;
use crate::state::AppState;
use crate::views::{self, LoginPage};

/// `GET` and `POST /login`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/login")
            .route(web::get().to(show))
            .route(web::post().to(log_in)),
    );
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct LoginForm {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

async fn show(visit: Visit, query: web::Query<Next>) -> HttpResponse {
    let next = after(&query.next, "");
    if visit.viewer.user.is_some() {
        return see_other(after(next, "/"));
    }
    let page = LoginPage {
        page: visit.page,
        email: String::new(),
        next: next.to_owned(),
        errors: Vec::new(),
    };
    views::html(StatusCode::OK, &page)
}

async fn log_in(
    request: HttpRequest,
    state: web::Data<AppState>,
    visit: Visit,
    form: web::Form<LoginForm>,
) -> Result<HttpResponse, ApiError> {
    match authenticate(&request, &state, &form).await? {
        Ok(user) => {
            let mut transaction = state.pool.begin().await?;
            let seen_as = session::seen_as(&request, &state.settings);
            let token = session::start(&mut transaction, user, visit.viewer.session_token(), &seen_as).await?;
            let object = format!("user:{user}");
            let entry = Entry::new("login.succeeded", &object).by(user);
            audit::record(&mut *transaction, &origin(&request), entry).await?;
            transaction.commit().await?;
            let mut response = see_other(after(&form.next, "/"));
            response
                .add_cookie(&session::cookie(&state.settings, &token))
                .map_err(ApiError::internal)?;
            Ok(response)
        }
        Err(refused) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let errors = vec![field_error(visit.locale(), "", &refused)];
            let next = after(&form.next, "").to_owned();
            let page = LoginPage {
                page: visit.page,
                email: form.email.clone(),
                next,
                errors,
            };
            Ok(views::html(status, &page))
        }
    }
}

/// The account whose password this is. Failures are counted whether or not the account exists.
async fn authenticate(
    request: &HttpRequest,
    state: &AppState,
    form: &LoginForm,
) -> Result<Result<UserId, Refused>, ApiError> {
    let email = Email::parse(&form.email).ok();
    let account = email.as_ref().map(Email::folded).unwrap_or_default();
    let address = client::address(request, &state.settings);
    let subjects = Throttle::subjects(&account, address);
    let wait = state.throttle.wait(&subjects);
    if !wait.is_zero() {
        tracing::warn!(action = "login.throttled", "a login was slowed down");
        return Err(throttled(wait));
    }
    // Counted before the slow comparison, so that a burst of parallel guesses cannot slip under the limit.
    state.throttle.failed(&subjects);
    let found = match &email {
        Some(email) => users::credentials(&state.pool, email).await?,
        None => None,
    };
    let (id, stored) = found.map(|found| (found.id, found.password_hash)).unzip();
    let verdict = match Password::for_login(&form.password) {
        Some(password) => {
            let verdict = state
                .passwords
                .verify(&password, stored.clone())
                .await
                .map_err(ApiError::internal)?;
            if let (Verdict::RightButOld, Some(id), Some(old)) = (verdict, id, &stored) {
                let new = state.passwords.hash(&password).await.map_err(ApiError::internal)?;
                users::replace_hash(&state.pool, id, old, &new).await?;
            }
            verdict
        }
        None => Verdict::Wrong,
    };
    match (verdict, id) {
        (Verdict::Right | Verdict::RightButOld, Some(id)) => {
            state.throttle.succeeded(&subjects);
            Ok(Ok(id))
        }
        _ => {
            // Known or not, one line: the work is the same. The address itself stays out of every record.
            let object = id.map_or_else(|| "user:unknown".to_owned(), |id| format!("user:{id}"));
            audit::record(&state.pool, &origin(request), Entry::new("login.failed", &object)).await?;
            Ok(Err(Refused::new(
                "login-failed",
                "The e-mail address or the password is wrong.",
                "이메일 주소나 비밀번호가 올바르지 않습니다.",
            )))
        }
    }
}

/// 429 to whoever guessed wrong too often.
pub(super) fn throttled(wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + 1;
    ApiError::too_many(
        "login-throttled",
        wait,
        &format!("Too many failed attempts. Try again in {seconds} seconds."),
        &format!("로그인에 여러 번 실패했습니다. {seconds}초 뒤에 다시 시도하세요."),
    )
}
