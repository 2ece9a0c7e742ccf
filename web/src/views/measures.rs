//! Named measures as table columns and cells.

use crate::i18n::Locale;
use assay_contest::measure::{PLAIN, TIME_TRACK};
use std::collections::BTreeMap;

/// One measure's column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeasureColumn {
    /// The measure's full key: `acc.mini_gsm.exact_match.flexible-extract`.
    pub key: String,
    /// The short heading: `mini_gsm`.
    pub label: String,
    /// The second line of the heading: `exact_match · flexible-extract`. May be empty.
    pub detail: String,
}

impl MeasureColumn {
    /// The heading of a measure's key. `acc.<task>.<metric>.<filter>` is taken apart; a measure known by name gets its sentence;
    /// anything else is its own heading.
    pub fn from_key(locale: Locale, key: &str) -> MeasureColumn {
        let column = |label: String, detail: String| MeasureColumn {
            key: key.to_owned(),
            label,
            detail,
        };
        if let Some(rest) = key.strip_prefix("acc.") {
            let mut parts = rest.splitn(3, '.');
            let (task, metric, filter) = (parts.next(), parts.next(), parts.next());
            return match (task, metric, filter) {
                (Some(task), Some(metric), None | Some("none")) => column(task.to_owned(), metric.to_owned()),
                (Some(task), Some(metric), Some(filter)) => column(task.to_owned(), format!("{metric} · {filter}")),
                _ => column(rest.to_owned(), String::new()),
            };
        }
        if let Some((rate, task)) = key.strip_prefix("rate.").and_then(|rest| rest.split_once('.')) {
            return column(task.to_owned(), locale.t(&format!("rate-{}", rate.replace('_', "-"))));
        }
        match key {
            known if PLAIN.contains(&known) => {
                let message = format!("measure-{}", key.replace('_', "-"));
                column(locale.t(&message), key.to_owned())
            }
            _ => column(key.to_owned(), String::new()),
        }
    }
}

impl MeasureColumn {
    /// Its name on one line.
    pub fn name(&self) -> String {
        format!("{} {}", self.label, self.short_detail()).trim_end().to_owned()
    }

    /// The second line of the heading where room is short: a filter says more than the metric it belongs to, and a
    /// measure's key says nothing its name does not.
    pub fn short_detail(&self) -> &str {
        let detail = self.detail.rsplit(" · ").next().unwrap_or_default();
        if detail == self.key { "" } else { detail }
    }
}

/// What a measure is about: the groups of the board's columns, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeasureKind {
    /// How well it answers.
    #[default]
    Quality,
    /// How fast it is.
    Time,
    /// How much memory it takes.
    Memory,
    /// Anything else.
    Other,
}

impl MeasureKind {
    /// The kind of a measure.
    pub fn of(key: &str) -> MeasureKind {
        match key {
            _ if key.starts_with("acc.") || key.starts_with("rate.") => MeasureKind::Quality,
            "time_per_token" | "tokens_per_second" | "load_seconds" | "wall_seconds" => MeasureKind::Time,
            _ if key.starts_with("item_seconds_") || TIME_TRACK.contains(&key) => MeasureKind::Time,
            "peak_memory" | "peak_device_memory" => MeasureKind::Memory,
            _ => MeasureKind::Other,
        }
    }

    /// The message key of its name.
    pub fn message(self) -> &'static str {
        match self {
            MeasureKind::Quality => "kind-quality",
            MeasureKind::Time => "kind-time",
            MeasureKind::Memory => "kind-memory",
            MeasureKind::Other => "kind-other",
        }
    }

    /// Its CSS class.
    pub fn class(self) -> &'static str {
        match self {
            MeasureKind::Quality => "quality",
            MeasureKind::Time => "time",
            MeasureKind::Memory => "memory",
            MeasureKind::Other => "other",
        }
    }
}

/// The least and the greatest round behind a ratio of times: it is never shown without them.
pub fn spread(key: &str, measures: &BTreeMap<String, f64>) -> Option<(f64, f64)> {
    let end = |end: &str| measures.get(end).copied();
    match key {
        "time_ratio" => end("time_ratio_low").zip(end("time_ratio_high")),
        _ => None,
    }
}

/// A measured value, with its standard error where the measure has one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// The value; `None` when it was not measured.
    pub value: Option<f64>,
    /// One standard error.
    pub stderr: Option<f64>,
    /// Ends of its confidence interval, or of its [`spread`].
    pub interval: Option<(f64, f64)>,
}
