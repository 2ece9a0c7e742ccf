//! From responses to outcomes: filters, metrics of each document, and the numbers over all of them.

use indexmap::IndexMap;
use serde_json::Value;

use crate::config::OutputType;
use crate::error::{Fault, TaskError};
use crate::fields::Doc;
use crate::filters::{Filtered, Pipeline};
use crate::metrics::{Kind, Metric, Score};
use crate::task::{Task, pick};

/// What the model answered to one request.
#[derive(Clone, PartialEq, Debug)]
pub enum Response {
    /// Generated text, cut at the stop strings.
    Text(String),
    /// The log-likelihood of a continuation (natural logarithm), and whether greedy decoding gives it.
    Loglikelihood {
        /// The sum over the continuation's tokens.
        value: f64,
        /// Whether each token is the most likely one.
        greedy: bool,
    },
}

/// One document under one filter.
#[derive(Clone, PartialEq, Debug)]
pub struct DocOutcome {
    /// Its row.
    pub doc: usize,
    /// The filter's name.
    pub filter: String,
    /// What the filter left of each request's responses.
    pub filtered: Vec<Value>,
    /// Each metric's value.
    pub scores: IndexMap<String, Score>,
}

/// One number over all documents.
#[derive(Clone, PartialEq, Debug)]
pub struct Measure {
    /// The metric.
    pub metric: String,
    /// The filter.
    pub filter: String,
    /// The value.
    pub value: f64,
    /// Its standard error, where there is one ("N/A" in the harness where not).
    pub stderr: Option<f64>,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Measure {
    /// `metric,filter`: the key in the harness's results.
    pub fn key(&self) -> String {
        format!("{},{}", self.metric, self.filter)
    }
}

/// A scored task.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskOutcome {
    /// The task.
    pub task: String,
    /// What tables call it.
    pub alias: String,
    /// How many documents were scored.
    pub n: usize,
    /// Filter by filter, each with every document in order.
    pub docs: Vec<DocOutcome>,
    /// In the harness's order: filter by filter, each with its metrics.
    pub measures: Vec<Measure>,
}

impl TaskOutcome {
    /// A number by metric and filter.
    pub fn measure(&self, metric: &str, filter: &str) -> Option<&Measure> {
        self.measures.iter().find(|m| m.metric == metric && m.filter == filter)
    }

    /// A document's outcome under a filter.
    pub fn doc(&self, doc: usize, filter: &str) -> Option<&DocOutcome> {
        self.docs.iter().find(|d| d.doc == doc && d.filter == filter)
    }
}

/// The harness's number of bootstrap replicates.
pub const BOOTSTRAP_ITERATIONS: usize = 100_000;

impl Task {
    /// Scores the documents answered so far: `responses[d]` are those of document `d`, in the order of
    /// [`instances`](Self::instances). With fewer documents than the task has, the others count as not asked.
    pub fn score(&self, responses: &[Vec<Response>]) -> Result<TaskOutcome, TaskError> {
        self.score_with(responses, BOOTSTRAP_ITERATIONS)
    }

    /// As [`score`](Self::score) with another number of bootstrap replicates; 0 gives no standard errors at all.
    pub fn score_with(&self, responses: &[Vec<Response>], iterations: usize) -> Result<TaskOutcome, TaskError> {
        let config = self.config();
        let mut docs = Vec::with_capacity(responses.len() * config.filters.len());
        let mut measures = Vec::new();
        for pipeline in &config.filters {
            let mut columns: IndexMap<String, Vec<Score>> = IndexMap::new();
            for (index, responses) in responses.iter().enumerate() {
                let outcome = self.score_doc(self.doc(index), pipeline, responses)?;
                for (metric, score) in &outcome.scores {
                    columns.entry(metric.clone()).or_default().push(score.clone());
                }
                docs.push(outcome);
            }
            for (name, scores) in columns {
                let Some(metric) = config.metrics.iter().find(|m| m.name == name) else {
                    continue;
                };
                let (value, stderr) = metric
                    .aggregation
                    .apply(&scores, iterations)
                    .map_err(|fault| TaskError::new(config.place.clone(), fault))?;
                measures.push(Measure {
                    metric: name,
                    filter: pipeline.name.clone(),
                    value,
                    stderr,
                    higher_is_better: metric.higher_is_better,
                });
            }
        }
        Ok(TaskOutcome {
            task: self.name().to_owned(),
            alias: self.alias().to_owned(),
            n: responses.len(),
            docs,
            measures,
        })
    }

    fn score_doc(&self, doc: Doc<'_>, pipeline: &Pipeline, responses: &[Response]) -> Result<DocOutcome, TaskError> {
        let (filtered, scores) = match self.output() {
            OutputType::GenerateUntil => self.score_text(doc, pipeline, responses)?,
            OutputType::MultipleChoice => self.score_choices(doc, pipeline, responses)?,
            OutputType::Loglikelihood => {
                let all = self.likelihoods(doc, pipeline, responses, 1)?;
                let (value, greedy) = all.first().copied().unwrap_or_default();
                let scores = self
                    .config()
                    .metrics
                    .iter()
                    .filter_map(|m| match m.kind {
                        Kind::Perplexity => Some((0, m, Score::Float(value))),
                        Kind::Acc => Some((1, m, Score::Int(i64::from(greedy)))),
                        _ => None,
                    })
                    .collect();
                (shown(&all), ordered(scores))
            }
        };
        Ok(DocOutcome {
            doc: doc.index,
            filter: pipeline.name.clone(),
            filtered,
            scores,
        })
    }

    /// The first response of each request, where the requests ask for log-likelihoods.
    fn likelihoods(
        &self,
        doc: Doc<'_>,
        pipeline: &Pipeline,
        responses: &[Response],
        requests: usize,
    ) -> Result<Vec<(f64, bool)>, TaskError> {
        if !pipeline.is_take_first() {
            let what = "filters other than take_first on log-likelihoods".into();
            return Err(TaskError::new(pipeline.place.clone(), Fault::NotSupported { what }));
        }
        let repeats = self.config().repeats;
        let all: Vec<(f64, bool)> = responses
            .iter()
            .filter_map(|response| match response {
                Response::Loglikelihood { value, greedy } => Some((*value, *greedy)),
                Response::Text(_) => None,
            })
            .collect();
        if all.len() != responses.len() || all.len() != requests * repeats {
            return Err(self.misfit(doc, requests * repeats, all.len()));
        }
        Ok(all.into_iter().step_by(repeats).collect())
    }

    fn misfit(&self, doc: Doc<'_>, expected: usize, found: usize) -> TaskError {
        let doc = doc.index;
        TaskError::new(self.config().place.clone(), Fault::Responses { doc, expected, found })
    }

    fn score_text(
        &self,
        doc: Doc<'_>,
        pipeline: &Pipeline,
        responses: &[Response],
    ) -> Result<(Vec<Value>, IndexMap<String, Score>), TaskError> {
        let texts: Option<Vec<String>> = responses
            .iter()
            .map(|response| match response {
                Response::Text(text) => Some(text.clone()),
                Response::Loglikelihood { .. } => None,
            })
            .collect();
        let repeats = self.config().repeats;
        let texts = texts.filter(|texts| texts.len() == repeats);
        let texts = texts.ok_or_else(|| self.misfit(doc, repeats, responses.len()))?;
        let at_pipeline = |fault| TaskError::new(pipeline.place.clone(), fault);
        let filtered = pipeline.apply(texts, doc.value).map_err(at_pipeline)?;
        let prediction = match &filtered {
            Filtered::One(Value::String(text)) => text.clone(),
            other => {
                // What is not text is compared as Python prints it; a list cannot be compared at all.
                let Filtered::One(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) = other else {
                    let what = format!("the filter {:?}, which does not end in one text", pipeline.name);
                    return Err(at_pipeline(Fault::NotSupported { what }));
                };
                crate::python::str(value)
            }
        };
        let golds = self.golds(doc)?;
        let mut scores = IndexMap::new();
        for metric in &self.config().metrics {
            let Kind::ExactMatch(options) = &metric.kind else {
                continue;
            };
            let mut hit = false;
            for gold in &golds {
                let at_task = |fault| TaskError::new(self.config().place.clone(), fault);
                hit |= options.compare(&prediction, gold).map_err(at_task)?;
            }
            scores.insert(metric.name.clone(), Score::Float(f64::from(u8::from(hit))));
        }
        Ok((vec![filtered.json()], scores))
    }

    /// The texts of which one has to be met.
    fn golds(&self, doc: Doc<'_>) -> Result<Vec<String>, TaskError> {
        let target = self.target(doc.index)?;
        if self.config().doc_to_choice.is_some() {
            let choices = self.choices(doc)?;
            let gold = pick(&choices, &target);
            return gold
                .map(|g| vec![g])
                .ok_or_else(|| self.target_error(doc, "is no number of a choice"));
        }
        Ok(match (&target, self.multiple_target) {
            (Value::Array(items), true) => items.iter().map(crate::python::str).collect(),
            // `list(gold)` of a text is its characters.
            (Value::String(text), true) => text.chars().map(String::from).collect(),
            _ => vec![crate::python::str(&target)],
        })
    }

    fn score_choices(
        &self,
        doc: Doc<'_>,
        pipeline: &Pipeline,
        responses: &[Response],
    ) -> Result<(Vec<Value>, IndexMap<String, Score>), TaskError> {
        let choices = self.choices(doc)?;
        let n = choices.len();
        let requests = if self.mutual_info() { 2 * n } else { n };
        let all = self.likelihoods(doc, pipeline, responses, requests)?;
        let (given, alone) = all.split_at(n);
        let lls: Vec<f64> = given.iter().map(|(value, _)| *value).collect();
        let divided = |length: &dyn Fn(&String) -> usize| -> Vec<f64> {
            lls.iter()
                .zip(&choices)
                .map(|(ll, choice)| ll / length(choice) as f64)
                .collect()
        };
        let gold = self.gold(doc, &choices)?;
        let hit = |predicted: usize| Score::Float(f64::from(u8::from(gold.is(predicted))));
        let scores = self
            .config()
            .metrics
            .iter()
            .filter_map(|metric| {
                let predicted = || i64::try_from(argmax(&lls)).unwrap_or(-1);
                let (rank, score) = match metric.kind {
                    Kind::Acc => (0, hit(argmax(&lls))),
                    Kind::F1 => (1, Score::Pair(gold.class(), predicted())),
                    Kind::Mcc => (2, Score::Pair(gold.class(), predicted())),
                    Kind::AccNorm => (3, hit(argmax(&divided(&|c| crate::python::len(c))))),
                    Kind::AccBytes => (4, hit(argmax(&divided(&String::len)))),
                    Kind::ExactMatch(_) => {
                        let greedy = given.iter().enumerate().any(|(i, (_, greedy))| *greedy && gold.is(i));
                        (5, Score::Int(i64::from(greedy)))
                    }
                    Kind::Brier => (6, Score::Probabilities(gold.class(), softmax(&lls))),
                    Kind::AccMutualInfo => {
                        let gain: Vec<f64> = lls.iter().zip(alone).map(|(ll, (alone, _))| ll - alone).collect();
                        (7, hit(argmax(&gain)))
                    }
                    Kind::Perplexity => return None,
                };
                Some((rank, metric, score))
            })
            .collect();
        Ok((shown(&all), ordered(scores)))
    }

    /// Which choices are right.
    fn gold(&self, doc: Doc<'_>, choices: &[String]) -> Result<Gold, TaskError> {
        let target = match self.multiple_input {
            true => self.question(doc)?,
            false => self.target(doc.index)?,
        };
        let number = |value: &Value| match value {
            Value::Bool(b) => Some(i64::from(*b)),
            other => other.as_i64(),
        };
        let bounded = |n: i64| if n < choices.len() as i64 { n } else { Gold::NONE };
        let golds = match &target {
            Value::Array(items) if self.multiple_target => {
                let all: Option<Vec<i64>> = items.iter().map(number).collect();
                all.map(|all| all.into_iter().map(bounded).collect())
            }
            Value::String(text) => {
                let at = choices
                    .iter()
                    .position(|c| c == text)
                    .and_then(|i| i64::try_from(i).ok());
                Some(vec![at.unwrap_or(Gold::NONE)])
            }
            other => number(other).map(|n| vec![bounded(n)]),
        };
        golds
            .map(Gold)
            .ok_or_else(|| self.target_error(doc, "is neither a choice nor the number of one"))
    }
}

/// The numbers of the right choices. One beyond the choices, or a text that is none, is never met.
struct Gold(Vec<i64>);

impl Gold {
    const NONE: i64 = -100;

    fn is(&self, choice: usize) -> bool {
        self.0.iter().any(|gold| usize::try_from(*gold) == Ok(choice))
    }

    fn class(&self) -> i64 {
        self.0.first().copied().unwrap_or(Self::NONE)
    }
}

fn shown(all: &[(f64, bool)]) -> Vec<Value> {
    all.iter()
        .map(|(value, greedy)| {
            let number = serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number);
            Value::Array(vec![number, Value::Bool(*greedy)])
        })
        .collect()
}

/// The harness logs a document's metrics in an order of its own, whatever the task lists first.
fn ordered(mut scores: Vec<(u8, &Metric, Score)>) -> IndexMap<String, Score> {
    scores.sort_by_key(|(rank, ..)| *rank);
    scores
        .into_iter()
        .map(|(_, metric, score)| (metric.name.clone(), score))
        .collect()
}

/// `numpy.argmax`: the first of the largest, or the first that is not a number.
fn argmax(xs: &[f64]) -> usize {
    let mut best = 0;
    for (i, x) in xs.iter().enumerate() {
        if x.is_nan() {
            return i;
        }
        if *x > xs[best] {
            best = i;
        }
    }
    best
}

fn softmax(xs: &[f64]) -> Vec<f64> {
    let largest = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = xs.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_wins() {
        assert_eq!(argmax(&[-2.0, -1.0, -1.0]), 1);
        assert_eq!(argmax(&[f64::NEG_INFINITY; 3]), 0);
        assert_eq!(argmax(&[0.0, f64::NAN, 1.0]), 1);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let p = softmax(&[-1000.0, -1000.0]);
        assert_eq!(p, [0.5, 0.5]);
    }
}
