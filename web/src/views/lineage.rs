//! Where a checkpoint's weights come from: every matrix held against the base's, a row a layer, as a heat map.

use crate::i18n::{self, Arg, Locale};
use askama::Template;
use assay_checkpoint::{Cell, Lineage, Relation};
use serde::Deserialize as _;
use serde_json::Value;

/// Shades of the map.
const SHADES: f64 = 5.0;
/// The relations in the order they are explained in: what is wrong first.
pub(super) const RELATIONS: [Relation; 11] = [
    Relation::Replaced,
    Relation::Changed,
    Relation::Rescaled,
    Relation::Pruned,
    Relation::Resized,
    Relation::Unplaced,
    Relation::Folded,
    Relation::Tuned,
    Relation::Compensated,
    Relation::Rounded,
    Relation::Same,
];

/// How the weights relate to the base's.
#[derive(Clone, Debug, Template)]
#[template(path = "fragments/lineage.html")]
pub struct LineageFragment {
    /// The language.
    pub locale: Locale,
    /// What was found.
    pub lineage: Lineage,
}

/// A fragment is written by its own template, which escapes; a page takes it as it is.
impl askama::filters::HtmlSafe for LineageFragment {}

/// One line of the map.
struct Line {
    label: String,
    /// Which layer of the base it is, where that has another number.
    note: Option<String>,
    squares: Vec<Square>,
    /// Columns that a square takes.
    span: usize,
}

/// One matrix as it is drawn.
struct Square {
    /// The class that shades it.
    shade: String,
    /// Relative error in percent.
    error: String,
    /// What it is.
    name: String,
    /// Everything known of it, in words.
    told: String,
}

/// One line of the legend.
struct Kind {
    name: String,
    means: String,
    count: usize,
    against: bool,
}

impl LineageFragment {
    /// Reads an inspection's `lineage`; `None` where nothing was compared.
    pub fn from_inspection(locale: Locale, inspection: &Value) -> Option<LineageFragment> {
        let lineage = Lineage::deserialize(&inspection["lineage"]).ok()?;
        (!lineage.columns.is_empty()).then_some(LineageFragment { locale, lineage })
    }

    fn lines(&self) -> Vec<Line> {
        let Lineage {
            columns,
            rows,
            embedding,
            head,
            ..
        } = &self.lineage;
        let ends = [("group-embedding", embedding), ("group-head", head)];
        let ends = ends.into_iter().filter_map(|(key, cell)| {
            Some(Line {
                label: self.t(key),
                note: None,
                squares: vec![self.square(cell.as_ref()?)],
                span: columns.len(),
            })
        });
        let layers = rows.iter().map(|row| Line {
            label: self.t1("lineage-layer", "n", row.layer),
            note: row
                .base
                .filter(|base| *base != row.layer)
                .map(|base| self.t1("lineage-is", "n", base)),
            squares: row.cells.iter().map(|cell| self.square(cell)).collect(),
            span: 1,
        });
        ends.chain(layers).collect()
    }

    fn square(&self, cell: &Cell) -> Square {
        Square {
            shade: shade(cell),
            error: error(cell),
            name: self.name(cell.relation),
            told: self.tell(cell),
        }
    }

    /// Matrices, and those that speak against the base.
    fn counts(&self) -> (usize, usize) {
        let cells = || self.lineage.cells().map(|(_, cell)| cell.relation);
        (
            cells().count(),
            cells().filter(|relation| relation.is_against()).count(),
        )
    }

    /// What it comes to, in one sentence.
    fn sum(&self) -> String {
        match self.counts() {
            (_, 0) => self.t("lineage-good"),
            (all, against) => i18n::t(self.locale, "lineage-bad", &[("n", &against), ("all", &all)]),
        }
    }

    /// The base's layers that are not here.
    fn dropped(&self) -> Option<String> {
        let here = |layer: &usize| self.lineage.rows.iter().any(|row| row.base == Some(*layer));
        let gone: Vec<String> = (0..self.lineage.base_layers)
            .filter(|layer| !here(layer))
            .map(|layer| layer.to_string())
            .collect();
        (!gone.is_empty()).then(|| self.t1("lineage-dropped", "layers", gone.join(", ")))
    }

    /// The relations that occur.
    fn kinds(&self) -> Vec<Kind> {
        let count = |relation| {
            self.lineage
                .cells()
                .filter(|(_, cell)| cell.relation == relation)
                .count()
        };
        let kinds = RELATIONS.into_iter().map(|relation| Kind {
            name: self.name(relation),
            means: self.t(&format!("relation-{}-means", relation_key(relation))),
            count: count(relation),
            against: relation.is_against(),
        });
        kinds.filter(|kind| kind.count > 0).collect()
    }

    /// Everything known of a cell, in words.
    fn tell(&self, cell: &Cell) -> String {
        let mut told = self.name(cell.relation);
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                told.push_str("; ");
                told.push_str(&self.t1(key, "value", value));
            }
        };
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        add("lineage-error", cell.error.map(percent));
        add("lineage-band", cell.band.filter(|band| *band > 0.0).map(percent));
        add("lineage-scales", cell.scales.map(percent));
        add("lineage-codes", cell.codes.map(percent));
        add("lineage-factor", cell.factor.map(|factor| format!("{factor:.5}")));
        add("lineage-zeros", cell.zeros.filter(|zeros| *zeros > 0.01).map(percent));
        add("lineage-from", cell.from.map(|layer| layer.to_string()));
        add("lineage-kept", cell.kept.map(|[some, all]| format!("{some} / {all}")));
        told
    }

    /// What a relation is called.
    fn name(&self, relation: Relation) -> String {
        self.t(&format!("relation-{}", relation_key(relation)))
    }

    fn t(&self, key: &str) -> String {
        self.locale.t(key)
    }

    fn t1(&self, key: &str, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name, &value)])
    }
}

/// `against`, or the error as a share of what the scheme explains, in steps.
fn shade(cell: &Cell) -> String {
    if cell.relation.is_against() {
        return "against".to_owned();
    }
    let share = cell.value().unwrap_or(0.0).clamp(0.0, 1.0);
    format!("shade-{}", (share * SHADES).ceil())
}

fn error(cell: &Cell) -> String {
    match cell.error {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(error) if error < 0.1 => format!("{:.2}", error * 100.0),
        Some(error) => format!("{:.1}", error * 100.0),
    }
}

/// A relation as messages are named after it.
pub(super) fn relation_key(relation: Relation) -> &'static str {
    match relation {
        Relation::Same => "same",
        Relation::Rounded => "rounded",
        Relation::Compensated => "compensated",
        Relation::Tuned => "tuned",
        Relation::Folded => "folded",
        Relation::Rescaled => "rescaled",
        Relation::Pruned => "pruned",
        Relation::Changed => "changed",
        Relation::Replaced => "replaced",
        Relation::Resized => "resized",
        Relation::Unplaced => "unplaced",
    }
}
