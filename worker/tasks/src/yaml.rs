//! YAML as PyYAML's safe loader reads it (YAML 1.1 scalars, merge keys, the last of two equal keys), with bounds, with the
//! line of every node, and with `!function` kept as a value.

mod indent;
mod scalar;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::Value as Json;

use crate::error::Fault;
use crate::python;

/// Nodes of one document after aliases are followed: keeps "billion laughs" finite.
const MAX_NODES: usize = 200_000;
/// Nested lists and maps.
const MAX_DEPTH: usize = 64;

/// A value and where it starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// From 1.
    pub line: u32,
    /// What it is.
    pub value: Yaml,
}

/// A YAML value with Python's types.
#[derive(Clone, PartialEq, Debug)]
pub enum Yaml {
    /// `None`.
    Null,
    /// `True` or `False`, `yes`/`no`/`on`/`off` among their spellings.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, possibly not finite.
    Float(f64),
    /// A string. Dates stay as written.
    Str(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order its keys first appear.
    Map(IndexMap<Key, Node>),
    /// `!function module.name`.
    Function(String),
}

/// A mapping's key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A string.
    Str(String),
    /// Any other scalar, as Python prints it: never equal to a string.
    Other(String),
}

impl Key {
    /// As written or printed.
    pub fn text(&self) -> &str {
        match self {
            Self::Str(s) | Self::Other(s) => s,
        }
    }
}

/// A document that cannot be read: the line, from 1, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct YamlError {
    /// From 1.
    pub line: u32,
    /// Why.
    pub fault: Fault,
}

impl Node {
    /// The value at a string key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Yaml::Map(map) => map.get(&Key::Str(key.to_owned())),
            _ => None,
        }
    }

    /// As JSON, for the results file: floats that JSON lacks become null, functions their tag and name.
    pub fn json(&self) -> Json {
        match &self.value {
            Yaml::Null => Json::Null,
            Yaml::Bool(b) => Json::Bool(*b),
            Yaml::Int(n) => Json::from(*n),
            Yaml::Float(x) => serde_json::Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Yaml::Str(s) => Json::String(s.clone()),
            Yaml::List(items) => Json::Array(items.iter().map(Node::json).collect()),
            Yaml::Map(map) => Json::Object(map.iter().map(|(k, v)| (k.text().to_owned(), v.json())).collect()),
            Yaml::Function(name) => Json::String(format!("!function {name}")),
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Yaml::List(items) => items.iter().map(Node::size).sum::<usize>(),
            Yaml::Map(map) => map.values().map(Node::size).sum::<usize>() + map.len(),
            _ => 0,
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Yaml::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Yaml::Map(map) => map.values().map(Node::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Most quoted texts and lines of one document that are read again with another indentation.
const MAX_REPAIRS: usize = 64;

/// Reads one document. An empty one is null.
pub fn parse(source: &str) -> Result<Node, YamlError> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut repaired: Option<String> = None;
    for _ in 0..MAX_REPAIRS {
        let text = repaired.as_deref().unwrap_or(source);
        match read(text) {
            Ok(node) => return Ok(node),
            Err(failure) => match failure.1.as_ref().and_then(|scan| indent::repair(text, scan)) {
                Some(better) => repaired = Some(better),
                None => return Err(failure.0),
            },
        }
    }
    read(repaired.as_deref().unwrap_or(source)).map_err(|failure| failure.0)
}

/// Reads a document as it stands. With the error comes the parser's own, where it is one.
fn read(source: &str) -> Result<Node, Box<(YamlError, Option<ScanError>)>> {
    let mut builder = Builder {
        open: Vec::new(),
        anchors: Default::default(),
        nodes: 0,
        done: None,
    };
    let mut last = 1;
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|error| {
            let line = u32::try_from(error.marker().line()).unwrap_or(last);
            let message = error.info().trim_end_matches('.').to_owned();
            let fault = Fault::Yaml { message };
            Box::new((YamlError { line, fault }, Some(error)))
        })?;
        last = u32::try_from(span.start.line()).unwrap_or(last);
        builder
            .event(event, last)
            .map_err(|fault| Box::new((YamlError { line: last, fault }, None)))?;
    }
    Ok(builder.done.unwrap_or(Node {
        line: 1,
        value: Yaml::Null,
    }))
}

/// A list or map that is not closed yet.
struct Open {
    line: u32,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map {
        pairs: Vec<(Node, bool, Node)>,
        /// The key that waits for its value, and whether it is a plain `<<`.
        key: Option<(Node, bool)>,
    },
}

struct Builder {
    open: Vec<Open>,
    anchors: std::collections::HashMap<usize, Node>,
    nodes: usize,
    done: Option<Node>,
}

fn yaml_fault(message: &str) -> Fault {
    Fault::Yaml {
        message: message.to_owned(),
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: u32) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.done.is_some() => Err(yaml_fault("more than one document in the file")),
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| yaml_fault("an alias inside its own anchor"))?;
                self.count(node.size())?;
                if self.open.len() + node.depth() > MAX_DEPTH {
                    return Err(too_deep());
                }
                self.place(node, 0, false)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1)?;
                let plain = style == ScalarStyle::Plain;
                let merge = plain && tag.is_none() && text == "<<";
                let value = scalar_value(&text, plain, tag.as_deref())?;
                self.place(Node { line, value }, anchor, merge)
            }
            Event::SequenceStart(anchor, tag) => self.start(line, anchor, tag.as_deref(), Parts::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                let parts = Parts::Map {
                    pairs: Vec::new(),
                    key: None,
                };
                self.start(line, anchor, tag.as_deref(), parts)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, parts }) = self.open.pop() else {
                    return Err(yaml_fault("a collection ends that never started"));
                };
                let value = match parts {
                    Parts::List(items) => Yaml::List(items),
                    Parts::Map { pairs, .. } => Yaml::Map(mapping(pairs)?),
                };
                self.place(Node { line, value }, anchor, false)
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, n: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(n);
        if self.nodes > MAX_NODES {
            return Err(Fault::TooLarge {
                what: "YAML document with its aliases followed",
                limit: MAX_NODES as u64,
                unit: "nodes",
            });
        }
        Ok(())
    }

    fn start(&mut self, line: u32, anchor: usize, tag: Option<&Tag>, parts: Parts) -> Result<(), Fault> {
        self.count(1)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        let expected = if matches!(parts, Parts::List(_)) { "seq" } else { "map" };
        match tag {
            None => {}
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => {}
            Some(tag) => return Err(Fault::YamlTag { tag: tag.to_string() }),
        }
        self.open.push(Open { line, anchor, parts });
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize, merge: bool) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.done = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { pairs, key }) => match key.take() {
                None => *key = Some((node, merge)),
                Some((key, merge)) => pairs.push((key, merge, node)),
            },
        }
        Ok(())
    }
}

fn too_deep() -> Fault {
    Fault::TooLarge {
        what: "nesting of the YAML document",
        limit: MAX_DEPTH as u64,
        unit: "levels",
    }
}

/// A mapping with merge keys resolved: merged pairs stand first, so that the mapping's own keys win.
fn mapping(pairs: Vec<(Node, bool, Node)>) -> Result<IndexMap<Key, Node>, Fault> {
    let mut map = IndexMap::new();
    let mut own = Vec::with_capacity(pairs.len());
    for (key, merge, value) in pairs {
        if !merge {
            own.push((key, value));
            continue;
        }
        match value.value {
            Yaml::Map(inner) => map.extend(inner),
            Yaml::List(items) => {
                // Of several merged maps the first wins.
                for item in items.into_iter().rev() {
                    match item.value {
                        Yaml::Map(inner) => map.extend(inner),
                        _ => return Err(yaml_fault("only maps can be merged")),
                    }
                }
            }
            _ => return Err(yaml_fault("only maps can be merged")),
        }
    }
    for (key, value) in own {
        let key = match key.value {
            Yaml::Str(s) => Key::Str(s),
            Yaml::Null => Key::Other("None".into()),
            Yaml::Bool(b) => Key::Other(if b { "True" } else { "False" }.into()),
            Yaml::Int(n) => Key::Other(n.to_string()),
            Yaml::Float(x) => Key::Other(python::float(x)),
            _ => return Err(yaml_fault("a list, a map or a function cannot be a key")),
        };
        map.insert(key, value);
    }
    Ok(map)
}

fn scalar_value(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Yaml, Fault> {
    let Some(tag) = tag else {
        return Ok(if plain {
            scalar::resolve(text)
        } else {
            Yaml::Str(text.to_owned())
        });
    };
    if tag.handle == "!" && tag.suffix == "function" {
        return Ok(Yaml::Function(text.to_owned()));
    }
    let resolved = scalar::resolve(text);
    match (tag.is_yaml_core_schema(), tag.suffix.as_str(), resolved) {
        (true, "str", _) => Ok(Yaml::Str(text.to_owned())),
        (true, "null", _) => Ok(Yaml::Null),
        (true, "bool", value @ Yaml::Bool(_)) | (true, "int", value @ Yaml::Int(_)) => Ok(value),
        (true, "float", value @ Yaml::Float(_)) => Ok(value),
        (true, "float", Yaml::Int(n)) => Ok(Yaml::Float(n as f64)),
        _ if tag.handle.is_empty() && tag.suffix == "!" => Ok(Yaml::Str(text.to_owned())),
        _ => Err(Fault::YamlTag { tag: tag.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_of(source: &str) -> Json {
        parse(source).unwrap().json()
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_at_the_first_ones_place() {
        assert_eq!(json_of("a: 1\nb: 2\na: 3\n").to_string(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn functions_are_values() {
        let node = parse("x: !function utils.process_docs\ny: '!function no'\n").unwrap();
        assert_eq!(
            node.get("x").unwrap().value,
            Yaml::Function("utils.process_docs".into())
        );
        assert_eq!(node.get("y").unwrap().value, Yaml::Str("!function no".into()));
    }

    #[test]
    fn anchors_and_merges() {
        let source = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall:\n  <<: [*b, *m]\n  x: 9\nagain: *b\n";
        let value = json_of(source);
        assert_eq!(value["all"], json!({"y": 2, "z": 4, "x": 9}));
        assert_eq!(value["again"], json!({"x": 1, "y": 2}));
        assert_eq!(json_of("'<<': 1\n"), json!({"<<": 1}));
    }

    #[test]
    fn quoting_decides() {
        assert_eq!(
            json_of("[yes, 'yes', \"a\\n\", 'a\\n', ~, '']"),
            json!([true, "yes", "a\n", "a\\n", null, ""])
        );
        assert_eq!(
            json_of("a: |\n  x\n  y\nb: >-\n  x\n  y\n"),
            json!({"a": "x\ny\n", "b": "x y"})
        );
        assert_eq!(json_of("- !!str 1\n- !!float 2\n- !!int 3\n"), json!(["1", 2.0, 3]));
    }

    // PyYAML reads all of these.
    #[test]
    fn indentation_that_means_nothing_is_forgiven() {
        let source = "a:\n  b: 'one\n two''s\n\n  three'\n  c: \"x\\\n y\n z\"\n  d: [\n    1\n  ]\ne: 5\n";
        let value = json!({"a": {"b": "one two's\nthree", "c": "xy z", "d": [1]}, "e": 5});
        assert_eq!(json_of(source), value);
        let node = parse(source).unwrap();
        assert_eq!(node.get("e").unwrap().line, 12);
        assert!(parse("a:\n  b: 'one\n two\n").is_err());
    }

    #[test]
    fn laughs_and_depth_are_bounded() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let items = vec![format!("*a{}", i - 1); 9].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{items}]\n"));
        }
        let error = parse(&laughs).unwrap_err();
        assert_eq!((error.fault.code(), error.line), ("task-too-large", 6));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_err());
        let shallow = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(&shallow).is_ok());
        assert_eq!(
            parse(&format!("[{shallow}]")).unwrap_err().fault.code(),
            "task-too-large"
        );
        let nested = "a: &a [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n";
        let nested = format!("{nested}b: &b {}*a{}\n", "[".repeat(30), "]".repeat(30));
        assert_eq!(parse(&nested).unwrap_err().fault.code(), "task-too-large");
        assert!(parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn mistakes_have_a_line() {
        for (source, line) in [
            ("a: 1\nb: [1, 2\n", 3),
            ("a: 1\nb: !python/object x\n", 2),
            ("a: 1\n---\nb: 2\n", 2),
            ("a: 1\nb: {[x]: 1}\n", 2),
            ("a: 1\nb: c\n\td: 1\n", 2),
        ] {
            let error = parse(source).unwrap_err();
            assert_eq!(error.line, line, "{source:?}: {error:?}");
        }
    }
}
