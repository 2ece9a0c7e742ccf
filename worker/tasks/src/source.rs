//! The tasks folder: bounded reads that never leave it, and task files with their includes merged.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Fault, Place, TaskError};
use crate::yaml::{self, Key, Node, Yaml};

/// Largest task file, bytes. The largest that lm-evaluation-harness ships has 90 kB.
const MAX_YAML: u64 = 1 << 20;
/// Largest document file, bytes.
const MAX_DATA: u64 = 256 << 20;
/// Most files that take part in one task.
const MAX_INCLUDES: usize = 64;
/// Most entries a tasks folder may have, files and folders together.
const MAX_ENTRIES: usize = 100_000;
/// Deepest folder below the tasks folder.
const MAX_FOLDERS: usize = 24;

/// One top-level key's value and the file it was written in.
#[derive(Clone, PartialEq, Debug)]
pub struct Located {
    /// Below the tasks folder.
    pub file: Arc<str>,
    /// The value.
    pub node: Node,
}

impl Located {
    /// Where it is.
    pub fn place(&self) -> Place {
        Place::line(self.file.clone(), self.node.line)
    }
}

/// A task's or group's keys, includes merged.
pub type Config = IndexMap<String, Located>;

/// A tasks folder.
pub struct Source {
    root: PathBuf,
    /// Files read once, as they are written.
    parsed: RefCell<HashMap<PathBuf, Result<Rc<Config>, TaskError>>>,
}

impl Source {
    /// The folder `root`.
    pub fn open(root: &Path) -> Result<Self, TaskError> {
        let fault = |cause: String| TaskError::new(Place::file(&*root.to_string_lossy()), Fault::NotReadable { cause });
        let root = root.canonicalize().map_err(|e| fault(e.to_string()))?;
        if !root.is_dir() {
            return Err(fault("not a folder".into()));
        }
        Ok(Self {
            root,
            parsed: RefCell::default(),
        })
    }

    /// `path` as it is shown: below the root.
    pub fn name(&self, path: &Path) -> Arc<str> {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/")
            .into()
    }

    /// Every `*.yaml` below the root, in the order lm-evaluation-harness takes them (by path, as text).
    pub fn task_files(&self) -> Result<Vec<PathBuf>, TaskError> {
        let mut files = Vec::new();
        let mut folders = vec![(self.root.clone(), 0)];
        let mut seen = 0;
        while let Some((folder, depth)) = folders.pop() {
            let place = || Place::file(self.name(&folder));
            let unreadable = |e: std::io::Error| TaskError::new(place(), Fault::NotReadable { cause: e.to_string() });
            for entry in fs::read_dir(&folder).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                seen += 1;
                if seen > MAX_ENTRIES || depth > MAX_FOLDERS {
                    let (what, limit, unit) = match depth > MAX_FOLDERS {
                        true => ("nesting of the tasks folder", MAX_FOLDERS, "levels"),
                        false => ("tasks folder", MAX_ENTRIES, "files"),
                    };
                    let limit = limit as u64;
                    return Err(TaskError::new(place(), Fault::TooLarge { what, limit, unit }));
                }
                let path = entry.path();
                // A folder behind a symbolic link is not entered: it could lead anywhere, or round in a circle.
                let kind = entry.file_type().map_err(unreadable)?;
                let name = entry.file_name();
                if kind.is_dir() {
                    if name != "__pycache__" && name != ".ipynb_checkpoints" {
                        folders.push((path, depth + 1));
                    }
                } else if path.extension().is_some_and(|e| e == "yaml") && path.is_file() {
                    files.push(path);
                }
            }
        }
        files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        Ok(files)
    }

    /// The real path of `path` as written in a file of `folder`, if it is inside the root.
    fn inside(&self, folder: &Path, path: &str, place: &Place) -> Result<PathBuf, TaskError> {
        let outside = || TaskError::new(place.clone(), Fault::OutsideRoot { path: path.to_owned() });
        let joined = folder.join(path);
        // Checked on the text first, so that whether a file outside exists cannot be told from the answer.
        let mut plain = PathBuf::new();
        for part in joined.components() {
            match part {
                Component::ParentDir => {
                    plain.pop();
                }
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        if !plain.starts_with(&self.root) {
            return Err(outside());
        }
        let real = joined.canonicalize().map_err(|e| {
            let cause = format!("{path}: {e}");
            TaskError::new(place.clone(), Fault::NotReadable { cause })
        })?;
        if real.starts_with(&self.root) {
            Ok(real)
        } else {
            Err(outside())
        }
    }

    fn read(&self, path: &Path, limit: u64, what: &'static str) -> Result<String, TaskError> {
        let place = || Place::file(self.name(path));
        let unreadable = |e: std::io::Error| TaskError::new(place(), Fault::NotReadable { cause: e.to_string() });
        // Asked before opening: opening a pipe would block.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            let cause = "not a regular file".into();
            return Err(TaskError::new(place(), Fault::NotReadable { cause }));
        }
        let file = fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > limit {
            let unit = "bytes";
            return Err(TaskError::new(place(), Fault::TooLarge { what, limit, unit }));
        }
        String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|b| **b == b'\n').count() as u32 + 1;
            let message = "not UTF-8".into();
            TaskError::new(Place::line(self.name(path), line), Fault::Data { message })
        })
    }

    /// The text of a document file named `path` in a task file of `folder`: looked for there first, then below the root.
    /// Answers with the name it is shown by.
    pub fn data(&self, folder: &Path, path: &str, place: &Place) -> Result<(Arc<str>, String), TaskError> {
        let here = self.inside(folder, path, place);
        let found = match &here {
            Err(error) if matches!(*error.kind, Fault::NotReadable { .. }) => {
                self.inside(&self.root, path, place).or(here)?
            }
            _ => here?,
        };
        Ok((self.name(&found), self.read(&found, MAX_DATA, "document file")?))
    }

    /// The folder of the file shown as `name`.
    pub fn folder(&self, name: &str) -> PathBuf {
        let mut path = self.root.join(name);
        path.pop();
        path
    }

    /// One file's own keys, in order.
    fn own(&self, path: &Path) -> Result<Rc<Config>, TaskError> {
        if let Some(known) = self.parsed.borrow().get(path) {
            return known.clone();
        }
        let result = self.own_unread(path).map(Rc::new);
        self.parsed.borrow_mut().insert(path.to_owned(), result.clone());
        result
    }

    fn own_unread(&self, path: &Path) -> Result<Config, TaskError> {
        let text = self.read(path, MAX_YAML, "task file")?;
        let file = self.name(path);
        let node = yaml::parse(&text).map_err(|e| TaskError::new(Place::line(file.clone(), e.line), e.fault))?;
        let Yaml::Map(map) = node.value else {
            let key = "the file".into();
            let expected = "a mapping of keys to values";
            return Err(TaskError::new(
                Place::line(file, node.line),
                Fault::WrongKind { key, expected },
            ));
        };
        map.into_iter()
            .map(|(key, node)| match key {
                Key::Str(key) => Ok((
                    key,
                    Located {
                        file: file.clone(),
                        node,
                    },
                )),
                Key::Other(key) => Err(TaskError::new(
                    Place::line(file.clone(), node.line),
                    Fault::UnknownKey { key },
                )),
            })
            .collect()
    }

    /// A file's keys with its includes merged below them: included files in order, then the file's own keys, each
    /// replacing the whole earlier value. The harness refuses a file that is met twice on the way, and so do we.
    pub fn load(&self, path: &Path) -> Result<Config, TaskError> {
        self.merge(path, &mut BTreeSet::new())
    }

    fn merge(&self, path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<Config, TaskError> {
        seen.insert(path.to_owned());
        let own = self.own(path)?;
        let Some(include) = own.get("include") else {
            return Ok((*own).clone());
        };
        let items = match &include.node.value {
            Yaml::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&include.node),
        };
        let mut folder = path.to_owned();
        folder.pop();
        let mut merged = Config::new();
        for item in items {
            let place = Place::line(include.file.clone(), item.line);
            let Yaml::Str(written) = &item.value else {
                let key = "include".into();
                let expected = "a path or a list of paths";
                return Err(TaskError::new(place, Fault::WrongKind { key, expected }));
            };
            let target = self.inside(&folder, written, &place)?;
            if seen.contains(&target) {
                let file = self.name(&target).to_string();
                return Err(TaskError::new(place, Fault::IncludeCycle { file }));
            }
            if seen.len() >= MAX_INCLUDES {
                let (what, limit, unit) = ("number of included files", MAX_INCLUDES as u64, "files");
                return Err(TaskError::new(place, Fault::TooLarge { what, limit, unit }));
            }
            let mut included = self.merge(&target, seen)?;
            included.shift_remove("task_list");
            merged.extend(included);
        }
        for (key, value) in own.iter().filter(|(key, _)| *key != "include") {
            merged.insert(key.clone(), value.clone());
        }
        Ok(merged)
    }
}
