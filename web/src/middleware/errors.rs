//! Gives every failed request its final form: problem+json in the reader's language with the request id, or a page.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, ResponseError as _, web};

use super::{request_id, wants_json};
use crate::auth::Viewer;
use crate::controllers::visit;
use crate::error::{ApiError, PublicError, problem_response};
use crate::state::AppState;
use crate::views::{self, ErrorPage};

/// See the module. A failure with a body of its own (a rejected submission's inspection, say) passes untouched.
pub async fn render<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(response);
    }
    let explained = response.response().extensions().get::<PublicError>().cloned();
    let unexplained = || {
        let empty = matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0));
        let bare = ApiError::of_status(status);
        empty.then_some(PublicError {
            code: bare.code,
            public: bare.public,
            problems: Vec::new(),
        })
    };
    let Some(error) = explained.or_else(unexplained) else {
        return Ok(response);
    };
    let request = response.request().clone();
    Ok(if wants_json(&request) {
        as_problem(response, &request, &error).await
    } else if error.code == "login-required" && request.method() == Method::GET {
        to_login(response, &request)
    } else {
        as_page(response, &request, &error).await
    })
}

/// Puts `from`'s status, content type and body into the response, keeping its other headers and its logged cause.
fn dress(response: ServiceResponse<BoxBody>, from: actix_web::HttpResponse) -> ServiceResponse<BoxBody> {
    response.map_body(|head, _| {
        head.status = from.status();
        for (name, value) in from.headers() {
            head.headers.insert(name.clone(), value.clone());
        }
        if !head.headers.contains_key(header::CACHE_CONTROL) {
            head.headers
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        from.into_body()
    })
}

async fn as_problem(
    response: ServiceResponse<BoxBody>,
    request: &HttpRequest,
    error: &PublicError,
) -> ServiceResponse<BoxBody> {
    // Worker and upload clients have no session worth a query; the language is in the headers.
    let known = request.extensions().get::<Viewer>().map(|viewer| viewer.locale);
    let locale = known
        .or_else(|| state(request).map(|state| Viewer::nobody(request, &state).locale))
        .unwrap_or_default();
    let title = locale.pick(&error.public.en, &error.public.ko);
    let status = response.status();
    dress(response, problem_response(status, error, title, &request_id(request)))
}

fn to_login(response: ServiceResponse<BoxBody>, request: &HttpRequest) -> ServiceResponse<BoxBody> {
    let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
    let location = visit::with_query("/login", &[("next", here)]);
    let mut redirect = actix_web::HttpResponse::SeeOther();
    dress(response, redirect.insert_header((header::LOCATION, location)).finish())
}

async fn as_page(
    response: ServiceResponse<BoxBody>,
    request: &HttpRequest,
    error: &PublicError,
) -> ServiceResponse<BoxBody> {
    let Some(state) = state(request) else { return response };
    let page = visit::page_or_bare(request, &state).await;
    let status = response.status();
    let message = page.locale.pick(&error.public.en, &error.public.ko).to_owned();
    let id = request_id(request);
    let page = ErrorPage {
        page,
        status: status.as_u16(),
        code: error.code.to_owned(),
        message,
        request_id: id,
    };
    dress(response, views::html(status, &page))
}

fn state(request: &HttpRequest) -> Option<web::Data<AppState>> {
    request.app_data::<web::Data<AppState>>().cloned()
}

/// The error for a bare status, as a response: what extractors and the router's default answer with.
pub fn bare(status: StatusCode) -> actix_web::HttpResponse {
    ApiError::of_status(status).error_response()
}
