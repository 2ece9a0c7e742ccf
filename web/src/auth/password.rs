//! Password hashing: argon2id at OWASP's parameters, a few at a time, never on a thread that serves requests.

use std::sync::Arc;

use anyhow::Context as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::domain::Password;

/// OWASP Password Storage Cheat Sheet: argon2id with m = 19 MiB, t = 2, p = 1.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and verifies passwords. Each takes 19 MiB and tens of milliseconds, so the gate bounds how many run at once:
/// without it a flood of logins would be a flood of memory.
pub struct Passwords {
    gate: Arc<Semaphore>,
    /// The hash of no one's password, made with the live parameters: verifying against it costs an unknown account the
    /// same time as a known one.
    nobody: Arc<str>,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wrong password, or no such account.
    Wrong,
    /// Right.
    Right,
    /// Right, and stored under weaker parameters than today's: hash again.
    RightButOld,
}

impl Passwords {
    /// At most `at_once` hashes at a time.
    pub fn new(at_once: usize) -> anyhow::Result<Passwords> {
        let nobody = hash(&super::token::random_bytes::<32>())?;
        Ok(Passwords {
            gate: Arc::new(Semaphore::new(at_once.max(1))),
            nobody: nobody.into(),
        })
    }

    /// The PHC string to store.
    pub async fn hash(&self, password: &Password) -> anyhow::Result<String> {
        let password = password.clone();
        self.blocking(move || hash(password.expose().as_bytes())).await?
    }

    /// Compares `password` with the stored PHC string; `None` (no such account) takes as long and is always wrong.
    pub async fn verify(&self, password: &Password, stored: Option<String>) -> anyhow::Result<Verdict> {
        let known = stored.is_some();
        let stored: Arc<str> = stored.map_or_else(|| self.nobody.clone(), Into::into);
        let password = password.clone();
        let verdict = self.blocking(move || verify(&password, &stored)).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let permit = self
            .gate
            .clone()
            .acquire_owned()
            .await
            .context("the hashing gate is closed")?;
        // The permit travels with the work: if the client hangs up, the hash still runs to its end and still counts.
        let run = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(run)
            .await
            .context("hashing a password was cut short")
    }
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> anyhow::Result<String> {
    let hash = argon2()?
        .hash_password(password)
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    Ok(hash.to_string())
}

fn verify(password: &Password, stored: &str) -> anyhow::Result<Verdict> {
    let parsed = PasswordHash::new(stored).map_err(|error| anyhow::anyhow!("a stored password hash: {error}"))?;
    let argon2 = argon2()?;
    if argon2.verify_password(password.expose().as_bytes(), &parsed).is_err() {
        return Ok(Verdict::Wrong);
    }
    let params = Params::try_from(&parsed).map_err(|error| anyhow::anyhow!("a stored password hash: {error}"))?;
    let current = parsed.algorithm.as_str() == "argon2id" && params.m_cost() >= MEMORY_KIB && params.t_cost() >= PASSES;
    Ok(if current { Verdict::Right } else { Verdict::RightButOld })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::for_login(text).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new(1).unwrap();
        let stored = passwords.hash(&typed("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(
            stored,
            passwords.hash(&typed("correct horse")).await.unwrap(),
            "each hash has its own salt"
        );
        assert_eq!(
            passwords
                .verify(&typed("correct horse"), Some(stored.clone()))
                .await
                .unwrap(),
            Verdict::Right
        );
        assert_eq!(
            passwords.verify(&typed("correct Horse"), Some(stored)).await.unwrap(),
            Verdict::Wrong
        );
        assert_eq!(
            passwords.verify(&typed("correct horse"), None).await.unwrap(),
            Verdict::Wrong
        );
    }

    #[test]
    fn weaker_hashes_are_recognised() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8192, 1, 1, None).unwrap(),
        );
        let stored = weak.hash_password(b"correct horse").unwrap().to_string();
        assert_eq!(verify(&typed("correct horse"), &stored).unwrap(), Verdict::RightButOld);
    }

    #[test]
    fn a_damaged_hash_is_an_error_and_never_a_match() {
        assert!(verify(&typed("x"), "").is_err());
        assert!(verify(&typed("x"), "plain").is_err());
    }
}
