//! Which tasks, groups and tags a folder has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use indexmap::IndexMap;

use crate::error::TaskError;
use crate::source::{Config, Source};
use crate::yaml::Yaml;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A task file.
    Task(PathBuf),
    /// A group file.
    Group(PathBuf),
    /// The names of the tasks that carry the tag, sorted.
    Tag(BTreeSet<String>),
}

/// Every name of a tasks folder.
pub struct Index {
    entries: IndexMap<String, Entry>,
    /// The first file that could not be read.
    broken: Option<TaskError>,
}

impl Index {
    /// Reads all task files. The first definition of a name stays; a file that cannot be read is skipped, as in the
    /// harness, and remembered for the answer to a name that is not found.
    pub fn build(source: &Source) -> Result<Self, TaskError> {
        let mut index = Self {
            entries: IndexMap::new(),
            broken: None,
        };
        for path in source.task_files()? {
            match source.load(&path) {
                Ok(config) => index.add(&config, path),
                Err(error) => {
                    index.broken.get_or_insert(error);
                }
            }
        }
        Ok(index)
    }

    fn add(&mut self, config: &Config, path: PathBuf) {
        let text = |key: &str| match config.get(key).map(|l| &l.node.value) {
            Some(Yaml::Str(text)) => Some(text.clone()),
            _ => None,
        };
        if !config.contains_key("class")
            && let Some(name) = text("group")
        {
            self.entries.entry(name).or_insert(Entry::Group(path));
            return;
        }
        let Some(name) = text("task") else {
            return;
        };
        if self.entries.contains_key(&name) {
            return;
        }
        self.entries.insert(name.clone(), Entry::Task(path));
        let tags = match config.get("tag").map(|l| &l.node.value) {
            Some(Yaml::Str(tag)) => vec![tag.clone()],
            Some(Yaml::List(tags)) => tags
                .iter()
                .filter_map(|tag| match &tag.value {
                    Yaml::Str(tag) => Some(tag.clone()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        for tag in tags {
            // A task or group of that name goes first.
            if let Entry::Tag(tasks) = self.entries.entry(tag).or_insert_with(|| Entry::Tag(BTreeSet::new())) {
                tasks.insert(name.clone());
            }
        }
    }

    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The first file that could not be read.
    pub fn broken(&self) -> Option<&TaskError> {
        self.broken.as_ref()
    }

    /// All names, in the order they were met.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}
