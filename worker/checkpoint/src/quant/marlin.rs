//! `marlin-24` of compressed-tensors before 0.15: 4- or 8-bit integers, two of four kept, in the order a GPU kernel reads them.
//!
//! For W[N, K] (N rows, K columns): `weight_packed` I32 [K/32, 16·N·bits/32], `scale_packed` F16 [groups, N], `meta` I16 [K/32, 2·N].

use super::Quantized;
use crate::load::{Coded, OpenError, Scales, Shards, Weights, Zeros, stream};
use crate::number::f16_to_f32;
use crate::problem::{Problems, problem};
use crate::safetensors::Dtype;
use crate::verify::{Expect, data};

/// Weights of a tile that are permuted together.
const TILE: usize = 1024;

/// Its tensors; a matrix that the tiles do not cover is a problem.
pub(crate) fn expect(
    q: Quantized,
    name: &str,
    (rows, cols): (usize, usize),
    put: &mut dyn FnMut(&str, Expect),
    problems: &mut Problems,
) {
    if !rows.is_multiple_of(64) || !cols.is_multiple_of(32) {
        problems.push(problem(
            "marlin-shape",
            name,
            (
                format!("marlin-24 stores matrices of 64·n rows and 32·k columns; this one is {rows} × {cols}"),
                format!(
                    "marlin-24는 행이 64의 배수, 열이 32의 배수인 행렬만 저장합니다. 이 행렬은 {rows} × {cols}입니다"
                ),
            ),
            ("Save it as pack-quantized.", "pack-quantized로 저장하세요."),
        ));
    }
    let words = 16 * rows * usize::from(q.bits) / 32;
    let groups = q.groups(cols as u64) as usize;
    put("weight_packed", Expect::one(&[cols / 32, words], &[Dtype::I32]));
    put("scale_packed", Expect::one(&[groups, rows], &[Dtype::F16]));
    put("meta", Expect::one(&[cols / 32, 2 * rows], &[Dtype::I16]));
}

/// Reads a matrix back into rows.
pub(crate) fn load(
    shards: &Shards,
    module: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
) -> Result<Weights, OpenError> {
    let kept = kept_codes(shards, module, (rows, cols), q.bits)?;
    let (_, meta) = shards.bytes(&format!("{module}.meta"), rows * cols / 16, &[Dtype::I16])?;
    let meta: Vec<u16> = meta.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
    let half = 1u32 << (q.bits - 1);
    let mut codes = Vec::with_capacity((rows * cols * usize::from(q.bits)).div_ceil(32));
    let mut row = vec![half; cols];
    for r in 0..rows {
        row.fill(half);
        let kept = &kept[r * cols / 2..][..cols / 2];
        for c in 0..cols / 16 {
            let places = meta[meta_place(rows, r, c)];
            for quad in 0..4 {
                let (first, second) = places_of(places, quad);
                row[16 * c + 4 * quad + first] = u32::from(kept[8 * c + 2 * quad]);
                row[16 * c + 4 * quad + second] = u32::from(kept[8 * c + 2 * quad + 1]);
            }
        }
        codes.extend(stream(row.iter().copied(), q.bits));
    }
    let groups = q.groups(cols as u64) as usize;
    let (_, stored) = shards.bytes(&format!("{module}.scale_packed"), groups * rows, &[Dtype::F16])?;
    let stored: Vec<f32> = stored
        .as_chunks()
        .0
        .iter()
        .map(|b| f16_to_f32(u16::from_le_bytes(*b)))
        .collect();
    // within 64 rows, eight by eight, unless a group is as wide as the kept half of a row
    let shuffled = groups > 1 && q.group_columns(cols) < cols / 2;
    let mut values = vec![0f32; groups * rows];
    for (at, scale) in stored.into_iter().enumerate() {
        let (group, row) = (at / rows, at % rows);
        let row = if shuffled {
            row / 8 * 8 + [0, 4, 1, 5, 2, 6, 3, 7][row % 8]
        } else {
            row
        };
        values[row * groups + group] = scale;
    }
    let scales = Scales::grouped(values, q.group_columns(cols));
    Ok(Weights::Coded(Coded::int(
        q.bits,
        codes,
        scales,
        Zeros::None,
        Dtype::F16,
    )))
}

/// The columns, of four, that a quad's two values belong to.
fn places_of(meta: u16, quad: usize) -> (usize, usize) {
    let nibble = usize::from(meta >> (4 * quad)) & 15;
    (nibble & 3, nibble >> 2)
}

/// The kept codes, rows × cols / 2.
fn kept_codes(shards: &Shards, module: &str, (rows, cols): (usize, usize), bits: u8) -> Result<Vec<u8>, OpenError> {
    let per_word = 32 / usize::from(bits);
    let words = rows * cols / 2 / per_word;
    let (_, bytes) = shards.bytes(&format!("{module}.weight_packed"), words, &[Dtype::I32])?;
    let order = permutation(bits);
    let mask = (1u32 << bits) - 1;
    let half = cols / 2;
    let mut kept = vec![0u8; rows * half];
    for (word, bytes) in bytes.as_chunks().0.iter().enumerate() {
        let word_bits = u32::from_le_bytes(*bytes);
        for i in 0..per_word {
            let flat = word * per_word + i;
            let at = flat / TILE * TILE + order[flat % TILE];
            // 16 kept columns of all rows, in squares of 16 × 16
            let (square, inside) = (at / 256, at % 256);
            let (down, across) = (square / (rows / 16), square % (rows / 16));
            let (column, row) = (16 * down + inside / 16, 16 * across + inside % 16);
            kept[row * half + column] = (word_bits >> (usize::from(bits) * i) & mask) as u8;
        }
    }
    Ok(kept)
}

/// Where in a tile each stored code belongs.
fn permutation(bits: u8) -> Vec<usize> {
    let mut order = Vec::with_capacity(TILE);
    for i in 0..32 {
        let column = i / 4;
        let pair = 2 * (i % 4);
        let bases: Vec<usize> = [0, 1]
            .into_iter()
            .flat_map(|block| {
                [pair, pair + 1, pair + 8, pair + 9]
                    .map(|row| 16 * row + column / 2 * 256 + 8 * (column % 2) + 4 * block)
            })
            .collect();
        (0..4).for_each(|j| order.extend(bases.iter().map(|base| base + j)));
    }
    let interleave: &[usize] = if bits == 4 {
        &[0, 2, 4, 6, 1, 3, 5, 7]
    } else {
        &[0, 2, 1, 3]
    };
    order
        .chunks(interleave.len())
        .flat_map(|run| interleave.iter().map(move |i| run[*i]))
        .collect()
}

/// Where the places of 16 columns of a row are stored: CUTLASS's interleaved order.
fn meta_place(rows: usize, row: usize, column: usize) -> usize {
    let row = row / 64 * 64 + row % 2 * 2 + row % 8 / 4 + row % 32 % 4 / 2 * 32 + row % 64 / 8 * 4;
    let (row, column) = match (row % 2, column % 2) {
        (0, 1) => (row + 1, column - 1),
        (1, 0) => (row - 1, column + 1),
        _ => (row, column),
    };
    column / 2 * 2 * rows + 2 * row + column % 2
}

/// Scales, and that each quad keeps two different places.
pub(crate) fn check(
    shards: &Shards,
    name: &str,
    (rows, cols): (usize, usize),
    q: Quantized,
    problems: &mut Problems,
    findings: &mut Problems,
) -> Result<(), OpenError> {
    let most = (1u32 << (q.bits - 1)) as f32;
    data::scales(shards, &format!("{name}.scale_packed"), most, problems, findings)?;
    let tensor = format!("{name}.meta");
    let mut bad = 0u64;
    data::stream(shards, &tensor, (rows * cols / 8) as u64, |_, piece| {
        for bytes in piece.as_chunks().0 {
            let meta = u16::from_le_bytes(*bytes);
            bad += (0..4).map(|quad| places_of(meta, quad)).filter(|(a, b)| a >= b).count() as u64;
        }
    })?;
    if bad > 0 {
        problems.push(super::sparse::wrong_places(&tensor, bad));
    }
    Ok(())
}
