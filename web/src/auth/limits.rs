//! How often anyone may ask: one leaky bucket a network, an account or a mail address. In memory, for each process: a
//! limit here protects the process and its mail server, not a quota (those are counted in the database).
//!
//! Uploads are not counted: a chunk is a request, and a slow line makes many. Neither are workers, which show a key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;

use super::client::network;
use crate::db::ids::UserId;

/// Limits an operator can set. Zero turns one off.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Pages and API reads a minute from one network (an IPv4 address, an IPv6 /56). A class behind one address shares it.
    #[arg(long, env = "ASSAY_LIMIT_READS", default_value_t = 12_000)]
    pub limit_reads: u32,
    /// Forms and API writes a minute from one network. Uploaded bytes are not counted.
    #[arg(long, env = "ASSAY_LIMIT_WRITES", default_value_t = 1200)]
    pub limit_writes: u32,
    /// Forms and API writes a minute of one account.
    #[arg(long, env = "ASSAY_LIMIT_ACCOUNT", default_value_t = 600)]
    pub limit_account: u32,
    /// Sign-ups and password resets an hour from one network.
    #[arg(long, env = "ASSAY_LIMIT_SIGNUPS", default_value_t = 300)]
    pub limit_signups: u32,
    /// Mails an hour to one address.
    #[arg(long, env = "ASSAY_LIMIT_MAILS", default_value_t = 4)]
    pub limit_mails: u32,
}

impl LimitSettings {
    /// No limits: for tests, whose hundred people share one address.
    #[must_use]
    pub fn off() -> LimitSettings {
        LimitSettings {
            limit_reads: 0,
            limit_writes: 0,
            limit_account: 0,
            limit_signups: 0,
            limit_mails: 0,
        }
    }
}

/// Denials an account may put into the audit record in a minute; the rest is only counted.
const DENIALS: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Entries of one limit before idle ones are swept out between timers: about 5 MB.
const ENTRIES: usize = 50_000;

/// All limits of the process.
pub struct Limits {
    /// By network.
    pub reads: Limit<IpAddr>,
    /// By network.
    pub writes: Limit<IpAddr>,
    /// By account.
    pub account: Limit<UserId>,
    /// By network.
    pub signups: Limit<IpAddr>,
    /// By folded mail address.
    pub mails: Limit<String>,
    /// By account.
    pub denials: Limit<UserId>,
}

impl Limits {
    /// As set. A minute's or an hour's worth may come in bursts of a sixth of it; mails all at once.
    #[must_use]
    pub fn new(settings: &LimitSettings) -> Limits {
        let burst = |limit: u32| (limit / 6).max(1);
        Limits {
            reads: Limit::new(settings.limit_reads, MINUTE, burst(settings.limit_reads)),
            writes: Limit::new(settings.limit_writes, MINUTE, burst(settings.limit_writes)),
            account: Limit::new(settings.limit_account, MINUTE, burst(settings.limit_account)),
            signups: Limit::new(settings.limit_signups, HOUR, burst(settings.limit_signups)),
            mails: Limit::new(settings.limit_mails, HOUR, settings.limit_mails),
            denials: Limit::new(DENIALS, MINUTE, DENIALS),
        }
    }

    /// Forgets who has not asked for a while.
    pub fn prune(&self) {
        self.reads.prune();
        self.writes.prune();
        self.account.prune();
        self.signups.prune();
        self.mails.prune();
        self.denials.prune();
    }
}

/// A generic cell rate algorithm (a leaky bucket kept as one moment a key): the moment its bucket would be empty.
pub struct Limit<K> {
    /// Time one request costs; none: no limit.
    cost: Option<Duration>,
    /// How far ahead of now the moment may lie.
    tolerance: Duration,
    empty_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Limit<K> {
    /// `count` requests in `period`, `burst` of them at once. A count of 0 is no limit.
    #[must_use]
    pub fn new(count: u32, period: Duration, burst: u32) -> Limit<K> {
        let cost = (count > 0).then(|| period / count);
        Limit {
            cost,
            tolerance: cost.unwrap_or_default() * burst.max(1),
            empty_at: Mutex::default(),
        }
    }

    /// Counts one request of `key`, or says how long it has to wait. A refused request costs nothing.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: K, now: Instant) -> Result<(), Duration> {
        let Some(cost) = self.cost else { return Ok(()) };
        let mut moments = self.lock();
        if moments.len() >= ENTRIES {
            moments.retain(|_, empty_at| *empty_at > now);
            if moments.len() >= ENTRIES {
                // All of them busy: a flood from everywhere. Forgetting costs less than the memory would.
                moments.clear();
            }
        }
        let empty_at = moments.entry(key).or_insert(now);
        let next = (*empty_at).max(now) + cost;
        let ahead = next.saturating_duration_since(now);
        if ahead > self.tolerance {
            return Err(ahead - self.tolerance);
        }
        *empty_at = next;
        Ok(())
    }

    /// Forgets the keys whose bucket is empty: they are as good as new.
    pub fn prune(&self) {
        let now = Instant::now();
        let mut moments = self.lock();
        moments.retain(|_, empty_at| *empty_at > now);
        moments.shrink_to(1024);
    }

    /// Keys remembered now.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Is nobody remembered?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        // Every update is complete before anything could panic.
        self.empty_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit<IpAddr> {
    /// [`Limit::take`] for the network of an address.
    ///
    /// # Errors
    /// The wait.
    pub fn take_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.take(network(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (limit, now) = (Limit::new(60, MINUTE, 10), Instant::now());
        for _ in 0..10 {
            assert_eq!(limit.take_at("a", now), Ok(()));
        }
        assert_eq!(limit.take_at("a", now), Err(Duration::from_secs(1)));
        assert_eq!(limit.take_at("b", now), Ok(()), "another key has its own bucket");
        let later = now + Duration::from_secs(1);
        assert_eq!(limit.take_at("a", later), Ok(()));
        assert!(
            limit.take_at("a", later).is_err(),
            "refusals cost nothing, and nothing is given away"
        );
        let rested = now + Duration::from_secs(600);
        let passed = (0..20).filter(|_| limit.take_at("a", rested).is_ok()).count();
        assert_eq!(passed, 10, "rest does not add up beyond the burst");
    }

    #[test]
    fn zero_is_no_limit_and_memory_is_bounded() {
        let off = Limit::new(0, MINUTE, 1);
        assert!((0..1000).all(|_| off.take("a").is_ok()));
        assert!(off.is_empty());
        let (limit, now) = (Limit::new(1, HOUR, 1), Instant::now());
        for n in 0..ENTRIES + 10 {
            let _ = limit.take_at(n, now);
        }
        assert!(limit.len() <= ENTRIES);
        let quick = Limit::new(60_000, MINUTE, 10);
        let _ = quick.take("a");
        std::thread::sleep(Duration::from_millis(5));
        quick.prune();
        assert!(quick.is_empty());
    }
}
