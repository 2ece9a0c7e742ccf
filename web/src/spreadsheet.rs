//! The board as a table for spreadsheets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use assay_contest::{Contest, Standing};

use crate::scoreboard::Scoreboard;

/// Tells spreadsheets that what follows is UTF-8: without it Excel reads Korean as its local encoding.
const MARK: char = '\u{feff}';

/// One line a row of the board: the base and the references first, then the teams in their order. Columns are named as in
/// the JSON; every accuracy has the ends of its interval beside it. Lines end as RFC 4180 says.
#[must_use]
pub fn csv(rules: &Contest, board: &Scoreboard) -> String {
    let keys = columns(rules, board);
    let mut out = String::from(MARK);
    let head = [
        "kind",
        "rank",
        "band_best",
        "band_worst",
        "team",
        "title",
        "submission",
        "score",
        "standing",
    ];
    let mut line: Vec<String> = head.map(str::to_owned).to_vec();
    for key in &keys {
        line.push(key.clone());
        if key.starts_with("acc.") {
            line.extend([format!("{key}.low"), format!("{key}.high")]);
        }
    }
    line.extend(["device", "received_at"].map(str::to_owned));
    write_line(&mut out, &line);

    let base = &board.base;
    let mut rows = vec![("base", &base.name, base.score, &base.measures, &base.intervals)];
    rows.extend(
        board
            .references
            .iter()
            .map(|of| ("reference", &of.name, of.score, &of.measures, &of.intervals)),
    );
    for (kind, name, score, measures, intervals) in rows {
        let mut line = vec![kind.to_owned(), String::new(), String::new(), String::new()];
        line.extend([text(name), String::new(), String::new(), number(score), String::new()]);
        measured(&mut line, &keys, measures, intervals);
        line.extend([String::new(), String::new()]);
        write_line(&mut out, &line);
    }
    for row in &board.rows {
        let mut line = vec!["team".to_owned(), count(row.rank)];
        line.extend([
            count(row.band.map(|band| band.best)),
            count(row.band.map(|band| band.worst)),
        ]);
        line.extend([
            text(&row.team),
            text(&row.title),
            row.submission.clone(),
            number(row.score),
        ]);
        line.push(
            match row.standing {
                Standing::Ranked { .. } => "ranked",
                Standing::BelowFloor { .. } => "below-floor",
                Standing::Unscored { .. } => "unscored",
            }
            .to_owned(),
        );
        measured(&mut line, &keys, &row.measures, &row.intervals);
        line.extend([text(row.device.as_deref().unwrap_or_default()), row.received_at.clone()]);
        write_line(&mut out, &line);
    }
    out
}

/// Every measure of anyone but standard errors, which the ends of the interval stand for: shown ones first.
fn columns(rules: &Contest, board: &Scoreboard) -> Vec<String> {
    let mut keys: Vec<String> = vec!["bytes".to_owned()];
    keys.extend(rules.score.show.iter().filter(|key| *key != "bytes").cloned());
    let teams = board.rows.iter().map(|row| &row.measures);
    let all: BTreeSet<&String> = teams.chain([&board.base.measures]).flat_map(BTreeMap::keys).collect();
    let others = all.into_iter().filter(|key| !key.starts_with("acc_stderr."));
    let others: Vec<String> = others.filter(|key| !keys.contains(key)).cloned().collect();
    keys.extend(others);
    keys
}

fn measured(
    line: &mut Vec<String>,
    keys: &[String],
    measures: &BTreeMap<String, f64>,
    intervals: &BTreeMap<String, (f64, f64)>,
) {
    for key in keys {
        line.push(number(measures.get(key).copied()));
        if key.starts_with("acc.") {
            let ends = intervals.get(key);
            line.extend([number(ends.map(|ends| ends.0)), number(ends.map(|ends| ends.1))]);
        }
    }
}

fn number(value: Option<f64>) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(String::new, |value| value.to_string())
}

fn count(value: Option<u32>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// What people typed. A spreadsheet would run a cell that begins like a formula; an apostrophe makes it text.
fn text(value: &str) -> String {
    if value
        .trim_start()
        .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        || value.starts_with(['\t', '\r', '\n'])
    {
        format!("'{value}")
    } else {
        value.to_owned()
    }
}

fn write_line(out: &mut String, cells: &[String]) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            // Writing into a string does not fail.
            let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            out.push_str(cell);
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_typed_is_never_a_formula() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1"] {
            assert_eq!(text(evil), format!("'{evil}"));
        }
        for good in ["Team A", "팀 A", "a=b", "2-bit"] {
            assert_eq!(text(good), good);
        }
    }

    #[test]
    fn cells_keep_to_their_column() {
        let mut out = String::new();
        write_line(
            &mut out,
            &["a,b".into(), "say \"no\"".into(), "two\nlines".into(), "plain".into()],
        );
        assert_eq!(out, "\"a,b\",\"say \"\"no\"\"\",\"two\nlines\",plain\r\n");
    }
}
