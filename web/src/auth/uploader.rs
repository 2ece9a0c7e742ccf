//! Who may touch a draft: someone logged in, or the bearer of an upload token. Never both: a request that shows a token is
//! judged by the token alone, so that a browser's cookies cannot be made to act through it.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;

use super::viewer::Viewer;
use crate::db::ids::SubmissionId;
use crate::db::uploads::Owner;
use crate::error::ApiError;
use crate::state::AppState;
use crate::upload_token;

/// Argument of handlers that change drafts: 401 without a login or a good upload token.
#[derive(Clone, Copy, Debug)]
pub struct RequireUploader(pub Owner);

impl RequireUploader {
    /// The owner, if it may reach this draft at all: a token opens only its own, another's is 404.
    ///
    /// # Errors
    /// 404.
    pub fn for_draft(self, draft: SubmissionId) -> Result<Owner, ApiError> {
        match self.0.only {
            Some(only) if only != draft => Err(ApiError::not_found()),
            _ => Ok(self.0),
        }
    }
}

impl FromRequest for RequireUploader {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<RequireUploader, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            if !request.headers().contains_key(AUTHORIZATION) {
                let user = Viewer::of(&request).await?.require_user()?;
                return Ok(RequireUploader(Owner {
                    user: user.id,
                    only: None,
                }));
            }
            let state = request
                .app_data::<web::Data<AppState>>()
                .ok_or_else(|| ApiError::internal(anyhow::anyhow!("no application state")))?;
            let claims = bearer(&request).and_then(|token| upload_token::read(&state.keys, token));
            let claims = claims.ok_or_else(invalid)?;
            Ok(RequireUploader(Owner {
                user: claims.user,
                only: Some(claims.sub),
            }))
        })
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn invalid() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "upload-token-invalid",
        "This upload token has ended or is not one of ours. Log in and ask for a new one: GET /api/v1/submissions/{id}/uploads.",
        "업로드 토큰이 만료되었거나 올바르지 않습니다. 로그인한 뒤 GET /api/v1/submissions/{id}/uploads 에서 새 토큰을 받으세요.",
    )
}

/// Is this a request to an address where [`RequireUploader`] decides, and does it show a token? Then there is nothing to
/// forge: no browser adds this header by itself, and cookies are not looked at.
#[must_use]
pub fn judged_by_token(request: &HttpRequest) -> bool {
    let path = request.path();
    let ours = path == "/files"
        || path.starts_with("/files/")
        || path.strip_prefix("/api/v1/submissions/").is_some_and(|rest| {
            let mut parts = rest.split('/').skip(1);
            matches!(
                (parts.next(), parts.next(), parts.next()),
                (None | Some("submit" | "uploads"), None, None) | (Some("files"), Some(_), None)
            )
        });
    ours && request.headers().contains_key(AUTHORIZATION)
}
