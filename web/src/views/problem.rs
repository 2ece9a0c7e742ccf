//! What is wrong with a submission and how to put it right, in the page's language.

use crate::i18n::Locale;
use crate::particles;
use serde_json::Value;

/// One coded problem or finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemView {
    /// Stable kebab-case code.
    pub code: String,
    /// Where: a file, a tensor, a field. May be empty.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do. May be empty.
    pub fix: String,
}

impl ProblemView {
    /// Reads one `{code, where, message: {en, ko}, fix: {en, ko}}` of an inspection, a report or an attempt's error.
    pub fn from_json(locale: Locale, value: &Value) -> ProblemView {
        ProblemView {
            code: string(&value["code"]),
            place: string(&value["where"]),
            message: text(locale, &value["message"]),
            fix: text(locale, &value["fix"]),
        }
    }

    /// Reads an array of problems; anything else is none.
    pub fn list_from_json(locale: Locale, value: &Value) -> Vec<ProblemView> {
        value
            .as_array()
            .map(|list| list.iter().map(|item| ProblemView::from_json(locale, item)).collect())
            .unwrap_or_default()
    }
}

/// A `{en, ko}` in one language; a plain string is itself.
pub(super) fn text(locale: Locale, value: &Value) -> String {
    match (locale, value) {
        (_, Value::String(plain)) => plain.clone(),
        (Locale::Ko, both) => particles::fit(both["ko"].as_str().unwrap_or_default()),
        (Locale::En, both) => string(&both["en"]),
    }
}

/// A JSON string, or nothing.
pub(super) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
