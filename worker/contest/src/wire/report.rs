//! What a grade reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::measure::Name;
use crate::rules::Profile;
use crate::wire::TimeTrack;

/// Everything measured on a submission.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Version of the engine.
    pub engine: String,
    /// The device class it ran on.
    pub device: String,
    /// How prompts were built.
    pub profile: Profile,
    /// [`crate::Contest::digest`] of the rules it was graded by; empty outside a contest.
    #[serde(default)]
    pub contest_digest: String,
    /// The inspection of the checkpoint: verdict, format, problems, bytes by group, hints.
    #[serde(default)]
    pub submission: serde_json::Value,
    /// Tasks, in the order they ran.
    #[serde(default)]
    pub tasks: Vec<TaskReport>,
    /// Groups of tasks.
    #[serde(default)]
    pub groups: Vec<TaskReport>,
    /// Flat measures by name, as the formula reads them; see [`crate::measure`].
    #[serde(default)]
    pub measures: BTreeMap<String, f64>,
    /// Every document's part in the measures that are means over documents.
    #[serde(default)]
    pub items: Vec<ItemScores>,
    /// What the grade certifies; absent where it is partial.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// Continuations of the sample prompts.
    #[serde(default)]
    pub samples: Vec<Generation>,
    /// Every run of the time track; absent where the contest has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_track: Option<TimeTrack>,
    /// Seconds by stage.
    #[serde(default)]
    pub timings: BTreeMap<String, f64>,
}

/// Results of one task or one group.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct TaskReport {
    /// Name of the task or group.
    pub task: String,
    /// Name people see.
    pub alias: String,
    /// Documents evaluated.
    pub n: u64,
    /// Value by `metric,filter`, as lm-evaluation-harness names them.
    pub measures: BTreeMap<String, f64>,
    /// Standard error by `metric,filter`; absent where it is not defined.
    #[serde(default)]
    pub stderr: BTreeMap<String, f64>,
}

/// What each document of a task added to one of its measures: the measure is their mean.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct ItemScores {
    /// Name of the task; groups have no items of their own.
    pub task: String,
    /// `metric,filter`, as in [`TaskReport::measures`].
    pub key: String,
    /// By document, in the order they were evaluated; `None` where the document has no value.
    pub values: Vec<Option<f64>>,
}

impl TaskReport {
    /// Adds the flat measures of this task or group: `acc.<task>.<metric>.<filter>`, its standard error, and the number of
    /// documents.
    pub fn add_measures(&self, into: &mut BTreeMap<String, f64>) {
        // A task inside a group may have a name no formula can spell.
        let mut add = |name: String, value: f64| {
            if Name::parse(&name).is_some() {
                into.insert(name, value);
            }
        };
        for (prefix, values) in [("acc", &self.measures), ("acc_stderr", &self.stderr)] {
            for (key, value) in values {
                let (metric, filter) = key.split_once(',').unwrap_or((key, "none"));
                add(format!("{prefix}.{}.{metric}.{filter}", self.task), *value);
            }
        }
        // Exact: no task has 2^53 documents.
        add(format!("items.{}", self.task), self.n as f64);
    }
}

impl ItemScores {
    /// The same for those documents alone whose index `keep` takes.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> ItemScores {
        let kept = self.values.iter().enumerate().filter(|(index, _)| keep(*index));
        ItemScores {
            values: kept.map(|(_, value)| *value).collect(),
            ..self.clone()
        }
    }
}

/// A sample prompt and its greedy continuation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Kind of the prompt, from the rules.
    pub kind: String,
    /// The prompt.
    pub prompt: String,
    /// What the model said.
    pub text: String,
    /// What the base model said, from the rules.
    #[serde(default)]
    pub base: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_older_report_lacks_what_came_later() {
        let report = json!({"engine": "e", "device": "d", "profile": "chat-single-0.4.9",
            "samples": [{"kind": "math", "prompt": "p", "text": "t"}]});
        let report: Report = serde_json::from_value(report).unwrap();
        assert_eq!(report.profile, Profile::ChatSingle049);
        assert_eq!((report.items.len(), &report.certificate), (0, &None));
        assert_eq!(report.samples[0].base, None);
    }

    #[test]
    fn measures_are_flat_by_name() {
        let report = TaskReport {
            task: "t".into(),
            n: 40,
            measures: BTreeMap::from([("acc,none".into(), 0.5)]),
            stderr: BTreeMap::from([("acc,none".into(), 0.1)]),
            ..TaskReport::default()
        };
        let mut flat = BTreeMap::new();
        report.add_measures(&mut flat);
        let wanted = [
            ("acc.t.acc.none", 0.5),
            ("acc_stderr.t.acc.none", 0.1),
            ("items.t", 40.0),
        ];
        assert_eq!(flat, wanted.map(|(name, value)| (name.to_owned(), value)).into());
        let unspeakable = TaskReport {
            task: "g::t".into(),
            ..report
        };
        flat.clear();
        unspeakable.add_measures(&mut flat);
        assert!(flat.is_empty());
    }

    #[test]
    fn a_document_without_a_value_is_null() {
        let items = ItemScores {
            task: "t".into(),
            key: "acc,none".into(),
            values: vec![Some(1.0), None, Some(0.5)],
        };
        let value = serde_json::to_value(&items).unwrap();
        assert_eq!(
            value,
            json!({"task": "t", "key": "acc,none", "values": [1.0, null, 0.5]})
        );
        assert_eq!(serde_json::from_value::<ItemScores>(value).unwrap(), items);
        assert_eq!(items.only(|index| index > 0).values, [None, Some(0.5)]);
    }
}
