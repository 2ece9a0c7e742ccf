//! The one error of every handler: a status, a stable code, a sentence in both languages, and the cause for the log.
//!
//! [`ApiError`] knows nothing of the request, so its own response is problem+json (RFC 9457) in both languages;
//! [`crate::middleware::errors`] then adds the request id, or turns it into a page where a person is reading.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use assay_contest::{Problem, Text};
use serde_json::json;

/// A failed request. `public` and `problems` are shown to whoever asked; `source` only ever reaches the log.
#[derive(Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable kebab-case name, part of the API.
    pub code: &'static str,
    /// What happened and what to do, in English and Korean.
    pub public: Text,
    /// The single faults, where there are several (for example one a declared file).
    pub problems: Vec<Problem>,
    /// Sent as `Retry-After`, whole seconds.
    pub retry_after: Option<Duration>,
    /// The hidden cause.
    pub source: Option<anyhow::Error>,
}

/// What the error middleware needs to render the same error again; carried in the response's extensions.
#[derive(Clone, Debug)]
pub struct PublicError {
    /// As in [`ApiError`].
    pub code: &'static str,
    /// As in [`ApiError`].
    pub public: Text,
    /// As in [`ApiError`].
    pub problems: Vec<Problem>,
}

impl ApiError {
    /// An error with any status.
    pub fn new(status: StatusCode, code: &'static str, en: &str, ko: &str) -> ApiError {
        let public = Text::new(en, ko);
        ApiError {
            status,
            code,
            public,
            problems: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    /// 404. Also the answer for another team's objects, so that ids cannot be probed.
    pub fn not_found() -> ApiError {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is nothing at this address, or it is not yours to see.",
            "이 주소에는 아무것도 없거나, 볼 수 있는 권한이 없습니다.",
        )
    }

    /// 400 with its own code.
    pub fn bad_request(code: &'static str, en: &str, ko: &str) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, en, ko)
    }

    /// 409 with its own code.
    pub fn conflict(code: &'static str, en: &str, ko: &str) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, en, ko)
    }

    /// 422 with its own code.
    pub fn unprocessable(code: &'static str, en: &str, ko: &str) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, en, ko)
    }

    /// 401: nobody is logged in. On a page this becomes a redirect to the login form.
    pub fn login_required() -> ApiError {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "login-required",
            "Log in to continue.",
            "계속하려면 로그인하세요.",
        )
    }

    /// 403: logged in, but not an organizer.
    pub fn forbidden() -> ApiError {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "organizers-only",
            "Only the organizers can do this.",
            "운영진만 할 수 있는 작업입니다.",
        )
    }

    /// 429 with the time to wait.
    pub fn too_many(code: &'static str, wait: Duration, en: &str, ko: &str) -> ApiError {
        ApiError {
            retry_after: Some(wait),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, en, ko)
        }
    }

    /// 500 whose cause goes to the log and nowhere else.
    pub fn internal(source: impl Into<anyhow::Error>) -> ApiError {
        let error = ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something failed on our side. Nothing of yours is lost; please try again, and tell the organizers the request id if it stays.",
            "서버에서 문제가 발생했습니다. 데이터는 그대로 보존되어 있습니다. 다시 시도해 보고, 계속되면 요청 번호를 운영진에게 알려 주세요.",
        );
        ApiError {
            source: Some(source.into()),
            ..error
        }
    }

    /// 503: the database or a disk is not there; the client should come back.
    pub fn unavailable(source: impl Into<anyhow::Error>) -> ApiError {
        let error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The service is busy or restarting. Please try again in a few seconds.",
            "서비스가 혼잡하거나 다시 시작되는 중입니다. 몇 초 뒤에 다시 시도해 주세요.",
        );
        ApiError {
            source: Some(source.into()),
            retry_after: Some(Duration::from_secs(5)),
            ..error
        }
    }

    /// Adds the single faults.
    pub fn with_problems(mut self, problems: Vec<Problem>) -> ApiError {
        self.problems = problems;
        self
    }

    /// Adds a hidden cause.
    pub fn with_source(mut self, source: impl Into<anyhow::Error>) -> ApiError {
        self.source = Some(source.into());
        self
    }

    /// The error for a bare status that no handler explained (the router's 405, an extractor's 413, …).
    pub fn of_status(status: StatusCode) -> ApiError {
        match status {
            StatusCode::NOT_FOUND => ApiError::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => ApiError::new(
                status,
                "method-not-allowed",
                "This address does not answer that kind of request.",
                "이 주소에서는 지원하지 않는 요청 방식입니다.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                status,
                "body-too-large",
                "The request is larger than this address accepts.",
                "요청의 크기가 이 주소에서 허용하는 한도를 넘었습니다.",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::new(
                status,
                "content-type-not-supported",
                "This address does not accept that content type.",
                "이 주소에서는 받을 수 없는 콘텐츠 형식입니다.",
            ),
            _ if status.is_client_error() => ApiError::new(
                status,
                "bad-request",
                "The request could not be understood. Reload the page and try again.",
                "요청을 이해할 수 없습니다. 페이지를 새로고침한 뒤 다시 시도해 주세요.",
            ),
            _ => ApiError {
                status,
                ..ApiError::internal(anyhow::anyhow!("status {status} without an explanation"))
            },
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.status.as_u16())?;
        match &self.source {
            Some(source) => write!(f, ": {source:#}"),
            None => Ok(()),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let public = PublicError {
            code: self.code,
            public: self.public.clone(),
            problems: self.problems.clone(),
        };
        let mut response = problem_response(self.status, &public, &self.public.en, "");
        if let Some(wait) = self.retry_after {
            // Rounded up: a client that comes back exactly then must not be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(public);
        response
    }
}

/// Builds problem+json: `title` in the reader's language, `message` in both, `problems` only where there are any.
pub(crate) fn problem_response(status: StatusCode, error: &PublicError, title: &str, request_id: &str) -> HttpResponse {
    let mut body = json!({
        "type": format!("urn:assay:problem:{}", error.code),
        "title": title,
        "status": status.as_u16(),
        "code": error.code,
        "message": error.public,
    });
    if !error.problems.is_empty() {
        body["problems"] = json!(error.problems);
    }
    if !request_id.is_empty() {
        body["request_id"] = json!(request_id);
    }
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .body(body.to_string())
}

impl From<sqlx::Error> for ApiError {
    /// No row is 404 (ownership is part of the WHERE clause); no connection is 503; all else is ours.
    fn from(error: sqlx::Error) -> ApiError {
        match error {
            sqlx::Error::RowNotFound => ApiError::not_found(),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => ApiError::unavailable(error),
            other => ApiError::internal(other),
        }
    }
}

/// Is `error` the violation of the named constraint or unique index?
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.constraint() == Some(constraint))
}
