//! Random bytes and the tokens made of them.

use sha2::{Digest as _, Sha256};

/// Cryptographic random bytes.
///
/// # Panics
/// If the operating system cannot give randomness: nothing that follows would be safe.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)]
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// A 256-bit secret in text form, such as a session cookie. It never prints itself.
#[derive(Clone)]
pub struct SecretToken(String);

impl SecretToken {
    /// A new one: 64 hexadecimal digits.
    pub fn random() -> SecretToken {
        SecretToken(hex::encode(random_bytes::<32>()))
    }

    /// Reads one; anything but 64 lower-case hexadecimal digits cannot be ours and is not looked up.
    pub fn parse(text: &str) -> Option<SecretToken> {
        let ours = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ours.then(|| SecretToken(text.to_owned()))
    }

    /// What the database keeps: a leaked table opens no session. A fast hash is enough, the token has 256 random bits.
    pub fn digest(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }

    /// The text, for the cookie or the operator's terminal alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretToken(…)")
    }
}
