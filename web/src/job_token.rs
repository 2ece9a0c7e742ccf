//! The job token: what a worker shows for one attempt. It opens that attempt's files and endpoints and nothing else, and
//! every write is judged by the fence in the database besides, so a token that outlives its lease is worth nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::db::ids::AttemptId;
use crate::state::Keys;

/// Each kind of token has an audience of its own, so that none can stand in for another.
const AUDIENCE: &str = "assay-job";
const ISSUER: &str = "assay-web";
/// `typ` of the header: a second, visible mark of the kind.
const TYPE: &str = "assay-job+jwt";
/// Tokens are made and read by the clock of this one machine.
const LEEWAY_SECONDS: u64 = 5;

/// What a job token says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct JobClaims {
    /// The attempt.
    pub sub: AttemptId,
    /// Its fence.
    pub fence: i64,
    aud: String,
    iss: String,
    exp: u64,
}

/// Makes a token for an attempt that is good for `life`.
///
/// # Errors
/// When signing fails, which would be a fault of the library's setup.
pub fn issue(
    keys: &Keys,
    attempt: AttemptId,
    fence: i64,
    life: Duration,
) -> Result<String, jsonwebtoken::errors::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = JobClaims {
        sub: attempt,
        fence,
        aud: AUDIENCE.to_owned(),
        iss: ISSUER.to_owned(),
        exp: now.saturating_add(life).as_secs(),
    };
    let header = Header {
        typ: Some(TYPE.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    encode(&header, &claims, &EncodingKey::from_secret(&keys.derive("job token")))
}

/// Reads a token: fixed algorithm, and all of aud, iss, sub and exp must be there and right. None says nothing about why.
#[must_use]
pub fn read(keys: &Keys, token: &str) -> Option<JobClaims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["aud", "iss", "sub", "exp"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    let data = decode::<JobClaims>(token, &DecodingKey::from_secret(&keys.derive("job token")), &validation).ok()?;
    (data.header.typ.as_deref() == Some(TYPE)).then_some(data.claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn keys() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        (folder, keys)
    }

    fn forge(keys: &Keys, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_secret(&keys.derive("job token"))).unwrap()
    }

    #[test]
    fn a_token_comes_back_as_it_was_made() {
        let (_folder, keys) = keys();
        let attempt = AttemptId::new();
        let token = issue(&keys, attempt, 7, Duration::from_secs(60)).unwrap();
        let claims = read(&keys, &token).unwrap();
        assert_eq!((claims.sub, claims.fence), (attempt, 7));
    }

    #[test]
    fn anything_missing_or_different_is_refused() {
        let (_folder, keys) = keys();
        let (_other_folder, other) = self::keys();
        let attempt = AttemptId::new();
        let header = Header {
            typ: Some(TYPE.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        let good = json!({"sub": attempt, "fence": 1, "aud": AUDIENCE, "iss": ISSUER, "exp": exp});
        assert!(read(&keys, &forge(&keys, &header, &good)).is_some());
        assert!(
            read(&keys, &forge(&other, &header, &good)).is_none(),
            "another installation's key"
        );
        for field in ["sub", "aud", "iss", "exp", "fence"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(field);
            assert!(
                read(&keys, &forge(&keys, &header, &claims)).is_none(),
                "without {field}"
            );
        }
        for (field, value) in [
            ("aud", json!("assay-session")),
            ("iss", json!("somebody")),
            ("exp", json!(exp - 120)),
        ] {
            let mut claims = good.clone();
            claims[field] = value;
            assert!(
                read(&keys, &forge(&keys, &header, &claims)).is_none(),
                "another {field}"
            );
        }
        let longer = Header {
            typ: Some(TYPE.to_owned()),
            ..Header::new(Algorithm::HS512)
        };
        assert!(
            read(&keys, &forge(&keys, &longer, &good)).is_none(),
            "another algorithm"
        );
        assert!(
            read(&keys, &forge(&keys, &Header::new(Algorithm::HS256), &good)).is_none(),
            "another type"
        );
        assert!(read(&keys, "").is_none() && read(&keys, "a.b.c").is_none());
    }
}
