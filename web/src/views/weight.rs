//! A checkpoint's weight by tensor group, drawn as one bar with its table.

use super::format;
use serde_json::Value;

/// Exact weight by tensor group.
#[derive(Clone, Debug, Default)]
pub struct WeightView {
    /// Length of all weight files together.
    pub total: u64,
    /// The base model's, for comparison.
    pub base: Option<u64>,
    /// The groups in the checkpoint's order; they sum to `total`.
    pub groups: Vec<WeightGroup>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightGroup {
    /// `embedding`, `head`, `attention`, `mlp`, `norms`, `scales`, `zero_points`, …
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// One piece of the bar, in thousandths of the bar's width.
#[derive(Clone, Debug, PartialEq)]
pub struct BarPiece {
    /// The group.
    pub group: WeightGroup,
    /// Left edge.
    pub x: String,
    /// Width.
    pub width: String,
    /// `43.2 %`.
    pub share: String,
}

impl WeightView {
    /// Reads an inspection's `bytes: {total, groups: [{name, bytes}]}`; `None` when nothing was weighed.
    pub fn from_json(bytes: &Value, base: Option<u64>) -> Option<WeightView> {
        let total = bytes["total"].as_u64().filter(|total| *total > 0)?;
        let groups = bytes["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
        let groups = groups
            .iter()
            .filter_map(|group| {
                Some(WeightGroup {
                    name: group["name"].as_str()?.to_owned(),
                    bytes: group["bytes"].as_u64()?,
                })
            })
            .filter(|group| group.bytes > 0)
            .collect();
        Some(WeightView { total, base, groups })
    }

    /// The pieces of the bar, in order. Without a base the bar is the checkpoint; with one it is the larger of the two, so that
    /// what compression saved is the empty part of it.
    pub fn pieces(&self) -> Vec<BarPiece> {
        let whole = self.total.max(self.base.unwrap_or(0)).max(1) as f64;
        let mut begin = 0u64;
        let mut pieces = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            pieces.push(BarPiece {
                group: group.clone(),
                x: format!("{:.3}", begin as f64 / whole * 1000.0),
                width: format!("{:.3}", group.bytes as f64 / whole * 1000.0),
                share: format::percent(group.bytes, self.total),
            });
            begin = begin.saturating_add(group.bytes);
        }
        pieces
    }

    /// This checkpoint as a share of the base: `38.0 %`.
    pub fn of_base(&self) -> Option<String> {
        self.base
            .filter(|base| *base > 0)
            .map(|base| format::percent(self.total, base))
    }
}
