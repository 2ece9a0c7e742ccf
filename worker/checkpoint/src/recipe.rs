//! recipe.yaml as llm-compressor writes it: bounded YAML without aliases, anchors or tags, and the modifiers in it.

use std::collections::VecDeque;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use crate::problem::quoted;

/// Longest recipe, bytes; a real one has a few hundred.
const MAX_BYTES: usize = 256 << 10;
/// Nested collections.
const MAX_DEPTH: usize = 24;
/// Scalars and collections in all.
const MAX_NODES: usize = 50_000;

/// Why a recipe was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecipeError {
    /// tags (`!!python/…`), anchors, aliases: ways to run code or to blow up
    #[error("line {line}: {what} are not allowed")]
    Unsafe {
        /// which of the three
        what: &'static str,
        /// 1-based
        line: usize,
    },
    /// syntax, size, duplicate keys, structure
    #[error("{0}")]
    Malformed(String),
}

/// A modifier: its class and its settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Modifier {
    /// stage, group and class: `default_stage.default_modifiers.GPTQModifier`
    pub path: String,
    /// class name
    pub class: String,
    /// settings
    pub fields: Map<String, Value>,
}

/// The modifiers of a recipe in the order of the file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Modifier>, RecipeError> {
    let malformed = |why: &str| RecipeError::Malformed(why.to_owned());
    let Value::Object(root) = yaml(bytes)? else {
        return Err(malformed("a mapping of stages is needed"));
    };
    let mut modifiers = Vec::new();
    for (stage, groups) in &root {
        if stage == "args" {
            continue;
        }
        if !is_stage(stage) {
            return Err(RecipeError::Malformed(format!(
                "\"{}\" is not a stage (…_stage)",
                quoted(stage)
            )));
        }
        let Value::Object(groups) = groups else {
            return Err(malformed("a stage is a mapping of modifier groups"));
        };
        for (group, entries) in groups {
            if !group.ends_with("_modifiers") {
                return Err(RecipeError::Malformed(format!(
                    "\"{}\" is not a group of modifiers (…_modifiers)",
                    quoted(group)
                )));
            }
            let Value::Object(entries) = entries else {
                return Err(malformed("a group is a mapping of modifiers"));
            };
            for (class, fields) in entries {
                let fields = match fields {
                    Value::Object(fields) => fields.clone(),
                    Value::Null => Map::new(),
                    _ => return Err(RecipeError::Malformed(format!("\"{}\" has no settings", quoted(class)))),
                };
                let path = format!("{}.{}.{}", quoted(stage), quoted(group), quoted(class));
                modifiers.push(Modifier {
                    path,
                    class: class.clone(),
                    fields,
                });
            }
        }
    }
    if modifiers.is_empty() {
        return Err(malformed("no modifier"));
    }
    Ok(modifiers)
}

/// `default_stage`; merged recipes are renamed `default_stage_0`, `default_stage_1`.
fn is_stage(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = if stem.len() < name.len() {
        stem.strip_suffix('_').unwrap_or(stem)
    } else {
        name
    };
    stem.len() > "_stage".len() && stem.ends_with("_stage")
}

/// A collection being built.
enum Open {
    List(Vec<Value>),
    /// fields so far and the key waiting for its value
    Map(Map<String, Value>, Option<String>),
}

/// One YAML document as JSON values.
fn yaml(bytes: &[u8]) -> Result<Value, RecipeError> {
    if bytes.len() > MAX_BYTES {
        return Err(RecipeError::Malformed(format!(
            "{} bytes, the limit is {MAX_BYTES}",
            bytes.len()
        )));
    }
    let source = std::str::from_utf8(bytes).map_err(|_| RecipeError::Malformed("not UTF-8".to_owned()))?;
    let mut open: VecDeque<Open> = VecDeque::new();
    let mut done = None;
    let mut nodes = 0usize;
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|e| RecipeError::Malformed(quoted(&e.to_string())))?;
        let line = span.start.line();
        let unsafe_part = |what| Err(RecipeError::Unsafe { what, line });
        nodes += 1;
        if nodes > MAX_NODES {
            return Err(RecipeError::Malformed(format!("more than {MAX_NODES} nodes")));
        }
        let finished = match event {
            Event::Alias(_) => return unsafe_part("aliases (*)"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return unsafe_part("anchors (&)");
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return unsafe_part("tags (!)");
            }
            Event::DocumentStart(_) if done.is_some() => {
                return Err(RecipeError::Malformed("more than one document".to_owned()));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == MAX_DEPTH {
                    return Err(RecipeError::Malformed("nested too deeply".to_owned()));
                }
                let list = matches!(event, Event::SequenceStart(..));
                open.push_back(if list {
                    Open::List(Vec::new())
                } else {
                    Open::Map(Map::new(), None)
                });
                continue;
            }
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceEnd | Event::MappingEnd => match open.pop_back() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(fields, _)) => Value::Object(fields),
                None => continue,
            },
            _ => continue,
        };
        match open.back_mut() {
            None => done = Some(finished),
            Some(Open::List(items)) => items.push(finished),
            Some(Open::Map(fields, key)) => match key.take() {
                Some(name) => {
                    fields.insert(name, finished);
                }
                None => {
                    let name = key_text(&finished)
                        .ok_or_else(|| RecipeError::Malformed(format!("line {line}: a key is not a word")))?;
                    if fields.contains_key(&name) {
                        let shown = quoted(&name);
                        return Err(RecipeError::Malformed(format!(
                            "line {line}: the key \"{shown}\" appears twice"
                        )));
                    }
                    *key = Some(name);
                }
            },
        }
    }
    done.ok_or_else(|| RecipeError::Malformed("empty".to_owned()))
}

fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// YAML 1.1's plain scalars as far as a recipe has them. `1e-05` without a dot is a string there, which is accepted as such.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.bytes().all(|b| b.is_ascii_digit())
                && let Ok(number) = text.parse::<i64>()
            {
                return number.into();
            }
            let numeric = digits.contains('.')
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
            let number = if numeric {
                text.parse().ok().and_then(Number::from_f64)
            } else {
                None
            };
            number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DECK: &str = "default_stage:\n  default_modifiers:\n    GPTQModifier:\n      targets: [Linear]\n      ignore: [lm_head]\n      scheme: W4A16\n      block_size: 128\n      dampening_frac: 0.01\n      actorder: static\n      offload_hessians: false\n";

    #[test]
    fn the_contest_sample_reads() {
        let modifiers = parse(DECK.as_bytes()).unwrap();
        assert_eq!(modifiers.len(), 1);
        assert_eq!(modifiers[0].class, "GPTQModifier");
        assert_eq!(modifiers[0].path, "default_stage.default_modifiers.GPTQModifier");
        let fields = Value::Object(modifiers[0].fields.clone());
        assert_eq!(
            fields,
            json!({"targets": ["Linear"], "ignore": ["lm_head"], "scheme": "W4A16", "block_size": 128,
                   "dampening_frac": 0.01, "actorder": "static", "offload_hessians": false})
        );
    }

    #[test]
    fn what_could_run_code_or_blow_up_is_refused() {
        let unsafe_part = |source: &str| matches!(parse(source.as_bytes()), Err(RecipeError::Unsafe { .. }));
        assert!(unsafe_part(
            "a_stage:\n  b_modifiers: !!python/object/apply:os.system [ls]\n"
        ));
        assert!(unsafe_part("a_stage: &x {}\nb_stage: *x\n"));
        assert!(unsafe_part("a_stage: &x 1\n"));
        assert!(unsafe_part("a_stage:\n  !x y: 1\n"));
    }

    #[test]
    fn malformed_recipes_are_errors_not_panics() {
        let malformed = |source: &str| matches!(parse(source.as_bytes()), Err(RecipeError::Malformed(_)));
        for source in [
            "",
            "[]",
            "x: 1",
            "a_stage: 1",
            "_stage: {}",
            "a_stage:\n  x: {}",
            "a_stage:\n  b_modifiers: {}",
            "a_stage:\n  b_modifiers:\n    M: 3",
            "a_stage: {}\na_stage: {}",
            "--- {}\n--- {}\n",
            "{",
            "a: \"",
            "? [a]\n: b",
        ] {
            assert!(malformed(source), "{source:?}");
        }
        assert!(malformed(&"[".repeat(1000)));
        assert!(malformed(&format!("a_stage: [{}]", "1,".repeat(MAX_NODES))));
        assert!(malformed(&" ".repeat(MAX_BYTES + 1)));
        assert!(is_stage("quant_stage") && is_stage("default_stage_12") && !is_stage("stage") && !is_stage("a_stage_"));
    }
}
