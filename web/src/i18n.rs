//! Every sentence a person reads, in English and Korean, from `web/locales/<locale>/*.ftl` (Fluent syntax, embedded at compile time).

use crate::particles;
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use unic_langid::LanguageIdentifier;

/// A language the product speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    /// English, also the answer to every language we do not speak.
    #[default]
    En,
    /// Korean.
    Ko,
}

impl Locale {
    /// All locales, in the order of the language switch.
    pub const ALL: [Locale; 2] = [Locale::En, Locale::Ko];

    /// The code used in `<html lang>`, the cookie and the `users.locale` column.
    pub fn code(self) -> &'static str {
        match self {
            Locale::En => "en",
            Locale::Ko => "ko",
        }
    }

    /// The language's own name for itself.
    pub fn own_name(self) -> &'static str {
        match self {
            Locale::En => "English",
            Locale::Ko => "한국어",
        }
    }

    /// Reads a code such as `ko` or `ko-KR`; `None` for a language we do not speak.
    pub fn parse(code: &str) -> Option<Locale> {
        let primary = code.trim().split(['-', '_']).next().unwrap_or_default();
        Locale::ALL
            .into_iter()
            .find(|locale| locale.code().eq_ignore_ascii_case(primary))
    }

    /// The best of an `Accept-Language` header's languages that we speak, by its q values; English when none is.
    pub fn from_accept_language(header: &str) -> Locale {
        let mut best = (0.0, Locale::default());
        // A header is short; the cap keeps a hostile one from costing anything.
        for item in header.split(',').take(32) {
            let mut parts = item.split(';');
            let Some(locale) = parts.next().and_then(Locale::parse) else {
                continue;
            };
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
            if quality > best.0 {
                best = (quality, locale);
            }
        }
        best.1
    }

    /// Of a sentence that exists in both languages, this locale's.
    pub fn pick<'a>(self, en: &'a str, ko: &'a str) -> &'a str {
        match self {
            Locale::En => en,
            Locale::Ko => ko,
        }
    }

    /// The message `key` without arguments. An unknown key answers itself, so that a mistake is visible and never a panic
    /// (the tests refuse unknown keys).
    pub fn t(self, key: &str) -> String {
        t(self, key, &[])
    }
}

/// Something that can stand in a message's placeholder. Integers choose plural forms; strings are shown as they are, so a
/// number that needs grouping is formatted first.
pub trait Arg {
    /// The value as Fluent knows it.
    fn arg(&self) -> FluentValue<'static>;
}

impl<T: Arg + ?Sized> Arg for &T {
    fn arg(&self) -> FluentValue<'static> {
        (**self).arg()
    }
}

impl Arg for str {
    fn arg(&self) -> FluentValue<'static> {
        FluentValue::from(self.to_owned())
    }
}

impl Arg for String {
    fn arg(&self) -> FluentValue<'static> {
        FluentValue::from(self.clone())
    }
}

macro_rules! number_args {
    ($($ty:ty),*) => {$(
        impl Arg for $ty {
            fn arg(&self) -> FluentValue<'static> {
                FluentValue::from(*self)
            }
        }
    )*};
}
number_args!(u8, u16, u32, u64, usize, i32, i64);

const SOURCES: [(Locale, &[&str]); 2] = [
    (
        Locale::En,
        &[
            include_str!("../locales/en/shell.ftl"),
            include_str!("../locales/en/account.ftl"),
            include_str!("../locales/en/board.ftl"),
            include_str!("../locales/en/submission.ftl"),
            include_str!("../locales/en/upload.ftl"),
            include_str!("../locales/en/admin.ftl"),
        ],
    ),
    (
        Locale::Ko,
        &[
            include_str!("../locales/ko/shell.ftl"),
            include_str!("../locales/ko/account.ftl"),
            include_str!("../locales/ko/board.ftl"),
            include_str!("../locales/ko/submission.ftl"),
            include_str!("../locales/ko/upload.ftl"),
            include_str!("../locales/ko/admin.ftl"),
        ],
    ),
];

type Bundle = FluentBundle<FluentResource>;

/// One bundle a locale. A broken message file loses only its broken lines here; the tests refuse it.
static BUNDLES: LazyLock<[(Locale, Bundle); 2]> = LazyLock::new(|| {
    SOURCES.map(|(locale, sources)| {
        let id: LanguageIdentifier = locale.code().parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // The isolation marks (U+2068, U+2069) would show up in copied text and break attribute values.
        bundle.set_use_isolating(false);
        for source in sources {
            let resource = FluentResource::try_new((*source).to_owned()).unwrap_or_else(|(partial, _)| partial);
            bundle.add_resource_overriding(resource);
        }
        (locale, bundle)
    })
});

/// The message `key` in `locale`, with `args` in its placeholders. See [`Locale::t`] for unknown keys.
pub fn t(locale: Locale, key: &str, args: &[(&str, &dyn Arg)]) -> String {
    let bundle = &BUNDLES[locale as usize].1;
    let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
        return key.to_owned();
    };
    let args: FluentArgs<'static> = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.arg()))
        .collect();
    let mut errors = Vec::new();
    let text = bundle.format_pattern(pattern, Some(&args), &mut errors).into_owned();
    match locale {
        // Keys are read by scripts with holes in them; nobody knows yet what stands before a particle.
        Locale::Ko if !text.contains('{') => particles::fit(&text),
        _ => text,
    }
}

/// Whether `key` is a message.
pub fn has(locale: Locale, key: &str) -> bool {
    BUNDLES[locale as usize].1.has_message(key)
}

/// The keys of one locale's files, in file order: what the key tests and the upload panel's table of sentences are made from.
pub fn keys(locale: Locale) -> impl Iterator<Item = &'static str> {
    SOURCES[locale as usize]
        .1
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| {
            let (key, _) = line.split_once(" =").or_else(|| line.split_once('='))?;
            let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            plain.then_some(key)
        })
}
