//! How the board is looked at: sorted, filtered, drawn. Everything is in the address and done here, without a script.

use std::cmp::Ordering;

use assay_contest::Contest;

use super::Look;
use crate::controllers::visit::with_query;
use crate::i18n::Locale;
use crate::views::{BoardFilter, BoardRow, Chart, ColumnGroup, Heading, MeasureColumn, MeasureKind, Point, PointKind};

impl Look {
    /// The address of the board looked at like this.
    fn address(&self) -> String {
        let pairs = [
            ("sort", &self.sort),
            ("q", &self.q),
            ("ranked", &self.ranked),
            ("chart", &self.chart),
        ];
        let given: Vec<(&str, &str)> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.as_str()))
            .collect();
        with_query("/", &given)
    }

    /// The column sorted by, and whether from its largest value down.
    fn sorted(&self) -> (&str, bool) {
        match self.sort.strip_prefix('-') {
            Some(key) => (key, true),
            None if self.sort.is_empty() => ("rank", false),
            None => (&self.sort, false),
        }
    }
}

/// Groups of neighbouring columns.
pub(super) fn groups(locale: Locale, columns: &[MeasureColumn]) -> Vec<ColumnGroup> {
    let mut groups: Vec<ColumnGroup> = Vec::new();
    for column in columns {
        let kind = MeasureKind::of(&column.key);
        match groups.last_mut() {
            Some(group) if group.kind == kind => group.span += 1,
            _ => groups.push(ColumnGroup {
                kind,
                label: locale.t(kind.message()),
                span: 1,
            }),
        }
    }
    groups
}

/// The links that sort by a column: rank, team, score, size, the measures, then the time.
pub(super) fn headings(columns: &[MeasureColumn], look: &Look) -> Vec<Heading> {
    let (sorted, down) = look.sorted();
    let keys = ["rank", "team", "score", "bytes"]
        .into_iter()
        .chain(columns.iter().map(|column| column.key.as_str()))
        .chain(["received"]);
    keys.map(|key| {
        let here = sorted == key;
        // Accuracies and scores are looked at from the best; a second time turns the order round.
        let best_first = key == "score" || key.starts_with("acc.") || key == "tokens_per_second";
        let next_down = if here { !down } else { best_first };
        let sort = match (key, next_down) {
            ("rank", false) => String::new(),
            (key, false) => key.to_owned(),
            (key, true) => format!("-{key}"),
        };
        Heading {
            href: Look { sort, ..look.clone() }.address(),
            sorted: here.then_some(if down { "descending" } else { "ascending" }),
        }
    })
    .collect()
}

pub(super) fn filter(look: &Look) -> BoardFilter {
    BoardFilter {
        q: look.q.clone(),
        ranked: !look.ranked.is_empty(),
        sort: look.sort.clone(),
        chart: look.chart.clone(),
        clear: Look {
            q: String::new(),
            ranked: String::new(),
            ..look.clone()
        }
        .address(),
    }
}

/// The rows that are asked for, in the order that is asked for. What was not measured stands last in either direction.
pub(super) fn rows(mut rows: Vec<BoardRow>, columns: &[MeasureColumn], look: &Look) -> Vec<BoardRow> {
    let wanted = look.q.trim().to_lowercase();
    rows.retain(|row| {
        let named = wanted.is_empty()
            || row.team.to_lowercase().contains(&wanted)
            || row.title.to_lowercase().contains(&wanted);
        named && (look.ranked.is_empty() || row.standing.is_ranked())
    });
    let (key, down) = look.sorted();
    let turn = |order: Ordering| if down { order.reverse() } else { order };
    let by_number = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => turn(a.total_cmp(&b)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    let column = columns.iter().position(|column| column.key == key);
    let cell = |row: &BoardRow| column.and_then(|at| row.cells.get(at)?.value);
    rows.sort_by(|a, b| {
        let order = match key {
            "rank" => turn(a.place.cmp(&b.place)),
            "team" => turn(a.team.to_lowercase().cmp(&b.team.to_lowercase())),
            "score" => by_number(a.score, b.score),
            "bytes" => by_number(a.bytes.map(|bytes| bytes as f64), b.bytes.map(|bytes| bytes as f64)),
            "received" => turn(
                a.received
                    .as_ref()
                    .map(|at| &at.utc)
                    .cmp(&b.received.as_ref().map(|at| &at.utc)),
            ),
            _ => by_number(cell(a), cell(b)),
        };
        order.then(a.place.cmp(&b.place))
    });
    rows
}

/// Accuracy against size, of everyone whatever the table is filtered by.
pub(super) fn chart(
    rules: &Contest,
    columns: &[MeasureColumn],
    pinned: &[BoardRow],
    teams: &[BoardRow],
    look: &Look,
) -> Option<Chart> {
    let accuracies = || {
        columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.key.starts_with("acc."))
    };
    let floor = |key: &str| rules.score.floors.iter().find(|floor| floor.measure == key);
    // The accuracy asked for; else the one a floor is under, which decides who is ranked; else the first.
    let (at, measure) = accuracies()
        .find(|(_, column)| column.key == look.chart)
        .or_else(|| accuracies().find(|(_, column)| floor(&column.key).is_some()))
        .or_else(|| accuracies().next())?;
    let choices = accuracies()
        .map(|(_, column)| {
            let chart = column.key.clone();
            (
                column.name(),
                Look { chart, ..look.clone() }.address(),
                column.key == measure.key,
            )
        })
        .collect();
    let point = |row: &BoardRow, kind: PointKind| {
        let cell = row.cells.get(at)?;
        Some(Point {
            kind,
            name: row.team.clone(),
            anchor: row.anchor.clone(),
            mine: row.mine,
            bytes: row.bytes?,
            value: cell.value?,
            interval: cell.interval,
            ..Point::default()
        })
    };
    let mut points: Vec<Point> = pinned
        .iter()
        .filter_map(|row| point(row, PointKind::Reference))
        .collect();
    points.extend(teams.iter().filter_map(|row| {
        let kind = if row.standing.is_ranked() {
            PointKind::Ranked
        } else {
            PointKind::Unranked
        };
        point(row, kind)
    }));
    Chart::new(
        measure.clone(),
        choices,
        points,
        floor(&measure.key).map(|floor| floor.at_least),
    )
}
