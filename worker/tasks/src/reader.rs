//! Taking typed values out of YAML maps, with the place of every mistake.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Fault, Place, TaskError};
use crate::yaml::{Key, Node, Yaml};

/// A value of a kind its key cannot have.
pub fn wrong_kind(place: Place, key: &str, expected: &'static str) -> TaskError {
    let key = key.to_owned();
    TaskError::new(place, Fault::WrongKind { key, expected })
}

/// The string of a node; a function is refused by name.
pub fn text(node: &Node, place: Place, key: &str) -> Result<String, TaskError> {
    match &node.value {
        Yaml::Str(text) => Ok(text.clone()),
        Yaml::Function(name) => {
            let (name, key) = (name.clone(), key.to_owned());
            Err(TaskError::new(place, Fault::Function { name, key }))
        }
        _ => Err(wrong_kind(place, key, "a string")),
    }
}

/// The keys of one map, taken one by one; [`done`](Self::done) refuses what is left.
pub struct Keys<'a> {
    node: &'a Node,
    file: Arc<str>,
    taken: BTreeSet<&'static str>,
}

impl<'a> Keys<'a> {
    /// The keys of `node`, which stands at `key` in `file`.
    pub fn of(node: &'a Node, file: &Arc<str>, key: &str) -> Result<Self, TaskError> {
        match node.value {
            Yaml::Map(_) => Ok(Self {
                node,
                file: file.clone(),
                taken: BTreeSet::new(),
            }),
            _ => Err(wrong_kind(Place::line(file.clone(), node.line), key, "a mapping")),
        }
    }

    /// Where `key` is written, or the map if it is not.
    pub fn place_of(&self, key: &str) -> Place {
        Place::line(self.file.clone(), self.node.get(key).unwrap_or(self.node).line)
    }

    /// The value at `key`; a null counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.taken.insert(key);
        self.node.get(key).filter(|node| node.value != Yaml::Null)
    }

    /// The value at `key`, which must be there.
    pub fn need(&mut self, key: &'static str) -> Result<&'a Node, TaskError> {
        let place = self.place_of(key);
        self.take(key)
            .ok_or_else(|| TaskError::new(place, Fault::MissingKey { key }))
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, TaskError> {
        let place = self.place_of(key);
        self.take(key).map(|node| text(node, place, key)).transpose()
    }

    /// A string that must be there.
    pub fn need_text(&mut self, key: &'static str) -> Result<String, TaskError> {
        let place = self.place_of(key);
        text(self.need(key)?, place, key)
    }

    /// A boolean.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, TaskError> {
        let place = self.place_of(key);
        match self.take(key).map(|node| &node.value) {
            None => Ok(None),
            Some(Yaml::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(wrong_kind(place, key, "true or false")),
        }
    }

    /// Whether Python takes the value for true: the harness asks no more of the options of metrics and filters.
    pub fn truth(&mut self, key: &'static str) -> bool {
        match self.take(key).map(|node| &node.value) {
            None => false,
            Some(Yaml::Bool(b)) => *b,
            Some(Yaml::Int(n)) => *n != 0,
            Some(Yaml::Float(x)) => *x != 0.0,
            Some(Yaml::Str(text)) => !text.is_empty(),
            Some(Yaml::List(items)) => !items.is_empty(),
            Some(_) => true,
        }
    }

    /// An integer.
    pub fn int(&mut self, key: &'static str) -> Result<Option<i64>, TaskError> {
        let place = self.place_of(key);
        match self.take(key).map(|node| &node.value) {
            None => Ok(None),
            Some(Yaml::Int(n)) => Ok(Some(*n)),
            Some(_) => Err(wrong_kind(place, key, "a whole number")),
        }
    }

    /// Refuses keys that were not taken.
    pub fn done(self) -> Result<(), TaskError> {
        let Yaml::Map(map) = &self.node.value else {
            return Ok(());
        };
        for (key, node) in map {
            let known = matches!(key, Key::Str(key) if self.taken.contains(key.as_str()));
            if !known {
                let key = key.text().to_owned();
                return Err(TaskError::new(
                    Place::line(self.file, node.line),
                    Fault::UnknownKey { key },
                ));
            }
        }
        Ok(())
    }
}
