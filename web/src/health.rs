//! What parts of the application say of themselves, so that probes can repeat it without asking them.

use std::sync::atomic::{AtomicU8, Ordering};

/// The message broker or the object store, as the part that talks to it last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// None is configured: workers ask for work by long poll, files stay in the data folder.
    Off,
    /// It answers.
    Up,
    /// Configured and not reachable. Work still flows by long poll and files are kept until they can be moved, so this alone
    /// is no reason to be unready.
    Down,
}

impl Peer {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Peer::Off => "off",
            Peer::Up => "up",
            Peer::Down => "down",
        }
    }

    fn code(self) -> u8 {
        match self {
            Peer::Off => 0,
            Peer::Up => 1,
            Peer::Down => 2,
        }
    }

    fn read(code: &AtomicU8) -> Peer {
        match code.load(Ordering::Relaxed) {
            1 => Peer::Up,
            2 => Peer::Down,
            _ => Peer::Off,
        }
    }
}

/// Written by whoever knows, read by `/readyz`.
#[derive(Debug, Default)]
pub struct Health {
    broker: AtomicU8,
    objects: AtomicU8,
}

impl Health {
    /// Says how the broker is now.
    pub fn set_broker(&self, broker: Peer) {
        self.broker.store(broker.code(), Ordering::Relaxed);
    }

    /// How the broker was when last heard of; [`Peer::Off`] until someone says otherwise.
    pub fn broker(&self) -> Peer {
        Peer::read(&self.broker)
    }

    /// Says how the object store is now.
    pub fn set_objects(&self, objects: Peer) {
        self.objects.store(objects.code(), Ordering::Relaxed);
    }

    /// How the object store was when last asked; [`Peer::Off`] until someone says otherwise.
    pub fn objects(&self) -> Peer {
        Peer::read(&self.objects)
    }
}
