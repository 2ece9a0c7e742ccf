//! The language of what a person reads on the terminal.

use assay_contest::Text;
use clap::ValueEnum;

/// English or Korean. JSON always carries both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Locale {
    En,
    Ko,
}

impl Locale {
    /// `--lang` first, then the first non-empty of `LC_ALL`, `LC_MESSAGES`, `LANG`, as POSIX has it; else English.
    pub fn choose(flag: Option<Locale>) -> Locale {
        let from_env = || {
            let value = ["LC_ALL", "LC_MESSAGES", "LANG"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
            Some(if value.starts_with("ko") {
                Locale::Ko
            } else {
                Locale::En
            })
        };
        flag.or_else(from_env).unwrap_or(Locale::En)
    }

    /// One sentence of two.
    pub fn say<'a>(self, en: &'a str, ko: &'a str) -> &'a str {
        match self {
            Locale::En => en,
            Locale::Ko => ko,
        }
    }

    /// The sentence of `text` in this language.
    pub fn text(self, text: &Text) -> &str {
        self.say(&text.en, &text.ko)
    }
}
