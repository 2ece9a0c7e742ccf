//! The map of a model's lineage, as the inspection carries it: one row a layer, one cell a matrix.

use serde::{Deserialize, Serialize};

use super::compare::Found;
use crate::inspection::Inspection;

/// How a submission's weights relate to the base's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// the scheme that was compared, as the inspection names it
    pub scheme: String,
    /// names of the columns of `rows`: `q`, `k`, `v`, `o`, `gate`, `up`, `down`
    pub columns: Vec<String>,
    /// one a layer
    pub rows: Vec<LineageRow>,
    /// the embedding
    pub embedding: Option<Cell>,
    /// the head; none where it is the embedding
    pub head: Option<Cell>,
    /// tensors of norms that are not, bit for bit, the base's
    pub norms: Vec<String>,
    /// layers of the base
    pub base_layers: usize,
}

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineageRow {
    /// its number in the submission
    pub layer: usize,
    /// the layer of the base that it is, by its norms (or its weights, where the norms are nobody's)
    pub base: Option<usize>,
    /// one a column
    pub cells: Vec<Cell>,
}

/// One matrix against the base's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// what it was found to be
    pub relation: Relation,
    /// relative error ‖W′ − W⁰‖ / ‖W⁰‖; none where nothing could be compared
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// the largest relative error that its scheme explains: what rounding the base to the stored scales leaves, times what methods
    /// that compensate errors were measured to add; 0 for dense storage
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<f64>,
    /// share of scales (and zero points) that the base's weights give, 0 to 1; none for dense storage
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<f64>,
    /// share of codes that rounding the base to the stored scales gives, 0 to 1; none for dense storage
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<f64>,
    /// geometric mean of stored scale / base's scale, where they differ
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// share of weights that are zero, 0 to 1
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<f64>,
    /// the layer of the base whose matrix this is, where it is another's
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
    /// rows or columns that were kept, of how many, where some were removed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<[usize; 2]>,
}

/// What a matrix is to the base's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// the base's, value for value (after rounding to bfloat16)
    Same,
    /// the base's, rounded to nearest: scales and codes are what the tools make of it
    Rounded,
    /// the scales are the base's, codes are chosen by a method that compensates errors, such as GPTQ; the error is in the band
    Compensated,
    /// the scales are chosen by the method (clipped, tuned), never above the base's; the error is in the band: nothing speaks against it
    Tuned,
    /// rows or columns were scaled before quantizing, as AWQ does; apart from that the error is in the band
    Folded,
    /// every scale is the base's times one factor
    Rescaled,
    /// weights were set to zero, the others are the base's
    Pruned,
    /// close to the base's, and not what its scheme makes of them: trained, merged or edited
    Changed,
    /// not the base's
    Replaced,
    /// of another shape, and no selection of the base's rows
    Resized,
    /// its layer is none of the base's
    #[default]
    Unplaced,
}

impl Relation {
    /// Whether it speaks against the claim that these are the base's weights, only compressed.
    pub fn is_against(self) -> bool {
        !matches!(
            self,
            Relation::Same | Relation::Rounded | Relation::Compensated | Relation::Tuned | Relation::Folded
        )
    }
}

/// What the columns are called.
pub(super) const COLUMNS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

impl Lineage {
    pub(super) fn new(inspection: &Inspection, places: &[Option<usize>], base_layers: usize) -> Lineage {
        let row = |(layer, base): (usize, &Option<usize>)| LineageRow {
            layer,
            base: *base,
            cells: Vec::new(),
        };
        Lineage {
            scheme: inspection.scheme.clone(),
            columns: COLUMNS.map(str::to_owned).to_vec(),
            rows: places.iter().enumerate().map(row).collect(),
            base_layers,
            ..Lineage::default()
        }
    }

    /// Every cell with its place: `layer 3: q`, `embedding`, `head`.
    pub fn cells(&self) -> impl Iterator<Item = (String, &Cell)> {
        let ends = [("embedding", &self.embedding), ("head", &self.head)];
        let ends = ends
            .into_iter()
            .filter_map(|(name, cell)| Some((name.to_owned(), cell.as_ref()?)));
        let rows = self.rows.iter().flat_map(|row| {
            let named = row.cells.iter().zip(&self.columns);
            named.map(|(cell, column)| (format!("layer {}: {column}", row.layer), cell))
        });
        ends.chain(rows)
    }
}

impl Cell {
    pub(super) fn resized() -> Cell {
        Cell {
            relation: Relation::Resized,
            ..Cell::default()
        }
    }

    pub(super) fn unplaced() -> Cell {
        Cell::default()
    }

    pub(super) fn of(relation: Relation, found: &Found) -> Cell {
        let coded = found.coded.as_ref();
        Cell {
            relation,
            error: Some(short(found.error())),
            band: Some(short(coded.map_or(0.0, |coded| coded.band(found)))),
            scales: coded.map(|coded| share(coded.scales.same, coded.scales.cells)),
            codes: coded.map(|coded| share(coded.nearest(), found.elements)),
            factor: coded
                .filter(|coded| coded.scales.same < coded.scales.cells)
                .map(|coded| short(coded.scales.factor())),
            zeros: Some(share(found.zeros, found.elements)),
            from: None,
            kept: None,
        }
    }

    /// Error in units of the band: at most 1 where the scheme explains it. Dense weights have no band: any error is beyond it.
    pub fn value(&self) -> Option<f64> {
        match (self.error?, self.band.unwrap_or(0.0)) {
            (0.0, _) => Some(0.0),
            (error, band) if band > 0.0 => Some(error / band),
            (error, _) => Some(1.0 + error),
        }
    }
}

/// A share that is 1 only when it is all of them.
fn share(some: u64, all: u64) -> f64 {
    if some == all {
        1.0
    } else {
        short(some as f64 / all.max(1) as f64).min(0.999_999)
    }
}

/// Six significant digits: enough to read, and the same text everywhere.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    let unit = 10f64.powi(digits.clamp(-300, 300));
    (value * unit).round() / unit
}
