//! When submissions are taken, and which measures the rules need. The caller brings the clock.

use std::collections::BTreeSet;

use chrono::{DateTime, FixedOffset, Utc};
use chrono_tz::Tz;

use crate::formula::Formula;
use crate::problem::{Problem, Text};
use crate::rules::{Contest, Phase};

impl Phase {
    /// The first instant of the phase; `None` in rules that were not checked.
    pub fn opens_at(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.opens).ok()
    }

    /// The first instant after the phase; `None` in rules that were not checked.
    pub fn closes_at(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.closes).ok()
    }

    /// Whether a submission received at `now` belongs to the phase: the closing instant no longer does.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.opens_at().is_some_and(|opens| opens <= now) && self.closes_at().is_some_and(|closes| now < closes)
    }
}

impl Contest {
    /// The phase `now` falls in.
    pub fn phase_at(&self, now: DateTime<Utc>) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.is_open(now))
    }

    /// The next phase to open after `now`.
    pub fn next_phase(&self, now: DateTime<Utc>) -> Option<&Phase> {
        self.phases
            .iter()
            .find(|phase| phase.opens_at().is_some_and(|opens| now < opens))
    }

    /// The time zone of the contest; UTC in rules that were not checked.
    pub fn zone(&self) -> Tz {
        self.timezone.parse().unwrap_or(Tz::UTC)
    }

    /// Every measure of a submission that formula, floors and columns name.
    pub fn measures_used(&self) -> BTreeSet<String> {
        let formula = Formula::parse(&self.score.formula)
            .map(|formula| formula.measures())
            .unwrap_or_default();
        formula
            .into_iter()
            .filter(|name| !name.starts_with("base."))
            .chain(self.score.floors.iter().map(|floor| floor.measure.clone()))
            .chain(self.score.show.iter().cloned())
            .collect()
    }

    /// Holds every measure the rules name against what the contest's tasks will give, which only the task files tell.
    /// Whoever adopts a contest asks this once, so that no contest opens whose submissions can never have a score.
    pub fn check_measures(&self, known: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        self.measures_used()
            .into_iter()
            .filter(|name| !known(name))
            .map(|name| {
                Problem::new(
                    "measure-not-produced",
                    name.clone(),
                    Text::new(
                        format!("the rules use `{name}`, but none of the contest's tasks gives it"),
                        format!("규칙에 `{name}`이(가) 있지만 이 대회의 어떤 과제도 이 값을 내지 않습니다"),
                    ),
                    Text::new(
                        "Correct the task, metric or filter in its name, or add the task to `grading.tasks`.",
                        "이름의 과제, 지표, 필터를 바로잡거나 `grading.tasks`에 과제를 추가하십시오.",
                    ),
                )
            })
            .collect()
    }
}
