//! Logs: one structured line an event, one span a request with its id, filtered by `RUST_LOG`.
//!
//! What never gets into a line: query strings (they can hold what a person searched for or a link's token), cookies,
//! other headers, bodies, e-mail and network addresses. Whose request it was is said by the account's id.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::{Error, HttpMessage as _, web};
use tracing::Span;
use tracing::field::Empty;
use tracing_actix_web::RootSpanBuilder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt as lines;
use uuid::Uuid;

use crate::state::AppState;

/// Header that names a request, in both directions.
pub const REQUEST_ID: &str = "x-request-id";
/// Lengths of an id given by a proxy.
const ID_LENGTH: std::ops::RangeInclusive<usize> = 8..=64;

/// Starts logging to standard error. A second call (tests) does nothing.
pub fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let builder = lines().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
}

/// Logs panics as one line with their place, inside the span of the request they happened in.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic");
    }));
}

/// The name of one request, in every line, answer and audit record it causes.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// The one a trusted proxy gave, if it is harmless to repeat (ASCII letters, digits, `-` and `_`), else a new one.
    /// From anyone else it would let a stranger put their acts under another's id.
    fn of(request: &ServiceRequest) -> RequestId {
        let given = || {
            let peer: IpAddr = request.peer_addr()?.ip();
            let state = request.app_data::<web::Data<AppState>>()?;
            let trusted = state.settings.trusted_proxies.contains(&peer);
            let text = request.headers().get(REQUEST_ID)?.to_str().ok()?;
            let safe = ID_LENGTH.contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            (trusted && safe).then(|| RequestId(text.to_owned()))
        };
        given().unwrap_or_else(|| RequestId(Uuid::new_v4().to_string()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the measuring middleware found, for the line about the request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The route's pattern, if one matched.
    pub route: Option<String>,
    /// Time to the head of the answer.
    pub elapsed: Duration,
}

/// The span of a request.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let id = RequestId::of(request);
        request.extensions_mut().insert(id.clone());
        tracing::info_span!(
            "request",
            request_id = %id,
            method = %request.method(),
            path = request.path(),
            user_id = Empty,
            status = Empty,
            route = Empty,
            milliseconds = Empty,
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let (status, error) = match outcome {
            Ok(response) => (response.status(), response.response().error()),
            Err(error) => (error.as_response_error().status_code(), Some(error)),
        };
        span.record("status", status.as_u16());
        if let Ok(response) = outcome
            && let Some(answered) = response.request().extensions().get::<Answered>()
        {
            span.record("route", answered.route.as_deref().unwrap_or("none"));
            span.record("milliseconds", answered.elapsed.as_secs_f64() * 1e3);
        }
        let _entered = span.enter();
        match error {
            Some(error) if status.is_server_error() => tracing::error!(%error, "request failed"),
            Some(error) => tracing::info!(%error, "request refused"),
            None => tracing::info!("request answered"),
        }
    }
}
