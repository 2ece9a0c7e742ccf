//! The sample contest is held against the fixtures it speaks of: what it pins is what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::measure::{Kind, Measures, Name};
use crate::rank::{Entry, Standing, board};
use crate::rules::Contest;

/// The rules of `deploy/sample/contest.toml`.
pub(crate) fn contest() -> Contest {
    Contest::parse(include_str!("../../../deploy/sample/contest.toml")).unwrap_or_else(|e| panic!("{e}"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sample")
}

fn sha256(path: PathBuf) -> String {
    hex::encode(Sha256::digest(
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    ))
}

fn safetensors_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let weights = files.filter(|file| file.file_name().to_string_lossy().ends_with(".safetensors"));
    weights.map(|file| file.metadata().unwrap().len()).sum()
}

/// What lm-evaluation-harness recorded for a checkpoint, cut to the first `limit` documents of each task: accuracies by
/// our names.
fn recorded(checkpoint: &str, profile: &str, limit: usize) -> BTreeMap<String, f64> {
    let path = folder().join(format!("../../tests/fixtures/harness/{checkpoint}.{profile}.json"));
    let harness: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (task, results) in harness["tasks"].as_object().unwrap() {
        for doc in results["docs"].as_array().unwrap().iter().take(limit) {
            for (filter, metrics) in doc["outcomes"].as_object().unwrap() {
                for (metric, value) in metrics.as_object().unwrap() {
                    let sum = sums.entry(format!("acc.{task}.{metric}.{filter}")).or_default();
                    *sum = (sum.0 + value.as_f64().unwrap(), sum.1 + 1.0);
                }
            }
        }
    }
    sums.into_iter().map(|(name, (sum, n))| (name, sum / n)).collect()
}

#[test]
fn the_base_is_the_one_in_the_fixtures() {
    let contest = contest();
    let base = folder().join(&contest.base.dir);
    assert_eq!(sha256(base.join("config.json")), contest.base.config_sha256);
    assert_eq!(sha256(base.join("tokenizer.json")), contest.base.tokenizer_sha256);
    assert_eq!(
        sha256(base.join("chat_template.jinja")),
        contest.base.chat_template_sha256
    );
    assert_eq!(safetensors_bytes(&base), contest.base.bytes);

    let config: Value = serde_json::from_slice(&std::fs::read(base.join("config.json")).unwrap()).unwrap();
    for field in &contest.checkpoint.locked {
        assert!(
            config.get(field).is_some(),
            "{field} is locked but not in the base's config.json"
        );
    }
}

#[test]
fn the_base_measures_are_what_the_harness_recorded() {
    let contest = contest();
    let limit = contest.grading.limit.map_or(usize::MAX, |n| n as usize);
    let recorded = recorded("base", contest.grading.profile.name(), limit);
    assert_eq!(
        contest.base.measures.keys().collect::<Vec<_>>(),
        recorded.keys().collect::<Vec<_>>()
    );
    for (name, value) in &recorded {
        assert!((contest.base.measures[name] - value).abs() < 1e-9, "{name}: {value}");
    }
}

#[test]
fn its_tasks_are_there_and_give_every_measure_it_names() {
    let contest = contest();
    let tasks = folder().join(&contest.grading.tasks_dir);
    for task in &contest.grading.tasks {
        assert!(tasks.join(format!("{task}.yaml")).is_file(), "{task}");
    }
    let problems = contest.check_measures(&|name| match Name::parse(name).unwrap().kind {
        Kind::Plain(_) => true,
        _ => contest.base.measures.contains_key(name),
    });
    assert_eq!(problems, []);
    assert_eq!(
        contest.check_measures(&|name| name != "bytes")[0].code,
        "measure-not-produced"
    );
}

#[test]
fn the_four_sample_teams_stand_as_their_sizes_do() {
    let contest = contest();
    let limit = contest.grading.limit.unwrap() as usize;
    let mut entries = Vec::new();
    for name in ["w8a16", "untied-w4a16", "w4a16-gptq", "w4a16-asym"] {
        let dir = folder().join("../../tests/fixtures/checkpoints").join(name);
        let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
        let base: Value =
            serde_json::from_slice(&std::fs::read(folder().join(&contest.base.dir).join("config.json")).unwrap())
                .unwrap();
        for field in &contest.checkpoint.locked {
            assert_eq!(config[field], base[field], "{name}: {field}");
        }
        let format = config["quantization_config"]["format"].as_str().unwrap().to_owned();
        assert!(contest.checkpoint.formats.contains(&format));

        let mut measures = recorded(name, "plain", limit);
        measures.insert("bytes".into(), safetensors_bytes(&dir) as f64);
        entries.push(Entry {
            submission: name.into(),
            team: name.into(),
            received_at: "2026-02-01T00:00:00Z".into(),
            measures: Measures(measures),
        });
    }
    let rows = board(&contest, &entries);
    let shown: Vec<String> = rows
        .iter()
        .map(|row| match row.standing {
            Standing::Ranked { rank, score } => format!("{rank} {} {}", row.submission, contest.shown(score)),
            _ => format!("- {}", row.submission),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 w4a16-gptq 3.2606",
            "2 w4a16-asym 3.2347",
            "3 untied-w4a16 2.7118",
            "4 w8a16 1.8496"
        ]
    );
}

#[test]
fn it_is_open_now_and_for_years() {
    let contest = contest();
    let at = |time: &str| chrono::DateTime::parse_from_rfc3339(time).unwrap().to_utc();
    assert_eq!(contest.zone(), chrono_tz::Asia::Seoul);
    assert!(contest.phase_at(at("2025-12-31T14:59:59Z")).is_none());
    assert_eq!(contest.next_phase(at("2025-12-31T14:59:59Z")).unwrap().id, "open");
    assert_eq!(contest.phase_at(at("2025-12-31T15:00:00Z")).unwrap().id, "open");
    assert!(contest.phase_at(at("2029-12-31T14:59:59Z")).is_some());
    // The closing instant no longer counts.
    assert!(contest.phase_at(at("2029-12-31T15:00:00Z")).is_none());
    assert!(contest.next_phase(at("2027-01-01T00:00:00Z")).is_none());
}
