//! How long everything took: `timings.json`, apart from the outputs, which are the same on every run.

use std::collections::BTreeMap;

use assay_contest::wire::TimeTrack;
use serde::{Deserialize, Serialize};

/// The times of one grade, or of several shards put together.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct Times {
    /// When it began, seconds since 1970.
    pub started: f64,
    /// Seconds by stage.
    pub stages: BTreeMap<String, f64>,
    /// Reading the weights and making the executor, seconds.
    pub load_seconds: f64,
    /// All of it up to the report, seconds.
    pub wall_seconds: f64,
    /// Most memory of the machine held until the tasks were done, bytes.
    pub peak_memory: Option<u64>,
    /// Most memory of the device held until then, bytes; none where the device has none of its own.
    pub peak_device_memory: Option<u64>,
    /// Drawn by the device while the tasks were evaluated, joules; none where the machine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<f64>,
    /// By task.
    pub tasks: BTreeMap<String, TaskTimes>,
    /// Base and submission in turn; absent where the contest has no time track, and in a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<TimeTrack>,
}

/// The times of one task.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct TaskTimes {
    /// All its requests together, prompts included, seconds.
    pub seconds: f64,
    /// Tokens generated in that time.
    pub generated: u64,
    /// By document: from the first row of its first request in a step to the last answer, seconds.
    pub items: BTreeMap<usize, f64>,
}

impl Times {
    /// Another shard's times added: what both spent adds up, what both held is the larger of the two.
    pub fn add(&mut self, other: Times) {
        self.started = self.started.min(other.started);
        for (stage, seconds) in other.stages {
            *self.stages.entry(stage).or_default() += seconds;
        }
        self.load_seconds = self.load_seconds.max(other.load_seconds);
        self.wall_seconds += other.wall_seconds;
        self.peak_memory = self.peak_memory.max(other.peak_memory);
        self.peak_device_memory = self.peak_device_memory.max(other.peak_device_memory);
        // a part alone would be taken for the whole
        self.energy = self.energy.zip(other.energy).map(|(own, other)| own + other);
        for (task, times) in other.tasks {
            let own = self.tasks.entry(task).or_default();
            own.seconds += times.seconds;
            own.generated += times.generated;
            own.items.extend(times.items);
        }
        self.track = self.track.take().or(other.track);
    }

    /// Generated tokens by the time of the tasks that generate. None where no task does.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let generating = || self.tasks.values().filter(|task| task.generated > 0);
        let tokens: u64 = generating().map(|task| task.generated).sum();
        let seconds: f64 = generating().map(|task| task.seconds).sum();
        (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
    }

    /// What a formula may name of these.
    pub fn measures(&self, into: &mut BTreeMap<String, f64>) {
        let mut put = |name: &str, value: f64| into.insert(name.to_string(), value);
        put("load_seconds", self.load_seconds);
        put("wall_seconds", self.wall_seconds);
        if let Some(speed) = self.tokens_per_second() {
            put("tokens_per_second", speed);
            put("time_per_token", 1.0 / speed);
        }
        if let Some(bytes) = self.peak_memory {
            put("peak_memory", bytes as f64);
        }
        if let Some(bytes) = self.peak_device_memory {
            put("peak_device_memory", bytes as f64);
        }
        if let Some(joules) = self.energy {
            put("energy_joules", joules);
        }
        if let Some(track) = &self.track {
            track.add_measures(into);
        }
        let mut put = |name: &str, value: f64| into.insert(name.to_string(), value);
        let mut items: Vec<f64> = self
            .tasks
            .values()
            .flat_map(|task| task.items.values().copied())
            .collect();
        items.sort_by(f64::total_cmp);
        if !items.is_empty() {
            put("item_seconds_mean", items.iter().sum::<f64>() / items.len() as f64);
            for (name, percent) in [
                ("item_seconds_p50", 50),
                ("item_seconds_p90", 90),
                ("item_seconds_p99", 99),
            ] {
                put(name, percentile(&items, percent));
            }
        }
    }
}

/// The smallest of the sorted `values`, at least one, that `percent` of them do not exceed (nearest rank).
fn percentile(values: &[f64], percent: usize) -> f64 {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank.min(values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50, 90, 99, 100].map(|p| percentile(&values, p)),
            [100.0, 180.0, 198.0, 200.0]
        );
        assert_eq!([50, 99].map(|p| percentile(&[3.0], p)), [3.0, 3.0]);
    }

    #[test]
    fn shards_add_up() {
        let shard = |started, doc, seconds| Times {
            started,
            load_seconds: seconds,
            wall_seconds: 2.0 * seconds,
            peak_memory: Some(seconds as u64),
            energy: Some(4.0),
            tasks: BTreeMap::from([(
                "t".to_string(),
                TaskTimes {
                    seconds,
                    generated: 10,
                    items: BTreeMap::from([(doc, seconds)]),
                },
            )]),
            ..Times::default()
        };
        let mut all = shard(5.0, 0, 4.0);
        all.add(shard(3.0, 1, 1.0));
        assert_eq!((all.started, all.load_seconds, all.wall_seconds), (3.0, 4.0, 10.0));
        assert_eq!((all.peak_memory, all.peak_device_memory), (Some(4), None));
        assert_eq!(all.energy, Some(8.0));
        all.add(Times::default());
        assert_eq!(all.energy, None, "a part that was not metered");
        assert_eq!(all.tokens_per_second(), Some(4.0));
        let mut measures = BTreeMap::new();
        all.measures(&mut measures);
        assert_eq!(measures["item_seconds_mean"], 2.5);
        assert_eq!(measures["item_seconds_p50"], 1.0);
        assert_eq!(measures["time_per_token"], 0.25);
    }
}
