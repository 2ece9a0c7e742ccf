//! Numbers over some of the documents.

use std::collections::{BTreeMap, BTreeSet};

use assay_contest::wire::ItemScores;
use assay_tasks::{Response, Task, TaskOutcome, TaskSet, items, pooled, restrict, restrictable};
use proptest::prelude::*;

const FILES: &[(&str, &str)] = &[
    ("docs.jsonl", DOCS),
    ("a.yaml", "task: a\ninclude: text.inc\n"),
    ("b.yaml", "task: b\ninclude: text.inc\nrepeats: 1\n"),
    (
        "text.inc",
        "dataset_path: json\ndataset_kwargs: {data_files: docs.jsonl}\ntest_split: train\n\
         output_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n\
         metric_list: [{metric: exact_match}]\n\
         filter_list:\n  - {name: plain, filter: [{function: take_first}]}\n  \
         - {name: upper, filter: [{function: uppercase}, {function: take_first}]}\n",
    ),
    (
        "c.yaml",
        "task: c\ndataset_path: json\ndataset_kwargs: {data_files: docs.jsonl}\ntest_split: train\n\
         output_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: ['x', 'yy']\ndoc_to_target: g\n\
         metric_list: [{metric: acc}, {metric: f1}, {metric: acc_norm, aggregation: median}]\n",
    ),
    (
        "inner.yaml",
        "group: inner\ntask: [b, c]\naggregate_metric_list:\n  - {metric: acc}\n  - {metric: f1}\n  - {metric: acc_norm}\n",
    ),
    (
        "outer.yaml",
        "group: outer\ntask: [a, inner]\naggregate_metric_list:\n  - {metric: exact_match, filter_list: plain}\n  \
         - {metric: exact_match, filter_list: upper, weight_by_size: false}\n",
    ),
];
const DOCS: &str = concat!(
    "{\"q\": \"q0\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q1\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q2\", \"a\": \"A\", \"g\": 0}\n",
    "{\"q\": \"q3\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q4\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q5\", \"a\": \"A\", \"g\": 0}\n",
    "{\"q\": \"q6\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q7\", \"a\": \"A\", \"g\": 0}\n{\"q\": \"q8\", \"a\": \"A\", \"g\": 0}\n",
);

fn set() -> TaskSet {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    TaskSet::load(folder.path(), &["outer".to_owned()]).unwrap_or_else(|e| panic!("{e}"))
}

/// Answers of which some are right as they are, some only in capitals, some never.
fn answers(task: &Task, kinds: &[u8]) -> Vec<Vec<Response>> {
    let likely = |value: f64| Response::Loglikelihood { value, greedy: false };
    kinds
        .iter()
        .map(|kind| match (task.name(), kind) {
            ("c", 0) => vec![likely(-1.0), likely(-2.0)],
            ("c", 1) => vec![likely(-1.5), likely(-1.2)],
            ("c", _) => vec![likely(-4.0), likely(-1.0)],
            (_, 0) => vec![Response::Text("A".into())],
            (_, 1) => vec![Response::Text("a".into())],
            _ => vec![Response::Text("B".into())],
        })
        .collect()
}

fn scored(set: &TaskSet, kinds: &[Vec<u8>]) -> Vec<TaskOutcome> {
    let tasks = set.tasks().iter().zip(kinds);
    tasks
        .map(|(task, kinds)| {
            task.score_with(&answers(task, kinds), 100)
                .unwrap_or_else(|e| panic!("{e}"))
        })
        .collect()
}

fn all_items(set: &TaskSet, outcomes: &[TaskOutcome]) -> Vec<ItemScores> {
    let pairs = set.tasks().iter().zip(outcomes);
    pairs.flat_map(|(task, outcome)| items(task, outcome)).collect()
}

/// Every measure of tasks and groups, as a full run reports it.
fn full(set: &TaskSet, outcomes: &[TaskOutcome]) -> BTreeMap<String, f64> {
    let mut measures = BTreeMap::new();
    let tasks = outcomes.iter().map(TaskOutcome::report);
    let groups = set.group_outcomes(outcomes).into_iter().map(|group| group.report());
    tasks
        .chain(groups)
        .for_each(|report| report.add_measures(&mut measures));
    measures
}

fn restricted(set: &TaskSet, items: &[ItemScores], keep: &dyn Fn(&str, usize) -> bool) -> BTreeMap<String, f64> {
    let mut measures = BTreeMap::new();
    for report in restrict(set, items, keep) {
        report.add_measures(&mut measures);
    }
    measures
}

#[test]
fn what_is_no_mean_over_documents_cannot_be_found_again() {
    let set = set();
    let names = restrictable(&set);
    for name in [
        "acc.a.exact_match.plain",
        "acc_stderr.b.exact_match.upper",
        "acc.c.acc.none",
        "acc.inner.acc.none",
        "acc.outer.exact_match.plain",
        "acc.outer.exact_match.upper",
        "items.outer",
    ] {
        assert!(names.contains(name), "{name} {names:?}");
    }
    for name in [
        "acc.c.f1.none",
        "acc.c.acc_norm.none",
        "acc.inner.f1.none",
        "acc.inner.acc_norm.none",
    ] {
        assert!(!names.contains(name), "{name}");
    }
    let groups: Vec<(String, Vec<String>, bool)> = pooled(&set)
        .into_iter()
        .map(|p| (p.measure, p.tasks, p.weight_by_size))
        .collect();
    let group = |measure: &str, tasks: &[&str], by_size| {
        (
            measure.to_owned(),
            tasks.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(),
            by_size,
        )
    };
    let wanted = BTreeSet::from([
        group("acc.inner.acc.none", &["c"], true),
        group("acc.outer.exact_match.plain", &["a", "b"], true),
        group("acc.outer.exact_match.upper", &["a", "b"], false),
    ]);
    assert_eq!(groups.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn nothing_kept_gives_no_numbers() {
    let set = set();
    let outcomes = scored(&set, &[vec![0; 9], vec![1; 9], vec![2; 9]]);
    let items = all_items(&set, &outcomes);
    let left = restricted(&set, &items, &|task, _| task != "a");
    assert!(!left.contains_key("acc.a.exact_match.plain"));
    assert_eq!((left["items.a"], left["items.b"]), (0.0, 9.0));
    assert!(restrict(&set, &[], &|_, _| true).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// All documents kept: the full result, bit for bit. Some kept: what scoring those alone gives.
    #[test]
    fn kept_documents_are_scored_as_if_alone(
        kinds in prop::collection::vec(prop::collection::vec(0u8..3, 9), 3),
        kept in prop::collection::vec(any::<bool>(), 9),
    ) {
        let set = set();
        let outcomes = scored(&set, &kinds);
        let items = all_items(&set, &outcomes);
        let names = restrictable(&set);
        let is_mean = |measures: BTreeMap<String, f64>| -> BTreeMap<String, u64> {
            let means = measures.into_iter().filter(|(name, _)| names.contains(name));
            means.map(|(name, value)| (name, value.to_bits())).collect()
        };
        let all = restricted(&set, &items, &|_, _| true);
        prop_assert_eq!(is_mean(all.clone()), is_mean(full(&set, &outcomes)));
        prop_assert!(all.keys().all(|name| names.contains(name)));

        prop_assume!(kept.iter().any(|keep| *keep));
        let alone: Vec<Vec<u8>> = kinds
            .iter()
            .map(|kinds| kinds.iter().zip(&kept).filter(|(_, keep)| **keep).map(|(kind, _)| *kind).collect())
            .collect();
        let some = restricted(&set, &items, &|_, index| kept[index]);
        prop_assert_eq!(is_mean(some), is_mean(full(&set, &scored(&set, &alone))));
    }
}
