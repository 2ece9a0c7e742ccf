//! Lineage: are these the base model's weights, compressed as declared? Every matrix is dequantized and compared with the base's.
//!
//! What proves most is cheap: the tools take a scale from the largest weight of its group, so the scales of a model that was only
//! quantized are, bit for bit, what the base's weights give, and one changed weight in a hundred moves a good part of them
//! ([`grid`]). Where a method chooses its scales itself, the error that is left over is held against what rounding the base to the
//! stored scales would leave ([`bands`]); a change far below half a step of the grid is then out of reach, and nothing here says otherwise.
//!
//! Matrices are read a few rows at a time; nothing of a model is held but what is being compared.

mod bands;
mod claims;
mod compare;
mod fold;
mod grid;
mod judge;
mod layers;
mod map;
mod rows;
mod sparsity;
mod subset;
mod tell;

use std::path::Path;

use assay_contest::{CheckpointRules, LineageRule};

use crate::inspection::{Inspection, Verdict};
use crate::listing::Listing;
use crate::load::{Checkpoint, OpenError};
use crate::model::{Linear, Module};
use crate::problem::Problems;
use crate::threads;

pub use map::{Cell, Lineage, LineageRow, Relation};

use claims::Claims;
use rows::Rows;

/// Compares every weight of an accepted folder with the base model in `base`, and the recipe's claims with what is found.
///
/// What speaks against the base is a finding, or a problem where the contest requires the lineage ([`LineageRule::Required`]).
/// A base without weights is a finding of its own. A rejected inspection is returned as it is.
pub fn verify_lineage(dir: &Path, base: &Path, inspection: &Inspection, rules: Option<&CheckpointRules>) -> Inspection {
    let mut result = inspection.clone();
    if !inspection.accepted() {
        return result;
    }
    let required = rules.is_some_and(|rules| rules.lineage == LineageRule::Required);
    let (mut against, mut notes) = (Problems::default(), Problems::default());
    match Checkpoint::open(base) {
        Err(why) => tell::base_absent(&why.to_string(), &mut notes),
        Ok(base) => match look(dir, &base, inspection) {
            Ok((lineage, claims)) => {
                tell::all(&lineage, &mut against, &mut notes);
                claims.hold_against(&lineage, &mut against);
                result.lineage = Some(lineage);
            }
            Err(why) => against.push(crate::verify::unreadable(&why.to_string())),
        },
    }
    result.findings.extend(notes.finish());
    let list = if required {
        &mut result.problems
    } else {
        &mut result.findings
    };
    list.extend(against.finish());
    if !result.problems.is_empty() {
        result.verdict = Verdict::Rejected;
    }
    result
}

/// What the recipe claims of the zeros, against the tensors alone. For [`crate::verify_data`].
pub(crate) fn check_sparsity(
    checkpoint: &Checkpoint,
    listing: &Listing,
    problems: &mut Problems,
) -> Result<(), OpenError> {
    sparsity::check(checkpoint, &Claims::read(listing), problems)
}

fn look(dir: &Path, base: &Checkpoint, inspection: &Inspection) -> Result<(Lineage, Claims), OpenError> {
    let listing = Listing::read_dir(dir)?;
    let claims = Claims::read(&listing);
    let ours = Checkpoint::open(dir)?.with_stored_scales();
    let places = layers::place(&ours, base)?;
    let mut lineage = Lineage::new(inspection, &places, base.config().layers);
    lineage.norms = layers::changed_norms(&ours, base, &places)?;

    // the two largest matrices first, then the layers in order
    let jobs: Vec<Job> = [Job::Embedding, Job::Head]
        .into_iter()
        .chain((0..ours.config().layers).map(Job::Layer))
        .collect();
    let compared = threads::each(&jobs, |job| job.run(&ours, base, &places));
    for (job, cells) in jobs.iter().zip(compared) {
        let mut cells = cells?;
        match job {
            Job::Embedding => lineage.embedding = cells.pop(),
            Job::Head => lineage.head = cells.pop(),
            Job::Layer(layer) => lineage.rows[*layer].cells = cells,
        }
    }
    Ok((lineage, claims))
}

/// What one thread compares at a time.
#[derive(Clone, Copy)]
enum Job {
    Embedding,
    Head,
    Layer(usize),
}

impl Job {
    fn run(self, ours: &Checkpoint, base: &Checkpoint, places: &[Option<usize>]) -> Result<Vec<Cell>, OpenError> {
        match self {
            Job::Embedding => vocabulary(ours, base, Module::Embedding).map(|cell| vec![cell]),
            Job::Head if ours.config().tie => Ok(Vec::new()),
            Job::Head => vocabulary(ours, base, Module::Head).map(|cell| vec![cell]),
            Job::Layer(layer) => self::layer(ours, base, layer, places[layer]),
        }
    }
}

/// Embedding or head: the base's rows, as many as it has. A head is held against the embedding where the base ties them.
fn vocabulary(ours: &Checkpoint, base: &Checkpoint, module: Module) -> Result<Cell, OpenError> {
    let theirs = if base.config().tie { Module::Embedding } else { module };
    let (mine, theirs) = (Rows::open(ours, module)?, Rows::open(base, theirs)?);
    if mine.cols() != theirs.cols() {
        return Ok(Cell::resized());
    }
    let found = compare::compare(&mine, &theirs, &subset::Subset::default())?;
    judge::judge(&found, &mine, &theirs, &subset::Subset::default())
}

/// A layer's seven matrices, in the order of [`Linear::ALL`].
fn layer(ours: &Checkpoint, base: &Checkpoint, layer: usize, place: Option<usize>) -> Result<Vec<Cell>, OpenError> {
    let Some(place) = place else {
        return Ok(vec![Cell::unplaced(); Linear::ALL.len()]);
    };
    let subsets = subset::Subsets::find(ours, base, layer, place)?;
    let mut cells = Vec::new();
    for which in Linear::ALL {
        let mine = Rows::open(ours, Module::Layer(layer, which))?;
        let theirs = Rows::open(base, Module::Layer(place, which))?;
        let Some(subset) = subsets.of(which) else {
            cells.push(Cell::resized());
            continue;
        };
        let found = compare::compare(&mine, &theirs, subset)?;
        let mut cell = judge::judge(&found, &mine, &theirs, subset)?;
        cell.kept = subset.kept();
        if cell.relation == Relation::Replaced && subset.is_whole() {
            cell.from = layers::owner(&mine, base, which, place)?;
        }
        cells.push(cell);
    }
    Ok(cells)
}
