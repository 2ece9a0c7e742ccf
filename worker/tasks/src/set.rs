//! The tasks and groups that were asked for, built from a folder.

use std::path::Path;

use indexmap::IndexMap;

use crate::config::TaskConfig;
use crate::error::{Fault, Place, TaskError};
use crate::group::{GROUP_KEYS, Group, GroupConfig, GroupOutcome};
use crate::index::{Entry, Index};
use crate::reader::{text, wrong_kind};
use crate::score::TaskOutcome;
use crate::source::{Config, Located, Source};
use crate::task::Task;
use crate::yaml::{Node, Yaml};

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 16;
/// Most tasks one set may have.
const MAX_TASKS: usize = 10_000;

/// Tasks, ready to be asked, and the groups they are reported in.
#[derive(Debug, Default)]
pub struct TaskSet {
    tasks: Vec<Task>,
    groups: Vec<Group>,
}

impl TaskSet {
    /// Loads `names` (tasks, groups or tags) from the task files below `root`. Includes and documents are looked for
    /// beside the file that names them, documents then below `root`; nothing outside `root` is read.
    pub fn load(root: &Path, names: &[String]) -> Result<Self, TaskError> {
        let source = Source::open(root)?;
        let index = Index::build(&source)?;
        let mut builder = Builder {
            source: &source,
            index: &index,
            tasks: IndexMap::new(),
            groups: IndexMap::new(),
            open: Vec::new(),
        };
        let mut owners: IndexMap<String, String> = IndexMap::new();
        for name in names {
            let place = Place::file(name.as_str());
            for member in builder.named(name, &Config::new(), &place)? {
                for task in builder.leaves(&member) {
                    // Asking for the same name twice is one request; the same task through two names is a mistake.
                    let owner = member.name().to_owned();
                    let first = owners.entry(task.clone()).or_insert_with(|| owner.clone());
                    if *first != owner {
                        let (name, first, second) = (task, first.clone(), owner);
                        return Err(TaskError::new(place, Fault::DuplicateTask { name, first, second }));
                    }
                }
            }
        }
        let Builder { tasks, groups, .. } = builder;
        let tasks = tasks
            .into_values()
            .map(|config| Task::new(config, &source))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            tasks,
            groups: groups.into_values().collect(),
        })
    }

    /// Names of all tasks, groups and tags below `root`, for help texts.
    pub fn names(root: &Path) -> Result<Vec<String>, TaskError> {
        let index = Index::build(&Source::open(root)?)?;
        Ok(index.names().map(|(name, _)| name.to_owned()).collect())
    }

    /// What a score formula may name: `acc.<task>.<metric>.<filter>`, of every task and of every group's aggregates.
    pub fn measure_names(&self) -> Vec<String> {
        let tasks = self.tasks.iter().flat_map(|task| {
            let config = task.config();
            config.filters.iter().flat_map(move |filter| {
                config
                    .metrics
                    .iter()
                    .map(move |metric| format!("acc.{}.{}.{}", config.task, metric.name, filter.name))
            })
        });
        let mut names: Vec<String> = tasks.collect();
        for group in &self.groups {
            for aggregate in &group.aggregates {
                let known = |task: &&Task| group.tasks.iter().any(|name| name == task.name());
                let found = self.tasks.iter().filter(known).flat_map(|task| &task.config().filters);
                let mut filters: Vec<String> = match &aggregate.filters {
                    Some(filters) => filters.clone(),
                    None => found.map(|filter| filter.name.clone()).collect(),
                };
                dedup(&mut filters);
                names.extend(
                    filters
                        .iter()
                        .map(|filter| format!("acc.{}.{}.{filter}", group.name, aggregate.metric)),
                );
            }
        }
        names
    }

    /// The tasks, in the order asked for.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// A task by name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.name() == name)
    }

    /// The groups, members before the groups they are in.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Every group's numbers from the tasks' outcomes.
    pub fn group_outcomes(&self, outcomes: &[TaskOutcome]) -> Vec<GroupOutcome> {
        self.groups.iter().map(|group| group.outcome(outcomes)).collect()
    }
}

/// A member of a group, or something asked for.
enum Member {
    Task(String),
    Group(String),
}

impl Member {
    fn name(&self) -> &str {
        match self {
            Self::Task(name) | Self::Group(name) => name,
        }
    }
}

struct Builder<'a> {
    source: &'a Source,
    index: &'a Index,
    tasks: IndexMap<String, TaskConfig>,
    groups: IndexMap<String, Group>,
    /// Groups being built, outermost first.
    open: Vec<String>,
}

impl Builder<'_> {
    fn leaves(&self, member: &Member) -> Vec<String> {
        match member {
            Member::Task(name) => vec![name.clone()],
            Member::Group(name) => self.groups.get(name).map(|g| g.tasks.clone()).unwrap_or_default(),
        }
    }

    /// What `name` stands for, built with `overrides` on top. A tag gives its tasks, sorted.
    fn named(&mut self, name: &str, overrides: &Config, place: &Place) -> Result<Vec<Member>, TaskError> {
        match self.index.get(name).cloned() {
            None => {
                let broken = self.index.broken().map(TaskError::to_string);
                let name = name.to_owned();
                Err(TaskError::new(place.clone(), Fault::UnknownTask { name, broken }))
            }
            Some(Entry::Task(path)) => {
                let mut config = self.source.load(&path)?;
                let task = config.get("task").cloned();
                config.extend(overrides.clone());
                // The name stays its own whatever overrides it.
                config.extend(task.map(|task| ("task".to_owned(), task)));
                let source = self.source.name(&path);
                self.task(config, &source).map(|member| vec![member])
            }
            Some(Entry::Group(path)) => {
                let config = self.source.load(&path)?;
                self.group(name, &config, overrides, place).map(|member| vec![member])
            }
            Some(Entry::Tag(tasks)) => {
                let mut members = Vec::new();
                for task in tasks {
                    members.extend(self.named(&task, overrides, place)?);
                }
                Ok(members)
            }
        }
    }

    fn task(&mut self, config: Config, source: &str) -> Result<Member, TaskError> {
        let task = TaskConfig::read(&config, source)?;
        let name = task.task.clone();
        self.tasks.insert(name.clone(), task);
        if self.tasks.len() > MAX_TASKS {
            let (what, limit, unit) = ("set of tasks", MAX_TASKS as u64, "tasks");
            return Err(TaskError::new(
                Place::file(source),
                Fault::TooLarge { what, limit, unit },
            ));
        }
        Ok(Member::Task(name))
    }

    /// A group: what is no group key of its own overrides its members, below what overrides the group itself.
    fn group(&mut self, name: &str, config: &Config, above: &Config, place: &Place) -> Result<Member, TaskError> {
        if self.open.iter().any(|open| open == name) {
            let name = name.to_owned();
            return Err(TaskError::new(place.clone(), Fault::GroupCycle { name }));
        }
        if self.open.len() >= MAX_DEPTH {
            let (what, limit, unit) = ("nesting of groups", MAX_DEPTH as u64, "levels");
            return Err(TaskError::new(place.clone(), Fault::TooLarge { what, limit, unit }));
        }
        self.open.push(name.to_owned());
        let own = GroupConfig::read(name, config)?;
        let mut overrides: Config = config
            .iter()
            .filter(|(k, _)| !GROUP_KEYS.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        overrides.extend(above.clone());
        let mut members = Vec::new();
        if let Some(Located { file, node }) = config.get("task") {
            match &node.value {
                Yaml::List(items) => {
                    for item in items {
                        let place = Place::line(file.clone(), item.line);
                        members.extend(self.member(name, item, &place, &overrides)?);
                    }
                }
                // The harness builds nothing from a single name.
                Yaml::Str(_) | Yaml::Null => {}
                _ => {
                    return Err(wrong_kind(
                        Place::line(file.clone(), node.line),
                        "task",
                        "a list of members",
                    ));
                }
            }
        }
        self.open.pop();
        let mut tasks: Vec<String> = Vec::new();
        let mut direct: Vec<String> = Vec::new();
        for member in &members {
            tasks.extend(self.leaves(member));
            direct.push(member.name().to_owned());
        }
        dedup(&mut tasks);
        dedup(&mut direct);
        let group = Group {
            name: name.to_owned(),
            alias: own.alias,
            version: own.version,
            members: direct,
            tasks,
            aggregates: own.aggregates,
        };
        // A group built again, with other overrides, stands where it was built last: after its members.
        self.groups.shift_remove(name);
        self.groups.insert(name.to_owned(), group);
        Ok(Member::Group(name.to_owned()))
    }

    /// One item of a group's `task` list: a name, a task with overrides, or a group written in place.
    fn member(
        &mut self,
        group: &str,
        item: &Node,
        place: &Place,
        overrides: &Config,
    ) -> Result<Vec<Member>, TaskError> {
        let map = match &item.value {
            Yaml::Str(name) => return self.named(name, overrides, place),
            Yaml::Map(map) => map,
            _ => return Err(wrong_kind(place.clone(), "task", "a name or a mapping")),
        };
        let written: Config = map
            .iter()
            .map(|(key, node)| {
                let file = place.file.clone();
                (
                    key.text().to_owned(),
                    Located {
                        file,
                        node: node.clone(),
                    },
                )
            })
            .collect();
        let name_at = |key: &str| written.get(key).map(|l| text(&l.node, l.place(), key)).transpose();
        if let Some(name) = name_at("group")? {
            if self.index.get(&name).is_some() {
                let mut merged = overrides.clone();
                merged.extend(written.into_iter().filter(|(key, _)| key != "group"));
                return self.named(&name, &merged, place);
            }
            let name = format!("{group}::{name}");
            return self.group(&name, &written, overrides, place).map(|member| vec![member]);
        }
        let Some(name) = name_at("task")? else {
            return Err(TaskError::new(place.clone(), Fault::MissingKey { key: "task" }));
        };
        let mut merged = overrides.clone();
        merged.extend(written);
        if self.index.get(&name).is_some() {
            return self.named(&name, &merged, place);
        }
        // A task written in place.
        if let Some(located) = merged.get_mut("task") {
            located.node.value = Yaml::Str(format!("{group}::{name}"));
        }
        self.task(merged, "inline").map(|member| vec![member])
    }
}

fn dedup(names: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
}
