//! What the time track found: every run of base and submission, and what follows from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rules::Workload;

/// The contest's workload, run by base and submission in turn on one device. The unmeasured run of each is not in it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct TimeTrack {
    /// What each run was.
    pub workload: Workload,
    /// The executor's own description, and with it everything that decides its speed.
    pub device: String,
    /// Make and model of the host's processor.
    pub host: String,
    /// In the order they ran.
    pub rounds: Vec<Round>,
}

/// One run of each, the base's first.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub struct Round {
    /// The base, seconds.
    pub base: f64,
    /// The submission, seconds.
    pub submission: f64,
}

impl Round {
    /// The submission's time by the base's.
    pub fn ratio(&self) -> f64 {
        self.submission / self.base
    }
}

impl TimeTrack {
    /// What a formula may name of it; nothing without rounds.
    pub fn add_measures(&self, into: &mut BTreeMap<String, f64>) {
        let of = |value: fn(&Round) -> f64| sorted(self.rounds.iter().map(value).collect());
        let (ratios, submission, base) = (of(Round::ratio), of(|round| round.submission), of(|round| round.base));
        for (name, value) in [
            ("time_ratio", median(&ratios)),
            ("time_ratio_low", ratios.first().copied()),
            ("time_ratio_high", ratios.last().copied()),
            ("time_track_seconds", median(&submission)),
            ("time_track_base_seconds", median(&base)),
        ] {
            if let Some(value) = value {
                into.insert(name.to_owned(), value);
            }
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values, of an even number of them the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    match values.len() % 2 {
        0 => values.get(middle.checked_sub(1)?).map(|lower| (lower + upper) / 2.0),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::TIME_TRACK;

    fn measures(rounds: &[(f64, f64)]) -> BTreeMap<String, f64> {
        let track = TimeTrack {
            workload: Workload {
                prompt_tokens: 8,
                generated_tokens: 4,
                sequences: 1,
                rounds: 5,
            },
            device: "d".into(),
            host: "h".into(),
            rounds: rounds
                .iter()
                .map(|&(base, submission)| Round { base, submission })
                .collect(),
        };
        let mut measures = BTreeMap::new();
        track.add_measures(&mut measures);
        let value = serde_json::to_value(&track).unwrap();
        assert_eq!(serde_json::from_value::<TimeTrack>(value).unwrap(), track);
        measures
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians() {
        // Ratios 0.5, 0.25, 0.75, 1.0, 0.125: in the third round the machine was busy, and both took ten times as long.
        let rounds = [(4.0, 2.0), (8.0, 2.0), (40.0, 30.0), (2.0, 2.0), (16.0, 2.0)];
        let found = measures(&rounds);
        let wanted = [
            ("time_ratio", 0.5),
            ("time_ratio_high", 1.0),
            ("time_ratio_low", 0.125),
            ("time_track_base_seconds", 8.0),
            ("time_track_seconds", 2.0),
        ];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value)).into());
        assert!(found.keys().all(|name| TIME_TRACK.contains(&name.as_str())));
        assert_eq!(found.len(), TIME_TRACK.len());
    }

    #[test]
    fn of_an_even_number_the_two_in_the_middle_count_and_without_rounds_nothing_does() {
        let found = measures(&[(1.0, 4.0), (1.0, 1.0), (1.0, 3.0), (1.0, 2.0)]);
        assert_eq!((found["time_ratio"], found["time_track_seconds"]), (2.5, 2.5));
        assert!(measures(&[]).is_empty());
    }
}
