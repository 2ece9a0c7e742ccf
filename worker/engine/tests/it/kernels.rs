//! The CPU's kernels against f64 on the same rounded inputs, and bit by bit across instruction sets, blocks and threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Codebook, Coded, Codes, GroupScale, InputScale, Inputs, Matrix, Scales, Weights, Zeros};
use assay_engine::exec::cpu::attention::KvCache;
use assay_engine::exec::cpu::bytes;
use assay_engine::exec::cpu::gemm::{PANEL, Panels, linear};
use assay_engine::exec::cpu::inputs::Packed;
use assay_engine::exec::cpu::isa::Isa;
use assay_engine::exec::cpu::nibbles::Plan;
use assay_engine::exec::cpu::norm::{Activate, Heads, normalise_row};
use assay_engine::exec::cpu::pool::Pool;
use assay_engine::exec::exact::{self, Taken};
use assay_engine::numerics::{BLOCK, ByteScale, PAGE_TOKENS, block_integer, block_unit, rotation, silu};
use assay_engine::{Precision, Segment};

use crate::support::{Random, asymmetric, matrix};

const ROWS: [usize; 25] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33, 34, 35, 127, 256, 300,
];

/// Inputs a sum can go wrong on.
fn inputs(r: &mut Random, kind: usize, rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols)
        .map(|i| match kind {
            0 => r.normal(),
            1 => r.normal() / (r.unit() as f32 + 1e-4),        // heavy tails
            2 => f32::from(i % cols == (i / cols * 7) % cols), // one-hot
            _ => r.normal() * if i % 2 == 0 { 1e6 } else { 1e-6 },
        })
        .collect()
}

/// Matrices that are multiplied in integers: every width, book and kind of zero point, groups of all lengths, a last one that is shorter.
fn few_bits(r: &mut Random, rows: usize) -> Vec<Matrix> {
    let nf4 = (0..16).map(|i| Precision::Bf16.round((i as f32 - 7.0) / 8.0)).collect();
    let books = [
        (4, Codebook::Int, Dtype::BF16),
        (4, Codebook::Int, Dtype::F16),
        (3, Codebook::Int, Dtype::BF16),
        (2, Codebook::Int, Dtype::F32),
        (4, Codebook::E2m1, Dtype::BF16),
        (4, Codebook::Table(nf4), Dtype::F32),
    ];
    let mut all = Vec::new();
    for (i, (cols, group)) in [
        (512usize, 128usize),
        (1056, 128),
        (320, 64),
        (96, 32),
        (1184, 1184),
        (640, 640),
    ]
    .into_iter()
    .enumerate()
    {
        for (bits, book, dtype) in books.clone() {
            let groups = cols.div_ceil(group);
            let words = rows * (cols * usize::from(bits)).div_ceil(32);
            let codes: Vec<u32> = (0..words).map(|_| r.next() as u32).collect();
            let scale = |r: &mut Random| Precision::Bf16.round(0.001 + r.unit() as f32 * 0.1);
            let scales = Scales::grouped((0..rows * groups).map(|_| scale(r)).collect(), group);
            let mut coded = Coded::float(bits, book.clone(), codes, scales, dtype);
            if book == Codebook::Int && i % 2 == 0 {
                let half = 1i16 << (bits - 1);
                let zero = |r: &mut Random| r.below(2 * half as usize) as i16 - half;
                coded.zeros = Zeros::Int((0..rows * groups).map(|_| zero(r)).collect());
            }
            let m = Matrix::plain(rows, cols, Weights::Coded(coded));
            assert!(
                Plan::of(&m).is_some(),
                "{bits} bits, {book:?}, groups of {group} of {cols}"
            );
            all.push(m);
        }
    }
    all
}

fn run(pool: &Pool, isa: Isa, precision: Precision, x: &[f32], rows: usize, panels: &Panels) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows * panels.width()];
    linear(pool, isa, precision, x, panels, &mut Packed::default(), &mut out);
    out
}

// One row of a part.
fn gather(panels: &Panels, buffer: &[f32], at: (usize, usize), part: usize, out: &mut [f32]) {
    let width = out.len();
    panels.gather(buffer, at, (part, width), out, width);
}

fn check_against_f64(m: &Matrix, x: &[f32], rows: usize, precision: Precision) {
    check_packed_for(precision, m, x, rows, precision);
}

fn check_packed_for(packed: Precision, m: &Matrix, x: &[f32], rows: usize, precision: Precision) {
    let pool = Pool::new(2);
    let panels = Panels::pack(&pool, packed, &[m]);
    let out = run(&pool, Isa::detect(), precision, x, rows, &panels);
    let mut got = vec![0f32; m.rows];
    let exact = exact::product(m, Taken::by_cpu(m, packed), &x[..rows * m.cols]);
    let exact = exact.sums.chunks(m.rows).zip(exact.sizes.chunks(m.rows));
    for (row, (sums, sizes)) in exact.enumerate() {
        gather(&panels, &out, (rows, row), 0, &mut got);
        let (mut error, mut norm) = (0f64, 0f64);
        for ((got, exact), size) in got.iter().zip(sums).zip(sizes) {
            let difference = (f64::from(*got) - exact).abs();
            assert!(
                difference <= m.cols as f64 * 2f64.powi(-24) * size,
                "{:?}: {difference} of {size}",
                m.inputs
            );
            error += difference * difference;
            norm += exact * exact;
        }
        assert!(
            error.sqrt() <= 1e-5 * norm.sqrt() || norm == 0.0 || m.rows < 8,
            "row {row}: {error} {norm}"
        );
    }
}

#[test]
fn products_stay_within_the_rounding_of_their_additions() {
    let mut r = Random(10);
    for (rows, cols) in [(40, 2048), (33, 72), (5, 31), (16, 4096)] {
        for kind in 0..4 {
            let m = matrix(&mut r, rows, cols, 0.05);
            for precision in [Precision::Bf16, Precision::Pair] {
                let x = inputs(&mut r, kind, 9, cols);
                // alternating sizes cancel: only the bound by magnitude applies to them
                if kind == 3 && rows >= 8 {
                    let part = Matrix::plain(7, cols, Weights::F32(r.normals(7 * cols, 0.05)));
                    check_against_f64(&part, &x, 9, precision);
                } else {
                    check_against_f64(&m, &x, 9, precision);
                }
            }
        }
        let m = asymmetric(&mut r, rows, cols);
        let x = inputs(&mut r, 0, 17, cols);
        check_against_f64(&m, &x, 17, Precision::Pair);
    }
    for m in few_bits(&mut r, 20) {
        for kind in 0..4 {
            let x = inputs(&mut r, kind, 9, m.cols);
            for precision in [Precision::Pair, Precision::Byte] {
                check_against_f64(&m, &x, 9, precision);
                check_against_f64(&m, &x[..m.cols], 1, precision);
            }
        }
    }
}

/// All inputs and all weights as large as they can be and of one sign: the sums that come nearest to 32 bits.
#[test]
fn integer_sums_never_overflow() {
    let (rows, cols) = (16, 256);
    let scale = Precision::Bf16.round(1.9921875);
    // the last one has the largest integers of long blocks
    for (code, zero) in [(u32::MAX, -8), (0, 7), (0, 0)] {
        let scales = Scales::grouped(vec![scale; rows * 2], 128);
        let codes = vec![code; rows * cols / 8];
        let coded = Coded::int(4, codes, scales, Zeros::Int(vec![zero; rows * 2]), Dtype::BF16);
        let m = Matrix::plain(rows, cols, Weights::Coded(coded));
        assert!(Plan::of(&m).is_some());
        for x in [32767f32, -32767.0, 1.0, -1.99] {
            for precision in [Precision::Pair, Precision::Byte] {
                check_against_f64(&m, &vec![x; 7 * cols], 7, precision);
                check_against_f64(&m, &vec![x; cols], 1, precision);
            }
        }
    }
}

/// What is multiplied in integers is 15 bits and a sign of the block's largest value; a block with what is not finite has no unit.
#[test]
fn blocks_of_inputs_share_a_power_of_two() {
    let mut r = Random(19);
    for kind in 0..4 {
        for x in inputs(&mut r, kind, 20, BLOCK).chunks(BLOCK) {
            let (unit, largest) = (block_unit(x), x.iter().fold(0f32, |a, x| a.max(x.abs())));
            assert_eq!(unit.to_bits() & 0x7f_ffff, 0, "a power of two");
            for &x in x {
                let integer = f32::from(block_integer(x, unit));
                assert!((integer * unit - x).abs() <= unit / 2.0, "{x}: {integer} of {unit}");
            }
            assert!(largest / unit >= 16_383.0 || largest < 1e-17, "{largest} of {unit}");
        }
    }
    assert_eq!(block_integer(32767.4, block_unit(&[32767.4])), 32767);
    assert_eq!(block_integer(32767.5, block_unit(&[32767.5])), 16384);
    assert_eq!(block_integer(-32767.5, block_unit(&[-32767.5])), -16384);
    assert_eq!(block_integer(0.0, block_unit(&[0.0, -0.0])), 0);
    assert_eq!(block_integer(1e-40, block_unit(&[1e-40])), 0);
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(block_unit(&[1.0, x]).is_nan());
    }
}

/// In eight bits the largest of a block is 127; what is not finite makes its row's outputs NaN and no other row's.
#[test]
fn eight_bits_share_the_scale_of_their_block() {
    let mut r = Random(23);
    for kind in 0..4 {
        for x in inputs(&mut r, kind, 20, BLOCK).chunks(BLOCK) {
            let scale = ByteScale::of(x);
            let integers: Vec<f32> = x.iter().map(|&x| f32::from(scale.integer(x))).collect();
            let largest = integers.iter().fold(0f32, |a, x| a.max(x.abs()));
            assert!(largest == 127.0 || x.iter().all(|x| *x == 0.0), "{largest}");
            for (integer, x) in integers.iter().zip(x) {
                let off = (integer * scale.unit - x).abs();
                assert!(off <= scale.unit * 0.500_01, "{x}: {integer} of {}", scale.unit);
            }
        }
    }
    assert_eq!(ByteScale::of(&[0.0, -1e-40]).unit, 0.0);
    let m = asymmetric(&mut r, 20, 96);
    assert!(bytes::Plan::of(&m).is_some());
    let pool = Pool::new(1);
    let panels = Panels::pack(&pool, Precision::Byte, &[&m]);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = inputs(&mut r, 0, 8, 96);
        x[3 * 96 + 50] = wrong;
        let out = run(&pool, Isa::detect(), Precision::Byte, &x, 8, &panels);
        let mut got = vec![0f32; 20];
        for row in 0..8 {
            gather(&panels, &out, (8, row), 0, &mut got);
            assert!(got.iter().all(|x| x.is_nan() == (row == 3)), "row {row}");
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_in_every_batch_instruction_set_and_thread_count() {
    let mut r = Random(11);
    let (cols, rows_max) = (200, 300);
    let mut m = matrix(&mut r, 37, cols, 0.1);
    let x = inputs(&mut r, 0, rows_max, cols);
    same_bits_everywhere(&m, &x, rows_max);
    // columns in even slices: few rows have kernels of their own there
    let even = matrix(&mut r, 37, 256, 0.1);
    same_bits_everywhere(&even, &inputs(&mut r, 0, 40, 256), 40);
    for (codes, scale) in every_input().into_iter().chain(every_group()) {
        m.inputs = Inputs::Quantized { codes, scale };
        same_bits_everywhere(&m, &x, rows_max);
    }
    for (i, mut m) in few_bits(&mut r, 20).into_iter().enumerate() {
        let x = inputs(&mut r, i % 4, 40, m.cols);
        same_bits_everywhere(&m, &x, 40);
        same_bits_at(Precision::Byte, &m, &x, 40);
        let (codes, scale) = every_input()[i % 2];
        m.inputs = Inputs::Quantized { codes, scale };
        same_bits_everywhere(&m, &x, 40);
    }
}

fn same_bits_everywhere(m: &Matrix, x: &[f32], rows_max: usize) {
    same_bits_at(Precision::Pair, m, x, rows_max);
}

fn same_bits_at(precision: Precision, m: &Matrix, x: &[f32], rows_max: usize) {
    let cols = m.cols;
    let one = Pool::new(1);
    let panels = Panels::pack(&one, precision, &[m]);
    let row_bits = |out: &[f32], rows: usize, row: usize| {
        let mut got = vec![0f32; m.rows];
        gather(&panels, out, (rows, row), 0, &mut got);
        got.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let portable = Isa::available()[0];
    let alone: Vec<Vec<u32>> = (0..rows_max)
        .map(|row| {
            row_bits(
                &run(&one, portable, precision, &x[row * cols..][..cols], 1, &panels),
                1,
                0,
            )
        })
        .collect();
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads);
        for isa in Isa::available() {
            for rows in ROWS.into_iter().filter(|rows| *rows <= rows_max) {
                let out = run(&pool, isa, precision, &x[..rows * cols], rows, &panels);
                for (row, alone) in alone.iter().enumerate().take(rows) {
                    assert_eq!(&row_bits(&out, rows, row), alone, "{} row {row} of {rows}", isa.name());
                }
            }
        }
    }
}

/// Codes are exact, so a product of codes differs from f64 by nothing but its additions and the one multiplication by the scale.
#[test]
fn quantized_inputs_are_multiplied_as_codes() {
    let mut r = Random(13);
    for (codes, scale) in every_input() {
        for cols in [200, 192] {
            let mut m = asymmetric(&mut r, 40, cols);
            m.inputs = Inputs::Quantized { codes, scale };
            let x = inputs(&mut r, 1, 9, cols);
            // codes have no use for a precision
            check_packed_for(Precision::Pair, &m, &x, 9, Precision::Bf16);
        }
    }
}

fn every_input() -> Vec<(Codes, InputScale)> {
    let int = Codes::Int { bits: 8 };
    vec![
        (int, InputScale::Row { symmetric: true }),
        (int, InputScale::Row { symmetric: false }),
        (int, InputScale::Fixed { scale: 0.02, zero: 0 }),
        (int, InputScale::Fixed { scale: 0.02, zero: 31 }),
        (Codes::Int { bits: 4 }, InputScale::Row { symmetric: true }),
        (Codes::Float8, InputScale::Row { symmetric: true }),
        (Codes::Float8, InputScale::Fixed { scale: 0.01, zero: 0 }),
        (Codes::Float8, InputScale::Bounded { most: 1.5 }),
        (Codes::Float4, InputScale::Row { symmetric: true }),
    ]
}

/// Scales by group; 200 columns leave the last group short.
fn every_group() -> Vec<(Codes, InputScale)> {
    let group = |cols, rule| InputScale::Group { cols, rule };
    let (int8, int4) = (Codes::Int { bits: 8 }, Codes::Int { bits: 4 });
    vec![
        (Codes::Float8, group(128, GroupScale::Float { symmetric: true })),
        (Codes::Float8, group(128, GroupScale::Ceiling)),
        (Codes::Float8, group(32, GroupScale::PowerOfTwo)),
        (Codes::Float6, group(32, GroupScale::PowerOfTwo)),
        (Codes::Float4, group(32, GroupScale::PowerOfTwo)),
        (Codes::Float4, group(16, GroupScale::Local { global: 123.4 })),
        (int8, group(48, GroupScale::Float { symmetric: false })),
        (int4, group(32, GroupScale::Float { symmetric: true })),
        (int8, group(1000, GroupScale::Float { symmetric: true })),
    ]
}

/// What is multiplied is a group's code times its factor, rounded as any input; the sums are multiplied by what all groups share.
#[test]
fn groups_of_inputs_are_multiplied_with_their_own_factors() {
    let mut r = Random(17);
    for (codes, scale) in every_group() {
        let mut m = asymmetric(&mut r, 40, 200);
        m.inputs = Inputs::Quantized { codes, scale };
        let x = inputs(&mut r, 1, 9, 200);
        check_against_f64(&m, &x, 9, Precision::Pair);
    }
}

/// Parts that quantize the same input differently, alike again, and not at all.
#[test]
fn packed_parts_begin_at_panels_and_padding_stays_out() {
    let mut r = Random(12);
    let mut parts = [
        matrix(&mut r, 20, 40, 1.0),
        matrix(&mut r, 3, 40, 1.0),
        matrix(&mut r, 16, 40, 1.0),
    ];
    parts_are_kept_apart(&mut r, &parts);
    let all = every_input();
    for (i, &(codes, scale)) in all.iter().enumerate() {
        let (other, stored) = all[(i + 2) % all.len()];
        parts[0].inputs = Inputs::Quantized { codes, scale };
        parts[1].inputs = Inputs::Quantized {
            codes: other,
            scale: stored,
        };
        parts_are_kept_apart(&mut r, &parts);
        parts[2].inputs = parts[0].inputs;
        parts_are_kept_apart(&mut r, &parts);
        parts[1].inputs = parts[0].inputs;
        parts_are_kept_apart(&mut r, &parts);
        parts[2].inputs = Inputs::Plain;
    }
    // some in integers, some not, two of them joined
    let of = |rows: usize, r: &mut Random| few_bits(r, rows).swap_remove(18);
    let (a, b, c) = (of(20, &mut r), of(3, &mut r), of(16, &mut r));
    parts_are_kept_apart(&mut r, &[a.clone(), b.clone(), c.clone()]);
    let dense = matrix(&mut r, 3, 96, 1.0);
    parts_are_kept_apart(&mut r, &[a.clone(), dense.clone(), c.clone()]);
    let mut coded = b;
    coded.inputs = Inputs::Quantized {
        codes: all[0].0,
        scale: all[0].1,
    };
    parts_are_kept_apart(&mut r, &[a, coded, c]);
}

fn parts_are_kept_apart(r: &mut Random, parts: &[Matrix; 3]) {
    let pool = Pool::new(2);
    let cols = parts[0].cols;
    let x = r.normals(5 * cols, 1.0);
    for precision in [Precision::Pair, Precision::Byte] {
        let together = Panels::pack(&pool, precision, &[&parts[0], &parts[1], &parts[2]]);
        assert_eq!(together.width(), (2 + 1 + 1) * PANEL);
        let all = run(&pool, Isa::detect(), precision, &x, 5, &together);
        for (i, part) in parts.iter().enumerate() {
            let single = Panels::pack(&pool, precision, &[part]);
            let alone = run(&pool, Isa::detect(), precision, &x, 5, &single);
            for row in 0..5 {
                let (mut a, mut b) = (vec![0f32; part.rows], vec![0f32; part.rows]);
                gather(&together, &all, (5, row), i, &mut a);
                gather(&single, &alone, (5, row), 0, &mut b);
                assert_eq!(a, b);
            }
        }
        let mut row = vec![0f32; cols];
        for i in [0, 15, 16, 19] {
            together.row(i, &mut row);
            let expected = Taken::by_cpu(&parts[0], precision).weights(&parts[0], i);
            let expected: Vec<f32> = expected.iter().map(|w| *w as f32).collect();
            assert_eq!(row, expected);
        }
    }
}

#[test]
fn a_nan_input_reaches_every_output_of_its_row_and_no_other() {
    let mut r = Random(13);
    let mut all = vec![matrix(&mut r, 30, 64, 1.0), few_bits(&mut r, 30).swap_remove(0)];
    all.push(all[1].clone());
    all[2].inputs = Inputs::Quantized {
        codes: every_input()[0].0,
        scale: every_input()[0].1,
    };
    for m in all {
        let pool = Pool::new(1);
        let panels = Panels::pack(&pool, Precision::Pair, &[&m]);
        let mut x = r.normals(9 * m.cols, 1.0);
        x[4 * m.cols + 17] = f32::NAN;
        let out = run(&pool, Isa::detect(), Precision::Pair, &x, 9, &panels);
        let mut got = vec![0f32; 30];
        for row in 0..9 {
            gather(&panels, &out, (9, row), 0, &mut got);
            assert!(got.iter().all(|x| x.is_nan() == (row == 4)));
        }
    }
}

/// A cache of one key/value head filled with random keys and values through shuffled pages.
struct Filled {
    cache: KvCache,
    pages: Vec<u32>,
    keys: Vec<f32>, // (len, head_dim), rounded as they are stored
    values: Vec<f32>,
}

fn filled(r: &mut Random, head_dim: usize, len: usize) -> Filled {
    let count = len.div_ceil(PAGE_TOKENS);
    let mut pages: Vec<u32> = (0..count as u32 + 3).collect();
    (0..pages.len()).rev().for_each(|i| pages.swap(i, r.below(i + 1)));
    pages.truncate(count);
    let mut cache = KvCache::new(1, head_dim, count + 3);
    cache.poison();
    let (keys, values) = (r.normals(len * head_dim, 1.0), r.normals(len * head_dim, 1.0));
    let segment = Segment {
        first_row: 0,
        rows: len,
        kv_len: len,
        pages: pages.clone(),
    };
    cache.store(
        &Pool::new(2),
        Precision::Pair,
        &[segment],
        |row, _| &keys[row * head_dim..][..head_dim],
        |row, _| &values[row * head_dim..][..head_dim],
    );
    let stored = |x: Vec<f32>| x.into_iter().map(|x| Precision::Pair.round(x)).collect();
    Filled {
        cache,
        pages,
        keys: stored(keys),
        values: stored(values),
    }
}

#[test]
fn attention_follows_its_definition_at_every_boundary() {
    let mut r = Random(14);
    for head_dim in [2, 12, 16, 32, 40, 64, 128] {
        let f = filled(&mut r, head_dim, 1100);
        for (first, position) in [
            (0, 0),
            (0, 1),
            (0, 63),
            (0, 64),
            (0, 255),
            (0, 256),
            (0, 511),
            (0, 1099),
            (200, 256),
            (250, 300),
            (256, 256),
            (300, 1099),
            (1099, 1099),
        ] {
            for group in 1..=7 {
                let q = r.normals(group * head_dim, 1.0 / (head_dim as f32).sqrt());
                let mut portable = Vec::new();
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; q.len()];
                    f.cache.attend(isa, 0, &f.pages, first, position, &q, &mut out);
                    let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                    if portable.is_empty() {
                        portable = bits;
                        for (q, out) in q.chunks(head_dim).zip(out.chunks(head_dim)) {
                            let seen = first * head_dim..(position + 1) * head_dim;
                            let exact = exact::attention(q, &f.keys[seen.clone()], &f.values[seen]);
                            for (exact, got) in exact.iter().zip(out) {
                                assert!((exact - f64::from(*got)).abs() < 2e-6, "{exact} {got}");
                            }
                        }
                    } else {
                        assert_eq!(bits, portable, "{}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn a_copied_page_serves_like_the_original() {
    let mut r = Random(15);
    let mut f = filled(&mut r, 16, 100);
    let q = r.normals(16, 0.3);
    let mut before = vec![0f32; 16];
    f.cache.attend(Isa::detect(), 0, &f.pages, 0, 99, &q, &mut before);
    let spare = (0..5).find(|p| !f.pages.contains(p)).unwrap();
    f.cache.copy(f.pages[1], spare);
    let mut after = vec![0f32; 16];
    f.cache
        .attend(Isa::detect(), 0, &[f.pages[0], spare], 0, 99, &q, &mut after);
    assert_eq!(before, after);
}

#[test]
fn row_kernels_follow_their_definitions_on_every_instruction_set() {
    let mut r = Random(16);
    let (hd, eps) = (24, 1e-5);
    let (x, weight, up) = (r.normals(3 * hd, 3.0), r.normals(hd, 1.0), r.normals(3 * hd, 1.0));
    let turns: Vec<(f32, f32)> = (0..hd / 2).map(|k| rotation(77, 1.0 / (1.0 + k as f32))).collect();
    let mut bits: Option<Vec<u32>> = None;
    for isa in Isa::available() {
        let mut heads = x.clone();
        isa.run(Heads {
            x: &mut heads,
            head_dim: hd,
            weight: Some(&weight),
            eps,
            rotations: Some(&turns),
            scale: 0.5,
        });
        let near = |got: &[f32], exact: &[f64]| {
            let mut pairs = got.iter().zip(exact);
            assert!(pairs.all(|(got, exact)| (f64::from(*got) - exact).abs() < 2e-6));
        };
        for (head, got) in x.chunks(hd).zip(heads.chunks(hd)) {
            near(got, &exact::head(head, &weight, eps, &turns, 0.5));
        }
        let mut row = x[..hd].to_vec();
        normalise_row(isa, &mut row, &weight, eps);
        near(&row, &exact::norm(&x[..hd], &weight, eps));
        let mut gate = x.clone();
        isa.run(Activate {
            gate: &mut gate,
            up: &up,
        });
        gate.iter()
            .zip(x.iter().zip(&up))
            .for_each(|(got, (&g, &u))| assert_eq!(*got, silu(g) * u));
        let all: Vec<u32> = heads.iter().chain(&row).chain(&gate).map(|x| x.to_bits()).collect();
        assert_eq!(bits.get_or_insert(all.clone()), &all, "{}", isa.name());
    }
}

#[test]
fn the_pool_runs_every_task_once_and_passes_panics_on() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads);
        for round in 0..200 {
            let counts: Vec<AtomicUsize> = (0..round).map(|_| AtomicUsize::new(0)).collect();
            pool.run(round, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
        let mut data = vec![0u32; 103];
        pool.chunks(&mut data, 10, |i, chunk| chunk.fill(i as u32 + 1));
        assert!(data.iter().enumerate().all(|(i, &x)| x as usize == i / 10 + 1));
        for (units, least) in [(0, 1), (1, 1), (7, 3), (100, 1), (100, 8), (100, 1000)] {
            let mut data = vec![0u32; 3 * units];
            pool.spans(&mut data, 3, least, |first, span| {
                assert!(span.len() >= 3 * least || 3 * first + span.len() == 3 * units);
                (3 * first..).zip(span).for_each(|(i, x)| *x += i as u32 + 1);
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x as usize == i + 1));
        }
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(64, &|i| assert!(i != 40, "task 40"));
        }));
        assert!(caught.is_err());
        let after = AtomicUsize::new(0);
        pool.run(64, &|_| {
            after.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(after.into_inner(), 64);
    }
}
