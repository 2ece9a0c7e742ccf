//! Slows guessing down: failures are counted in memory, and after a few free ones each further try has to wait longer.
//! Nobody is ever locked out for good, or locking others out would be the attack. A restart forgets; the passwords' own
//! cost remains.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::network;

/// What failures are counted under. Each guess counts under several: one address against one account is slowed soon, one
/// address against many accounts and many addresses against one account later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// This account from this address.
    Pair(String, IpAddr),
    /// This account from anywhere.
    Account(String),
    /// This address, whatever it tries.
    Address(IpAddr),
}

impl Subject {
    /// Whatever comes from the network of `address`.
    pub fn network(address: IpAddr) -> Subject {
        Subject::Address(network(address))
    }

    /// Free failures before the first wait, and the longest wait. An account alone waits shortly at most: its owner is
    /// waiting too.
    fn policy(&self) -> (u32, Duration) {
        match self {
            Subject::Pair(..) => (5, Duration::from_secs(15 * 60)),
            Subject::Account(_) => (50, Duration::from_secs(30)),
            Subject::Address(_) => (50, Duration::from_secs(15 * 60)),
        }
    }
}

/// Failures are forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(3600);
/// Entries kept before old ones are swept out: about 10 MB.
const ENTRIES: usize = 50_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// The counters.
#[derive(Default)]
pub struct Throttle {
    entries: Mutex<HashMap<Subject, Failures>>,
}

impl Throttle {
    /// The subjects of a guess at `account` (already folded) from `address`.
    pub fn subjects(account: &str, address: IpAddr) -> [Subject; 3] {
        let address = network(address);
        [
            Subject::Pair(account.to_owned(), address),
            Subject::Account(account.to_owned()),
            Subject::Address(address),
        ]
    }

    /// How long until the next try is allowed; zero means now.
    pub fn wait(&self, subjects: &[Subject]) -> Duration {
        self.wait_at(subjects, Instant::now())
    }

    fn wait_at(&self, subjects: &[Subject], now: Instant) -> Duration {
        let entries = self.lock();
        let wait = |subject: &Subject| {
            let failures = entries.get(subject)?;
            let (free, longest) = subject.policy();
            let over = failures.count.checked_sub(free)?;
            // 1, 2, 4, … seconds since the last failure.
            let pause = Duration::from_secs(1 << over.min(20)).min(longest);
            Some(pause.saturating_sub(now.saturating_duration_since(failures.last)))
        };
        subjects.iter().filter_map(wait).max().unwrap_or_default()
    }

    /// Counts a failure.
    pub fn failed(&self, subjects: &[Subject]) {
        self.failed_at(subjects, Instant::now());
    }

    fn failed_at(&self, subjects: &[Subject], now: Instant) {
        let mut entries = self.lock();
        if entries.len() >= ENTRIES {
            entries.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
            if entries.len() >= ENTRIES {
                // Still full within the hour: a flood. Forgetting all of it costs less than the memory would.
                entries.clear();
            }
        }
        for subject in subjects {
            let failures = entries
                .entry(subject.clone())
                .or_insert(Failures { count: 0, last: now });
            if now.saturating_duration_since(failures.last) >= MEMORY {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    /// Forgets failures that are too old to count.
    pub fn prune(&self) {
        let now = Instant::now();
        let mut entries = self.lock();
        entries.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
        entries.shrink_to(1024);
    }

    /// A guess was right: forgets what was counted for this account from this address, and takes back the one failure
    /// counted in advance for the others.
    pub fn succeeded(&self, subjects: &[Subject]) {
        let mut entries = self.lock();
        for subject in subjects {
            match (subject, entries.get_mut(subject)) {
                (Subject::Pair(..), _) => drop(entries.remove(subject)),
                (_, Some(failures)) => failures.count = failures.count.saturating_sub(1),
                (_, None) => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Subject, Failures>> {
        // Every update is complete before anything could panic, so a poisoned lock still guards sound counters.
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn waits_grow_and_pass() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let subjects = Throttle::subjects("a@b.kr", HOME);
        for _ in 0..4 {
            throttle.failed_at(&subjects, now);
            assert_eq!(throttle.wait_at(&subjects, now), Duration::ZERO);
        }
        let mut waits = Vec::new();
        for _ in 0..3 {
            throttle.failed_at(&subjects, now);
            waits.push(throttle.wait_at(&subjects, now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4]);
        assert_eq!(
            throttle.wait_at(&subjects, now + Duration::from_secs(5)),
            Duration::ZERO
        );
        for _ in 0..100 {
            throttle.failed_at(&subjects, now);
        }
        assert_eq!(throttle.wait_at(&subjects, now).as_secs(), 15 * 60);
    }

    #[test]
    fn another_address_is_hardly_slowed_and_success_forgets() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let subjects = Throttle::subjects("a@b.kr", HOME);
        for _ in 0..40 {
            throttle.failed_at(&subjects, now);
        }
        let owner = Throttle::subjects("a@b.kr", "198.51.100.7".parse().unwrap());
        assert_eq!(throttle.wait_at(&owner, now), Duration::ZERO);
        throttle.succeeded(&subjects);
        assert_eq!(throttle.wait_at(&subjects, now), Duration::ZERO);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_counter() {
        let a = network("2001:db8:0:aa01::1".parse().unwrap());
        assert_eq!(a, network("2001:db8:0:aaff:ffff::2".parse().unwrap()));
        assert_ne!(a, network("2001:db8:0:ab00::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), HOME);
    }

    #[test]
    fn memory_is_bounded_and_fades() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..(ENTRIES as u32 + 10) {
            throttle.failed_at(&[Subject::Address(std::net::Ipv4Addr::from(n).into())], now);
        }
        assert!(throttle.lock().len() <= ENTRIES);
        let subjects = Throttle::subjects("a@b.kr", HOME);
        for _ in 0..8 {
            throttle.failed_at(&subjects, now);
        }
        let later = now + MEMORY;
        throttle.failed_at(&subjects, later);
        assert_eq!(throttle.wait_at(&subjects, later), Duration::ZERO);
    }
}
