//! What every page carries: language, theme, who looks at it, the contest, and moments in the contest's time zone.

use super::filters::Real;
use super::format;
use crate::controllers::assets;
use crate::i18n::{self, Arg, Locale};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

/// What every page carries. `..Page::new(locale, path)` fills the rest with "nobody, no contest".
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The language of everything on the page.
    pub locale: Locale,
    /// The theme the viewer chose (cookie [`Theme::COOKIE`]).
    pub theme: Theme,
    /// Who looks at it; `None` when nobody is logged in.
    pub viewer: Option<ViewerInfo>,
    /// The CSRF token: a hidden `csrf` field in every form and the `X-CSRF-Token` header of every script's request.
    pub csrf: String,
    /// Path and query of this page: where the language switch comes back to.
    pub path: String,
    /// The running contest; `None` before one is imported.
    pub contest: Option<ContestInfo>,
    /// One sentence about what just happened ("team created"), already in the page's language.
    pub notice: Option<String>,
}

/// Who looks at the page.
#[derive(Clone, Debug, Default)]
pub struct ViewerInfo {
    /// Display name.
    pub name: String,
    /// Whether the organizer's pages are shown in the navigation.
    pub organizer: bool,
    /// The viewer's team in this contest.
    pub team: Option<String>,
}

/// The contest as every page's head shows it.
#[derive(Clone, Debug)]
pub struct ContestInfo {
    /// Title in the page's language.
    pub title: String,
    /// IANA name of the contest's time zone.
    pub timezone: String,
    /// The phase now open: its title and its end.
    pub phase: Option<PhaseInfo>,
}

/// The phase now open.
#[derive(Clone, Debug)]
pub struct PhaseInfo {
    /// Title in the page's language.
    pub title: String,
    /// When it closes.
    pub closes: When,
}

/// The colour theme; `Auto` follows the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system says.
    #[default]
    Auto,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// The cookie that holds the choice; a script writes it, the server reads it so that no page flashes.
    pub const COOKIE: &'static str = "theme";

    /// Reads the cookie's value; anything unknown is `Auto`.
    pub fn parse(value: &str) -> Theme {
        match value {
            "light" => Theme::Light,
            "dark" => Theme::Dark,
            _ => Theme::Auto,
        }
    }

    /// The value of `<html data-theme>`.
    pub fn code(&self) -> &'static str {
        match self {
            Theme::Auto => "auto",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }
}

/// A moment: machine-readable in UTC, readable in the contest's time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// RFC 3339 in UTC, for `<time datetime>`.
    pub utc: String,
    /// `2026-11-21 19:41` in the contest's zone.
    pub local: String,
    /// The zone's abbreviation at that moment: `KST`.
    pub zone: String,
}

impl When {
    /// `at` as shown in `zone`.
    pub fn new(at: DateTime<Utc>, zone: Tz) -> When {
        let local = at.with_timezone(&zone);
        When {
            utc: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            local: local.format("%Y-%m-%d %H:%M").to_string(),
            zone: local.format("%Z").to_string(),
        }
    }

    /// The day: `2026-11-21`.
    pub fn date(&self) -> &str {
        self.local.split_once(' ').map_or(self.local.as_str(), |(date, _)| date)
    }

    /// The time of day with its zone: `19:41 KST`.
    pub fn clock(&self) -> String {
        let clock = self.local.split_once(' ').map_or("", |(_, clock)| clock);
        format!("{clock} {}", self.zone)
    }
}

impl Page {
    /// A page for nobody in particular.
    pub fn new(locale: Locale, path: impl Into<String>) -> Page {
        Page {
            locale,
            path: path.into(),
            ..Page::default()
        }
    }

    /// The message `key`.
    pub fn t(&self, key: impl AsRef<str>) -> String {
        self.locale.t(key.as_ref())
    }

    /// The message `key` with one argument.
    pub fn t1(&self, key: impl AsRef<str>, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key.as_ref(), &[(name, &value)])
    }

    /// The message `key` with two arguments.
    pub fn t2(&self, key: &str, name1: &str, value1: impl Arg, name2: &str, value2: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name1, &value1), (name2, &value2)])
    }

    /// The address of a file under `static/`, good for ever: it changes whenever any file there does.
    pub fn asset(&self, path: &str) -> String {
        assets::url(path)
    }

    /// A duration in the page's language.
    pub fn duration(&self, seconds: impl Real) -> String {
        format::seconds(self.locale, seconds.real())
    }

    /// The languages this page is not in.
    pub fn other_locales(&self) -> impl Iterator<Item = Locale> {
        let present = self.locale;
        Locale::ALL.into_iter().filter(move |locale| *locale != present)
    }

    /// Whether the viewer is logged in.
    pub fn signed_in(&self) -> bool {
        self.viewer.is_some()
    }

    /// Whether the viewer organizes the contest.
    pub fn organizer(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.organizer)
    }

    /// Whether the viewer has a team.
    pub fn has_team(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.team.is_some())
    }

    /// `aria-current` of a navigation link: `page` on the page itself, `true` below it, nothing elsewhere.
    pub fn current(&self, href: &str) -> Option<&'static str> {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        if path == href {
            Some("page")
        } else if href != "/" && path.starts_with(href) && path.as_bytes().get(href.len()) == Some(&b'/') {
            Some("true")
        } else {
            None
        }
    }
}
