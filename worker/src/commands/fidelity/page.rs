//! The page: tables of what was compared, and every difference with its reason.

use std::collections::BTreeSet;
use std::fmt::Write;

use assay_engine::ENGINE_VERSION;

use super::compare::LogitRow;
use super::tasks::{NEAR_TIE, TaskRow};

/// Everything measured for the page.
#[derive(Default)]
pub struct Page {
    pub logits: Vec<LogitRow>,
    pub tasks: Vec<TaskRow>,
}

impl Page {
    /// What misses its bound, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        let logits = self.logits.iter().filter_map(LogitRow::failure);
        logits.chain(self.tasks.iter().flat_map(TaskRow::failures)).collect()
    }

    /// The page in Markdown.
    pub fn render(&self) -> String {
        let mut out = String::from(INTRODUCTION);
        let executors: BTreeSet<&str> = self.logits.iter().map(|row| row.executor.as_str()).collect();
        let executors: Vec<&str> = executors.into_iter().collect();
        let _ = writeln!(out, "Engine: {ENGINE_VERSION}. Executors: {}.", executors.join("; "));
        self.render_logits(&mut out);
        self.render_tasks(&mut out);
        out
    }

    fn render_logits(&self, out: &mut String) {
        out.push_str(LOGITS);
        out.push_str("| checkpoint | scheme | executor | positions | largest difference | same top token | same continuations |\n");
        out.push_str("|---|---|---|---:|---:|---:|---:|\n");
        for row in &self.logits {
            let percent = 100.0 * row.same_top as f64 / row.positions.max(1) as f64;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {:.1e} | {percent:.2}% | {} of {} |",
                row.checkpoint, row.scheme, row.device, row.positions, row.largest, row.same_greedy, row.prompts
            );
        }
    }

    fn render_tasks(&self, out: &mut String) {
        if self.tasks.is_empty() {
            return;
        }
        let _ = write!(out, "{TASKS}");
        out.push_str("| checkpoint | profile | task | executor | documents | same prompts | same outcomes | value: harness | value: ours |\n");
        out.push_str("|---|---|---|---|---:|---:|---:|---|---|\n");
        for row in &self.tasks {
            let values = |side: &[(String, f64)]| {
                let values: Vec<String> = side.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                values.join("<br>")
            };
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.checkpoint,
                row.profile,
                row.task,
                row.device,
                row.documents,
                row.same_prompts,
                row.same_outcomes,
                values(&row.theirs),
                values(&row.ours)
            );
        }
        let differing: Vec<&TaskRow> = self.tasks.iter().filter(|row| !row.differences.is_empty()).collect();
        let total: usize = self.tasks.iter().map(|row| row.documents).sum();
        let differences: usize = differing.iter().map(|row| row.differences.len()).sum();
        let _ = writeln!(out, "\n## Every difference\n\n{differences} of {total} documents have another outcome.");
        if differences == 0 {
            return;
        }
        let _ = writeln!(
            out,
            "A difference is explained when the two answers were apart by less than {NEAR_TIE} (logits for a generated token, \
             log-probability for a choice) according to the `reference` executor, which follows the harness's own arithmetic.\n"
        );
        out.push_str("| checkpoint | profile | task | executor | document | what | apart by | explained |\n|---|---|---|---|---:|---|---:|---|\n");
        for row in differing {
            for difference in &row.differences {
                let margin = difference.margin.map_or("?".to_string(), |margin| format!("{margin:.4}"));
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {} | {} | {margin} | {} |",
                    row.checkpoint,
                    row.profile,
                    row.task,
                    row.device,
                    difference.doc,
                    cell(&difference.what),
                    if difference.is_near_tie() { "near-tie" } else { "**no**" }
                );
            }
        }
    }
}

/// Text that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "⏎")
}


const INTRODUCTION: &str = "\
# Fidelity

How close the engine is to the reference implementations. This page is written by

    cargo run -p assay-worker -- fidelity tests/fixtures --out docs/fidelity.md

from the fixtures alone; nothing in it depends on the machine's speed. The command fails when a bound is missed or a difference
is not explained.

";

const LOGITS: &str = "
## Logits

The golden files hold what transformers computes in float32 from each checkpoint, its weights dequantized to bfloat16.
`reference` keeps activations unrounded in float64 and must stay within 2e-3 with the same greedy continuations. `cpu` follows the
numerics of the engine (inputs of linear layers rounded to bfloat16, as the runtimes do that serve these models) and must agree on
the most likely token in at least 99.5% of positions.

";

const TASKS: &str = "
## Tasks

The mini tasks, document by document, against lm-evaluation-harness 0.4.13 on the same checkpoints (transformers, float32): prompts
are compared by sha256, outcomes by every metric of every filter.

";
