//! JSON from strangers: duplicate keys, depth and size are errors instead of surprises.
//!
//! serde_json keeps the last of two equal keys and other readers keep the first, so a file with both means two different
//! things to two programs. Here it means nothing: it is refused.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a parse may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// bytes of the text
    pub bytes: usize,
    /// nested arrays and objects
    pub depth: usize,
    /// values in all, keys not counted
    pub values: usize,
}

/// Why a text was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// longer than the limit
    #[error("the file has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// its length
        bytes: usize,
        /// the limit
        limit: usize,
    },
    /// not UTF-8
    #[error("the file is not UTF-8 text (byte {at})")]
    NotUtf8 {
        /// offset of the first wrong byte
        at: usize,
    },
    /// syntax, duplicate key, depth, number of values
    #[error("{0}")]
    Syntax(String),
}

/// Parses one JSON value that ends the text.
pub(crate) fn parse(bytes: &[u8], limits: Limits) -> Result<Value, JsonError> {
    if bytes.len() > limits.bytes {
        return Err(JsonError::TooLong {
            bytes: bytes.len(),
            limit: limits.bytes,
        });
    }
    let source = std::str::from_utf8(bytes).map_err(|e| JsonError::NotUtf8 { at: e.valid_up_to() })?;
    let mut left = limits.values;
    let mut reader = serde_json::Deserializer::from_str(source);
    let value = Strict {
        depth: limits.depth,
        left: &mut left,
    }
    .deserialize(&mut reader)
    .map_err(|e| JsonError::Syntax(e.to_string()))?;
    reader.end().map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(value)
}

struct Strict<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl Strict<'_> {
    fn spend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        Ok(())
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Strict {
            depth,
            left: &mut *self.left,
        })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the key \"{}\" appears twice",
                    crate::problem::quoted(&key)
                )));
            }
            let value = access.next_value_seed(Strict {
                depth,
                left: &mut *self.left,
            })?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        bytes: 1000,
        depth: 4,
        values: 20,
    };

    #[test]
    fn ordinary_json_reads_as_serde_json_reads_it() {
        let source = r#"{"a":[1,-2,2.5,"x",null,true],"b":{"c":{}}}"#;
        assert_eq!(
            parse(source.as_bytes(), SMALL).unwrap(),
            serde_json::from_str::<Value>(source).unwrap()
        );
    }

    #[test]
    fn duplicates_depth_number_and_length_are_refused() {
        let error = |source: &str| parse(source.as_bytes(), SMALL).unwrap_err().to_string();
        assert!(error(r#"{"a":1,"a":1}"#).contains("appears twice"));
        assert!(error(r#"{"k":{"a":1,"\u0061":2}}"#).contains("appears twice"));
        assert!(error("[[[[[1]]]]]").contains("deeply"));
        assert!(error(&format!("[{}1]", "1,".repeat(30))).contains("too many"));
        assert!(error(&"[".repeat(900)).contains("deeply"));
        assert!(error(&" ".repeat(2000)).contains("2000"));
        assert!(error("{} x").contains("trailing"));
        assert!(matches!(parse(b"\"\xff\"", SMALL), Err(JsonError::NotUtf8 { at: 1 })));
    }
}
