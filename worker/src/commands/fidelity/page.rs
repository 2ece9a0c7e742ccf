//! The page: tables of what was compared, and every difference with its reason.

use std::collections::BTreeSet;
use std::fmt::Write;

use assay_engine::ENGINE_VERSION;

use super::compare::{CODE_TIE, LogitRow, Note};
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
        let executors: BTreeSet<String> = self.logits.iter().map(|row| timeless(&row.executor)).collect();
        let executors: Vec<String> = executors.into_iter().collect();
        let _ = writeln!(out, "Engine: {ENGINE_VERSION}. Executors: {}.", executors.join("; "));
        self.render_logits(&mut out);
        self.render_tasks(&mut out);
        out
    }

    fn render_logits(&self, out: &mut String) {
        out.push_str(LOGITS);
        out.push_str("| checkpoint | scheme | executor | positions | largest difference | in float64 | same top token | by at most | same continuations |\n");
        out.push_str("|---|---|---|---:|---:|---:|---:|---:|---:|\n");
        for row in &self.logits {
            let differs = row.same_top < row.positions;
            let lead = if differs {
                format!("{:.3}", row.lead)
            } else {
                String::new()
            };
            let percent = 100.0 * row.same_top as f64 / row.positions.max(1) as f64;
            let _ = writeln!(
                out,
                "| {}{} | {} | {} | {} | {:.1e} | {} | {percent:.2}% | {lead} | {} of {} |",
                row.checkpoint,
                row.note.map_or("", Note::mark),
                row.scheme,
                row.device,
                row.positions,
                row.largest,
                row.largest64.map_or(String::new(), |largest| format!("{largest:.1e}")),
                row.same_greedy,
                row.prompts
            );
        }
        for note in [Note::Bf16Frequencies, Note::CacheScheme, Note::QuantizedInputs] {
            if self.logits.iter().any(|row| row.note == Some(note)) {
                let text = match note {
                    Note::Bf16Frequencies => BF16_FREQUENCIES,
                    Note::CacheScheme => CACHE_SCHEME,
                    Note::QuantizedInputs => QUANTIZED_INPUTS,
                };
                let _ = writeln!(out, "\n{} {text}", note.mark());
            }
        }
    }

    fn render_tasks(&self, out: &mut String) {
        if self.tasks.is_empty() {
            return;
        }
        let _ = write!(out, "{TASKS}");
        out.push_str("| checkpoint | profile | task | executor | documents | same prompts | same outcomes | same answers | value: harness | value: ours |\n");
        out.push_str("|---|---|---|---|---:|---:|---:|---:|---|---|\n");
        for row in &self.tasks {
            let values = |side: &[(String, f64)]| {
                let values: Vec<String> = side.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                values.join("<br>")
            };
            let _ = writeln!(
                out,
                "| {}{} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.checkpoint,
                row.note.map_or("", Note::mark),
                row.profile,
                row.task,
                row.device,
                row.documents,
                row.same_prompts,
                row.same_outcomes,
                row.same_answers,
                values(&row.theirs),
                values(&row.ours)
            );
        }
        let differing: Vec<&TaskRow> = self.tasks.iter().filter(|row| !row.differences.is_empty()).collect();
        let total: usize = self.tasks.iter().map(|row| row.documents).sum();
        let differences: usize = differing.iter().map(|row| row.differences.len()).sum();
        let _ = writeln!(
            out,
            "\n## Every difference\n\n{differences} of {total} documents have another outcome."
        );
        if differences == 0 {
            return;
        }
        let _ = writeln!(
            out,
            "A difference is explained when the two answers were apart by less than {NEAR_TIE} (logits for a generated token, \
             log-probability for a choice) according to the `reference` executor, which follows the harness's own arithmetic; or when the \
             checkpoint quantizes its cache² or its inputs³ and they were apart by less than {CODE_TIE}.\n"
        );
        out.push_str("| checkpoint | profile | task | executor | document | what | apart by | explained |\n|---|---|---|---|---:|---|---:|---|\n");
        for row in &differing {
            for difference in &row.differences {
                let margin = difference
                    .margin
                    .map_or("?".to_string(), |margin| format!("{margin:.4}"));
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {} | {} | {margin} | {} |",
                    row.checkpoint,
                    row.profile,
                    row.task,
                    row.device,
                    difference.doc,
                    cell(&difference.what),
                    row.reason(difference).unwrap_or("**no**")
                );
            }
        }
        let studied = |row: &&TaskRow| row.differences.iter().any(|difference| row.is_studied(difference));
        if differing.iter().any(studied) {
            let _ = writeln!(out, "\n⁴ {STUDIED_W4A8}");
        }
    }
}

/// An executor's description without the number of threads, which decides no bit.
fn timeless(executor: &str) -> String {
    let (name, rest) = executor.split_once(" (").unwrap_or((executor, ""));
    let parts = rest
        .trim_end_matches(')')
        .split(", ")
        .filter(|part| !part.is_empty() && !part.ends_with("threads"));
    format!("{name} ({})", parts.collect::<Vec<_>>().join(", "))
}

/// Text that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "⏎")
}

const INTRODUCTION: &str = "\
# Fidelity

How close the engine is to the reference implementations. This page is written by

    cargo run -p assay-worker -- fidelity tests/fixtures --devices reference,cpu,gpu:llvmpipe --out docs/fidelity.md

from the fixtures alone; nothing in it depends on the machine's speed. The command fails when a bound is missed or a difference
is not explained.

";

const LOGITS: &str = "
## Logits

The golden files hold what transformers computes in float32 from each checkpoint, its weights dequantized to bfloat16.
`reference` computes in float64 with unrounded activations and must stay within 2e-3 with the same greedy continuations. `cpu`
follows the numerics of the engine (`numerics.rs`: inputs of linear layers rounded, float32 sums in a fixed order) and must agree on
the most likely token in at least 99.5% of positions. `gpu` follows the same numerics in shaders, on the adapter and driver named
above. \"by at most\" is how far the golden logits prefer their token where another is the most likely here.

";

const BF16_FREQUENCIES: &str = "\
The golden files of these random-weight models were computed with RoPE's inverse frequencies rounded to bfloat16, because the \
script that made them casts every buffer. The comparison rounds them too; the engine itself keeps them in float32, as runtimes do \
that load a checkpoint from its files.";

const CACHE_SCHEME: &str = "\
This checkpoint declares an fp8 key/value cache, and its golden and harness files were computed with it. The comparison applies it, as a \
contest does whose rules say `kv_cache = \"declared\"`: keys and values are rounded to e4m3 with the stored scales. A value at the border of \
two codes falls either way with the last bit of a sum, so a logit may differ by 0.03 on `reference`, and every continuation must be equal.";

const QUANTIZED_INPUTS: &str = "\
This checkpoint quantizes the inputs of its layers. A value at the border of two codes falls either way with the last bit of a sum, \
and one code that does moves every later logit about as much as quantization does: no two implementations that add in another order \
agree to more. The column \"in float64\" compares with transformers and compressed-tensors in float64 throughout (the first two \
prompts), where the borders are met alike: it must stay within 5e-5. Symmetric dynamic int8 (w8a8, w4a8) has no such column: \
compressed-tensors divides the largest magnitude of a row into 127.5 codes, so that this very value always lies between two. \
For all of these, tokens that differ must be near-ties: the golden logits lead by less than 0.3.";

const STUDIED_W4A8: &str = "\
Over the bound, and looked into by hand: after the tokens both have in common, `w4a8` says 6 with a lead over 7 of 0.12 logits in \
transformers in float32, 0.46 in float64, 0.50 in `reference` and −0.19 in `cpu`. Changing the last bits of the embedded inputs (by at \
most 2^-23 of each) moves the lead of transformers itself to 0.37, 0.37 and 1.09 in three tries.";

const TASKS: &str = "
## Tasks

The mini tasks, document by document, against lm-evaluation-harness 0.4.13 on the same checkpoints (transformers, float32): prompts
are compared by sha256, outcomes by every metric of every filter.

";
