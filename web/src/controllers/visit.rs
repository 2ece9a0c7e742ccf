//! What every page needs to know before it can be drawn: viewer, contest, team.

use actix_web::dev::Payload;
use actix_web::http::{Method, header};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use assay_contest::Contest;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures_util::future::LocalBoxFuture;

use crate::auth::{User, Viewer};
use crate::db::contests::{self, StoredContest};
use crate::db::teams::{self, Team};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::state::AppState;
use crate::views::{ContestInfo, Page, PhaseInfo, Theme, ViewerInfo, When};

/// Argument of handlers that draw a page.
pub struct Visit {
    /// Who looks.
    pub viewer: Viewer,
    /// The contest the pages are about, once one is imported.
    pub contest: Option<StoredContest>,
    /// The viewer's team in it.
    pub team: Option<Team>,
    /// The head of the page, ready to be moved into a view.
    pub page: Page,
}

impl Visit {
    /// Looks everything up.
    pub async fn of(request: &HttpRequest, state: &AppState) -> Result<Visit, ApiError> {
        let viewer = Viewer::of(request).await?;
        let contest = contests::current(&state.pool).await?;
        let team = match (&contest, &viewer.user) {
            (Some(contest), Some(user)) => teams::of_user(&state.pool, &contest.rules.id, user.id).await?,
            _ => None,
        };
        let page = Page {
            viewer: viewer.user.as_ref().map(|user| ViewerInfo {
                name: user.name.clone(),
                organizer: user.role.organizes(),
                team: team.as_ref().map(|team| team.name.clone()),
            }),
            contest: contest
                .as_ref()
                .map(|contest| contest_info(&contest.rules, viewer.locale, Utc::now())),
            ..bare_page(request, &viewer)
        };
        Ok(Visit {
            viewer,
            contest,
            team,
            page,
        })
    }

    /// The person, or 401.
    pub fn user(&self) -> Result<&User, ApiError> {
        self.viewer.user.as_ref().ok_or_else(ApiError::login_required)
    }

    /// The contest's time zone; UTC before there is a contest.
    pub fn zone(&self) -> Tz {
        self.contest.as_ref().map_or(Tz::UTC, |contest| contest.rules.zone())
    }

    /// The language of the page.
    pub fn locale(&self) -> Locale {
        self.viewer.locale
    }
}

impl FromRequest for Visit {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Visit, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<AppState>>().cloned();
            let state = state.ok_or_else(|| ApiError::internal(anyhow::anyhow!("no application state")))?;
            Visit::of(&request, &state).await
        })
    }
}

/// The head of an error page: with everything where the database answers, else with language and theme alone.
pub async fn page_or_bare(request: &HttpRequest, state: &AppState) -> Page {
    match Visit::of(request, state).await {
        Ok(visit) => visit.page,
        Err(_) => bare_page(request, &Viewer::nobody(request, state)),
    }
}

fn bare_page(request: &HttpRequest, viewer: &Viewer) -> Page {
    let theme = request.cookie(Theme::COOKIE).map(|cookie| Theme::parse(cookie.value()));
    Page {
        csrf: viewer.csrf_token(),
        theme: theme.unwrap_or_default(),
        ..Page::new(viewer.locale, here(request))
    }
}

/// The address that shows this page again. The answer to a form is shown at the form's own page, which the browser
/// names: the form's target may answer nothing but forms.
fn here(request: &HttpRequest) -> String {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let path = || {
        let (_, address) = text(header::REFERER)?.split_once("://")?;
        address.strip_prefix(text(header::HOST)?)
    };
    after(path().unwrap_or_default(), "/").to_owned()
}

fn contest_info(rules: &Contest, locale: Locale, now: DateTime<Utc>) -> ContestInfo {
    let open = rules
        .phase_at(now)
        .and_then(|phase| Some((phase, phase.closes_at()?.to_utc())));
    ContestInfo {
        title: locale.pick(&rules.title.en, &rules.title.ko).to_owned(),
        timezone: rules.timezone.clone(),
        phase: open.map(|(phase, closes)| PhaseInfo {
            title: locale.pick(&phase.title.en, &phase.title.ko).to_owned(),
            closes: When::new(closes, rules.zone()),
        }),
    }
}

/// 303 to a path of ours.
pub fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, path))
        .finish()
}

/// Where to go after a form: `next` if it is a path of this site, else `otherwise`. `//host` and `/\host` would leave it.
pub fn after<'a>(next: &'a str, otherwise: &'a str) -> &'a str {
    let local = next.len() <= 1024
        && next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if local { next } else { otherwise }
}

/// `path?name=value&…`, percent-encoded.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut address = path.to_owned();
    for (at, (name, value)) in pairs.iter().enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        for byte in value.bytes() {
            // The unreserved characters of RFC 3986, and the slash, which reads better as it is.
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                address.push(char::from(byte));
            } else {
                address.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_site_are_followed() {
        for good in ["/", "/team", "/submissions/1?x=%20#y"] {
            assert_eq!(after(good, "/else"), good);
        }
        for bad in [
            "",
            "team",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nSet-Cookie: x",
            "/a b",
        ] {
            assert_eq!(after(bad, "/else"), "/else", "{bad:?}");
        }
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(
            with_query("/login", &[("next", "/team?a=b&c=가")]),
            "/login?next=/team%3Fa%3Db%26c%3D%EA%B0%80"
        );
        assert_eq!(with_query("/x", &[]), "/x");
    }
}
