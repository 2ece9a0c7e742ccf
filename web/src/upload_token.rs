//! The upload token: what a client shows to send the bytes of one draft. It outlives the browser's session, so that a night's
//! upload does not die with it, and it is worth nothing beyond that draft: who is in the team and whether the draft may still
//! change is asked of the database at every use.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::db::ids::{SubmissionId, UserId};
use crate::state::Keys;

/// Each kind of token has an audience of its own, so that none can stand in for another.
const AUDIENCE: &str = "assay-upload";
const ISSUER: &str = "assay-web";
/// `typ` of the header: a second, visible mark of the kind.
const TYPE: &str = "assay-upload+jwt";
/// Tokens are made and read by the clock of this one machine.
const LEEWAY_SECONDS: u64 = 5;
/// Longer than an idle upload is kept; a client that comes back later asks for a new one.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an upload token says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UploadClaims {
    /// The draft.
    pub sub: SubmissionId,
    /// Whose membership it rests on.
    pub user: UserId,
    aud: String,
    iss: String,
    exp: i64,
}

/// A token for one draft, with the moment it ends.
///
/// # Errors
/// When signing fails, which would be a fault of the library's setup.
pub fn issue(
    keys: &Keys,
    draft: SubmissionId,
    user: UserId,
) -> Result<(String, DateTime<Utc>), jsonwebtoken::errors::Error> {
    let ends = Utc::now() + LIFE;
    let claims = UploadClaims {
        sub: draft,
        user,
        aud: AUDIENCE.to_owned(),
        iss: ISSUER.to_owned(),
        exp: ends.timestamp(),
    };
    Ok((sign(keys, &claims)?, ends))
}

fn sign(keys: &Keys, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
    let header = Header {
        typ: Some(TYPE.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    encode(&header, claims, &EncodingKey::from_secret(&keys.derive("upload token")))
}

/// Reads a token: fixed algorithm, and all of aud, iss, sub and exp must be there and right. None says nothing about why.
#[must_use]
pub fn read(keys: &Keys, token: &str) -> Option<UploadClaims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["aud", "iss", "sub", "exp"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    let key = DecodingKey::from_secret(&keys.derive("upload token"));
    let data = decode::<UploadClaims>(token, &key, &validation).ok()?;
    (data.header.typ.as_deref() == Some(TYPE)).then_some(data.claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_of_one_draft_and_nothing_else_passes_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        let (draft, user) = (SubmissionId::new(), UserId::new());
        let (token, ends) = issue(&keys, draft, user).unwrap();
        let claims = read(&keys, &token).unwrap();
        assert_eq!((claims.sub, claims.user, claims.exp), (draft, user, ends.timestamp()));

        let good = json!({ "sub": draft, "user": user, "aud": AUDIENCE, "iss": ISSUER, "exp": ends.timestamp() });
        assert!(read(&keys, &sign(&keys, &good).unwrap()).is_some());
        for field in ["sub", "user", "aud", "iss", "exp"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(field);
            assert!(read(&keys, &sign(&keys, &claims).unwrap()).is_none(), "without {field}");
        }
        for (field, value) in [
            ("aud", json!("assay-job")),
            ("iss", json!("somebody")),
            ("exp", json!(Utc::now().timestamp() - 60)),
        ] {
            let mut claims = good.clone();
            claims[field] = value;
            assert!(read(&keys, &sign(&keys, &claims).unwrap()).is_none(), "another {field}");
        }
        // A job token is signed with another key and carries another type.
        let attempt = crate::db::ids::AttemptId::new();
        let job = crate::job_token::issue(&keys, attempt, 1, Duration::from_secs(60)).unwrap();
        assert!(read(&keys, &job).is_none() && crate::job_token::read(&keys, &token).is_none());
        let other = tempfile::tempdir().unwrap();
        assert!(read(&Keys::open(other.path()).unwrap(), &token).is_none());
    }
}
