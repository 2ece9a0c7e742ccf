//! The worker session: what a worker shows to claim work, after it has signed a challenge. Short, so that one that leaks is
//! soon worth nothing; and looked up besides, so that a revoked worker's ends at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::db::ids::WorkerId;
use crate::state::Keys;

/// How long a session lasts.
pub const LIFE: Duration = Duration::from_secs(15 * 60);
const AUDIENCE: &str = "worker-api";
const ISSUER: &str = "assay-web";
const TYPE: &str = "assay-worker+jwt";
const LABEL: &str = "worker session";
/// Tokens are made and read by clocks of one installation.
const LEEWAY_SECONDS: u64 = 5;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: WorkerId,
    aud: String,
    iss: String,
    exp: u64,
}

/// Makes a session token for a worker, good for [`LIFE`].
///
/// # Errors
/// When signing fails, which would be a fault of the library's setup.
pub fn issue(keys: &Keys, worker: WorkerId) -> Result<String, jsonwebtoken::errors::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = Claims {
        sub: worker,
        aud: AUDIENCE.to_owned(),
        iss: ISSUER.to_owned(),
        exp: now.saturating_add(LIFE).as_secs(),
    };
    let header = Header {
        typ: Some(TYPE.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    encode(&header, &claims, &EncodingKey::from_secret(&keys.derive(LABEL)))
}

/// Reads a token: fixed algorithm, and all of aud, iss, sub and exp must be there and right. None says nothing about why.
#[must_use]
pub fn read(keys: &Keys, token: &str) -> Option<WorkerId> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["aud", "iss", "sub", "exp"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    let data = decode::<Claims>(token, &DecodingKey::from_secret(&keys.derive(LABEL)), &validation).ok()?;
    (data.header.typ.as_deref() == Some(TYPE)).then_some(data.claims.sub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::ids::AttemptId;
    use serde_json::json;

    #[test]
    fn only_a_whole_token_of_this_kind_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let worker = WorkerId::new();
        assert_eq!(read(&keys, &issue(&keys, worker).unwrap()), Some(worker));

        let header = Header {
            typ: Some(TYPE.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let forge = |header: &Header, claims: &serde_json::Value| {
            encode(header, claims, &EncodingKey::from_secret(&keys.derive(LABEL))).unwrap()
        };
        let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        let good = json!({"sub": worker, "aud": AUDIENCE, "iss": ISSUER, "exp": exp});
        assert!(read(&keys, &forge(&header, &good)).is_some());
        for field in ["sub", "aud", "iss", "exp"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(field);
            assert!(read(&keys, &forge(&header, &claims)).is_none(), "without {field}");
        }
        for (field, value) in [
            ("aud", json!("assay-job")),
            ("iss", json!("x")),
            ("exp", json!(exp - 120)),
        ] {
            let mut claims = good.clone();
            claims[field] = value;
            assert!(read(&keys, &forge(&header, &claims)).is_none(), "another {field}");
        }
        assert!(read(&keys, &forge(&Header::new(Algorithm::HS256), &good)).is_none());
        let job = crate::job_token::issue(&keys, AttemptId::new(), 1, LIFE).unwrap();
        assert!(read(&keys, &job).is_none(), "a job token is no session");
    }
}
