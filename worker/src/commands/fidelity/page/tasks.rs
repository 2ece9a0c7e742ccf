//! The tasks' outcomes beside the harness's, and every difference.

use std::fmt::Write;

use assay_engine::Device;

use crate::commands::fidelity::compare::{CODE_TIE, Note};
use crate::commands::fidelity::tasks::{NEAR_TIE, TaskRow};

pub fn render(rows: &[TaskRow], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "{TASKS}");
    out.push_str("| checkpoint | profile | task | executor | documents | same prompts | same outcomes | same answers | value: harness | value: ours |\n");
    out.push_str("|---|---|---|---|---:|---:|---:|---:|---|---|\n");
    for row in rows {
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
    render_fast(rows, out);
    let differing: Vec<&TaskRow> = rows.iter().filter(|row| !row.differences.is_empty()).collect();
    let exact = || rows.iter().filter(|row| row.device != Device::Fast);
    let total: usize = exact().map(|row| row.documents).sum();
    let differences: usize = exact().map(|row| row.differences.len()).sum();
    let besides = match rows.iter().any(|row| row.device == Device::Fast) {
        true => ", those of the fast mode not counted",
        false => "",
    };
    let _ = writeln!(
        out,
        "\n## Every difference\n\n{differences} of {total} documents have another outcome{besides}."
    );
    if differing.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "A difference is explained when the two answers were apart by less than {NEAR_TIE} (logits for a generated token, \
         log-probability for a choice) according to the `reference` executor, which follows the harness's own arithmetic; when the \
         checkpoint quantizes its cache² or its inputs³ and they were apart by less than {CODE_TIE}; or when it is the fast mode's, \
         which promises none of this.\n"
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

// What each fast device costs in outcomes.
fn render_fast(rows: &[TaskRow], out: &mut String) {
    let rows: Vec<&TaskRow> = rows.iter().filter(|row| row.device == Device::Fast).collect();
    let Some(first) = rows.first() else { return };
    let documents: usize = rows.iter().map(|row| row.documents).sum();
    let outcomes: usize = rows.iter().map(|row| row.differences.len()).sum();
    let answers: usize = rows.iter().map(|row| row.documents - row.same_answers).sum();
    let _ = writeln!(
        out,
        "\n`{}` beside the harness: the outcomes of {outcomes} of {documents} documents flip, and the answers of {answers}. Only \
         checkpoints with integer matrices of at most four bits whose inputs are not quantized are computed otherwise than on `cpu`.",
        first.device
    );
}

/// Text that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', "⏎")
}

const TASKS: &str = "
## Tasks

The mini tasks, document by document, against lm-evaluation-harness 0.4.13 on the same checkpoints (transformers, float32): prompts
are compared by sha256, outcomes by every metric of every filter.

";

const STUDIED_W4A8: &str = "\
Over the bound, and looked into by hand: after the tokens both have in common, `w4a8` says 6 with a lead over 7 of 0.12 logits in \
transformers in float32, 0.46 in float64, 0.50 in `reference` and −0.19 in `cpu`. Changing the last bits of the embedded inputs (by at \
most 2^-23 of each) moves the lead of transformers itself to 0.37, 0.37 and 1.09 in three tries.";
