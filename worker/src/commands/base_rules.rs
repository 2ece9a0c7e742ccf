//! `base-rules`: what a grade of the base has to say in `contest.toml`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use assay_contest::measure::TIME_TRACK;
use assay_contest::wire::Report;

use crate::record::{Record, read_json};

/// Print a grade of the base as TOML to paste into contest.toml: [base.measures], and the samples with the base's texts
#[derive(clap::Args)]
pub struct Args {
    /// What `grade BASE --contest FILE --out` wrote
    outdir: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let record = Record::read(&args.outdir)?;
    let report: Report = read_json(args.outdir.join("report.json"))?;
    print!("{}", toml(&record, &report));
    Ok(ExitCode::SUCCESS)
}

fn toml(record: &Record, report: &Report) -> String {
    let mut out = String::new();
    if let Some(certificate) = &report.certificate {
        let _ = writeln!(
            out,
            "# Measured by {}, certificate {}.",
            report.engine, certificate.digest
        );
    }
    out.push_str("[base.measures]\n");
    // `bytes` stands in [base] itself, and the time track measures the base anew beside every submission.
    let stated = |name: &str| name != "bytes" && !TIME_TRACK.contains(&name);
    for (name, value) in report.measures.iter().filter(|(name, _)| stated(name)) {
        let _ = writeln!(out, "{name} = {value:?}");
    }
    for (sample, said) in record.samples.iter().zip(&report.samples) {
        let _ = write!(
            out,
            "\n[[grading.samples]]\nkind = {}\nprompt = {}\nmax_tokens = {}\nbase = {}\n",
            quoted(&sample.kind),
            quoted(&sample.prompt),
            sample.max_tokens,
            quoted(&said.text)
        );
    }
    out
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_on_one_line() {
        assert_eq!(quoted("a\"b\\c\nd\t\u{7f}한"), "\"a\\\"b\\\\c\\nd\\t\\u007f한\"");
    }
}
