//! Fields of another tool's configuration.

use assay_contest::Problem;
use serde_json::{Map, Value};

use crate::problem::quoted;
use crate::verify::invalid;

/// An object's fields, read with a type; null is absent.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub &'a Map<String, Value>);

impl<'a> Keys<'a> {
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn wrong(self, name: &str) -> Box<Problem> {
        let shown = self.get(name).map(Value::to_string).unwrap_or_default();
        Box::new(invalid(&format!("{name}: {}", quoted(&shown))))
    }

    pub fn flag(self, name: &str, default: bool) -> Result<bool, Box<Problem>> {
        self.get(name)
            .map_or(Ok(default), |v| v.as_bool().ok_or_else(|| self.wrong(name)))
    }

    pub fn int(self, name: &str) -> Result<Option<i64>, Box<Problem>> {
        self.get(name)
            .map(|v| v.as_i64().ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    /// In lower case.
    pub fn text(self, name: &str) -> Result<Option<String>, Box<Problem>> {
        self.get(name)
            .map(|v| v.as_str().map(str::to_ascii_lowercase).ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    /// A list of strings; one string counts as a list of one.
    pub fn strings(self, name: &str) -> Result<Option<Vec<&'a str>>, Box<Problem>> {
        let list = |v: &'a Value| match v {
            Value::String(one) => Some(vec![one.as_str()]),
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        };
        self.get(name)
            .map(|v| list(v).ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    pub fn object(self, name: &str) -> Result<Option<Keys<'a>>, Box<Problem>> {
        self.get(name)
            .map(|v| v.as_object().map(Keys).ok_or_else(|| self.wrong(name)))
            .transpose()
    }

    /// Bits of a code.
    pub fn bits(self, name: &str) -> Result<Option<i64>, Box<Problem>> {
        match self.int(name)? {
            Some(bits) if !(1..=32).contains(&bits) => Err(self.wrong(name)),
            bits => Ok(bits),
        }
    }

    pub fn group(self, name: &str) -> Result<Option<i64>, Box<Problem>> {
        match self.int(name)? {
            Some(size) if super::strategy(size).is_none() => Err(self.wrong(name)),
            size => Ok(size),
        }
    }
}
