//! The certificate a grade ends with: what was graded by what, and the digest of all that came out.
//!
//! Scores are a function of checkpoint, tasks, engine and device class alone, so the same inputs give the same
//! certificate wherever they are graded. A team that grades at home compares one digest.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canonical;

/// The fields a certificate has; another set of fields is another version.
const VERSION: u32 = 1;

/// What was graded, by what, and what came of it. Digests are sha256, 64 lowercase hex digits.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Certificate {
    /// Version of this form.
    pub version: u32,
    /// Digest of the checkpoint's files.
    pub checkpoint: String,
    /// [`crate::Contest::digest`] of the rules; empty outside a contest.
    pub contest: String,
    /// Digest of the task files and what was asked of them.
    pub tasks: String,
    /// [`crate::Profile::name`].
    pub profile: String,
    /// Name and version of the engine.
    pub engine: String,
    /// Digest of the shaders, where there are any.
    #[serde(default)]
    pub shaders: Option<String>,
    /// The device class.
    pub device: String,
    /// The arithmetic, by name.
    pub precision: String,
    /// Digest of every output of the model.
    pub outputs: String,
    /// Digest of the canonical JSON of all the other fields.
    pub digest: String,
}

impl Certificate {
    /// The certificate of these fields: `version` and `digest` are set, whatever they were.
    pub fn seal(mut self) -> Self {
        self.version = VERSION;
        self.digest = self.digest_of_fields();
        self
    }

    /// Whether the digest is that of the other fields, and the form one this version knows.
    pub fn verify(&self) -> bool {
        self.version == VERSION && self.digest == self.digest_of_fields()
    }

    fn digest_of_fields(&self) -> String {
        // A struct of strings and a number always serializes.
        let mut fields = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("digest");
        }
        hex::encode(Sha256::digest(canonical::line(&fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn certificate() -> Certificate {
        Certificate {
            checkpoint: "c".into(),
            device: "cpu".into(),
            outputs: "o".into(),
            ..Certificate::default()
        }
        .seal()
    }

    #[test]
    fn the_digest_is_of_one_spelling_of_the_fields() {
        let sealed = certificate();
        assert!(sealed.verify());
        let text = r#"{"checkpoint":"c","contest":"","device":"cpu","engine":"","outputs":"o","precision":"","profile":"","shaders":null,"tasks":"","version":1}"#;
        assert_eq!(sealed.digest, hex::encode(Sha256::digest(text)));
        assert_eq!(sealed.clone().seal(), sealed);
        assert!(!Certificate::default().verify());
    }

    #[test]
    fn any_field_changed_breaks_it() {
        let sealed = serde_json::to_value(certificate()).unwrap();
        for field in sealed.as_object().unwrap().keys() {
            let mut other = sealed.clone();
            other[field] = if field == "version" { json!(2) } else { json!("x") };
            let other: Certificate = serde_json::from_value(other).unwrap();
            assert!(!other.verify(), "{field}");
        }
        // What a newer version adds cannot be vouched for by an older one, but is read.
        let mut newer = sealed;
        newer["version"] = json!(2);
        newer["weather"] = Value::from("sunny");
        assert!(!serde_json::from_value::<Certificate>(newer).unwrap().verify());
    }
}
