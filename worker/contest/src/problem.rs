//! How anything is told to a person: in English and Korean, with a stable code, the place, and the fix.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An integer with its digits by thousands, as sentences and tables have it: `1390692528` → `1,390,692,528`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One sentence in both languages of the service.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Text {
    /// English.
    pub en: String,
    /// Korean.
    pub ko: String,
}

impl Text {
    /// The sentence in English and in Korean.
    pub fn new(en: impl Into<String>, ko: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            ko: ko.into(),
        }
    }

    /// The sentence in `language`; anything that does not start with `ko` reads English.
    pub fn get(&self, language: &str) -> &str {
        if language.starts_with("ko") { &self.ko } else { &self.en }
    }
}

/// Writes the English sentence: logs and error chains are in English.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.en)
    }
}

/// Something a team or an organizer has to know about, and what to do about it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Stable, kebab-case: programs and documentation refer to it.
    pub code: String,
    /// Where it is: a file, a tensor, a module, or `contest.toml:12:5`.
    #[serde(rename = "where")]
    pub place: String,
    /// What is the matter.
    pub message: Text,
    /// What makes it go away.
    pub fix: Text,
}

impl Problem {
    /// A problem with `code` at `place`.
    pub fn new(code: impl Into<String>, place: impl Into<String>, message: Text, fix: Text) -> Self {
        Self {
            code: code.into(),
            place: place.into(),
            message,
            fix,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.message, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_390_692_528), "1,390,692,528");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn json_names_the_place_where() {
        let problem = Problem::new(
            "no-config",
            "config.json",
            Text::new("no", "없음"),
            Text::new("add it", "추가"),
        );
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["where"], "config.json");
        assert_eq!(json["message"]["ko"], "없음");
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn language_falls_back_to_english() {
        let text = Text::new("yes", "네");
        assert_eq!(text.get("ko-KR"), "네");
        assert_eq!(text.get("fr"), "yes");
    }
}
