//! What a matrix is, from what was found of it.

use crate::load::OpenError;

use super::bands::COMPENSATING;
use super::compare::{CodedFound, Found};
use super::fold;
use super::grid::UNIFORM;
use super::map::{Cell, Relation};
use super::rows::Rows;
use super::subset::Subset;

/// More zeros than the base (or its rounding) has, as a share of all weights, that count as pruning.
const PRUNED: f64 = 0.02;
/// Below this cosine it is not even a distant relative.
const RELATED: f64 = 0.7;
/// A tool's scales may miss the base's in one of so many cells: ties of a rounding that nobody's arithmetic settles.
const STRAY: f64 = 0.0005;

pub(super) fn judge(found: &Found, mine: &Rows<'_>, theirs: &Rows<'_>, subset: &Subset) -> Result<Cell, OpenError> {
    let relation = match &found.coded {
        None => dense(found),
        Some(coded) => match of_scales(found, coded) {
            // the dearer look only where the cheap one finds no explanation
            Relation::Changed | Relation::Replaced if is_folded(found, coded, mine, theirs, subset)? => {
                Relation::Folded
            }
            relation => relation,
        },
    };
    Ok(Cell::of(relation, found))
}

fn dense(found: &Found) -> Relation {
    let share = |count: u64| count as f64 / found.elements.max(1) as f64;
    if found.errors == 0.0 {
        Relation::Same
    } else if share(found.zeros) > share(found.base_zeros) + PRUNED && found.equal + found.zeros == found.elements {
        Relation::Pruned
    } else if found.cosine() < RELATED {
        Relation::Replaced
    } else if share(found.zeros) > share(found.base_zeros) + 5.0 * PRUNED {
        // the weights that are left were updated, as SparseGPT does
        Relation::Pruned
    } else {
        Relation::Changed
    }
}

fn of_scales(found: &Found, coded: &CodedFound) -> Relation {
    let scales = &coded.scales;
    let exact = scales.same == scales.cells;
    let nearly = |same: u64, cells: u64| cells > 0 && (cells - same) as f64 <= STRAY * cells as f64;
    let within = found.error() <= COMPENSATING * coded.expected(found)
        && coded.coarsest.is_none_or(|most| coded.expected(found) <= most);
    if found.cosine() < RELATED && !within {
        return Relation::Replaced;
    }
    if exact && coded.nearest() == found.elements {
        return Relation::Rounded;
    }
    if exact
        || nearly(scales.same, scales.cells)
        || (nearly(scales.first_same, scales.firsts) && scales.cells > scales.firsts)
    {
        return if within {
            Relation::Compensated
        } else {
            Relation::Changed
        };
    }
    if scales.spread() <= UNIFORM && (scales.factor() - 1.0).abs() > UNIFORM / 2.0 {
        return Relation::Rescaled;
    }
    let above = scales.above as f64 / scales.known.max(1) as f64;
    if above <= 0.01 && scales.factor() < 1.0 && within {
        Relation::Tuned
    } else {
        Relation::Changed
    }
}

fn is_folded(
    found: &Found,
    coded: &CodedFound,
    mine: &Rows<'_>,
    theirs: &Rows<'_>,
    subset: &Subset,
) -> Result<bool, OpenError> {
    let Some(coarsest) = coded.coarsest else {
        return Ok(false);
    };
    if coded.scales.spread() < 0.02 {
        return Ok(false);
    }
    let left = fold::residual(mine, theirs, subset)?;
    Ok(left <= coarsest && left < 0.8 * found.error())
}
