//! What a run showed, for a terminal and for `docs/reliability.md`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::audit::Found;
use crate::parts::Victim;

/// One kill.
pub struct Round {
    pub victim: Victim,
    /// What exactly was hit.
    pub what: String,
    /// From the order to start again until a team was promised something more.
    pub back: Duration,
}

impl Round {
    pub fn line(&self) -> String {
        format!(
            "killed {}; served again {:.1} s after the restart began",
            self.what,
            self.back.as_secs_f64()
        )
    }
}

/// One run.
pub struct Summary {
    pub seed: u64,
    pub teams: usize,
    pub rounds: Vec<Round>,
    pub found: Found,
}

impl Summary {
    /// The tables.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "| killed with SIGKILL | times | served again after, median | longest |\n|---|---:|---:|---:|\n",
        );
        for victim in Victim::ALL {
            let mut times: Vec<_> = self
                .rounds
                .iter()
                .filter(|round| round.victim == victim)
                .map(|round| round.back)
                .collect();
            times.sort();
            let (Some(longest), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
                continue;
            };
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} s | {:.1} s |",
                victim.name(),
                times.len(),
                median.as_secs_f64(),
                longest.as_secs_f64()
            );
        }
        let found = &self.found;
        let _ = write!(
            out,
            "\n| what was promised | what is there |\n|---|---|\n\
             | {} submissions accepted | {} graded, {} results, {} rows on the board for {} teams |\n\
             | {} uploads, {:.1} MB acknowledged | all readable and equal to what was sent |\n\
             | one grade each | {} attempts, {} of them lost their lease, {} jobs set aside after two workers and graded when an organizer said so |\n\
             | everything graded | {:.0} s after the last kill |\n\
             | promises broken | {} |\n",
            found.accepted,
            found.graded,
            found.results,
            found.board_rows,
            self.teams,
            found.files,
            found.bytes as f64 / 1e6,
            found.attempts,
            found.lost_leases,
            found.quarantined,
            found.drained.as_secs_f64(),
            found.wrong.len(),
        );
        for line in &found.wrong {
            let _ = writeln!(out, "- {line}");
        }
        out
    }

    /// `docs/reliability.md`.
    pub fn page(&self) -> String {
        let machine = machine();
        format!(
            "# Reliability\n\n\
             Written by `tests/faults --rounds {} --out docs/reliability.md`. {} rounds, each a `SIGKILL` at a random moment and a restart, \
             while {} teams upload in small pieces over two web processes, a relay feeds RabbitMQ, and two workers grade (seed {}; \
             {machine}). After every round each byte below a committed offset is compared with what was sent; at the end every \
             submission, result, stored file and the board are.\n\n{}\n\
             \"Served again\" is the time from the order to restart until a team had another byte acknowledged or another submission \
             accepted: while one of the two web processes lives, service never stops, and the figure is how long a restart takes.\n",
            self.rounds.len(),
            self.rounds.len(),
            self.teams,
            self.seed,
            self.text()
        )
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}
