//! What parts of the application say of themselves, so that probes can repeat it without asking them.

use std::sync::atomic::{AtomicU8, Ordering};

/// The message broker, as the part that talks to it last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// None is configured: workers ask for work by long poll.
    Off,
    /// Connected.
    Up,
    /// Configured and not reachable. Work still flows by long poll, so this alone is no reason to be unready.
    Down,
}

/// Written by whoever knows, read by `/readyz`.
#[derive(Debug, Default)]
pub struct Health {
    broker: AtomicU8,
}

impl Health {
    /// Says how the broker is now.
    pub fn set_broker(&self, broker: Broker) {
        let code = match broker {
            Broker::Off => 0,
            Broker::Up => 1,
            Broker::Down => 2,
        };
        self.broker.store(code, Ordering::Relaxed);
    }

    /// How the broker was when last heard of; [`Broker::Off`] until someone says otherwise.
    pub fn broker(&self) -> Broker {
        match self.broker.load(Ordering::Relaxed) {
            1 => Broker::Up,
            2 => Broker::Down,
            _ => Broker::Off,
        }
    }
}
