//! How long to wait before the next try: doubling, capped, and never in step with other workers.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait: a server that comes back is found within this time.
const LONGEST: Duration = Duration::from_secs(15);

/// Counts failures in a row and says how long to wait after each.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: a random point in the upper half of a window that doubles. A server that names
    /// a time itself is obeyed up to a minute.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let window = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = window.mul_f64(0.5 + 0.5 * random());
        wait.max(asked.unwrap_or_default().min(Duration::from_secs(60)))
    }

    /// Something worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// In 0..1. A version 4 UUID is 122 random bits, which is plenty to spread workers out.
fn random() -> f64 {
    (uuid::Uuid::new_v4().as_u128() & 0xffff_ffff) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_cap_and_start_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
        assert!(waits[3] > waits[0]);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[39] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        assert_eq!(
            Backoff::default().next(Some(Duration::from_secs(5))),
            Duration::from_secs(5)
        );
        assert_eq!(
            Backoff::default().next(Some(Duration::from_secs(9999))),
            Duration::from_secs(60)
        );
    }
}
