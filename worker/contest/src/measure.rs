//! Measures: named numbers about a submission, and the names there are.
//!
//! | name | unit | of |
//! |---|---|---|
//! | `acc.<task>.<metric>.<filter>` | as the metric | a task or group, in lm-evaluation-harness's names |
//! | `acc_stderr.<task>.<metric>.<filter>` | as the metric | its standard error |
//! | `bytes` | bytes | all `*.safetensors` files |
//! | `time_per_token` | seconds | one generated token |
//! | `tokens_per_second` | 1/s | generated tokens |
//! | `load_seconds`, `wall_seconds` | seconds | loading, the whole grade |
//! | `peak_memory` | bytes | most memory held |
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
    "time_per_token",
    "tokens_per_second",
    "load_seconds",
    "wall_seconds",
    "peak_memory",
];

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
        let mut parts = rest.split('.');
        let (head, task, metric, filter) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || ![task, metric, filter].into_iter().all(is_part) {
            return None;
        }
        let kind = match head {
            "acc" => Kind::Accuracy { task, metric, filter },
            "acc_stderr" => Kind::AccuracyError { task, metric, filter },
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

fn plain_label(name: &str) -> Text {
    match name {
        "bytes" => Text::new("Size", "용량"),
        "time_per_token" => Text::new("Seconds per token", "토큰당 시간(초)"),
        "tokens_per_second" => Text::new("Tokens per second", "초당 토큰 수"),
        "load_seconds" => Text::new("Loading time (s)", "적재 시간(초)"),
        "wall_seconds" => Text::new("Grading time (s)", "채점 시간(초)"),
        "peak_memory" => Text::new("Peak memory", "최대 메모리"),
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
                "Use acc.<task>.<metric>.<filter>, acc_stderr.<task>.<metric>.<filter>, {}, or one of these after `base.`; \
                 put a space before a minus that follows a name with dots.",
                PLAIN.join(", ")
            ),
            format!(
                "acc.<task>.<metric>.<filter>, acc_stderr.<task>.<metric>.<filter>, {} 또는 그 앞에 `base.`를 붙인 이름을 \
                 쓰십시오. 점이 있는 이름 뒤의 빼기 기호 앞에는 공백을 두십시오.",
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
        for wrong in [
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
        assert_eq!(label("no such").ko, "no such");
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
