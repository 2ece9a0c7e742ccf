//! What people may see of results: the only place where a stored report is opened.
//!
//! A worker reports everything it measured. Where the rules seal documents, no figure that a sealed document is part of
//! leaves this module before the reveal: accuracies, standard errors and groups are computed anew over the public
//! documents, from the outcomes of each. What cannot be computed anew is left out. What the run cost (bytes, time,
//! memory) says nothing about any answer and is shown as it was.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use assay_contest::rules::Revealed;
use assay_contest::sealed::SealedSet;
use assay_contest::wire::{CONTEST_TASKS, ItemScores, Progress, Report, TaskReport};
use assay_tasks::{TaskSet, restrict};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use crate::db::contests::{self, StoredContest};
use crate::state::AppState;
use crate::uploader::blocking;
use crate::views::Sealing;

/// Measures by name.
pub type Measured = BTreeMap<String, f64>;

/// Measures of what a run costs rather than what it answers. Everything else that is not computed anew is kept back with the sealed
/// documents: a new measure is withheld until somebody has thought about it.
pub const COSTS: [&str; 17] = [
    "bytes",
    "time_ratio",
    "time_ratio_low",
    "time_ratio_high",
    "time_track_seconds",
    "time_track_base_seconds",
    "time_per_token",
    "tokens_per_second",
    "load_seconds",
    "wall_seconds",
    "peak_memory",
    "peak_device_memory",
    "energy_joules",
    "item_seconds_mean",
    "item_seconds_p50",
    "item_seconds_p90",
    "item_seconds_p99",
];

/// A report as stored, sealed documents included. [`Lens::report`] opens it.
#[derive(Clone, sqlx::Type)]
#[sqlx(transparent)]
pub struct StoredReport(Json<Value>);

impl fmt::Debug for StoredReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredReport")
    }
}

/// How far a grade was when it was last heard of, interim figures included. [`Lens::progress`] opens it.
#[derive(Clone, sqlx::Type)]
#[sqlx(transparent)]
pub struct StoredProgress(Json<Value>);

impl fmt::Debug for StoredProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredProgress")
    }
}

/// A report as people may see it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The report. Its figures are of the documents that count now, and the outcomes by document are not in it.
    pub report: Report,
    /// The measures of the public documents alone, once the sealed ones are revealed.
    pub public: Option<Measured>,
}

/// How the results of a contest are to be looked at now.
#[derive(Clone)]
pub struct Lens {
    seal: Option<Seal>,
}

/// The seal of a contest with the tasks it is of.
#[derive(Clone)]
struct Seal {
    tasks: Arc<TaskSet>,
    set: Arc<SealedSet>,
    revealed: bool,
    after: Revealed,
}

/// Which documents of a sealed contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Public,
    Sealed,
    All,
}

impl Lens {
    /// The lens of a contest.
    ///
    /// # Errors
    /// The database; a stored task file that is gone.
    pub async fn of(state: &AppState, contest: &StoredContest) -> anyhow::Result<Lens> {
        let (Some(seal), Some(rule)) = (&contest.seal, &contest.rules.grading.sealed) else {
            return Ok(Lens { seal: None });
        };
        let seal = Seal {
            tasks: state.task_sets.of(state, contest).await?,
            set: seal.documents.clone(),
            revealed: seal.revealed_at.is_some(),
            after: rule.after,
        };
        Ok(Lens { seal: Some(seal) })
    }

    /// Which documents figures are of, as pages say it.
    pub fn sealing(&self) -> Sealing {
        match &self.seal {
            None => Sealing::None,
            Some(Seal { revealed: false, .. }) => Sealing::Hidden,
            Some(Seal {
                after: Revealed::All, ..
            }) => Sealing::All,
            Some(Seal {
                after: Revealed::Sealed,
                ..
            }) => Sealing::Sealed,
        }
    }

    /// Whether raw outputs, outcomes by document and interim figures are kept back.
    pub fn hides(&self) -> bool {
        self.sealing() == Sealing::Hidden
    }

    /// Whether figures have to be computed from the outcomes by document.
    pub fn needs_items(&self) -> bool {
        self.seal.is_some()
    }

    fn counting(&self) -> Part {
        match self.sealing() {
            Sealing::Hidden => Part::Public,
            Sealing::Sealed => Part::Sealed,
            Sealing::None | Sealing::All => Part::All,
        }
    }

    /// The measures that count now.
    pub fn measures(&self, measures: Measured, items: &[ItemScores]) -> Measured {
        match (&self.seal, self.counting()) {
            (Some(seal), part @ (Part::Public | Part::Sealed)) => seal.measures(&measures, items, part),
            _ => measures,
        }
    }

    /// The measures of the public documents alone, where they are shown beside those that count.
    pub fn public(&self, measures: &Measured, items: &[ItemScores]) -> Option<Measured> {
        let seal = self.seal.as_ref().filter(|seal| seal.revealed)?;
        Some(seal.measures(measures, items, Part::Public))
    }

    /// The outcomes of the documents that count now.
    pub fn items(&self, items: Vec<ItemScores>) -> Vec<ItemScores> {
        match (&self.seal, self.counting()) {
            (Some(seal), part @ (Part::Public | Part::Sealed)) => {
                let counting = |of: &ItemScores| of.only(|doc| seal.counts(part, &of.task, doc));
                items.iter().map(counting).collect()
            }
            _ => items,
        }
    }

    /// Opens a stored report; `None` when it is of a form this program does not know.
    pub fn report(&self, stored: &StoredReport, items: &[ItemScores]) -> Option<Shown> {
        let mut report: Report = serde_json::from_value(stored.0.0.clone()).ok()?;
        report.items = Vec::new();
        let public = self.public(&report.measures, items);
        if let (Some(seal), part @ (Part::Public | Part::Sealed)) = (&self.seal, self.counting()) {
            report.measures = seal.measures(&report.measures, items, part);
            let restricted = seal.restrict(items, part);
            let is_task = |of: &TaskReport| seal.tasks.task(&of.task).is_some();
            (report.tasks, report.groups) = restricted.into_iter().partition(is_task);
        }
        Some(Shown { report, public })
    }

    /// How far a grade is; `None` before its first word. Interim accuracies are of whatever documents came first, sealed
    /// ones among them, so they wait for the reveal.
    pub fn progress(&self, stored: &StoredProgress) -> Option<Progress> {
        if self.hides() {
            return stored.stage();
        }
        serde_json::from_value(stored.0.0.clone()).ok()
    }
}

impl StoredProgress {
    /// The stage without its interim figures.
    pub fn stage(&self) -> Option<Progress> {
        let progress: Progress = serde_json::from_value(self.0.0.clone()).ok()?;
        Some(Progress {
            measures: BTreeMap::new(),
            ..progress
        })
    }
}

impl Seal {
    fn counts(&self, part: Part, task: &str, doc: usize) -> bool {
        match part {
            Part::All => true,
            Part::Public => !self.set.contains(task, doc),
            Part::Sealed => self.set.contains(task, doc),
        }
    }

    fn restrict(&self, items: &[ItemScores], part: Part) -> Vec<TaskReport> {
        restrict(&self.tasks, items, &|task, doc| self.counts(part, task, doc))
    }

    fn measures(&self, measures: &Measured, items: &[ItemScores], part: Part) -> Measured {
        let known = COSTS.iter().filter_map(|name| Some((*name, measures.get(*name)?)));
        let mut shown: Measured = known.map(|(name, value)| (name.to_owned(), *value)).collect();
        for task in self.restrict(items, part) {
            task.add_measures(&mut shown);
        }
        shown
    }
}

/// The tasks of imported contests, as far as they were needed. A contest imported anew is read anew.
#[derive(Default)]
pub struct TaskSets {
    known: Mutex<HashMap<String, Imported>>,
}

/// When a contest was imported, and its tasks as they were then.
type Imported = (DateTime<Utc>, Arc<TaskSet>);

impl TaskSets {
    /// The tasks of a contest.
    ///
    /// # Errors
    /// The database; a stored task file that is gone.
    pub async fn of(&self, state: &AppState, contest: &StoredContest) -> anyhow::Result<Arc<TaskSet>> {
        let (id, imported) = (&contest.rules.id, contest.imported_at);
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        if let Some((_, tasks)) = known.filter(|(of, _)| *of == imported) {
            return Ok(tasks);
        }
        let files = contests::files(&state.pool, id).await?;
        let (storage, names) = (state.storage.clone(), contest.rules.grading.tasks.clone());
        let tasks = blocking(move || {
            let folder = storage.lay_out(&files, CONTEST_TASKS)?;
            let tasks = TaskSet::load(&folder, &names).map_err(std::io::Error::other);
            std::fs::remove_dir_all(&folder)?;
            tasks
        });
        let tasks = Arc::new(tasks.await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id.clone(), (imported, tasks.clone()));
        Ok(tasks)
    }
}
