//! The page: tables of what was compared, and every difference with its reason.

mod kernels;
mod logits;
mod tasks;

use std::collections::BTreeSet;
use std::fmt::Write;

use assay_engine::ENGINE_VERSION;

use super::against::AgainstRow;
use super::compare::LogitRow;
use super::kernels::{LinearRow, Measured, OtherRow};
use super::tasks::TaskRow;

/// Everything measured for the page.
#[derive(Default)]
pub struct Page {
    pub kernels: Measured,
    pub logits: Vec<LogitRow>,
    pub against: Vec<AgainstRow>,
    pub tasks: Vec<TaskRow>,
}

impl Page {
    /// What misses its bound, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        let linear = self.kernels.linear.iter().filter_map(LinearRow::failure);
        let others = self.kernels.others.iter().filter_map(OtherRow::failure);
        let logits = self.logits.iter().filter_map(LogitRow::failure);
        let tasks = self.tasks.iter().flat_map(TaskRow::failures);
        linear.chain(others).chain(logits).chain(tasks).collect()
    }

    /// The page in Markdown.
    pub fn render(&self) -> String {
        let mut out = String::from(INTRODUCTION);
        let executors: BTreeSet<String> = self.logits.iter().map(|row| timeless(&row.executor)).collect();
        let executors: Vec<String> = executors.into_iter().collect();
        let _ = writeln!(out, "Engine: {ENGINE_VERSION}. Executors: {}.", executors.join("; "));
        kernels::render(&self.kernels, &mut out);
        logits::render(&self.logits, &mut out);
        logits::render_against(&self.against, &mut out);
        tasks::render(&self.tasks, &mut out);
        out
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

/// Part of a whole, in percent.
fn percent(part: usize, whole: usize) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A difference; none at all is a plain zero.
fn small(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        _ => format!("{value:.1e}"),
    }
}

const INTRODUCTION: &str = "\
# Fidelity

How close the engine is to exact arithmetic and to the reference implementations. This page is written by

    cargo run --release -p assay-worker -- fidelity tests/fixtures --devices reference,cpu,cpu:fast,gpu:llvmpipe --task-devices cpu,cpu:fast --out docs/fidelity.md

from the fixtures and made-up matrices alone; nothing in it depends on the machine's speed. The command fails when a bound is missed
or a difference is not explained. The fast mode, `cpu:fast`, is shown beside the others: its kernels are held to the same bounds, its
logits and answers to none.

";
