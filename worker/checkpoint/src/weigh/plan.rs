//! What the files would weigh after a change: exactly, header included, as the reference writer would write them.

use std::collections::{BTreeMap, BTreeSet};

use crate::safetensors::{Dtype, Header, file_length};

/// Tensors taken away and put in their place.
#[derive(Default)]
pub(super) struct Change {
    removed: BTreeSet<String>,
    /// the tensor whose file it goes into, name, dtype, shape
    added: Vec<(String, String, Dtype, Vec<u64>)>,
    /// `__metadata__` entries that are not the usual one go as well
    bare: bool,
}

impl Change {
    /// The same tensors under a header with nothing superfluous in it.
    pub fn bare() -> Change {
        Change {
            bare: true,
            ..Change::default()
        }
    }

    pub fn remove(&mut self, name: impl Into<String>) {
        self.removed.insert(name.into());
    }

    /// Puts a tensor into the file that holds `beside`.
    pub fn add(&mut self, beside: &str, name: String, dtype: Dtype, shape: Vec<u64>) {
        self.added.push((beside.to_owned(), name, dtype, shape));
    }

    /// The tensor `name` with another dtype or shape.
    pub fn replace(&mut self, name: &str, dtype: Dtype, shape: Vec<u64>) {
        self.remove(name);
        self.add(name, name.to_owned(), dtype, shape);
    }

    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && !self.bare
    }
}

/// Bytes by which the files get shorter; 0 when they do not, or when the result could not be written. Files that are not
/// touched stay as they are; one that loses its last tensor goes altogether.
pub(super) fn saved(headers: &[(String, Header)], change: &Change) -> u64 {
    if change.is_empty() {
        return 0;
    }
    let (mut before, mut after) = (0u64, 0u64);
    for (_, header) in headers {
        let added: Vec<_> = change
            .added
            .iter()
            .filter(|(beside, ..)| header.tensors.contains_key(beside))
            .collect();
        let kept: Vec<_> = header
            .tensors
            .iter()
            .filter(|(name, _)| !change.removed.contains(*name))
            .collect();
        if added.is_empty() && kept.len() == header.tensors.len() && !change.bare {
            continue;
        }
        before = before.saturating_add(header.file_bytes);
        if added.is_empty() && kept.is_empty() {
            continue;
        }
        let tensors = kept
            .into_iter()
            .map(|(name, t)| (name.as_str(), t.dtype, t.shape.as_slice()))
            .chain(
                added
                    .into_iter()
                    .map(|(_, name, dtype, shape)| (name.as_str(), *dtype, shape.as_slice())),
            );
        let usual = |(key, _): &(&String, &String)| !change.bare || *key == "format";
        let metadata: BTreeMap<&str, &str> = header
            .metadata
            .iter()
            .filter(usual)
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        match file_length(tensors, &metadata) {
            Some(length) => after = after.saturating_add(length),
            None => return 0,
        }
    }
    before.saturating_sub(after)
}
