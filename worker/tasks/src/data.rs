//! Documents from local JSON files, with one shape for all rows, as Arrow gives them to the harness.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Fault, Place, TaskError};

/// Most documents of one split.
const MAX_DOCS: usize = 1_000_000;
/// Most fields of a document, nested ones included.
const MAX_FIELDS: usize = 4096;

/// The documents of one split.
#[derive(Debug, Default)]
pub struct Docs {
    /// One object a document, every one with the same fields in the same order.
    pub rows: Vec<Value>,
    /// The fields' names.
    pub columns: Vec<String>,
}

/// Reads the files of one split: `(name, text)` each, JSON lines, one list of objects, or one object of columns. `field`
/// names the member that holds the records, as `load_dataset("json", field=…)` has it.
pub fn read(files: &[(std::sync::Arc<str>, String)], field: Option<&str>) -> Result<Docs, TaskError> {
    let mut rows = Vec::new();
    for (name, text) in files {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        records(name, text, field, &mut rows)?;
        if rows.len() > MAX_DOCS {
            let (what, limit, unit) = ("split", MAX_DOCS as u64, "documents");
            return Err(TaskError::new(
                Place::file(name.clone()),
                Fault::TooLarge { what, limit, unit },
            ));
        }
    }
    let place = || Place::file(files.first().map(|f| f.0.clone()).unwrap_or_default());
    let mut shape = Shape::Unknown;
    let mut fields = 0;
    for row in &rows {
        shape.widen(row, &mut fields);
        if fields > MAX_FIELDS {
            let (what, limit, unit) = ("list of fields", MAX_FIELDS as u64, "fields");
            return Err(TaskError::new(place(), Fault::TooLarge { what, limit, unit }));
        }
    }
    let rows = rows.into_iter().map(|row| shape.fit(row)).collect();
    let columns = match shape {
        Shape::Object(fields) => fields.into_keys().collect(),
        _ => Vec::new(),
    };
    Ok(Docs { rows, columns })
}

fn fault(name: &std::sync::Arc<str>, line: usize, message: impl Into<String>) -> TaskError {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    TaskError::new(
        Place::line(name.clone(), line),
        Fault::Data {
            message: message.into(),
        },
    )
}

fn records(
    name: &std::sync::Arc<str>,
    text: &str,
    field: Option<&str>,
    rows: &mut Vec<Value>,
) -> Result<(), TaskError> {
    let whole = |e: serde_json::Error| fault(name, e.line(), e.to_string());
    if let Some(field) = field {
        let mut value: Value = serde_json::from_str(text).map_err(whole)?;
        return match value.get_mut(field).map(Value::take) {
            Some(records) => list(name, records, rows),
            None => Err(fault(name, 1, format!("there is no member {field:?}"))),
        };
    }
    if text.trim_start().starts_with('[') {
        return list(name, serde_json::from_str(text).map_err(whole)?, rows);
    }
    // One object in the whole file, over several lines, is a table of columns or a single record.
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    if !first.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(first).is_err() {
        let value: Result<Value, _> = serde_json::from_str(text);
        if let Ok(value) = value {
            return list(name, value, rows);
        }
    }
    for (i, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(Value::Object(row)) => rows.push(Value::Object(row)),
            Ok(_) => return Err(fault(name, i + 1, "the line is no object")),
            Err(error) => return Err(fault(name, i + 1, error.to_string())),
        }
    }
    Ok(())
}

fn list(name: &std::sync::Arc<str>, value: Value, rows: &mut Vec<Value>) -> Result<(), TaskError> {
    match value {
        Value::Array(items) => {
            for (i, item) in items.into_iter().enumerate() {
                match item {
                    Value::Object(row) => rows.push(Value::Object(row)),
                    _ => return Err(fault(name, 1, format!("element {i} is no object"))),
                }
            }
            Ok(())
        }
        Value::Object(columns) if !columns.is_empty() && columns.values().all(Value::is_array) => {
            let length = columns
                .values()
                .filter_map(Value::as_array)
                .map(Vec::len)
                .max()
                .unwrap_or(0);
            for i in 0..length.min(MAX_DOCS + 1) {
                let row: Option<Map<String, Value>> = columns
                    .iter()
                    .map(|(key, column)| column.get(i).map(|v| (key.clone(), v.clone())))
                    .collect();
                rows.push(Value::Object(
                    row.ok_or_else(|| fault(name, 1, "the columns have different lengths"))?,
                ));
            }
            Ok(())
        }
        Value::Object(row) => {
            rows.push(Value::Object(row));
            Ok(())
        }
        _ => Err(fault(name, 1, "neither a list of objects nor an object of columns")),
    }
}

/// The type all rows share: what is missing in one becomes null, integers become floats where another row has floats,
/// and values of different kinds stay as they are.
enum Shape {
    Unknown,
    Integer,
    Float,
    Other(std::mem::Discriminant<Value>),
    List(Box<Shape>),
    Object(IndexMap<String, Shape>),
    Mixed,
}

impl Shape {
    fn widen(&mut self, value: &Value, fields: &mut usize) {
        if let Self::Unknown = self {
            *self = match value {
                Value::Null => return,
                Value::Number(n) if n.is_f64() => Self::Float,
                Value::Number(_) => Self::Integer,
                Value::Array(_) => Self::List(Box::new(Self::Unknown)),
                Value::Object(_) => Self::Object(IndexMap::new()),
                other => Self::Other(std::mem::discriminant(other)),
            };
        }
        match (&mut *self, value) {
            (_, Value::Null) | (Self::Mixed, _) => {}
            (Self::Integer | Self::Float, Value::Number(n)) => {
                if n.is_f64() {
                    *self = Self::Float;
                }
            }
            (Self::Other(kind), value) if *kind == std::mem::discriminant(value) => {}
            (Self::List(inner), Value::Array(items)) => items.iter().for_each(|item| inner.widen(item, fields)),
            (Self::Object(known), Value::Object(map)) => {
                for (key, value) in map {
                    if !known.contains_key(key) {
                        *fields += 1;
                        if *fields > MAX_FIELDS {
                            return;
                        }
                        known.insert(key.clone(), Self::Unknown);
                    }
                    if let Some(shape) = known.get_mut(key) {
                        shape.widen(value, fields);
                    }
                }
            }
            _ => *self = Self::Mixed,
        }
    }

    fn fit(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Float, Value::Number(n)) => n
                .as_f64()
                .and_then(serde_json::Number::from_f64)
                .map_or(Value::Null, Value::Number),
            (Self::List(inner), Value::Array(items)) => {
                Value::Array(items.into_iter().map(|item| inner.fit(item)).collect())
            }
            (Self::Object(fields), Value::Object(mut map)) => Value::Object(
                fields
                    .iter()
                    .map(|(key, shape)| (key.clone(), shape.fit(map.remove(key).unwrap_or(Value::Null))))
                    .collect(),
            ),
            (_, value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(text: &str) -> Result<Vec<Value>, TaskError> {
        read(&[("d.jsonl".into(), text.into())], None).map(|d| d.rows)
    }

    #[test]
    fn every_layout_gives_the_same_rows() {
        let expected = vec![json!({"a": 1, "b": "x"}), json!({"a": 2, "b": "y"})];
        for text in [
            "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2,\"b\":\"y\"}\r\n",
            "\u{feff}[{\"a\":1,\"b\":\"x\"},\n {\"a\":2,\"b\":\"y\"}]",
            "{\n\"a\": [1, 2],\n\"b\": [\"x\", \"y\"]}",
        ] {
            assert_eq!(rows(text).unwrap(), expected, "{text}");
        }
        let docs = read(
            &[("d.json".into(), "{\"v\": 1, \"data\": [{\"a\": 1}]}".into())],
            Some("data"),
        )
        .unwrap();
        assert_eq!(docs.rows, [json!({"a": 1})]);
        assert_eq!(docs.columns, ["a"]);
    }

    #[test]
    fn rows_share_one_shape() {
        let text = "{\"a\":1,\"c\":{\"t\":[1]}}\n{\"b\":2,\"a\":0.5,\"c\":{\"l\":null,\"t\":[2.5]}}\n";
        assert_eq!(
            rows(text).unwrap(),
            [
                json!({"a": 1.0, "c": {"t": [1.0], "l": null}, "b": null}),
                json!({"a": 0.5, "c": {"t": [2.5], "l": null}, "b": 2})
            ]
        );
        assert_eq!(
            rows("{\"a\":1}\n{\"a\":\"x\"}\n").unwrap(),
            [json!({"a": 1}), json!({"a": "x"})]
        );
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, line) in [
            ("{\"a\":1}\n{\"a\":\n", 2),
            ("{\"a\":1}\n[1]\n", 2),
            ("[{\"a\":1},\n 2]", 1),
            ("[{\"a\":1},\n x]", 2),
            ("{\"a\": NaN}\n", 1),
            ("{\n\"a\": [1],\n\"b\": [1, 2]}", 1),
        ] {
            let error = rows(text).unwrap_err();
            assert_eq!((error.code(), error.place.line), ("task-data", Some(line)), "{text}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(rows(&deep).is_err());
        let wide: String = (0..5000).map(|i| format!("{{\"k{i}\":1}}\n")).collect();
        assert_eq!(rows(&wide).unwrap_err().code(), "task-too-large");
    }
}
