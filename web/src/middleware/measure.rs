//! Counts and times every request, counts open event streams, and turns a panic into an answer.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError, web};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{headers, request_id, wants_json};
use crate::auth::Viewer;
use crate::error::{ApiError, PublicError, problem_response};
use crate::i18n::Locale;
use crate::metrics::Held;
use crate::state::AppState;
use crate::telemetry::Answered;
use crate::views::{self, ErrorPage, Page, Theme};

/// See the module.
pub async fn measure(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(state) = request.app_data::<web::Data<AppState>>().cloned() else {
        return next.call(request).await;
    };
    let timer = state.metrics.begin(request.method());
    let asked = Asked::of(&request, &state);
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    match outcome {
        Ok(Ok(response)) => {
            let route = response.request().match_pattern();
            let answered = Answered {
                route: route.clone(),
                elapsed: timer.elapsed(),
            };
            response.request().extensions_mut().insert(answered);
            timer.end(route.as_deref(), response.status().as_u16());
            let stream = response
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            Ok(if stream {
                let held = state.metrics.stream();
                response.map_body(|_, body| BoxBody::new(Counted { body, _held: held }))
            } else {
                response
            })
        }
        Ok(Err(error)) => {
            timer.end(None, error.as_response_error().status_code().as_u16());
            Err(error)
        }
        Err(panic) => {
            state.metrics.panicked();
            timer.end(None, 500);
            Err(Panicked {
                asked,
                cause: said(&*panic),
            }
            .into())
        }
    }
}

/// A body that keeps a gauge raised while it is being sent.
struct Counted {
    body: BoxBody,
    _held: Held,
}

impl MessageBody for Counted {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// What the answer to a panic needs of a request that is gone by then.
struct Asked {
    id: String,
    json: bool,
    locale: Locale,
    theme: Theme,
    path: String,
    https: bool,
}

impl Asked {
    fn of(request: &ServiceRequest, state: &AppState) -> Asked {
        let request = request.request();
        let theme = request.cookie(Theme::COOKIE).map(|cookie| Theme::parse(cookie.value()));
        Asked {
            id: request_id(request),
            json: wants_json(request),
            locale: Viewer::asked_locale(request),
            theme: theme.unwrap_or_default(),
            path: request.path().to_owned(),
            https: state.public_url.starts_with("https://"),
        }
    }
}

/// A handler that panicked: the request is lost with it, so the whole answer is made here.
struct Panicked {
    asked: Asked,
    cause: String,
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a word".to_owned())
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a handler panicked: {}", self.cause)
    }
}

impl ResponseError for Panicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        let (asked, status) = (&self.asked, self.status_code());
        let error = ApiError::internal(anyhow::anyhow!("a panic"));
        let message = asked.locale.pick(&error.public.en, &error.public.ko).to_owned();
        let mut response = if asked.json {
            let public = PublicError {
                code: error.code,
                public: error.public,
                problems: Vec::new(),
            };
            problem_response(status, &public, &message, &asked.id)
        } else {
            let page = ErrorPage {
                page: Page {
                    theme: asked.theme,
                    ..Page::new(asked.locale, asked.path.clone())
                },
                status: status.as_u16(),
                code: error.code.to_owned(),
                message,
                request_id: asked.id.clone(),
            };
            views::html(status, &page)
        };
        headers::add(response.headers_mut(), &asked.id, asked.https);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
