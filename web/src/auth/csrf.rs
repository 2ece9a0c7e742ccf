//! Form tokens: `<nonce>.<mac>`, where the mac keys the nonce with a secret of the visitor's own session. The nonce
//! changes with every page, so that a token never repeats in a compressed response.

use aws_lc_rs::hmac;

use super::token::random_bytes;

/// Field of every form that carries the token.
pub const FIELD: &str = "csrf";
/// Header that carries it in requests made by scripts.
pub const HEADER: &str = "x-csrf-token";

const NONCE_BYTES: usize = 12;
const MAC_BYTES: usize = 32;

/// The secret behind one visitor's tokens: of the session when logged in, of the visitor cookie before.
#[derive(Clone)]
pub struct CsrfKey(hmac::Key);

impl CsrfKey {
    /// From a session's own secret, or one derived for a visitor.
    pub fn new(secret: &[u8]) -> CsrfKey {
        CsrfKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The key of a visitor without a session: derived from the installation's key, so that a cookie planted by someone
    /// else does not let them compute its tokens.
    pub fn for_visitor(installation: &[u8; 32], visitor: &str) -> CsrfKey {
        let key = hmac::Key::new(hmac::HMAC_SHA256, installation);
        CsrfKey::new(hmac::sign(&key, visitor.as_bytes()).as_ref())
    }

    /// A new token.
    pub fn token(&self) -> String {
        let nonce = random_bytes::<NONCE_BYTES>();
        format!("{}.{}", hex::encode(nonce), hex::encode(hmac::sign(&self.0, &nonce)))
    }

    /// Is `token` one of ours? Compared in constant time.
    pub fn accepts(&self, token: &str) -> bool {
        let parse = || {
            let (nonce, mac) = token.split_once('.')?;
            if nonce.len() != 2 * NONCE_BYTES || mac.len() != 2 * MAC_BYTES {
                return None;
            }
            Some((hex::decode(nonce).ok()?, hex::decode(mac).ok()?))
        };
        parse().is_some_and(|(nonce, mac)| hmac::verify(&self.0, &nonce, &mac).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_one_key() {
        let key = CsrfKey::new(b"a session's secret");
        let token = key.token();
        assert!(key.accepts(&token));
        assert_ne!(token, key.token());
        assert!(!CsrfKey::new(b"another session's").accepts(&token));
    }

    #[test]
    fn damaged_tokens_are_refused() {
        let key = CsrfKey::new(b"secret");
        let token = key.token();
        let (nonce, mac) = token.split_once('.').unwrap();
        let flipped = if mac.starts_with('0') { '1' } else { '0' };
        for bad in [
            String::new(),
            ".".into(),
            nonce.into(),
            format!("{nonce}."),
            format!("{nonce}.{}", &mac[..62]),
            format!("{nonce}.{flipped}{}", &mac[1..]),
            format!("{nonce}.{mac}00"),
            format!("{}.{mac}", "é".repeat(12)),
        ] {
            assert!(!key.accepts(&bad), "{bad}");
        }
    }
}
