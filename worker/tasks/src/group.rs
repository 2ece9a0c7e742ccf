//! Groups: tasks that are reported together, and scores over all their documents.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Fault, Place, TaskError};
use crate::reader::{Keys, text, wrong_kind};
use crate::score::{Measure, TaskOutcome};
use crate::source::{Config, Located};
use crate::stats;
use crate::yaml::{Node, Yaml};

/// Keys that describe a group; any other key of a group overrides its tasks'.
pub const GROUP_KEYS: [&str; 5] = ["group", "group_alias", "task", "aggregate_metric_list", "metadata"];

/// One entry of `aggregate_metric_list`.
#[derive(Clone, PartialEq, Debug)]
pub struct AggregateMetric {
    /// The tasks' metric.
    pub metric: String,
    /// The filters it is taken from; every one that the tasks have where absent.
    pub filters: Option<Vec<String>>,
    /// Mean over documents, or over tasks.
    pub weight_by_size: bool,
}

/// A group with its members.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// Its name; a group written inside another has the outer one's in front (`outer::inner`).
    pub name: String,
    /// What tables call it.
    pub alias: String,
    /// `metadata.version`, as text; `N/A` where there is none.
    pub version: String,
    /// Names of its direct members, tasks and groups.
    pub members: Vec<String>,
    /// Names of all tasks below it.
    pub tasks: Vec<String>,
    /// What is scored over them.
    pub aggregates: Vec<AggregateMetric>,
}

/// A group's numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupOutcome {
    /// The group.
    pub group: String,
    /// What tables call it.
    pub alias: String,
    /// Documents of all its tasks; 0 where the group has no score of its own.
    pub n: usize,
    /// Its numbers. A standard error is absent where one task's is.
    pub measures: Vec<Measure>,
    /// For each number, how many documents are in it.
    pub counts: Vec<usize>,
}

/// What the file says about a group, before its members are built.
pub struct GroupConfig {
    /// As shown.
    pub alias: String,
    /// See [`Group::version`].
    pub version: String,
    /// See [`Group::aggregates`].
    pub aggregates: Vec<AggregateMetric>,
}

impl GroupConfig {
    /// Reads the group keys of `config`.
    pub fn read(name: &str, config: &Config) -> Result<Self, TaskError> {
        let get = |key: &str| config.get(key).filter(|l| l.node.value != Yaml::Null);
        let alias = match get("group_alias") {
            Some(located) => text(&located.node, located.place(), "group_alias")?,
            None => name.to_owned(),
        };
        let version = get("metadata").and_then(|l| l.node.get("version")).map(Node::json);
        let aggregates = match get("aggregate_metric_list") {
            None => Vec::new(),
            Some(located) => aggregates(located)?,
        };
        Ok(Self {
            alias,
            version: version.as_ref().map_or_else(|| "N/A".into(), crate::python::str),
            aggregates,
        })
    }
}

fn aggregates(located: &Located) -> Result<Vec<AggregateMetric>, TaskError> {
    let items = match &located.node.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(&located.node),
    };
    items.iter().map(|item| aggregate(item, &located.file)).collect()
}

fn aggregate(node: &Node, file: &Arc<str>) -> Result<AggregateMetric, TaskError> {
    let mut keys = Keys::of(node, file, "aggregate_metric_list")?;
    let metric = keys.need_text("metric")?;
    let place = keys.place_of("aggregation");
    if let Some(value) = keys.text("aggregation")?
        && value != "mean"
    {
        let key = "aggregation".into();
        return Err(TaskError::new(place, Fault::UnknownValue { key, value }));
    }
    let place = keys.place_of("filter_list");
    let filters = match keys.take("filter_list").map(|n| &n.value) {
        None => None,
        Some(Yaml::Str(filter)) => Some(vec![filter.clone()]),
        Some(Yaml::List(items)) => Some(
            items
                .iter()
                .map(|item| text(item, Place::line(file.clone(), item.line), "filter_list"))
                .collect::<Result<_, _>>()?,
        ),
        Some(_) => return Err(wrong_kind(place, "filter_list", "a filter's name or a list of them")),
    };
    let weight_by_size = keys.flag("weight_by_size")?.unwrap_or(true);
    keys.done()?;
    Ok(AggregateMetric {
        metric,
        filters,
        weight_by_size,
    })
}

impl Group {
    /// The group's numbers from its tasks' outcomes. A task that was not scored, or lacks a metric, is left out of it.
    pub fn outcome(&self, outcomes: &[TaskOutcome]) -> GroupOutcome {
        let mine: Vec<&TaskOutcome> = self
            .tasks
            .iter()
            .filter_map(|name| outcomes.iter().find(|o| o.task == *name))
            .collect();
        let mut measures: IndexMap<String, (Measure, usize)> = IndexMap::new();
        for aggregate in &self.aggregates {
            let filters = aggregate.filters.clone().unwrap_or_else(|| {
                let mut found: Vec<String> = mine
                    .iter()
                    .flat_map(|o| &o.measures)
                    .filter(|m| m.metric == aggregate.metric)
                    .map(|m| m.filter.clone())
                    .collect();
                found.sort();
                found.dedup();
                found
            });
            for filter in filters {
                if let Some(measure) = measure(&mine, aggregate, &filter) {
                    measures.insert(measure.0.key(), measure);
                }
            }
        }
        let (measures, counts) = measures.into_values().unzip();
        GroupOutcome {
            group: self.name.clone(),
            alias: self.alias.clone(),
            n: if self.aggregates.is_empty() {
                0
            } else {
                mine.iter().map(|o| o.n).sum()
            },
            measures,
            counts,
        }
    }
}

fn measure(mine: &[&TaskOutcome], aggregate: &AggregateMetric, filter: &str) -> Option<(Measure, usize)> {
    let with: Vec<(&Measure, usize)> = mine
        .iter()
        .filter_map(|o| o.measure(&aggregate.metric, filter).map(|m| (m, o.n)))
        .collect();
    let values: Vec<f64> = with.iter().map(|(m, _)| m.value).collect();
    let sizes: Vec<usize> = with.iter().map(|(_, n)| *n).collect();
    let stderrs: Option<Vec<f64>> = with.iter().map(|(m, _)| m.stderr).collect();
    let first = with.first()?.0;
    let stderr = stderrs.map(|stderrs| match aggregate.weight_by_size {
        true => stats::pooled_stderr(&stderrs, &sizes),
        false => stats::unweighted_stderr(&stderrs),
    });
    let measure = Measure {
        metric: aggregate.metric.clone(),
        filter: filter.to_owned(),
        value: stats::group_mean(&values, &sizes, aggregate.weight_by_size),
        stderr,
        higher_is_better: first.higher_is_better,
    };
    Some((measure, sizes.iter().sum()))
}

impl GroupOutcome {
    /// As the harness's results file shows it.
    pub fn json(&self, aggregated: bool) -> Value {
        let mut out = Map::new();
        out.insert("alias".into(), Value::from(self.alias.clone()));
        out.insert("name".into(), Value::from(self.group.clone()));
        if aggregated {
            out.insert("sample_len".into(), Value::from(self.n));
            crate::results::put_measures(&self.measures, &mut out);
            let counts: Map<String, Value> = self
                .measures
                .iter()
                .zip(&self.counts)
                .map(|(m, n)| (m.key(), Value::from(*n)))
                .collect();
            if !counts.is_empty() {
                out.insert("sample_count".into(), Value::Object(counts));
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(task: &str, n: usize, value: f64, stderr: Option<f64>) -> TaskOutcome {
        TaskOutcome {
            task: task.into(),
            alias: task.into(),
            n,
            docs: Vec::new(),
            measures: vec![Measure {
                metric: "acc".into(),
                filter: "none".into(),
                value,
                stderr,
                higher_is_better: true,
            }],
        }
    }

    fn group(filters: Option<Vec<String>>, weight_by_size: bool) -> Group {
        Group {
            name: "g".into(),
            alias: "g".into(),
            version: "N/A".into(),
            members: vec!["a".into(), "b".into()],
            tasks: vec!["a".into(), "b".into(), "missing".into()],
            aggregates: vec![AggregateMetric {
                metric: "acc".into(),
                filters,
                weight_by_size,
            }],
        }
    }

    #[test]
    fn scores_are_over_documents_or_over_tasks() {
        let outcomes = [outcome("a", 100, 0.5, Some(0.02)), outcome("b", 300, 0.25, Some(0.03))];
        let weighted = group(None, true).outcome(&outcomes);
        assert_eq!((weighted.n, weighted.measures[0].value), (400, 0.3125));
        assert_eq!(
            weighted.measures[0].stderr,
            Some(stats::pooled_stderr(&[0.02, 0.03], &[100, 300]))
        );
        let plain = group(Some(vec!["none".into()]), false).outcome(&outcomes);
        assert_eq!(plain.measures[0].value, 0.375);
        assert_eq!(plain.measures[0].stderr, Some(stats::unweighted_stderr(&[0.02, 0.03])));
        assert!(
            group(Some(vec!["other".into()]), true)
                .outcome(&outcomes)
                .measures
                .is_empty()
        );
    }

    #[test]
    fn one_missing_error_hides_the_groups() {
        let outcomes = [outcome("a", 100, 0.5, Some(0.02)), outcome("b", 1, 1.0, None)];
        assert_eq!(group(None, true).outcome(&outcomes).measures[0].stderr, None);
    }
}
