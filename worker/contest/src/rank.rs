//! The leaderboard: a pure function of the rules and the outcomes, whatever order they arrive in.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use crate::formula::{Formula, ScoreError};
use crate::measure::{Kind, Measures, Name};
use crate::problem::Text;
use crate::rules::{Contest, Judge, Order};
use crate::statistics::interval;

/// One graded submission. What was rejected or failed has no entry; what has no value for a measure cannot rank by it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Entry {
    /// Id of the submission.
    pub submission: String,
    /// Id of the team.
    pub team: String,
    /// When it was received, RFC 3339.
    pub received_at: String,
    /// What was measured on it.
    pub measures: Measures,
}

/// A team's best submission and where it stands.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Row {
    /// Id of the submission.
    pub submission: String,
    /// Id of the team; every team has one row.
    pub team: String,
    /// When it was received, RFC 3339.
    pub received_at: String,
    /// What was measured on it.
    pub measures: Measures,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a submission stands.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Standing {
    /// It passed every floor and has a score.
    Ranked {
        /// From 1; equal scores share a rank and the next rank is skipped: 1, 1, 3.
        rank: u32,
        /// The score as shown, rounded to the contest's decimals.
        score: f64,
    },
    /// It missed a floor: it never ranks, whatever its score would be.
    BelowFloor {
        /// The first floor missed, in the rules' order.
        measure: String,
        /// What was measured.
        value: f64,
        /// The lower bound of its confidence interval, where that was judged in the place of the value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bound: Option<f64>,
        /// What was asked for.
        at_least: f64,
        /// What the formula would have said.
        score: Option<f64>,
    },
    /// It has no score.
    Unscored {
        /// Why.
        reason: Text,
    },
}

impl Contest {
    /// The measures a formula sees: the submission's, and the rules' own for everything about the base. What a report
    /// says about `base.` does not count.
    pub fn scope(&self, measures: &Measures) -> Measures {
        let own = measures.0.iter().filter(|(name, _)| !name.starts_with("base."));
        let mut scope: BTreeMap<String, f64> = own.map(|(name, value)| (name.clone(), *value)).collect();
        scope.extend(
            self.base
                .measures
                .iter()
                .map(|(name, value)| (format!("base.{name}"), *value)),
        );
        // Exact up to 2^53 bytes, eight petabytes.
        scope.insert("base.bytes".to_owned(), self.base.bytes as f64);
        Measures(scope)
    }

    /// The score of a submission as shown: the formula's value, rounded. Floors are not considered.
    ///
    /// # Errors
    /// A measure is missing or not finite, or the formula is not defined for these values.
    pub fn score_of(&self, measures: &Measures) -> Result<f64, ScoreError> {
        let formula = Formula::parse(&self.score.formula).map_err(|e| ScoreError::Formula(e.to_string()))?;
        self.score_by(&formula, &self.scope(measures))
    }

    /// A score as text, with the contest's decimals: what the board shows and what ranks are computed from.
    pub fn shown(&self, score: f64) -> String {
        let text = format!("{score:.*}", self.score.decimals.min(MAX_DECIMALS) as usize);
        // A small negative number would be shown as -0.00, which is not less than 0.00.
        match text.strip_prefix('-') {
            Some(digits) if digits.bytes().all(|b| matches!(b, b'0' | b'.')) => digits.to_owned(),
            _ => text,
        }
    }

    pub(crate) fn score_by(&self, formula: &Formula, scope: &Measures) -> Result<f64, ScoreError> {
        let exact = formula.eval(scope)?;
        // The number people read is the number that ranks.
        self.shown(exact).parse().map_err(|_| ScoreError::Overflow)
    }

    /// The lower bound of the contest's confidence interval around `value`, the accuracy `measure`.
    fn lower_bound(&self, scope: &Measures, measure: &str, value: f64) -> Result<f64, ScoreError> {
        let task = match Name::parse(measure).map(|name| name.kind) {
            Some(Kind::Accuracy { task, .. }) => task,
            _ => return Err(ScoreError::Missing(format!("the interval of {measure}"))),
        };
        let stderr = scope.finite(&measure.replacen("acc.", "acc_stderr.", 1))?;
        let items = scope.finite(&format!("items.{task}"))?;
        Ok(interval(value, stderr, items, self.score.confidence).0)
    }

    fn stand(&self, formula: &Result<Formula, ScoreError>, entry: &Entry) -> Standing {
        let scope = self.scope(&entry.measures);
        let score = formula
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|formula| self.score_by(formula, &scope));
        for floor in &self.score.floors {
            let judged = scope.finite(&floor.measure).and_then(|value| {
                let bound = match floor.judge {
                    Judge::Value => None,
                    Judge::LowerBound => Some(self.lower_bound(&scope, &floor.measure, value)?),
                };
                Ok((value, bound))
            });
            match judged {
                // A floor that is itself not a number is passed by nothing.
                Ok((value, bound)) if bound.unwrap_or(value) >= floor.at_least => {}
                Ok((value, bound)) => {
                    return Standing::BelowFloor {
                        measure: floor.measure.clone(),
                        value,
                        bound,
                        at_least: floor.at_least,
                        score: score.ok(),
                    };
                }
                Err(error) => return Standing::Unscored { reason: error.text() },
            }
        }
        match score {
            // Ranks are given once all rows are in order.
            Ok(score) => Standing::Ranked { rank: 0, score },
            Err(error) => Standing::Unscored { reason: error.text() },
        }
    }
}

/// Most decimals a score is shown with; a double has no more than 17 digits.
pub const MAX_DECIMALS: u32 = 12;

/// The leaderboard: one row a team, its best submission, in order.
///
/// Ranked rows come first, by score, equal scores by time of receipt; then rows below a floor, those that passed more
/// floors and came nearer first; then rows without a score. The same entries in any order give the same board.
pub fn board(contest: &Contest, entries: &[Entry]) -> Vec<Row> {
    let formula = Formula::parse(&contest.score.formula).map_err(|e| ScoreError::Formula(e.to_string()));
    let mut standings: Vec<(&Entry, Standing, Option<DateTime<FixedOffset>>)> = entries
        .iter()
        .map(|entry| {
            let instant = DateTime::parse_from_rfc3339(&entry.received_at).ok();
            (entry, contest.stand(&formula, entry), instant)
        })
        .collect();
    standings.sort_by(|(a, a_standing, a_time), (b, b_standing, b_time)| {
        by_standing(contest, a_standing, b_standing)
            // An unreadable time is later than any.
            .then_with(|| (a_time.is_none(), a_time).cmp(&(b_time.is_none(), b_time)))
            .then_with(|| a.team.cmp(&b.team))
            .then_with(|| a.submission.cmp(&b.submission))
            .then_with(|| a.received_at.cmp(&b.received_at))
            .then_with(|| by_values(&a.measures, &b.measures))
    });

    let mut rows: Vec<Row> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut last: Option<(u32, f64)> = None;
    for (entry, mut standing, _) in standings {
        // The first of a team in this order is its best.
        if !seen.insert(&entry.team) {
            continue;
        }
        if let Standing::Ranked { rank, score } = &mut standing {
            let place = u32::try_from(rows.len() + 1).unwrap_or(u32::MAX);
            *rank = match last {
                Some((rank, shown)) if shown == *score => rank,
                _ => place,
            };
            last = Some((*rank, *score));
        }
        rows.push(Row {
            submission: entry.submission.clone(),
            team: entry.team.clone(),
            received_at: entry.received_at.clone(),
            measures: entry.measures.clone(),
            standing,
        });
    }
    rows
}

fn by_standing(contest: &Contest, a: &Standing, b: &Standing) -> Ordering {
    let class = |standing: &Standing| match standing {
        Standing::Ranked { .. } => 0,
        Standing::BelowFloor { .. } => 1,
        Standing::Unscored { .. } => 2,
    };
    match (a, b) {
        (Standing::Ranked { score: a, .. }, Standing::Ranked { score: b, .. }) => match contest.score.order {
            Order::Descending => b.total_cmp(a),
            Order::Ascending => a.total_cmp(b),
        },
        (
            Standing::BelowFloor {
                measure: a_measure,
                value: a_value,
                bound: a_bound,
                ..
            },
            Standing::BelowFloor {
                measure: b_measure,
                value: b_value,
                bound: b_bound,
                ..
            },
        ) => {
            // The first floor missed stands later in the rules: more floors were passed.
            let index = |measure: &str| contest.score.floors.iter().position(|floor| floor.measure == measure);
            index(b_measure)
                .cmp(&index(a_measure))
                .then_with(|| b_bound.unwrap_or(*b_value).total_cmp(&a_bound.unwrap_or(*a_value)))
        }
        _ => class(a).cmp(&class(b)),
    }
}

/// Any total order over measures: it only decides between two records of one submission, so that which of them counts
/// does not depend on the order they came in.
fn by_values(a: &Measures, b: &Measures) -> Ordering {
    a.0.len().cmp(&b.0.len()).then_with(|| {
        a.0.iter()
            .zip(&b.0)
            .map(|((a_name, a_value), (b_name, b_value))| a_name.cmp(b_name).then_with(|| a_value.total_cmp(b_value)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    })
}

#[cfg(test)]
mod tests;
