//! Inputs that a sum can go wrong on.

use crate::synthetic::Random;

/// What a row of inputs looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// of a normal distribution
    Normal,
    /// a normal distribution over a uniform one: a few values a thousand times the others
    HeavyTailed,
    /// a single 1
    OneHot,
    /// every second value 10^12 times the next
    Alternating,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Normal, Kind::HeavyTailed, Kind::OneHot, Kind::Alternating];

    /// For the page.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Normal => "normal",
            Kind::HeavyTailed => "heavy-tailed",
            Kind::OneHot => "one-hot",
            Kind::Alternating => "huge and tiny",
        }
    }

    /// (rows, cols)
    pub fn draw(self, r: &mut Random, rows: usize, cols: usize) -> Vec<f32> {
        let value = |i: usize| match self {
            Kind::Normal => r.normal(),
            Kind::HeavyTailed => r.normal() / (r.unit() + 1e-4),
            Kind::OneHot => f32::from(u8::from(i % cols == (i / cols * 7) % cols)),
            Kind::Alternating => r.normal() * if i.is_multiple_of(2) { 1e6 } else { 1e-6 },
        };
        (0..rows * cols).map(value).collect()
    }
}
