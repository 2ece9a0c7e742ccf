//! Filters: from what the model said to what is compared, one pipeline for every filter name.

mod choices;

use serde_json::Value;

use crate::error::{Fault, Place, TaskError};
use crate::pattern::{Found, Pattern};
use crate::python;
use crate::reader::{Keys, wrong_kind};
use crate::yaml::{Key, Node, Yaml};

use choices::{Choices, is_punctuation};

const DEFAULT_PATTERN: &str = r"#### (\-?[0-9\.\,]+)";
const INVALID: &str = "[invalid]";

/// The responses of one request on their way through a pipeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Filtered {
    /// One value: what `take_first` leaves, and what a metric can read.
    One(Value),
    /// The list of responses, one per repeat.
    Many(Vec<Value>),
}

impl Filtered {
    /// As the samples file shows it.
    pub fn json(&self) -> Value {
        match self {
            Self::One(value) => value.clone(),
            Self::Many(values) => Value::Array(values.clone()),
        }
    }

    /// Python iterates a string by characters; a pipeline that goes on after `take_first` does so too.
    fn many(self) -> Option<Vec<Value>> {
        match self {
            Self::Many(values) => Some(values),
            Self::One(Value::String(text)) => Some(text.chars().map(|c| Value::String(c.into())).collect()),
            Self::One(Value::Array(values)) => Some(values),
            Self::One(_) => None,
        }
    }
}

/// Stands for what no filter found: no model says it, and no filter changes it.
pub(crate) const NOTHING: &str = "\u{e000}\u{f8ff}\u{e000}";

/// One entry of `filter_list`.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The filter's name in every result.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Regex(Extract),
    MultiChoice {
        extract: Extract,
        ignore_case: bool,
        ignore_punctuation: bool,
        regexes_to_ignore: Vec<Pattern>,
    },
    TakeFirst,
    TakeFirstK(usize),
    MajorityVote,
    RemoveWhitespace,
    Lowercase,
    Uppercase,
    Map {
        values: Vec<(String, Value)>,
        default: Value,
    },
}

#[derive(Clone, Debug)]
struct Extract {
    pattern: Pattern,
    /// Which match: from the end where negative.
    select: i64,
    fallback: String,
}

/// A failure inside one document's responses: what is wrong, to be given a document number by the caller.
pub type FilterError = Fault;

impl Pipeline {
    /// The pipeline of a task without `filter_list`.
    pub fn take_first(place: Place) -> Self {
        Self {
            name: "none".into(),
            place,
            steps: vec![Step::TakeFirst],
        }
    }

    /// One entry of `filter_list`.
    pub fn parse(node: &Node, file: &std::sync::Arc<str>) -> Result<Self, TaskError> {
        let mut keys = Keys::of(node, file, "filter_list")?;
        let name = keys.need_text("name")?;
        let filters = keys.need("filter")?;
        keys.done()?;
        let place = Place::line(file.clone(), node.line);
        let Yaml::List(items) = &filters.value else {
            return Err(wrong_kind(
                Place::line(file.clone(), filters.line),
                "filter",
                "a list of filters",
            ));
        };
        let steps = items.iter().map(|item| step(item, file)).collect::<Result<_, _>>()?;
        Ok(Self { name, place, steps })
    }

    /// The same pipeline, answering [`NOTHING`] where it would fall back on something else.
    pub(crate) fn without_fallbacks(&self) -> Self {
        let mut pipeline = self.clone();
        for step in &mut pipeline.steps {
            match step {
                Step::Regex(extract) | Step::MultiChoice { extract, .. } => extract.fallback = NOTHING.into(),
                Step::Map { default, .. } => *default = Value::from(NOTHING),
                _ => {}
            }
        }
        pipeline
    }

    /// Whether the pipeline is just `take_first`, the only one that makes sense of log-likelihoods.
    pub fn is_take_first(&self) -> bool {
        matches!(self.steps.as_slice(), [Step::TakeFirst])
    }

    /// Runs the pipeline over one request's responses. `doc` gives `multi_choice_regex` its choices.
    pub fn apply(&self, responses: Vec<String>, doc: &Value) -> Result<Filtered, FilterError> {
        let mut state = Filtered::Many(responses.into_iter().map(Value::String).collect());
        for step in &self.steps {
            state = step.apply(state, doc)?;
        }
        Ok(state)
    }
}

fn step(node: &Node, file: &std::sync::Arc<str>) -> Result<Step, TaskError> {
    let mut keys = Keys::of(node, file, "filter")?;
    let place = Place::line(file.clone(), node.line);
    let function = keys.need_text("function")?;
    let step = match function.as_str() {
        "regex" => Step::Regex(extract(&mut keys)?),
        "multi_choice_regex" => Step::MultiChoice {
            extract: extract(&mut keys)?,
            ignore_case: keys.truth("ignore_case"),
            ignore_punctuation: keys.truth("ignore_punctuation"),
            regexes_to_ignore: patterns(&mut keys, "regexes_to_ignore")?,
        },
        "take_first" => Step::TakeFirst,
        "take_first_k" => {
            let node = keys.need("k")?;
            let k = match node.value {
                Yaml::Int(k) => usize::try_from(k).ok(),
                _ => None,
            };
            let wrong = || wrong_kind(Place::line(file.clone(), node.line), "k", "a whole number");
            Step::TakeFirstK(k.ok_or_else(wrong)?)
        }
        "majority_vote" => Step::MajorityVote,
        "remove_whitespace" => Step::RemoveWhitespace,
        "lowercase" => Step::Lowercase,
        "uppercase" => Step::Uppercase,
        "map" => {
            let values = match keys.take("mapping_dict").map(|n| &n.value) {
                None => Vec::new(),
                // A key that is no string never equals a response.
                Some(Yaml::Map(map)) => map
                    .iter()
                    .filter_map(|(key, value)| match key {
                        Key::Str(key) => Some((key.clone(), value.json())),
                        Key::Other(_) => None,
                    })
                    .collect(),
                Some(_) => return Err(wrong_kind(place, "mapping_dict", "a mapping")),
            };
            let default = keys.take("default_value").map_or(Value::Null, Node::json);
            Step::Map { values, default }
        }
        "custom" | "format_span" | "regex_pos" | "decontaminate" => {
            let what = format!("the filter {function}");
            return Err(TaskError::new(place, Fault::NotSupported { what }));
        }
        _ => {
            let (key, value) = ("function".into(), function);
            return Err(TaskError::new(place, Fault::UnknownValue { key, value }));
        }
    };
    keys.done()?;
    Ok(step)
}

fn extract(keys: &mut Keys<'_>) -> Result<Extract, TaskError> {
    let place = keys.place_of("regex_pattern");
    let written = keys.text("regex_pattern")?;
    let pattern = Pattern::new(written.as_deref().unwrap_or(DEFAULT_PATTERN));
    Ok(Extract {
        pattern: pattern.map_err(|fault| TaskError::new(place, fault))?,
        select: keys.int("group_select")?.unwrap_or(0),
        fallback: keys.text("fallback")?.unwrap_or_else(|| INVALID.into()),
    })
}

/// A list of patterns at `key`, empty where the key is absent or null.
pub(crate) fn patterns(keys: &mut Keys<'_>, key: &'static str) -> Result<Vec<Pattern>, TaskError> {
    let place = keys.place_of(key);
    let Some(node) = keys.take(key) else {
        return Ok(Vec::new());
    };
    let wrong = || wrong_kind(place.clone(), key, "a list of patterns");
    let Yaml::List(items) = &node.value else {
        return Err(wrong());
    };
    items
        .iter()
        .map(|item| match &item.value {
            Yaml::Str(source) => Pattern::new(source).map_err(|fault| {
                let place = Place::line(place.file.clone(), item.line);
                TaskError::new(place, fault)
            }),
            _ => Err(wrong()),
        })
        .collect()
}

fn texts(function: &str) -> Fault {
    Fault::NotSupported {
        what: format!("the filter {function} on values that are no strings"),
    }
}

impl Step {
    fn apply(&self, state: Filtered, doc: &Value) -> Result<Filtered, Fault> {
        let each = |state: Filtered, name: &str, f: &dyn Fn(&str) -> String| -> Result<Filtered, Fault> {
            let values = state.many().ok_or_else(|| texts(name))?;
            let map = |v: Value| v.as_str().map(|s| Value::String(f(s))).ok_or_else(|| texts(name));
            Ok(Filtered::Many(values.into_iter().map(map).collect::<Result<_, _>>()?))
        };
        match self {
            Self::TakeFirst => {
                let first = state.many().and_then(|values| values.into_iter().next());
                first.map(Filtered::One).ok_or_else(|| texts("take_first"))
            }
            Self::TakeFirstK(k) => {
                let mut values = state.many().ok_or_else(|| texts("take_first_k"))?;
                if values.len() < *k {
                    return Err(Fault::NotSupported {
                        what: format!("take_first_k {k} of {} responses (repeats)", values.len()),
                    });
                }
                values.truncate(*k);
                Ok(Filtered::Many(values))
            }
            Self::MajorityVote => {
                let values = state.many().ok_or_else(|| texts("majority_vote"))?;
                // Ties go to the first seen, as in collections.Counter.
                let count = |wanted: &Value| values.iter().filter(|v| *v == wanted).count();
                let mut best: Option<(&Value, usize)> = None;
                for value in &values {
                    let n = count(value);
                    if best.is_none_or(|(_, most)| n > most) {
                        best = Some((value, n));
                    }
                }
                let vote = best
                    .map(|(value, _)| value.clone())
                    .ok_or_else(|| texts("majority_vote"))?;
                Ok(Filtered::Many(vec![vote]))
            }
            Self::RemoveWhitespace => each(state, "remove_whitespace", &|s| python::strip(s).to_owned()),
            Self::Lowercase => each(state, "lowercase", &|s| s.to_lowercase()),
            Self::Uppercase => each(state, "uppercase", &|s| s.to_uppercase()),
            Self::Map { values, default } => {
                let find = |value: Value| {
                    let text = value.as_str().unwrap_or_default();
                    let found = values.iter().find(|(key, _)| value.is_string() && key == text);
                    found.map_or(default.clone(), |(_, v)| v.clone())
                };
                let all = state.many().ok_or_else(|| texts("map"))?;
                Ok(Filtered::Many(all.into_iter().map(find).collect()))
            }
            Self::Regex(extract) => {
                let values = state.many().ok_or_else(|| texts("regex"))?;
                let run = |value: Value| {
                    let found = extract.first(value.as_str().unwrap_or(""))?;
                    // Several groups of which none took part fall back; so does a match that is not there.
                    Ok(Value::String(found.unwrap_or_else(|| extract.fallback.clone())))
                };
                Ok(Filtered::Many(
                    values.into_iter().map(run).collect::<Result<_, Fault>>()?,
                ))
            }
            Self::MultiChoice {
                extract,
                ignore_case,
                ignore_punctuation,
                regexes_to_ignore,
            } => {
                let values = state.many().ok_or_else(|| texts("multi_choice_regex"))?;
                let normalise = |text: &str| -> Result<String, Fault> {
                    let mut text = text.to_owned();
                    for pattern in regexes_to_ignore {
                        text = pattern.sub("", &text, 0)?;
                    }
                    if *ignore_case {
                        text = text.to_lowercase();
                    }
                    if *ignore_punctuation {
                        text.retain(|c| !is_punctuation(c));
                    }
                    Ok(text)
                };
                let choices = Choices::new(doc, &normalise, extract)?;
                let run = |value: Value| {
                    let text = value.as_str().unwrap_or("");
                    Ok(Value::String(choices.read(text, extract, &normalise)?))
                };
                Ok(Filtered::Many(
                    values.into_iter().map(run).collect::<Result<_, Fault>>()?,
                ))
            }
        }
    }
}

impl Extract {
    /// The selected match of `pattern` in `text`, stripped. Nothing where there is no such match: the harness stops with
    /// an IndexError if there are matches but too few, which would let one odd answer end a run.
    fn find(&self, pattern: &Pattern, text: &str) -> Result<Option<String>, Fault> {
        let mut all = pattern.findall(text)?;
        let count = all.len() as i64;
        let index = if self.select < 0 {
            count + self.select
        } else {
            self.select
        };
        let Some(index) = usize::try_from(index).ok().filter(|i| *i < all.len()) else {
            return Ok(None);
        };
        let found = match all.swap_remove(index) {
            Found::Text(text) => Some(text),
            Found::Groups(groups) => groups.into_iter().find(|g| !g.is_empty()),
        };
        Ok(found.map(|text| python::strip(&text).to_owned()))
    }

    fn first(&self, text: &str) -> Result<Option<String>, Fault> {
        self.find(&self.pattern, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;
    use serde_json::json;

    fn pipeline(filters: &str) -> Pipeline {
        let node = yaml::parse(&format!("name: x\nfilter: {filters}\n")).unwrap();
        Pipeline::parse(&node, &"t.yaml".into()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn run(filters: &str, responses: &[&str]) -> Value {
        let responses = responses.iter().map(|r| (*r).to_owned()).collect();
        pipeline(filters)
            .apply(responses, &json!({"choices": ["Guilty", "Guilty of Romance", "No."]}))
            .unwrap()
            .json()
    }

    #[test]
    fn every_step() {
        assert_eq!(run("[{function: take_first}]", &["a", "b"]), json!("a"));
        assert_eq!(
            run(
                "[{function: take_first_k, k: 2}, {function: majority_vote}]",
                &["a", "b", "b"]
            ),
            json!(["a"])
        );
        assert_eq!(
            run("[{function: majority_vote}, {function: take_first}]", &["a", "b", "b"]),
            json!("b")
        );
        assert_eq!(
            run("[{function: remove_whitespace}, {function: uppercase}]", &["  ß\n"]),
            json!(["SS"])
        );
        assert_eq!(run("[{function: lowercase}]", &["İ"]), json!(["i\u{307}"]));
        let map = "[{function: map, mapping_dict: {A: 0, 1: 7}, default_value: -1}, {function: take_first}]";
        assert_eq!(run(map, &["A"]), json!(0));
        assert_eq!(run(map, &["1"]), json!(-1));
        assert_eq!(
            run("[{function: take_first}, {function: remove_whitespace}]", &["a b"]),
            json!(["a", "", "b"])
        );
    }

    #[test]
    fn regex_selects_and_falls_back() {
        let last = "[{function: regex, group_select: -1, regex_pattern: '(\\d)|(x)'}, {function: take_first}]";
        assert_eq!(run(last, &["1 2 x"]), json!("x"));
        assert_eq!(run(last, &["none"]), json!("[invalid]"));
        let far = "[{function: regex, group_select: 3, regex_pattern: '\\d', fallback: '?'}, {function: take_first}]";
        assert_eq!(run(far, &["1 2"]), json!("?"));
    }

    #[test]
    fn multi_choice_tries_three_ways() {
        let filter = "[{function: multi_choice_regex, regex_pattern: '(\\([A-Z]\\))', ignore_case: true, \
                      ignore_punctuation: true, group_select: -1}, {function: take_first}]";
        assert_eq!(run(filter, &["(A) or (C)"]), json!("(C)"));
        assert_eq!(run(filter, &["it is GUILTY of romance!"]), json!("(B)"));
        assert_eq!(run(filter, &["no"]), json!("(C)"));
        assert_eq!(run(filter, &["Answer: B"]), json!("(B)"));
        assert_eq!(run(filter, &["?"]), json!("[invalid]"));
    }

    #[test]
    fn mistakes_name_the_line() {
        for (filters, code) in [
            ("[{function: nope}]", "task-unknown-value"),
            ("[{function: regex, pattern: x}]", "task-unknown-key"),
            ("[{function: regex, regex_pattern: '('}]", "task-pattern"),
            ("[{function: !function utils.F}]", "task-function"),
            ("[{function: custom}]", "task-not-supported"),
            ("x", "task-wrong-kind"),
            ("[{k: 1}]", "task-missing-key"),
        ] {
            let node = yaml::parse(&format!("name: x\nfilter: {filters}\n")).unwrap();
            let error = Pipeline::parse(&node, &"t.yaml".into()).unwrap_err();
            assert_eq!((error.code(), error.place.line), (code, Some(2)), "{filters}");
        }
    }
}
