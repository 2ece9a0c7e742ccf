//! Selections of the base's rows and columns: what is left of a layer whose heads or MLP units were pruned.

use crate::load::{Checkpoint, OpenError};
use crate::model::{Linear, Module};

use super::layers::cosine;
use super::rows::Rows;

/// Columns looked at to recognise a row.
const COLUMNS: usize = 96;
/// Cosine above which a row is the base's row: 2 bits leave about 0.85, unrelated ones stay below 0.4.
const RECOGNISED: f64 = 0.6;
/// Cosine above which no other row is looked at.
const CERTAIN: f64 = 0.985;

/// Rows and columns of a base matrix, in their new order; all of them where there is no list.
#[derive(Clone, Debug, Default)]
pub(super) struct Subset {
    rows: Option<Vec<usize>>,
    cols: Option<Vec<usize>>,
    /// how many there were of what was cut
    of: usize,
}

impl Subset {
    pub fn is_whole(&self) -> bool {
        self.rows.is_none() && self.cols.is_none()
    }

    /// Kept, of how many; `None` for all.
    pub fn kept(&self) -> Option<[usize; 2]> {
        let list = self.rows.as_ref().or(self.cols.as_ref())?;
        Some([list.len(), self.of])
    }

    /// Rows after selection from `all`.
    pub fn rows(&self, all: usize) -> usize {
        self.rows.as_ref().map_or(all, Vec::len)
    }

    /// Selected rows `[from, from + count)` with their selected columns.
    pub fn read(&self, theirs: &Rows<'_>, from: usize, count: usize, out: &mut Vec<f32>) -> Result<(), OpenError> {
        match &self.rows {
            None => theirs.read(from, count, out)?,
            Some(list) => {
                let mut row = Vec::new();
                let mut all = Vec::with_capacity(count * theirs.cols());
                for at in list.iter().skip(from).take(count) {
                    theirs.read(*at, 1, &mut row)?;
                    all.append(&mut row);
                }
                *out = all;
            }
        }
        if let Some(cols) = &self.cols {
            let width = theirs.cols().max(1);
            *out = out
                .chunks(width)
                .flat_map(|row| cols.iter().filter_map(|c| row.get(*c).copied()))
                .collect();
        }
        Ok(())
    }
}

/// The selections of one layer; `None` where a matrix is no selection of the base's.
pub(super) struct Subsets {
    queries: Option<Subset>,
    keys: Option<Subset>,
    outputs: Option<Subset>,
    units: Option<Subset>,
    downs: Option<Subset>,
}

impl Subsets {
    pub fn find(ours: &Checkpoint, base: &Checkpoint, layer: usize, place: usize) -> Result<Subsets, OpenError> {
        let (mine, theirs) = (ours.config(), base.config());
        if mine.hidden != theirs.hidden {
            return Ok(Subsets {
                queries: None,
                keys: None,
                outputs: None,
                units: None,
                downs: None,
            });
        }
        let heads = mine.head_dim == theirs.head_dim;
        let select = |which: Linear, block: usize, fits: bool| -> Result<Option<Vec<usize>>, OpenError> {
            if !fits {
                return Ok(None);
            }
            let mine = Rows::open(ours, Module::Layer(layer, which))?;
            selection(&mine, &Rows::open(base, Module::Layer(place, which))?, block)
        };
        let whole = Some(Subset::default());
        let (queries, outputs) = if mine.q_dim() == theirs.q_dim() && heads {
            (whole.clone(), whole.clone())
        } else {
            both(
                select(Linear::Q, mine.head_dim, heads && mine.heads < theirs.heads)?,
                theirs.q_dim(),
            )
        };
        let keys = if mine.kv_dim() == theirs.kv_dim() && heads {
            whole.clone()
        } else {
            both(
                select(Linear::K, mine.head_dim, heads && mine.kv_heads < theirs.kv_heads)?,
                theirs.kv_dim(),
            )
            .0
        };
        let (units, downs) = if mine.intermediate == theirs.intermediate {
            (whole.clone(), whole)
        } else {
            both(
                select(Linear::Gate, 1, mine.intermediate < theirs.intermediate)?,
                theirs.intermediate,
            )
        };
        Ok(Subsets {
            queries,
            keys,
            outputs,
            units,
            downs,
        })
    }

    pub fn of(&self, which: Linear) -> Option<&Subset> {
        match which {
            Linear::Q => self.queries.as_ref(),
            Linear::K | Linear::V => self.keys.as_ref(),
            Linear::O => self.outputs.as_ref(),
            Linear::Gate | Linear::Up => self.units.as_ref(),
            Linear::Down => self.downs.as_ref(),
        }
    }
}

/// A list as a selection of rows, and of the columns of the matrix that follows.
fn both(list: Option<Vec<usize>>, of: usize) -> (Option<Subset>, Option<Subset>) {
    let Some(list) = list else { return (None, None) };
    let rows = Subset {
        rows: Some(list.clone()),
        cols: None,
        of,
    };
    let cols = Subset {
        rows: None,
        cols: Some(list),
        of,
    };
    (Some(rows), Some(cols))
}

/// The base's row for each of ours, in blocks of `block` rows that stay together (the rows of a head); `None` where one is not found.
/// Pruning keeps the order, so each is looked for behind the one before it first.
fn selection(mine: &Rows<'_>, theirs: &Rows<'_>, block: usize) -> Result<Option<Vec<usize>>, OpenError> {
    let (ours, base) = (samples(mine, block)?, samples(theirs, block)?);
    let mut taken = vec![false; base.len()];
    let mut next = 0;
    let mut list = Vec::new();
    for sample in &ours {
        let mut best = (RECOGNISED, None);
        for j in (next..base.len()).chain(0..next).filter(|j| !taken[*j]) {
            let cosine = cosine(sample, &base[j]);
            if cosine > best.0 {
                best = (cosine, Some(j));
            }
            // four bits and more leave no doubt; with fewer all are looked at
            if cosine > CERTAIN {
                break;
            }
        }
        let found = best.1;
        let Some(at) = found else { return Ok(None) };
        taken[at] = true;
        next = at + 1;
        list.extend(at * block..(at + 1) * block);
    }
    Ok(Some(list))
}

/// The first columns of each block's rows (at most four of them, which is enough to tell heads apart).
fn samples(rows: &Rows<'_>, block: usize) -> Result<Vec<Vec<f32>>, OpenError> {
    let mut row = Vec::new();
    let mut all = Vec::new();
    for first in (0..rows.rows()).step_by(block.max(1)) {
        let mut sample = Vec::new();
        for at in first..(first + block.min(4)).min(rows.rows()) {
            rows.read(at, 1, &mut row)?;
            sample.extend(row.iter().take(COLUMNS));
        }
        all.push(sample);
    }
    Ok(all)
}
