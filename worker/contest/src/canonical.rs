//! One spelling of a contest's rules, and its digest: what people agree on when they agree on the rules.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::formula::Formula;
use crate::rules::Contest;

/// Rises when the same rules get another canonical form, and with it another digest.
const VERSION: u64 = 1;

impl Contest {
    /// The rules as JSON on one line: keys in order of their bytes, no spaces, the formula in its canonical spelling,
    /// defaults written out except those of keys that came later. Comments, order of keys and layout of `contest.toml`
    /// leave no trace in it.
    pub fn canonical(&self) -> String {
        let mut contest = self.clone();
        if let Ok(formula) = Formula::parse(&contest.score.formula) {
            contest.score.formula = formula.to_string();
        }
        // Structs of strings, numbers and lists always serialize.
        let mut value = serde_json::to_value(&contest).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("assay_contest".to_owned(), VERSION.into());
        }
        line(&value)
    }

    /// sha256 of the canonical form, 64 lowercase hex digits.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }
}

/// JSON on one line: keys in order of their bytes, no spaces.
pub(crate) fn line(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// JSON with sorted keys; as deep as the rules' own structure.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(&Value::from(key.as_str()), text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
