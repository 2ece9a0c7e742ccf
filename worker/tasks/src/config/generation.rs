//! `generation_kwargs`: when to stop, and that decoding is greedy.

use serde_json::{Map, Value};

use super::OutputType;
use crate::error::{Fault, Place, TaskError};
use crate::reader::{Keys, wrong_kind};
use crate::source::Located;
use crate::yaml::{Node, Yaml};

/// How text is generated. Always greedily: a task that asks for sampling is refused.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Generation {
    /// Where to cut, in order.
    pub until: Vec<String>,
    /// Most tokens; the model's default where absent.
    pub max_tokens: Option<usize>,
    /// The arguments as the harness hands them on.
    pub kwargs: Map<String, Value>,
}

impl Generation {
    /// Reads the arguments of a task; without any, the harness stops at the few-shot delimiter and after 256 tokens.
    pub(super) fn read(located: Option<&Located>, output: OutputType, delimiter: &str) -> Result<Self, TaskError> {
        if output != OutputType::GenerateUntil {
            let kwargs = located.map(|l| l.node.json()).and_then(|v| v.as_object().cloned());
            return Ok(Self {
                kwargs: kwargs.unwrap_or_default(),
                ..Self::default()
            });
        }
        let Some(located) = located else {
            let kwargs = [
                ("temperature", Value::from(0.0)),
                ("do_sample", Value::from(false)),
                ("max_gen_toks", Value::from(256)),
                ("until", Value::from(vec![delimiter])),
            ];
            return Ok(Self {
                until: vec![delimiter.to_owned()],
                max_tokens: Some(256),
                kwargs: kwargs.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
            });
        };
        let (node, file) = (&located.node, &located.file);
        let mut keys = Keys::of(node, file, "generation_kwargs")?;
        let mut kwargs = match node.json() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let place = keys.place_of("temperature");
        let temperature = number(keys.take("temperature"), place.clone())?;
        if let Some(temperature) = temperature {
            kwargs.insert("temperature".into(), Value::from(temperature));
        }
        let sample = keys.flag("do_sample")?;
        let samples = match (sample, temperature) {
            (Some(false), _) => false,
            (Some(true), temperature) => temperature != Some(0.0),
            (None, temperature) => temperature.is_some_and(|t| t > 0.0),
        };
        if samples {
            let what = "sampling; answers are decoded greedily".into();
            return Err(TaskError::new(place, Fault::NotSupported { what }));
        }
        let place = keys.place_of("until");
        let until = match keys.take("until") {
            None => {
                kwargs.insert("until".into(), Value::from(vec![delimiter]));
                vec![delimiter.to_owned()]
            }
            Some(node) => stops(node, place)?,
        };
        Ok(Self {
            until,
            max_tokens: max_tokens(&mut keys)?,
            kwargs,
        })
    }
}

impl Generation {
    /// The arguments with another budget, as `--gen_kwargs max_gen_toks=` changes them.
    pub fn kwargs_with(&self, max_gen_toks: Option<usize>) -> Map<String, Value> {
        let mut kwargs = self.kwargs.clone();
        kwargs.extend(max_gen_toks.map(|most| ("max_gen_toks".to_owned(), Value::from(most))));
        kwargs
    }
}

fn number(node: Option<&Node>, place: Place) -> Result<Option<f64>, TaskError> {
    let read = |node: &Node| match &node.value {
        Yaml::Float(x) => Some(*x),
        Yaml::Int(n) => Some(*n as f64),
        Yaml::Str(text) => text.parse().ok(),
        _ => None,
    };
    let wrong = || wrong_kind(place, "temperature", "a number");
    node.map(|node| read(node).filter(|x| x.is_finite()).ok_or_else(wrong))
        .transpose()
}

fn stops(node: &Node, place: Place) -> Result<Vec<String>, TaskError> {
    let wrong = || wrong_kind(place.clone(), "until", "a string or a list of strings");
    match &node.value {
        Yaml::Str(stop) => Ok(vec![stop.clone()]),
        Yaml::List(items) => items
            .iter()
            .map(|item| match &item.value {
                Yaml::Str(stop) => Ok(stop.clone()),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

/// Most tokens one answer may be allowed.
const MAX_TOKENS: i64 = 1 << 20;

/// The first of the four spellings, in the order of 0.4.13's `normalize_gen_kwargs`. (0.4.9 read only `max_gen_toks`, and
/// handed the others to a `generate` that knows two of them at most.)
fn max_tokens(keys: &mut Keys<'_>) -> Result<Option<usize>, TaskError> {
    for key in ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"] {
        let place = keys.place_of(key);
        if let Some(n) = keys.int(key)? {
            let wrong = || wrong_kind(place, key, "a positive number of tokens");
            let n = usize::try_from(n).ok().filter(|n| *n > 0 && *n as i64 <= MAX_TOKENS);
            return n.map(Some).ok_or_else(wrong);
        }
    }
    Ok(None)
}
