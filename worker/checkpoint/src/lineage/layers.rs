//! Which layer of the base each layer is: by its norms, which no tool quantizes and no two layers share.

use crate::load::{Checkpoint, OpenError};
use crate::model::{Linear, Module, Norm};

use super::rows::Rows;

/// Rows and columns looked at to recognise a matrix.
const SAMPLE: usize = 32;
/// Cosine between samples of the same matrix: 2 bits leave 0.8, unrelated ones 0.1.
const RECOGNISED: f64 = 0.6;

/// The base's layer for each of ours.
pub(super) fn place(ours: &Checkpoint, base: &Checkpoint) -> Result<Vec<Option<usize>>, OpenError> {
    let mine = all_norms(ours)?;
    let theirs = all_norms(base)?;
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut last: Option<usize> = None;
    for (layer, norms) in mine.iter().enumerate() {
        let fits = |j: &usize| !norms.is_empty() && theirs[*j] == *norms;
        let after = last.map_or(0, |last| last + 1);
        // norms that are equal in every layer (of an untrained model) leave the order to decide
        let place = Some(layer)
            .filter(|_| mine.len() == theirs.len())
            .filter(fits)
            .or_else(|| (after..theirs.len()).find(fits))
            .or_else(|| (0..theirs.len()).find(fits));
        let place = match place {
            Some(place) => Some(place),
            None => by_weights(ours, base, layer)?,
        };
        last = place.or(last);
        places.push(place);
    }
    Ok(places)
}

/// Norms by layer, as bfloat16.
fn all_norms(checkpoint: &Checkpoint) -> Result<Vec<Vec<Vec<f32>>>, OpenError> {
    let mut layers = vec![Vec::new(); checkpoint.config().layers];
    for norm in Norm::all(checkpoint.config()) {
        if let Some(layer) = norm.layer().and_then(|layer| layers.get_mut(layer)) {
            layer.push(checkpoint.norm(norm)?);
        }
    }
    Ok(layers)
}

/// Where the norms are nobody's: the layer whose matrices these are.
fn by_weights(ours: &Checkpoint, base: &Checkpoint, layer: usize) -> Result<Option<usize>, OpenError> {
    for which in [Linear::K, Linear::Gate, Linear::Down] {
        let mine = Rows::open(ours, Module::Layer(layer, which))?;
        if let Some(place) = nearest(&mine, base, which, None)? {
            return Ok(Some(place));
        }
    }
    // the same place, if it has one: better to compare with something than with nothing
    Ok((ours.config().layers == base.config().layers).then_some(layer))
}

/// The layer of the base whose matrix of that kind this is, other than `not`.
pub(super) fn owner(mine: &Rows<'_>, base: &Checkpoint, which: Linear, not: usize) -> Result<Option<usize>, OpenError> {
    nearest(mine, base, which, Some(not))
}

fn nearest(mine: &Rows<'_>, base: &Checkpoint, which: Linear, not: Option<usize>) -> Result<Option<usize>, OpenError> {
    let count = SAMPLE.min(mine.rows());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    mine.read(0, count, &mut ours)?;
    let mut best = (RECOGNISED, None);
    for layer in (0..base.config().layers).filter(|layer| Some(*layer) != not) {
        let rows = Rows::open(base, Module::Layer(layer, which))?;
        if rows.cols() != mine.cols() || rows.rows() < count {
            continue;
        }
        rows.read(0, count, &mut theirs)?;
        let cosine = cosine(&ours, &theirs);
        if cosine > best.0 {
            best = (cosine, Some(layer));
        }
    }
    Ok(best.1)
}

/// Cosine of the angle between two vectors; 0 where one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut aa, mut ab, mut bb) = (0f64, 0f64, 0f64);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        aa += a * a;
        ab += a * b;
        bb += b * b;
    }
    if aa > 0.0 && bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}

/// Names of norms that differ from those of the layer they belong to.
pub(super) fn changed_norms(
    ours: &Checkpoint,
    base: &Checkpoint,
    places: &[Option<usize>],
) -> Result<Vec<String>, OpenError> {
    let mut changed = Vec::new();
    for norm in Norm::all(ours.config()) {
        let same = match norm.layer() {
            None => Some(norm),
            Some(layer) => places.get(layer).copied().flatten().map(|place| norm.at(place)),
        };
        let Some(theirs) = same else { continue };
        if theirs.width(base.config()) != norm.width(ours.config()) || ours.norm(norm)? != base.norm(theirs)? {
            changed.extend(norm.tensor(ours.config().family));
        }
    }
    Ok(changed)
}
