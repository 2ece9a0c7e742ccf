//! Metrics of one document, and what makes one number of all of them.

use std::sync::Arc;

use serde_json::Value;

use crate::config::OutputType;
use crate::error::{Fault, Place, TaskError};
use crate::filters::patterns;
use crate::pattern::Pattern;
use crate::reader::{Keys, wrong_kind};
use crate::stats;
use crate::yaml::{Node, Yaml};

/// One document's value of one metric.
#[derive(Clone, PartialEq, Debug)]
pub enum Score {
    /// An integer: hits that the harness counts as such.
    Int(i64),
    /// A float.
    Float(f64),
    /// Gold and predicted class, for F1 and Matthews' correlation.
    Pair(i64, i64),
    /// Gold class and the probabilities of all, for the Brier score.
    Probabilities(i64, Vec<f64>),
}

impl Score {
    /// As the samples file shows it.
    pub fn json(&self) -> Value {
        match self {
            Self::Int(n) => Value::from(*n),
            Self::Float(x) => serde_json::Number::from_f64(*x).map_or(Value::Null, Value::Number),
            Self::Pair(gold, predicted) => Value::from(vec![*gold, *predicted]),
            Self::Probabilities(gold, all) => Value::Array(vec![Value::from(*gold), Value::from(all.clone())]),
        }
    }

    /// The number of a score that is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }
}

/// Which metric.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The most likely choice is the right one; for `loglikelihood` tasks, the target is what greedy decoding gives.
    Acc,
    /// The same with log-likelihoods divided by the choices' lengths in characters.
    AccNorm,
    /// The same, in UTF-8 bytes.
    AccBytes,
    /// The same after taking off each choice's log-likelihood without the question.
    AccMutualInfo,
    /// Equal texts; for choices, the right one is what greedy decoding gives.
    ExactMatch(ExactMatch),
    /// F1 of class 1.
    F1,
    /// Matthews' correlation.
    Mcc,
    /// Brier score.
    Brier,
    /// `exp` of the mean negative log-likelihood.
    Perplexity,
}

/// What `exact_match` ignores, in the order it is taken away.
#[derive(Clone, Debug, Default)]
pub struct ExactMatch {
    /// Every match of each, deleted.
    pub regexes_to_ignore: Vec<Pattern>,
    /// Letter case.
    pub ignore_case: bool,
    /// The 32 punctuation characters of ASCII.
    pub ignore_punctuation: bool,
    /// The ten digits of ASCII.
    pub ignore_numbers: bool,
}

impl ExactMatch {
    /// Whether `prediction` and `reference` are the same once both are normalised.
    pub fn compare(&self, prediction: &str, reference: &str) -> Result<bool, Fault> {
        Ok(self.normalise(prediction)? == self.normalise(reference)?)
    }

    fn normalise(&self, text: &str) -> Result<String, Fault> {
        let mut text = text.to_owned();
        for pattern in &self.regexes_to_ignore {
            text = pattern.sub("", &text, 0)?;
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.ignore_numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        // The harness compares numpy strings, which end before trailing NULs.
        text.truncate(text.trim_end_matches('\0').len());
        Ok(text)
    }
}

/// How one number is made of all documents' values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregation {
    /// Mean.
    Mean,
    /// Mean of what is a number.
    NanMean,
    /// Middle value, the upper of two.
    Median,
    /// `exp(−mean)`.
    Perplexity,
    /// F1 of class 1.
    F1,
    /// Matthews' correlation.
    Matthews,
    /// Brier score.
    Brier,
}

/// One entry of `metric_list`.
#[derive(Clone, Debug)]
pub struct Metric {
    /// As written.
    pub name: String,
    /// What it does with a document.
    pub kind: Kind,
    /// What it does with all.
    pub aggregation: Aggregation,
    /// Whether more is better.
    pub higher_is_better: bool,
}

fn aggregation(name: &str) -> Option<Aggregation> {
    Some(match name {
        "mean" => Aggregation::Mean,
        "nanmean" => Aggregation::NanMean,
        "median" => Aggregation::Median,
        "perplexity" => Aggregation::Perplexity,
        "f1" => Aggregation::F1,
        "matthews_corrcoef" => Aggregation::Matthews,
        "brier_score" => Aggregation::Brier,
        _ => return None,
    })
}

/// Metrics of the harness that exist and are not scored here.
const KNOWN_METRICS: [&str; 10] = [
    "bleu",
    "chrf",
    "chrf++",
    "ter",
    "likelihood",
    "acc_all",
    "bypass",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
];
/// Aggregations of the same sort.
const KNOWN_AGGREGATIONS: [&str; 7] = [
    "bleu",
    "chrf",
    "chrf++",
    "ter",
    "bypass",
    "weighted_perplexity",
    "bits_per_byte",
];

impl Metric {
    /// A metric by its name, with the harness's defaults.
    fn known(name: &str) -> Option<Self> {
        let (kind, aggregation, higher_is_better) = match name {
            "acc" => (Kind::Acc, Aggregation::Mean, true),
            "acc_norm" => (Kind::AccNorm, Aggregation::Mean, true),
            "acc_bytes" => (Kind::AccBytes, Aggregation::Mean, true),
            "acc_mutual_info" => (Kind::AccMutualInfo, Aggregation::Mean, true),
            "exact_match" => (Kind::ExactMatch(ExactMatch::default()), Aggregation::Mean, true),
            "f1" => (Kind::F1, Aggregation::F1, true),
            "mcc" => (Kind::Mcc, Aggregation::Matthews, true),
            "brier_score" => (Kind::Brier, Aggregation::Brier, false),
            "perplexity" => (Kind::Perplexity, Aggregation::Perplexity, false),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            kind,
            aggregation,
            higher_is_better,
        })
    }

    /// The metrics of a task without `metric_list`.
    pub fn defaults(output: OutputType) -> Vec<Self> {
        let names: &[&str] = match output {
            OutputType::GenerateUntil => &["exact_match"],
            OutputType::MultipleChoice => &["acc", "acc_norm"],
            OutputType::Loglikelihood => &["perplexity", "acc"],
        };
        names.iter().filter_map(|name| Self::known(name)).collect()
    }

    /// One entry of `metric_list` of a task with this output type.
    pub fn parse(node: &Node, file: &Arc<str>, output: OutputType) -> Result<Self, TaskError> {
        let mut keys = Keys::of(node, file, "metric_list")?;
        let place = keys.place_of("metric");
        let name = keys.need_text("metric")?;
        let unsupported = |place: Place, what: String| TaskError::new(place, Fault::NotSupported { what });
        let Some(mut metric) = Self::known(&name) else {
            if KNOWN_METRICS.contains(&name.as_str()) || keys.flag("hf_evaluate")? == Some(true) {
                return Err(unsupported(place, format!("the metric {name}")));
            }
            let (key, value) = ("metric".into(), name);
            return Err(TaskError::new(place, Fault::UnknownValue { key, value }));
        };
        if !metric.fits(output) {
            return Err(unsupported(place, format!("the metric {name} on this output type")));
        }
        // Ignored by the harness too where the metric has a name of its own.
        keys.flag("hf_evaluate")?;
        if let Some(better) = keys.flag("higher_is_better")? {
            metric.higher_is_better = better;
        }
        let place = keys.place_of("aggregation");
        if let Some(written) = keys.text("aggregation")? {
            metric.aggregation = match aggregation(&written) {
                Some(aggregation) => aggregation,
                None if KNOWN_AGGREGATIONS.contains(&written.as_str()) => {
                    return Err(unsupported(place, format!("the aggregation {written}")));
                }
                None => {
                    let (key, value) = ("aggregation".into(), written);
                    return Err(TaskError::new(place, Fault::UnknownValue { key, value }));
                }
            };
        }
        if metric.aggregation.wants() != metric.gives() {
            let what = format!("the metric {name} with an aggregation of another kind of value");
            return Err(unsupported(place, what));
        }
        if let Kind::ExactMatch(options) = &mut metric.kind
            && output == OutputType::GenerateUntil
        {
            *options = ExactMatch {
                regexes_to_ignore: patterns(&mut keys, "regexes_to_ignore")?,
                ignore_case: keys.truth("ignore_case"),
                ignore_punctuation: keys.truth("ignore_punctuation"),
                ignore_numbers: keys.truth("ignore_numbers"),
            };
            keys.done()?;
        }
        Ok(metric)
    }

    /// Reads `metric_list`.
    pub fn list(node: &Node, file: &Arc<str>, output: OutputType) -> Result<Vec<Self>, TaskError> {
        let Yaml::List(items) = &node.value else {
            return Err(wrong_kind(
                Place::line(file.clone(), node.line),
                "metric_list",
                "a list of metrics",
            ));
        };
        items.iter().map(|item| Self::parse(item, file, output)).collect()
    }

    fn fits(&self, output: OutputType) -> bool {
        match self.kind {
            Kind::ExactMatch(_) => output != OutputType::Loglikelihood,
            Kind::Acc => output != OutputType::GenerateUntil,
            Kind::Perplexity => output == OutputType::Loglikelihood,
            _ => output == OutputType::MultipleChoice,
        }
    }

    fn gives(&self) -> Sort {
        match self.kind {
            Kind::F1 | Kind::Mcc => Sort::Pair,
            Kind::Brier => Sort::Probabilities,
            _ => Sort::Number,
        }
    }
}

/// What sort of value an aggregation works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Number,
    Pair,
    Probabilities,
}

impl Aggregation {
    fn wants(self) -> Sort {
        match self {
            Self::F1 | Self::Matthews => Sort::Pair,
            Self::Brier => Sort::Probabilities,
            _ => Sort::Number,
        }
    }

    /// The value over all documents and its standard error, where the harness gives one. `iterations` is for the
    /// statistics that are bootstrapped (the harness's default is 100,000).
    pub fn apply(self, scores: &[Score], iterations: usize) -> Result<(f64, Option<f64>), Fault> {
        let numbers: Vec<f64> = scores.iter().filter_map(Score::number).collect();
        let pairs: Vec<(i64, i64)> = scores
            .iter()
            .filter_map(|score| match score {
                Score::Pair(gold, predicted) => Some((*gold, *predicted)),
                _ => None,
            })
            .collect();
        let n = scores.len();
        let over = |f: &dyn Fn(&mut Vec<f64>) -> f64| {
            let mut drawn = Vec::with_capacity(n);
            stats::bootstrap_stderr(n, iterations, |at| {
                drawn.clear();
                drawn.extend(at.iter().map(|i| numbers[*i]));
                f(&mut drawn)
            })
        };
        Ok(match self {
            Self::Mean if iterations == 0 => (stats::mean(&numbers), None),
            Self::Mean => (stats::mean(&numbers), stats::mean_stderr(&numbers)),
            Self::NanMean => (nan_mean(&numbers), over(&|xs| nan_mean(xs))),
            Self::Median => (median(&mut numbers.clone()), over(&|xs| median(xs))),
            Self::Perplexity => ((-stats::mean(&numbers)).exp(), over(&|xs| (-stats::mean(xs)).exp())),
            Self::F1 => {
                if pairs.iter().any(|(g, p)| !matches!((g, p), (0 | 1, 0 | 1))) {
                    let what = "F1 over more than the classes 0 and 1".into();
                    return Err(Fault::NotSupported { what });
                }
                let stderr = stats::bootstrap_stderr(n, iterations, |at| stats::f1(at.iter().map(|i| pairs[*i])));
                (stats::f1(pairs.iter().copied()), stderr)
            }
            Self::Matthews => {
                let mut drawn = Vec::with_capacity(n);
                let stderr = stats::bootstrap_stderr(n, iterations, |at| {
                    drawn.clear();
                    drawn.extend(at.iter().map(|i| pairs[*i]));
                    stats::matthews(&drawn)
                });
                (stats::matthews(&pairs), stderr)
            }
            Self::Brier => (brier(scores), None),
        })
    }
}

fn nan_mean(xs: &[f64]) -> f64 {
    let known: Vec<f64> = xs.iter().copied().filter(|x| !x.is_nan()).collect();
    stats::mean(&known)
}

fn median(xs: &mut [f64]) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs.get(xs.len() / 2).copied().unwrap_or(f64::NAN)
}

fn brier(scores: &[Score]) -> f64 {
    let each: Vec<f64> = scores
        .iter()
        .filter_map(|score| match score {
            Score::Probabilities(gold, all) => Some(
                all.iter()
                    .enumerate()
                    .map(|(i, p)| {
                        let hit = f64::from(u8::from(i64::try_from(i) == Ok(*gold)));
                        (p - hit) * (p - hit)
                    })
                    .sum(),
            ),
            _ => None,
        })
        .collect();
    stats::mean(&each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn parse(source: &str, output: OutputType) -> Result<Metric, TaskError> {
        Metric::parse(&yaml::parse(source).unwrap(), &"t.yaml".into(), output)
    }

    #[test]
    fn exact_match_takes_away_in_order() {
        let source = "{metric: exact_match, ignore_case: true, ignore_punctuation: true, ignore_numbers: true, \
                      regexes_to_ignore: ['\\$', '(?s).*#### ']}";
        let Kind::ExactMatch(options) = parse(source, OutputType::GenerateUntil).unwrap().kind else {
            panic!("not exact_match");
        };
        for (a, b, equal) in [
            ("X.", "x", true),
            ("a\n#### $5b", "B", true),
            ("a", "b", false),
            ("x\0\0", "x", true),
            ("x ", "x", false),
            ("№", "№!", true),
        ] {
            assert_eq!(options.compare(a, b), Ok(equal), "{a:?} {b:?}");
        }
    }

    #[test]
    fn refusals() {
        let generate = OutputType::GenerateUntil;
        for (source, output, code) in [
            ("{metric: bleu}", generate, "task-not-supported"),
            ("{metric: acc}", generate, "task-not-supported"),
            ("{metric: nope}", generate, "task-unknown-value"),
            (
                "{metric: exact_match, aggregation: nope}",
                generate,
                "task-unknown-value",
            ),
            ("{metric: exact_match, aggregation: f1}", generate, "task-not-supported"),
            ("{metric: exact_match, ignore: true}", generate, "task-unknown-key"),
            ("{metric: !function utils.m}", generate, "task-function"),
            ("{aggregation: mean}", generate, "task-missing-key"),
            (
                "{metric: f1, aggregation: mean}",
                OutputType::MultipleChoice,
                "task-not-supported",
            ),
        ] {
            assert_eq!(parse(source, output).unwrap_err().code(), code, "{source}");
        }
    }

    #[test]
    fn aggregations() {
        let floats = |xs: &[f64]| xs.iter().map(|x| Score::Float(*x)).collect::<Vec<_>>();
        let apply = |a: Aggregation, s: &[Score]| a.apply(s, 10).unwrap();
        assert_eq!(apply(Aggregation::Median, &floats(&[3.0, 1.0, 2.0, 4.0])).0, 3.0);
        assert_eq!(apply(Aggregation::NanMean, &floats(&[f64::NAN, 1.0, 2.0])).0, 1.5);
        assert!((apply(Aggregation::Perplexity, &floats(&[-1.0, -3.0])).0 - 2f64.exp()).abs() < 1e-12);
        let brier = [
            Score::Probabilities(0, vec![0.75, 0.25]),
            Score::Probabilities(1, vec![0.5, 0.5]),
        ];
        assert_eq!(apply(Aggregation::Brier, &brier), (0.3125, None));
        assert_eq!(Aggregation::Mean.apply(&floats(&[1.0, 0.0]), 0).unwrap(), (0.5, None));
        assert!(Aggregation::F1.apply(&[Score::Pair(2, 1)], 0).is_err());
        let f1 = [Score::Pair(1, 1), Score::Pair(0, 1), Score::Pair(1, 1)];
        assert!(apply(Aggregation::F1, &f1).1.is_some_and(|stderr| stderr > 0.0));
    }
}
