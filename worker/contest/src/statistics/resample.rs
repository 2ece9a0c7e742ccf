//! Scores over documents drawn anew: what a submission might have scored with other documents of the same kind.
//!
//! Each resample draws, for every task, as many documents as it has, with replacement. The draws depend on nothing but
//! the task's name and its number of documents, so every submission sees the same: what differs between two scores of
//! one resample is the submissions, not the luck of the draw. Only accuracies vary; sizes, times and memory, and standard
//! errors a formula may use, stay what was measured. Floors are not drawn: who stands on the board has passed them.
//!
//! A resample of a task is kept as how often each document was drawn, in bits: plane `p` holds bit `p` of every count.
//! The hits of a resample are then a few words of "and" and population counts, 84 for 1,319 documents.

use std::collections::BTreeMap;

use super::quantile;
use super::random::SplitMix64;
use crate::formula::{Formula, ScoreError};
use crate::measure::{Kind, Measures, Name};
use crate::rules::Contest;
use crate::wire::ItemScores;

/// Bits of a count. Hardly ever is one of 1,319 documents drawn 16 times in one of 2000 resamples (once in some million
/// boards); there it counts as drawn 15 times, for all submissions alike.
const PLANES: usize = 4;
const MOST: u8 = (1 << PLANES) - 1;

/// A measure of a group: the mean over the documents of its tasks, or over the tasks. Which there are, the task files say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pooled {
    /// `acc.<group>.<metric>.<filter>`.
    pub measure: String,
    /// The tasks below the group that have the metric.
    pub tasks: Vec<String>,
    /// Whether every document weighs the same, or every task.
    pub weight_by_size: bool,
}

/// The score of one submission in each resample, rounded as the board shows it; NaN where the formula has none.
#[derive(Clone, PartialEq, Debug)]
pub struct Draws {
    scores: Vec<f64>,
}

impl Draws {
    /// The scores, one a resample.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The interval that holds the score at this confidence; `None` where a resample has no score.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        let mut sorted = self.scores.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        let whole = !sorted.is_empty() && sorted.iter().all(|score| score.is_finite());
        whole.then(|| (quantile(&sorted, tail), quantile(&sorted, 1.0 - tail)))
    }

    #[cfg(test)]
    pub(super) fn of(scores: Vec<f64>) -> Self {
        Self { scores }
    }
}

/// Draws the scores of submissions to one contest. What was drawn of a task is kept for the next submission.
pub struct Resampler {
    contest: Contest,
    formula: Formula,
    accuracies: Vec<Accuracy>,
    drawn: BTreeMap<(String, usize), Planes>,
}

/// An accuracy in the formula.
struct Accuracy {
    measure: String,
    tasks: Vec<String>,
    /// `metric,filter`.
    key: String,
    weight_by_size: bool,
}

impl Resampler {
    /// For `contest`, whose tasks have these groups.
    ///
    /// # Errors
    /// The formula cannot be read; a checked contest's can.
    pub fn new(contest: &Contest, groups: &[Pooled]) -> Result<Self, ScoreError> {
        let formula = Formula::parse(&contest.score.formula).map_err(|e| ScoreError::Formula(e.to_string()))?;
        let mut accuracies = Vec::new();
        for measure in formula.measures() {
            let Some(Name {
                of_base: false,
                kind: Kind::Accuracy { task, metric, filter },
            }) = Name::parse(&measure)
            else {
                continue;
            };
            let group = groups.iter().find(|group| group.measure == measure);
            accuracies.push(Accuracy {
                tasks: group.map_or_else(|| vec![task.to_owned()], |group| group.tasks.clone()),
                key: format!("{metric},{filter}"),
                weight_by_size: group.is_some_and(|group| group.weight_by_size),
                measure,
            });
        }
        Ok(Self {
            contest: contest.clone(),
            formula,
            accuracies,
            drawn: BTreeMap::new(),
        })
    }

    /// The scores of the submission with these measures and items.
    ///
    /// # Errors
    /// The formula uses an accuracy whose items are not there.
    pub fn draws(&mut self, measures: &Measures, items: &[ItemScores]) -> Result<Draws, ScoreError> {
        let resamples = self.contest.score.resamples as usize;
        let mut scope = self.contest.scope(measures);
        if self.accuracies.is_empty() {
            let score = self.contest.score_by(&self.formula, &scope).unwrap_or(f64::NAN);
            return Ok(Draws {
                scores: vec![score; resamples],
            });
        }
        let mut columns = Vec::with_capacity(self.accuracies.len());
        for accuracy in &self.accuracies {
            columns.push(accuracy.means(&mut self.drawn, items, resamples)?);
        }
        // Looked up by name in every resample: few are found faster.
        let named = self.formula.measures();
        scope.0.retain(|name, _| named.contains(name));
        let scores = (0..resamples)
            .map(|resample| {
                for (accuracy, column) in self.accuracies.iter().zip(&columns) {
                    match scope.0.get_mut(&accuracy.measure) {
                        Some(value) => *value = column[resample],
                        None => {
                            scope.0.insert(accuracy.measure.clone(), column[resample]);
                        }
                    }
                }
                self.contest.score_by(&self.formula, &scope).unwrap_or(f64::NAN)
            })
            .collect();
        Ok(Draws { scores })
    }
}

impl Accuracy {
    /// Its value in each resample.
    fn means(
        &self,
        drawn: &mut BTreeMap<(String, usize), Planes>,
        items: &[ItemScores],
        resamples: usize,
    ) -> Result<Vec<f64>, ScoreError> {
        let mut sum = vec![0.0; resamples];
        let mut weights = 0.0;
        for task in &self.tasks {
            let own = items.iter().find(|item| item.task == *task && item.key == self.key);
            let own = own.ok_or_else(|| ScoreError::Missing(format!("the items of {}", self.measure)))?;
            let n = own.values.len();
            if n == 0 {
                return Ok(vec![f64::NAN; resamples]);
            }
            let planes = drawn
                .entry((task.clone(), n))
                .or_insert_with(|| Planes::draw(task, n, resamples));
            let weight = if self.weight_by_size { n as f64 } else { 1.0 };
            weights += weight;
            for (sum, mean) in sum.iter_mut().zip(planes.means(&own.values)) {
                *sum += weight * mean;
            }
        }
        Ok(sum.into_iter().map(|sum| sum / weights).collect())
    }
}

/// How often each document was drawn, for each resample.
struct Planes {
    documents: usize,
    /// Words of a plane.
    words: usize,
    /// (resample, plane, word)
    bits: Vec<u64>,
    /// Documents drawn in each resample.
    all: Vec<u64>,
}

impl Planes {
    /// `documents` is not 0.
    fn draw(task: &str, documents: usize, resamples: usize) -> Self {
        let words = documents.div_ceil(64);
        let mut bits = vec![0; resamples * PLANES * words];
        let mut random = SplitMix64::of(task);
        let mut counts = vec![0u8; documents];
        for resample in bits.chunks_exact_mut(PLANES * words) {
            counts.fill(0);
            for _ in 0..documents {
                let count = &mut counts[random.below(documents)];
                *count = (*count + 1).min(MOST);
            }
            for (document, count) in counts.iter().enumerate() {
                for plane in 0..PLANES {
                    resample[plane * words + document / 64] |= u64::from(count >> plane & 1) << (document % 64);
                }
            }
        }
        let mut drawn = Self {
            documents,
            words,
            bits,
            all: Vec::new(),
        };
        let everything = vec![u64::MAX; words];
        let resamples = drawn.bits.chunks_exact(PLANES * words);
        drawn.all = resamples.map(|planes| drawn.count(planes, &everything)).collect();
        drawn
    }

    /// The mean of `values` in each resample, over the documents that have one; NaN where none was drawn.
    fn means(&self, values: &[Option<f64>]) -> Vec<f64> {
        let mask = |is: &dyn Fn(f64) -> bool| {
            let mut mask = vec![0u64; self.words];
            for (document, value) in values.iter().enumerate() {
                mask[document / 64] |= u64::from(value.is_some_and(is)) << (document % 64);
            }
            mask
        };
        let there = mask(&|_| true);
        let resamples = self.bits.chunks_exact(PLANES * self.words);
        let all: Vec<u64> = match values.contains(&None) {
            true => resamples.clone().map(|planes| self.count(planes, &there)).collect(),
            false => self.all.clone(),
        };
        let resamples = resamples.zip(all);
        if values.iter().flatten().all(|value| *value == 0.0 || *value == 1.0) {
            let right = mask(&|value| value == 1.0);
            return resamples
                .map(|(planes, all)| self.count(planes, &right) as f64 / all as f64)
                .collect();
        }
        resamples
            .map(|(planes, all)| {
                let sum: f64 = (0..self.documents)
                    .filter_map(|document| {
                        let bit = |plane: usize| planes[plane * self.words + document / 64] >> (document % 64) & 1;
                        let count: u64 = (0..PLANES).map(|plane| bit(plane) << plane).sum();
                        values[document].map(|value| count as f64 * value)
                    })
                    .sum();
                sum / all as f64
            })
            .collect()
    }

    /// How often the documents of `mask` were drawn in one resample.
    fn count(&self, planes: &[u64], mask: &[u64]) -> u64 {
        let planes = planes.chunks_exact(self.words).enumerate();
        planes
            .map(|(plane, words)| {
                let ones: u32 = words.iter().zip(mask).map(|(a, b)| (a & b).count_ones()).sum();
                u64::from(ones) << plane
            })
            .sum()
    }
}

#[cfg(test)]
mod tests;
