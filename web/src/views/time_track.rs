//! The time track: what it runs, and a submission's rounds beside the base's.

use std::collections::BTreeMap;

use assay_contest::Workload;
use assay_contest::wire::{Round, TimeTrack};

use super::format;
use super::measures::spread;
use crate::i18n::{self, Locale};

/// A submission's time beside the base's.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeTrackView {
    /// What each run was, in a sentence.
    pub work: String,
    /// Median over the rounds of the submission's time by the base's.
    pub ratio: f64,
    /// The least and the greatest round.
    pub spread: (f64, f64),
    /// Median of the submission's runs, seconds.
    pub seconds: f64,
    /// Median of the base's, seconds.
    pub base_seconds: f64,
    /// What they ran on.
    pub device: String,
    /// The processor of the machine.
    pub host: String,
    /// Every run, in order.
    pub rounds: Vec<Round>,
}

impl TimeTrackView {
    /// What a report says; `None` of one without rounds.
    pub fn new(locale: Locale, track: &TimeTrack) -> Option<TimeTrackView> {
        // Of the rounds themselves, so that what stands above the table is what the table gives.
        let mut measures = BTreeMap::new();
        track.add_measures(&mut measures);
        let measure = |name: &str| measures.get(name).copied();
        Some(TimeTrackView {
            work: workload(locale, &track.workload),
            ratio: measure("time_ratio")?,
            spread: spread("time_ratio", &measures)?,
            seconds: measure("time_track_seconds")?,
            base_seconds: measure("time_track_base_seconds")?,
            device: track.device.clone(),
            host: track.host.clone(),
            rounds: track.rounds.clone(),
        })
    }
}

/// A workload in a sentence.
pub fn workload(locale: Locale, work: &Workload) -> String {
    let [prompt, generated] = [work.prompt_tokens, work.generated_tokens].map(|n| format::grouped(u64::from(n)));
    let args: [(&str, &dyn i18n::Arg); 4] = [
        ("prompt", &prompt),
        ("generated", &generated),
        ("sequences", &work.sequences),
        ("rounds", &work.rounds),
    ];
    i18n::t(locale, "time-track-work", &args)
}
