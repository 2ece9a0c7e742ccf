//! Measures: named numbers about a submission, and the names there are.
//!
//! | name | unit | of |
//! |---|---|---|
//! | `acc.<task>.<metric>.<filter>` | as the metric | a task or group, in lm-evaluation-harness's names |
//! | `acc_stderr.<task>.<metric>.<filter>` | as the metric | its standard error |
//! | `items.<task>` | documents | a task or group: how many were evaluated |
//! | `rate.truncated.<task>` | share of answers | cut off by the budget of tokens |
//! | `rate.no_answer.<task>` | share of answers | no filter found an answer in them |
//! | `rate.repetition.<task>` | share of answers | caught in a loop |
//! | `bytes` | bytes | all `*.safetensors` files |
//! | `time_ratio` | times the base's | the time track's workload: the median of the rounds |
//! | `time_ratio_low`, `time_ratio_high` | times the base's | the least and the greatest of the rounds |
//! | `time_track_seconds`, `time_track_base_seconds` | seconds | the workload, by the submission and by the base: medians |
//! | `time_per_token` | seconds | one generated token, of however many the model chose to generate |
//! | `tokens_per_second` | 1/s | generated tokens |
//! | `generated_tokens` | tokens | generated in all |
//! | `item_seconds_mean`, `…_p50`, `…_p90`, `…_p99` | seconds | inference time of an item: mean and percentiles |
//! | `load_seconds`, `wall_seconds` | seconds | loading, the whole grade |
//! | `peak_memory`, `peak_device_memory` | bytes | most memory held, of the host and of the device |
//! | `energy_joules` | joules | drawn by the device while the tasks were evaluated, where the machine tells |
//! | `base.<any of these>` | the same | the base model, from the rules |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::formula::ScoreError;
use crate::nearest::nearest;
use crate::problem::Text;

/// Longest name of a measure, in bytes.
pub const MAX_NAME: usize = 200;

/// Measures without parts in their names.
pub const PLAIN: &[&str] = &[
    "bytes",
    "time_ratio",
    "time_ratio_low",
    "time_ratio_high",
    "time_track_seconds",
    "time_track_base_seconds",
    "time_per_token",
    "tokens_per_second",
    "generated_tokens",
    "item_seconds_mean",
    "item_seconds_p50",
    "item_seconds_p90",
    "item_seconds_p99",
    "load_seconds",
    "wall_seconds",
    "peak_memory",
    "peak_device_memory",
    "energy_joules",
];

/// Those of [`PLAIN`] that the time track gives, and nothing else does.
pub const TIME_TRACK: &[&str] = &[
    "time_ratio",
    "time_ratio_low",
    "time_ratio_high",
    "time_track_seconds",
    "time_track_base_seconds",
];

/// What there is a rate of, as in `rate.<one of these>.<task>`.
pub const RATES: &[&str] = &["truncated", "no_answer", "repetition"];

/// Values by name.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(transparent)]
pub struct Measures(pub BTreeMap<String, f64>);

impl Measures {
    /// The value of `name`.
    ///
    /// # Errors
    /// [`ScoreError::Missing`] or [`ScoreError::NotFinite`].
    pub fn finite(&self, name: &str) -> Result<f64, ScoreError> {
        match self.0.get(name) {
            Some(value) if value.is_finite() => Ok(*value),
            Some(_) => Err(ScoreError::NotFinite(name.to_owned())),
            None => Err(ScoreError::Missing(name.to_owned())),
        }
    }
}

impl<K: Into<String>> FromIterator<(K, f64)> for Measures {
    fn from_iter<I: IntoIterator<Item = (K, f64)>>(values: I) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// A measure's name, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a> {
    /// Whether it is about the base model.
    pub of_base: bool,
    /// What it measures.
    pub kind: Kind<'a>,
}

/// What a measure measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// One of [`PLAIN`].
    Plain(&'a str),
    /// `acc.<task>.<metric>.<filter>`.
    Accuracy {
        /// Task or group.
        task: &'a str,
        /// Metric, such as `exact_match`.
        metric: &'a str,
        /// Filter, `none` where a task has none.
        filter: &'a str,
    },
    /// `acc_stderr.<task>.<metric>.<filter>`.
    AccuracyError {
        /// Task or group.
        task: &'a str,
        /// Metric, such as `exact_match`.
        metric: &'a str,
        /// Filter, `none` where a task has none.
        filter: &'a str,
    },
    /// `items.<task>`.
    Items {
        /// Task or group.
        task: &'a str,
    },
    /// `rate.<rate>.<task>`.
    Rate {
        /// One of [`RATES`].
        rate: &'a str,
        /// Task.
        task: &'a str,
    },
}

impl<'a> Name<'a> {
    /// Takes `name` apart; `None` when there is no such measure.
    pub fn parse(name: &'a str) -> Option<Name<'a>> {
        if name.len() > MAX_NAME {
            return None;
        }
        let (of_base, rest) = match name.strip_prefix("base.") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        if let Some(plain) = PLAIN.iter().find(|plain| **plain == rest) {
            return Some(Name {
                of_base,
                kind: Kind::Plain(plain),
            });
        }
        // No name has more parts than four; a fifth makes it none.
        let parts: Vec<&str> = rest.split('.').take(5).collect();
        if !parts.iter().all(|part| is_part(part)) {
            return None;
        }
        let kind = match *parts {
            ["acc", task, metric, filter] => Kind::Accuracy { task, metric, filter },
            ["acc_stderr", task, metric, filter] => Kind::AccuracyError { task, metric, filter },
            ["items", task] => Kind::Items { task },
            ["rate", rate, task] if RATES.contains(&rate) => Kind::Rate { rate, task },
            _ => return None,
        };
        Some(Name { of_base, kind })
    }

    /// What a person reads above a column.
    pub fn label(&self) -> Text {
        let text = match self.kind {
            Kind::Plain(name) => plain_label(name),
            Kind::Accuracy { task, metric, filter } => {
                let label = task_label(task, metric, filter);
                Text::new(label.clone(), label)
            }
            Kind::AccuracyError { task, metric, filter } => {
                let label = task_label(task, metric, filter);
                Text::new(format!("{label}, standard error"), format!("{label} 표준오차"))
            }
            Kind::Items { task } => Text::new(format!("{task}, items"), format!("{task} 문항 수")),
            Kind::Rate { rate, task } => {
                let (en, ko) = rate_label(rate);
                Text::new(format!("{task}, {en}"), format!("{task} {ko}"))
            }
        };
        if self.of_base {
            Text::new(format!("{} of the base", text.en), format!("기준 모델의 {}", text.ko))
        } else {
            text
        }
    }
}

/// A part of a name after the first dot, as the formula's lexer reads it.
fn is_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.iter().all(|b| is_word(b) || *b == b'-')
        && !part.contains("--")
}

fn task_label(task: &str, metric: &str, filter: &str) -> String {
    if filter == "none" {
        format!("{task} {metric}")
    } else {
        format!("{task} {metric} ({filter})")
    }
}

fn rate_label(rate: &str) -> (&str, &str) {
    match rate {
        "truncated" => ("cut off", "답이 잘린 비율"),
        "no_answer" => ("no answer", "답이 없는 비율"),
        "repetition" => ("repeating", "반복에 빠진 비율"),
        _ => (rate, rate),
    }
}

fn plain_label(name: &str) -> Text {
    match name {
        "bytes" => Text::new("Size", "용량"),
        "time_ratio" => Text::new("Time relative to the base", "기준 모델 대비 시간"),
        "time_ratio_low" => Text::new(
            "Time relative to the base, fastest round",
            "기준 모델 대비 시간, 가장 빠른 회차",
        ),
        "time_ratio_high" => Text::new(
            "Time relative to the base, slowest round",
            "기준 모델 대비 시간, 가장 느린 회차",
        ),
        "time_track_seconds" => Text::new("Time track (s)", "시간 트랙(초)"),
        "time_track_base_seconds" => Text::new("Time track, base model (s)", "시간 트랙, 기준 모델(초)"),
        "time_per_token" => Text::new("Seconds per token", "토큰당 시간(초)"),
        "tokens_per_second" => Text::new("Tokens per second", "초당 토큰 수"),
        "generated_tokens" => Text::new("Tokens generated", "생성한 토큰 수"),
        "item_seconds_mean" => Text::new("Seconds per item, mean", "문항당 시간(초), 평균"),
        "item_seconds_p50" => Text::new("Seconds per item, median", "문항당 시간(초), 중앙값"),
        "item_seconds_p90" => Text::new("Seconds per item, 90th percentile", "문항당 시간(초), 90번째 백분위수"),
        "item_seconds_p99" => Text::new("Seconds per item, 99th percentile", "문항당 시간(초), 99번째 백분위수"),
        "load_seconds" => Text::new("Loading time (s)", "적재 시간(초)"),
        "wall_seconds" => Text::new("Grading time (s)", "채점 시간(초)"),
        "peak_memory" => Text::new("Peak memory", "최대 메모리"),
        "peak_device_memory" => Text::new("Peak device memory", "장치의 최대 메모리"),
        "energy_joules" => Text::new("Energy (J)", "에너지(J)"),
        _ => Text::new(name, name),
    }
}

/// What a person reads above the column of `name`; the name itself when it is none of ours.
pub fn label(name: &str) -> Text {
    Name::parse(name).map_or_else(|| Text::new(name, name), |name| name.label())
}

/// How to write the name that was meant by the unknown `name`.
pub(crate) fn suggest(name: &str) -> Text {
    let plain = name.strip_prefix("base.").unwrap_or(name);
    match nearest(plain, PLAIN.iter().copied()) {
        Some(near) => Text::new(
            format!("Did you mean `{near}`?"),
            format!("`{near}`을(를) 쓰려던 것입니까?"),
        ),
        None => Text::new(
            format!(
                "Use acc.<task>.<metric>.<filter>, acc_stderr.<task>.<metric>.<filter>, items.<task>, \
                 rate.<{}>.<task>, {}, or one of these after `base.`; put a space before a minus that follows a name \
                 with dots.",
                RATES.join("|"),
                PLAIN.join(", ")
            ),
            format!(
                "acc.<task>.<metric>.<filter>, acc_stderr.<task>.<metric>.<filter>, items.<task>, rate.<{}>.<task>, {} \
                 또는 그 앞에 `base.`를 붙인 이름을 쓰십시오. 점이 있는 이름 뒤의 빼기 기호 앞에는 공백을 두십시오.",
                RATES.join("|"),
                PLAIN.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = Name::parse("base.acc.mini_gsm.exact_match.strict-match").unwrap();
        assert!(name.of_base);
        assert_eq!(
            name.kind,
            Kind::Accuracy {
                task: "mini_gsm",
                metric: "exact_match",
                filter: "strict-match"
            }
        );
        assert_eq!(Name::parse("bytes").unwrap().kind, Kind::Plain("bytes"));
        assert!(matches!(
            Name::parse("acc_stderr.t.acc.none").unwrap().kind,
            Kind::AccuracyError { .. }
        ));
        let rate = Kind::Rate {
            rate: "no_answer",
            task: "gsm8k",
        };
        assert_eq!(Name::parse("rate.no_answer.gsm8k").unwrap().kind, rate);
        assert_eq!(
            Name::parse("base.items.gsm8k").unwrap().kind,
            Kind::Items { task: "gsm8k" }
        );
        for wrong in [
            "items",
            "items.a.b",
            "rate.gsm8k",
            "rate.silence.gsm8k",
            "rate.truncated.gsm8k.none",
            "",
            "byte",
            "base",
            "base.",
            "base.base.bytes",
            "acc",
            "acc.t.m",
            "acc.t.m.f.g",
            "acc..m.f",
            "acc.t.m.-f",
            "acc.t.m.f-",
            "acc.t.m.a--b",
            "acc.t.m.f f",
            "bytes.x",
            "acc.t.m.가",
        ] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Name::parse(&format!("acc.t.m.{}", "f".repeat(MAX_NAME))), None);
    }

    #[test]
    fn labels_read_in_both_languages() {
        assert_eq!(label("base.bytes"), Text::new("Size of the base", "기준 모델의 용량"));
        assert_eq!(label("acc.mini_arc.acc.none").en, "mini_arc acc");
        assert_eq!(label("rate.truncated.t"), Text::new("t, cut off", "t 답이 잘린 비율"));
        assert_eq!(label("no such").ko, "no such");
        for name in PLAIN {
            let text = label(name);
            assert!(text.en != *name && text.en != text.ko, "{name}");
        }
        assert!(TIME_TRACK.iter().all(|name| PLAIN.contains(name)));
        for rate in RATES {
            let text = label(&format!("rate.{rate}.t"));
            assert!(!text.en.contains(rate) || text.en != text.ko, "{rate}");
        }
    }

    #[test]
    fn missing_and_non_finite_are_told_apart() {
        let measures = Measures::from_iter([("bytes", f64::NAN), ("wall_seconds", 1.0)]);
        assert_eq!(measures.finite("wall_seconds"), Ok(1.0));
        assert_eq!(measures.finite("bytes"), Err(ScoreError::NotFinite("bytes".into())));
        assert_eq!(
            measures.finite("peak_memory"),
            Err(ScoreError::Missing("peak_memory".into()))
        );
    }
}
