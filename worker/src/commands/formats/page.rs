//! The page: one row a checkpoint.

use std::collections::BTreeSet;
use std::fmt::Write;

use assay_checkpoint::Inspection;
use assay_contest::Problem;
use assay_engine::{Device, ENGINE_VERSION};

use crate::commands::fidelity::compare::{LogitRow, Note};

/// Everything found and measured.
#[derive(Default)]
pub struct Page {
    pub rows: Vec<Row>,
}

/// One checkpoint.
pub struct Row {
    pub name: String,
    pub found: Inspection,
    /// On `reference` and on `cpu`; empty if it was not run.
    pub runs: Vec<LogitRow>,
}

impl Row {
    fn run(&self, device: Device) -> Option<&LogitRow> {
        self.runs.iter().find(|run| run.device == device)
    }
}

impl Page {
    /// What misses its bound, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        self.rows
            .iter()
            .flat_map(|row| row.runs.iter().filter_map(LogitRow::failure))
            .collect()
    }

    /// The page in Markdown.
    pub fn render(&self) -> String {
        let mut out = String::from(INTRODUCTION);
        let _ = writeln!(out, "Engine: {ENGINE_VERSION}.\n");
        out.push_str(
            "| checkpoint | verdict | format and scheme | bytes | recipe | other findings | \
             Δ reference | top-1 | continuations | Δ cpu | top-1 | continuations |\n",
        );
        out.push_str("|---|---|---|---:|---|---|---:|---:|---:|---:|---:|---:|\n");
        for row in &self.rows {
            let _ = writeln!(out, "{}", line(row));
        }
        self.render_notes(&mut out);
        self.render_rejected(&mut out);
        out
    }

    fn render_notes(&self, out: &mut String) {
        let has = |note| {
            let mut runs = self.rows.iter().flat_map(|row| &row.runs);
            runs.any(|run| run.note == Some(note))
        };
        for (note, text) in [
            (Note::Bf16Frequencies, BF16_FREQUENCIES),
            (Note::CacheScheme, CACHE_SCHEME),
            (Note::QuantizedInputs, QUANTIZED_INPUTS),
        ] {
            if has(note) {
                let _ = writeln!(out, "\n{} {text}", note.mark());
            }
        }
    }

    fn render_rejected(&self, out: &mut String) {
        let rejected: Vec<&Row> = self.rows.iter().filter(|row| !row.found.accepted()).collect();
        if rejected.is_empty() {
            return;
        }
        out.push_str("\n## Why rejected\n\n");
        for row in rejected {
            for problem in row.found.problems.iter().take(3) {
                let _ = writeln!(
                    out,
                    "- {}: `{}`: {}. {}",
                    row.name, problem.code, problem.message.en, problem.fix.en
                );
            }
        }
    }
}

fn line(row: &Row) -> String {
    let found = &row.found;
    let note = row.runs.iter().find_map(|run| run.note);
    let verdict = match found.accepted() {
        true => "accepted".to_owned(),
        false => format!("rejected: {}", codes(found.problems.iter())),
    };
    let scheme = [found.format.as_str(), found.scheme.as_str()].join(" ");
    let recipe = |problem: &&Problem| problem.code.starts_with("recipe-");
    let cells = [
        format!("{}{}", row.name, note.map_or("", Note::mark)),
        verdict,
        scheme.trim().to_owned(),
        found.bytes.total.to_string(),
        codes(found.findings.iter().filter(recipe)),
        codes(found.findings.iter().filter(|problem| !recipe(problem))),
    ];
    let figures = [Device::Reference, Device::Cpu].map(|device| figures(row.run(device)));
    format!("| {} | {} |", cells.join(" | "), figures.concat().join(" | "))
}

/// Largest difference, top-1 agreement, equal greedy continuations.
fn figures(run: Option<&LogitRow>) -> [String; 3] {
    let Some(run) = run else {
        return Default::default();
    };
    let percent = 100.0 * run.same_top as f64 / run.positions.max(1) as f64;
    let exact = run
        .largest64
        .map_or(String::new(), |largest| format!(" ({largest:.1e} in float64)"));
    [
        format!("{:.1e}{exact}", run.largest),
        format!("{percent:.2}%"),
        format!("{} of {}", run.same_greedy, run.prompts),
    ]
}

/// Each code once.
fn codes<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    let codes: BTreeSet<&str> = problems.map(|problem| problem.code.as_str()).collect();
    codes.into_iter().collect::<Vec<_>>().join(", ")
}

const INTRODUCTION: &str = "\
# Formats

What becomes of every kind of checkpoint among the fixtures. This page is written by

    cargo run -p assay-worker -- formats tests/fixtures --out docs/formats.md

Verdict, scheme, bytes and findings are what `assay-worker inspect` says, held against the base model. The figures compare with the
golden files, which hold what transformers computes in float32 from the same checkpoint: Δ is the largest difference of any logit,
top-1 the positions with the same most likely token, continuations the prompts with the same greedy continuation. The command fails when
an accepted checkpoint misses a bound: on `cpu` the same token in 99.5% of positions, on `reference` every continuation equal.

";

const BF16_FREQUENCIES: &str = "\
Another model with random weights, whose golden file was computed with RoPE's inverse frequencies rounded to bfloat16; the comparison \
rounds them too.";

const CACHE_SCHEME: &str = "\
Declares an fp8 key/value cache. The figures are those of a contest that applies it (`kv_cache = \"declared\"`), as the golden file does; a \
few keys and values at the border of two codes fall the other way.";

const QUANTIZED_INPUTS: &str = "\
Quantizes the inputs of its layers: a value at the border of two codes falls either way with the last bit of a sum, so no two \
implementations that add in another order agree in every code, the golden file's own included when it is computed again in float64. \
Where that was done, the second figure compares with it. Tokens that differ must be near-ties (a lead below 0.3 in the golden logits).";
