//! The rows of the board's table, as plain data.

use std::collections::BTreeMap;

use assay_contest::{Contest, Standing};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::controllers::compare;
use crate::db::ids::TeamId;
use crate::i18n::Locale;
use crate::scoreboard::{BoardLine, Scoreboard};
use crate::views::{BoardRow, BoardStanding, Cell, MeasureColumn, MeasureKind, PublicStanding, When, spread};

/// Who looks at the rows.
pub(super) struct Viewer {
    pub(super) team: Option<TeamId>,
    pub(super) organizer: bool,
}

/// The measures shown, grouped: accuracies, then how fast, then how much memory, then the rest. What the contest shows, what
/// counts for the score, and a time and a memory in any case where anyone has one.
pub(super) fn columns(locale: Locale, rules: &Contest, board: &Scoreboard, counting: &[String]) -> Vec<MeasureColumn> {
    let mut keys: Vec<&str> = Vec::new();
    let shown = rules.score.show.iter().chain(counting).map(String::as_str);
    for key in shown.filter(|key| *key != "bytes" && !key.starts_with("base.")) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let measured = |key: &str| board.rows.iter().any(|row| row.measures.contains_key(key));
    for (kind, usual) in [
        (MeasureKind::Time, &["time_ratio", "time_per_token", "wall_seconds"][..]),
        (MeasureKind::Memory, &["peak_device_memory", "peak_memory"]),
    ] {
        if !keys.iter().any(|key| MeasureKind::of(key) == kind)
            && let Some(key) = usual.iter().find(|key| measured(key))
        {
            keys.push(key);
        }
    }
    let mut columns: Vec<MeasureColumn> = keys
        .into_iter()
        .map(|key| MeasureColumn::from_key(locale, key))
        .collect();
    columns.sort_by_key(|column| MeasureKind::of(&column.key));
    columns
}

/// The base and the references, pinned above the teams.
pub(super) fn pinned(board: &Scoreboard, columns: &[MeasureColumn], locale: Locale) -> Vec<BoardRow> {
    let base = BoardRow {
        standing: BoardStanding::Base,
        team: board.base.name.clone(),
        score: board.base.score,
        bytes: Some(board.base.bytes),
        cells: cells(&board.base.measures, &board.base.intervals, columns),
        ..BoardRow::default()
    };
    let references = board.references.iter().map(|of| BoardRow {
        standing: BoardStanding::Reference,
        team: of.name.clone(),
        title: locale.pick(&of.source.en, &of.source.ko).to_owned(),
        score: of.score,
        bytes: Some(of.bytes),
        cells: cells(&of.measures, &of.intervals, columns),
        ..BoardRow::default()
    });
    let mut rows: Vec<BoardRow> = [base].into_iter().chain(references).collect();
    for (at, row) in rows.iter_mut().enumerate() {
        row.anchor = format!("reference-{at}");
    }
    rows
}

/// The teams in the board's order.
pub(super) fn teams(
    board: &Scoreboard,
    columns: &[MeasureColumn],
    locale: Locale,
    zone: Tz,
    viewer: &Viewer,
) -> Vec<BoardRow> {
    let rows = board.rows.iter().enumerate();
    rows.map(|(at, line)| BoardRow {
        compare: neighbour(&board.rows, at).map(|other| {
            let address = compare::address(&line.submission, &other.submission);
            (other.team.clone(), address)
        }),
        place: at,
        ..row(line, columns, locale, zone, viewer)
    })
    .collect()
}

/// Most teams in the form that compares two: beyond, the links beside the ranks have to do.
const RIVALS: usize = 100;

/// Teams with a rank, for the form that compares two.
pub(super) fn rivals(rows: &[BoardRow]) -> Vec<(String, String)> {
    let ranked = rows.iter().filter(|row| row.standing.is_ranked());
    ranked
        .take(RIVALS)
        .map(|row| (row.submission.clone(), row.team.clone()))
        .collect()
}

/// The row that a row is compared with: the one above it, for the first the one below.
fn neighbour(rows: &[BoardLine], at: usize) -> Option<&BoardLine> {
    rows.get(at)?.rank?;
    let other = if at == 0 { rows.get(1) } else { rows.get(at - 1) };
    other.filter(|other| other.rank.is_some())
}

fn row(line: &BoardLine, columns: &[MeasureColumn], locale: Locale, zone: Tz, viewer: &Viewer) -> BoardRow {
    let mine = viewer.team == Some(line.team_id);
    let received = DateTime::parse_from_rfc3339(&line.received_at)
        .ok()
        .map(|at| at.with_timezone(&Utc));
    BoardRow {
        standing: match &line.standing {
            Standing::Ranked { rank, .. } => BoardStanding::Ranked(*rank),
            Standing::BelowFloor {
                measure,
                value,
                bound,
                at_least,
                ..
            } => BoardStanding::BelowFloor {
                measure: measure.clone(),
                value: *value,
                bound: *bound,
                at_least: *at_least,
            },
            Standing::Unscored { reason } => BoardStanding::Unscored(locale.pick(&reason.en, &reason.ko).to_owned()),
        },
        band: line.band.map(|band| (band.best, band.worst)),
        team: line.team.clone(),
        title: line.title.clone(),
        anchor: format!("s-{}", line.submission),
        submission: line.submission.clone(),
        href: (mine || viewer.organizer).then(|| format!("/submissions/{}", line.submission)),
        mine,
        score: line.score,
        public: line.public.as_ref().map(|public| PublicStanding {
            rank: public.rank,
            score: public.score,
        }),
        bytes: line.bytes,
        cells: cells(&line.measures, &line.intervals, columns),
        received: received.map(|at| When::new(at, zone)),
        ..BoardRow::default()
    }
}

fn cells(
    measures: &BTreeMap<String, f64>,
    intervals: &BTreeMap<String, (f64, f64)>,
    columns: &[MeasureColumn],
) -> Vec<Cell> {
    let stderr = |key: &str| {
        key.strip_prefix("acc.")
            .and_then(|rest| measures.get(&format!("acc_stderr.{rest}")))
    };
    columns
        .iter()
        .map(|MeasureColumn { key, .. }| Cell {
            value: measures.get(key).copied(),
            stderr: stderr(key).copied(),
            interval: intervals.get(key).copied().or_else(|| spread(key, measures)),
        })
        .collect()
}
