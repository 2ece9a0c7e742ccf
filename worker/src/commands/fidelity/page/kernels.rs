//! Single kernels beside exact arithmetic.

use std::fmt::Write;

use super::small;
use crate::commands::fidelity::kernels::{Kind, LinearRow, Measured, NORM_BOUND, OtherRow, Size};

pub fn render(measured: &Measured, out: &mut String) {
    let Some(size) = measured.size else { return };
    out.push_str(KERNELS);
    linear(&measured.linear, size, out);
    others(&measured.others, out);
}

fn linear(rows: &[LinearRow], size: Size, out: &mut String) {
    let list = |numbers: &[usize]| {
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        match numbers.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => String::new(),
        }
    };
    let _ = writeln!(
        out,
        "\n### Linear layers\n\nMade-up matrices of {} columns (K) and {} outputs, times {} rows of four kinds of inputs: {LINEAR} {NORM_BOUND:.0e}. \
         {UNROUNDED}\n",
        list(size.cols()),
        size.outputs(),
        list(size.rows()),
    );
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let _ = writeln!(
        out,
        "| weights | inputs | executor | held as | {} | ‖Δ‖/‖exact‖ | inputs unrounded |",
        kinds.join(" | ")
    );
    let _ = writeln!(out, "|---|---|---|---|{}---:|---:|", "---:|".repeat(kinds.len()));
    for row in in_turn(rows, |row| (row.weights, row.inputs)) {
        let over_bound: Vec<String> = row.over_bound.iter().map(|over| small(*over)).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.weights,
            row.inputs,
            row.device,
            row.held,
            over_bound.join(" | "),
            small(row.norm),
            small(row.unrounded)
        );
    }
}

fn others(rows: &[OtherRow], out: &mut String) {
    out.push_str(OTHERS);
    out.push_str("| kernel | executor | ‖Δ‖/‖exact‖ | largest |\n|---|---|---:|---:|\n");
    for row in in_turn(rows, |row| row.kernel.as_str()) {
        let (norm, largest) = (small(row.norm), small(row.largest));
        let _ = writeln!(out, "| {} | {} | {norm} | {largest} |", row.kernel, row.device);
    }
}

// Rows were measured device by device; on the page all devices follow each other for each thing measured.
fn in_turn<'a, T, K: PartialEq>(rows: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut keys: Vec<K> = Vec::new();
    for row in rows {
        let key = key(row);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |wanted: K| rows.iter().filter(|row| key(row) == wanted).collect::<Vec<_>>();
    keys.into_iter().flat_map(of).collect()
}

const KERNELS: &str = "
## Kernels

Single kernels beside float64 computed from the same rounded inputs, so that what is left is the rounding of their own sums.
";

const LINEAR: &str = "\
of a normal distribution, of one with heavy tails, a single 1, and huge and tiny values by turns. For each of them the largest \
|out − exact| of any output is given over K·2^-24·Σ|input·weight|, what K additions in float32 may round away: every executor must \
stay within 1. ‖Δ‖/‖exact‖ is that of the worst row of any kind and must stay within";

const UNROUNDED: &str = "\
The last column is the same for normal inputs beside float64 from inputs that were not rounded, and weights as the numerics define \
them: what is lost by rounding both. 0 is no difference at all: sums of few digits are exact.";

const OTHERS: &str = "
### Attention, norms, activation

The same for the other kernels, whose inputs are those four kinds again (normal for attention). \"largest\" is the largest difference of
a row in units of the row's largest magnitude.

";
