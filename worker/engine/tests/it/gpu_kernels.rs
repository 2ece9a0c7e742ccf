//! Every kernel against a loop on the CPU, on a software adapter, over shapes that fit nothing.

use std::sync::OnceLock;

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{
    CacheCodes, Codebook, Coded, Codes, GroupScale, HeadScale, InputScale, Matrix, Scales, Transform, Weights, Zeros,
};
use assay_engine::Precision;
use assay_engine::batch::Segment;
use assay_engine::exec::cpu::attention::KvCache;
use assay_engine::exec::cpu::isa::Isa;
use assay_engine::exec::cpu::norm::Heads as HeadsOfRow;
use assay_engine::exec::cpu::pool::Pool;
use assay_engine::exec::gpu::device::Card;
use assay_engine::exec::gpu::probe::{Heads, Probe, Sequence, Shape};
use assay_engine::exec::gpu::units::Units;
use assay_engine::exec::gpu::weights::Layout;
use assay_engine::numerics::{
    RowCodes, from_bf16, inverse_frequencies, inverse_rms, k_slices, outer_scale, rotation, silu, turn,
};

use crate::support::{Random, matrix};

/// The adapter the tests run on; tests/run installs it.
pub const SOFTWARE: &str = "llvmpipe";

/// Missing, it fails the tests and does not skip them.
pub fn software() -> Card {
    Card::find(Some(SOFTWARE))
        .unwrap_or_else(|error| panic!("these tests need mesa-vulkan-drivers and libvulkan1: {error}"))
}

fn probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(|| {
        let card = software();
        Probe::new(&card, Precision::Pair, None).unwrap()
    })
}

// What the numerics specification says, row by row.
fn product(w: &Matrix, x: &[f32], row_scales: &[f32]) -> Vec<f32> {
    let mut bits = vec![0; w.cols];
    let mut out = vec![0.0; row_scales.len() * w.rows];
    for n in 0..w.rows {
        w.row_bf16(n, &mut bits);
        for (row, x) in x.chunks(w.cols).enumerate() {
            let mut total = 0f32;
            for slice in k_slices(w.cols) {
                let mut sum = 0f32;
                for k in slice {
                    sum = x[k].mul_add(from_bf16(bits[k]), sum);
                }
                total += sum;
            }
            out[row * w.rows + n] = total * row_scales[row];
        }
    }
    out
}

fn int(
    r: &mut Random,
    rows: usize,
    cols: usize,
    bits: u8,
    group: usize,
    asymmetric: bool,
    scale_dtype: Dtype,
) -> Matrix {
    let groups = cols.div_ceil(group);
    let words = (cols * usize::from(bits)).div_ceil(32);
    let scale = |r: &mut Random| match scale_dtype {
        Dtype::F16 => assay_checkpoint::number::f16_to_f32(1 + r.below(0x3000) as u16), // subnormals too
        Dtype::BF16 => from_bf16(0x3a00 + r.below(0x200) as u16),
        _ => r.unit() as f32 * 0.01,
    };
    let codes = (0..rows * words).map(|_| r.next() as u32).collect();
    let scales = Scales::grouped((0..rows * groups).map(|_| scale(r)).collect(), group);
    let zeros = match asymmetric {
        // a byte, as tools store it
        true => Zeros::Int(
            (0..rows * groups)
                .map(|_| i16::from(r.below(1 << bits) as i8))
                .collect(),
        ),
        false => Zeros::None,
    };
    Matrix::plain(
        rows,
        cols,
        Weights::Coded(Coded::int(bits, codes, scales, zeros, scale_dtype)),
    )
}

fn float8(r: &mut Random, rows: usize, cols: usize, group: usize) -> Matrix {
    let code = |r: &mut Random| (r.below(127) + 128 * r.below(2)) as u8;
    let row = |r: &mut Random| {
        let mut bytes: Vec<u8> = (0..cols).map(|_| code(r)).collect();
        bytes.resize(cols.next_multiple_of(4), 0);
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect::<Vec<_>>()
    };
    let codes = (0..rows).flat_map(|_| row(r)).collect();
    let scales = Scales::grouped(r.normals(rows * cols.div_ceil(group), 0.01), group);
    Matrix::plain(
        rows,
        cols,
        Weights::Coded(Coded::float(8, Codebook::E4m3, codes, scales, Dtype::BF16)),
    )
}

fn matrices(r: &mut Random) -> Vec<(Matrix, Layout)> {
    vec![
        (matrix(r, 101, 72, 0.3), Layout::Dense),
        (matrix(r, 1, 1, 0.3), Layout::Dense),
        (matrix(r, 33, 300, 0.3), Layout::Dense),
        (int(r, 65, 256, 4, 32, false, Dtype::BF16), Layout::Int4),
        (int(r, 40, 136, 4, 8, true, Dtype::F16), Layout::Int4),
        (int(r, 70, 100, 8, 100, true, Dtype::F32), Layout::Int8),
        (int(r, 31, 96, 8, 32, false, Dtype::F16), Layout::Int8),
        (int(r, 31, 96, 4, 12, false, Dtype::BF16), Layout::Dense),
        (float8(r, 66, 130, 130), Layout::Float8),
        (float8(r, 66, 128, 64), Layout::Float8),
    ]
}

#[test]
fn products_have_the_specified_bits_in_every_layout_kernel_and_row_count() {
    let r = &mut Random(1);
    for (w, layout) in matrices(r) {
        assert_eq!(probe().layout(&w).unwrap(), layout);
        for rows in [1, 3, 4, 5, 64, 70] {
            let x: Vec<f32> = r
                .normals(rows * w.cols, 3.0)
                .iter()
                .map(|&x| Precision::Pair.round(x))
                .collect();
            let scales: Vec<f32> = (0..rows).map(|row| if row % 2 == 0 { 1.0 } else { 0.3 }).collect();
            let expected = product(&w, &x, &scales);
            for shape in [Shape::Narrow, Shape::Wide] {
                let got = probe().product(&w, &x, &scales, shape).unwrap();
                let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{layout:?} {}×{}, {rows} rows, {shape:?}", w.rows, w.cols);
            }
        }
    }
}

/// Where the adapter has matrix units: llvmpipe of Mesa 26 has. Elsewhere this says nothing, and only the sources are checked, in the crate.
#[test]
fn products_on_matrix_units_are_near_f64_and_the_same_bits_from_either_kernel_at_any_row_count() {
    const ROWS: usize = 70;
    let card = software();
    let Some(units) = Units::of(&card) else {
        eprintln!("{} has no matrix units that the kernels can use", card.name());
        return;
    };
    for precision in [Precision::Pair, Precision::Bf16] {
        let probe = Probe::new(&card, precision, Some(units)).unwrap();
        let r = &mut Random(11);
        for (w, layout) in matrices(r) {
            let mut x = r.normals(ROWS * w.cols, 3.0);
            x[..w.cols].fill(0.0);
            x[w.cols] = 1e6; // what stands beside a large input keeps its bits
            x[2 * w.cols..3 * w.cols].iter_mut().for_each(|x| *x *= 1e-30);
            x[3 * w.cols] = f32::NAN;
            let x: Vec<f32> = x.iter().map(|&x| precision.round(x)).collect();
            let scales: Vec<f32> = (0..ROWS).map(|row| if row % 2 == 0 { 1.0 } else { 0.3 }).collect();
            let run = |rows: usize, shape| -> Vec<u32> {
                let out = probe.product(&w, &x[..rows * w.cols], &scales[..rows], shape).unwrap();
                out.into_iter().map(f32::to_bits).collect()
            };
            let all = run(ROWS, Shape::Wide);
            let mut bits = vec![0; w.cols];
            for n in 0..w.rows {
                w.row_bf16(n, &mut bits);
                for (row, x) in x.chunks(w.cols).enumerate() {
                    let found = f64::from(f32::from_bits(all[row * w.rows + n]));
                    if row == 3 {
                        assert!(found.is_nan());
                        continue;
                    }
                    let products = x
                        .iter()
                        .zip(&bits)
                        .map(|(&x, &w)| f64::from(x) * f64::from(from_bf16(w)));
                    let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, of), p| (sum + p, of + p.abs()));
                    let (largest, heaviest) = (
                        x.iter().fold(0f32, |most, x| most.max(x.abs())),
                        bits.iter().fold(0f32, |most, &w| most.max(from_bf16(w & 0x7fff))),
                    );
                    let columns = w.cols as f64;
                    let additions = 4.0 * columns * 0.5f64.powi(24) * magnitude;
                    let tails = columns * 0.5f64.powi(28) * f64::from(largest) * f64::from(heaviest);
                    let allowed = f64::from(scales[row]) * (additions + tails);
                    let wanted = f64::from(scales[row]) * sum;
                    let what = format!("{layout:?} {}×{}, row {row}, output {n}", w.rows, w.cols);
                    assert!((found - wanted).abs() <= allowed, "{what}: {found}, not {wanted}");
                }
            }
            for (rows, shape) in [1, 3, 15, 16, 17, 64, ROWS]
                .into_iter()
                .flat_map(|rows| [Shape::Narrow, Shape::Wide].map(|shape| (rows, shape)))
            {
                let got = run(rows, shape);
                let wrong = got.iter().zip(&all).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{layout:?} {}×{}, {rows} rows, {shape:?}", w.rows, w.cols);
            }
        }
    }
}

#[test]
fn embeddings_are_the_weights() {
    let r = &mut Random(2);
    for (w, layout) in matrices(r) {
        let tokens = r.tokens(37, w.rows);
        let mut expected = vec![0.0; tokens.len() * w.cols];
        for (&token, row) in tokens.iter().zip(expected.chunks_mut(w.cols)) {
            w.row_f32(token as usize, row);
        }
        for follow in [false, true] {
            let got = probe().embed(&w, &tokens, follow).unwrap();
            assert_eq!(got, expected, "{layout:?}, picked before: {follow}");
        }
    }
}

#[test]
fn codes_of_inputs_and_their_scales_are_the_specified_ones() {
    let r = &mut Random(3);
    let rules = [
        InputScale::Row { symmetric: true },
        InputScale::Row { symmetric: false },
        InputScale::Bounded { most: 0.75 },
        InputScale::Fixed { scale: 0.037, zero: 0 },
        InputScale::Fixed {
            scale: 0.0213,
            zero: -7,
        },
    ];
    for width in [1, 13, 64, 300, 2048] {
        let mut x = r.normals(7 * width, 1.0);
        x[..width].fill(0.0);
        x[width..2 * width].iter_mut().for_each(|x| *x *= 1e-20);
        x[3 * width..4 * width].iter_mut().for_each(|x| *x = x.abs() * 1e3);
        for codes in [
            Codes::Int { bits: 8 },
            Codes::Int { bits: 4 },
            Codes::Float8,
            Codes::Float4,
        ] {
            for rule in rules {
                let symmetric = !matches!(
                    rule,
                    InputScale::Row { symmetric: false } | InputScale::Fixed { zero: -7, .. }
                );
                if !matches!(codes, Codes::Int { .. }) && !symmetric {
                    continue;
                }
                let (got, scales) = probe().quantize(codes, rule, &x, width).unwrap();
                for (row, x) in x.chunks(width).enumerate() {
                    let by = RowCodes::of(codes, rule, x);
                    assert_eq!(scales[row], by.scale, "{codes:?} {rule:?} width {width} row {row}");
                    let expected: Vec<f32> = x.iter().map(|&x| by.code(x)).collect();
                    assert_eq!(
                        got[row * width..][..width],
                        expected,
                        "{codes:?} {rule:?} width {width} row {row}"
                    );
                }
            }
        }
    }
}

#[test]
fn codes_of_groups_are_the_specified_ones() {
    let r = &mut Random(7);
    let int8 = Codes::Int { bits: 8 };
    for (codes, cols, rule) in [
        (Codes::Float8, 128, GroupScale::Float { symmetric: true }),
        (Codes::Float8, 128, GroupScale::Ceiling),
        (Codes::Float8, 32, GroupScale::PowerOfTwo),
        (Codes::Float6, 32, GroupScale::PowerOfTwo),
        (Codes::Float4, 32, GroupScale::PowerOfTwo),
        (Codes::Float4, 16, GroupScale::Local { global: 77.7 }),
        (int8, 48, GroupScale::Float { symmetric: false }),
        (Codes::Int { bits: 4 }, 100, GroupScale::Float { symmetric: true }),
    ] {
        let scale = InputScale::Group { cols, rule };
        for width in [13, 64, 300, 2048] {
            let mut x = r.normals(7 * width, 1.0);
            x[..width].fill(0.0);
            x[width..2 * width].iter_mut().for_each(|x| *x *= 1e-4);
            x[3 * width..4 * width].iter_mut().for_each(|x| *x = x.abs() * 1e3);
            let (got, scales) = probe().quantize(codes, scale, &x, width).unwrap();
            for (row, x) in x.chunks(width).enumerate() {
                let what = format!("{codes:?} {scale:?} width {width} row {row}");
                assert_eq!(scales[row], outer_scale(rule), "{what}");
                let expected = x.chunks(cols as usize).flat_map(|group| {
                    let by = RowCodes::of(codes, scale, group);
                    group
                        .iter()
                        .map(move |&x| Precision::Pair.round(by.code(x) * by.factor))
                });
                let expected: Vec<f32> = expected.collect();
                assert_eq!(got[row * width..][..width], expected, "{what}");
            }
        }
    }
}

#[test]
fn turned_rows_are_those_of_the_cpu_to_a_few_units_in_the_last_place() {
    let r = &mut Random(8);
    for (width, size) in [(96, 32), (64, 64), (512, 512), (30, 15)] {
        let x = r.normals(9 * width, 1.0);
        let matrix = Transform::Matrix {
            size,
            values: r.normals(size * size, 0.3),
        };
        let hadamard = size.is_power_of_two().then_some(Transform::Hadamard { size });
        for transform in std::iter::once(matrix).chain(hadamard) {
            let mut expected = x.clone();
            expected.chunks_mut(width).for_each(|row| turn(&transform, row));
            let (exact, turned) = probe().turn(&transform, &x, width).unwrap();
            let worst = exact
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst < 2e-5, "{width} in {size}: {worst:e}");
            let rounded: Vec<f32> = exact.iter().map(|&x| Precision::Pair.round(x)).collect();
            assert_eq!(turned, rounded);
        }
    }
}

fn assert_near(got: &[f32], expected: &[f32], relative: f32, what: &str) {
    let worst = got
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs() / (b.abs() + 1e-3))
        .fold(0.0, f32::max);
    let nan = got.iter().any(|x| x.is_nan());
    assert!(!nan && worst <= relative, "{what}: {worst:e}");
    let equal = got.iter().zip(expected).filter(|(a, b)| a == b).count();
    println!("{what}: worst {worst:.1e}, {equal} of {} equal", expected.len());
}

#[test]
fn norms_are_those_of_the_cpu_to_a_few_units_in_the_last_place() {
    let r = &mut Random(4);
    for width in [1, 2, 63, 72, 256, 1025, 5000] {
        let (h, weight, branch) = (
            r.normals(9 * width, 2.0),
            r.normals(width, 1.0),
            r.normals(9 * width, 5.0),
        );
        let normed = |x: &[f32]| {
            let scale = inverse_rms(x, 1e-5);
            x.iter().zip(&weight).map(|(x, w)| x * scale * w).collect::<Vec<f32>>()
        };
        let expected: Vec<f32> = h.chunks(width).flat_map(normed).collect();
        let (exact, x) = probe().norm(&h, &weight, 1e-5).unwrap();
        assert_near(&exact, &expected, 1e-6, &format!("norm of {width}"));
        let rounded: Vec<f32> = exact.iter().map(|&x| Precision::Pair.round(x)).collect();
        assert_eq!(x, rounded);

        let plain: Vec<f32> = h.iter().zip(&branch).map(|(h, b)| h + b).collect();
        assert_eq!(probe().add(&h, &branch, None, width, 1e-5).unwrap(), plain);
        let added: Vec<f32> = branch
            .chunks(width)
            .flat_map(normed)
            .zip(&h)
            .map(|(b, h)| h + b)
            .collect();
        let got = probe().add(&h, &branch, Some(&weight), width, 1e-5).unwrap();
        assert_near(&got, &added, 2e-3, &format!("post-norm of {width}"));
    }
}

#[test]
fn the_activation_function_is_the_cpu_s_to_a_few_units_in_the_last_place() {
    let r = &mut Random(5);
    let mut gate = r.normals(1000, 30.0);
    gate.extend([0.0, -0.0, 87.0, 88.0, 89.0, -87.0, -88.0, -100.0, 1e-30, 300.0]);
    let up = r.normals(gate.len(), 1.0);
    let expected: Vec<f32> = gate.iter().zip(&up).map(|(&g, u)| silu(g) * u).collect();
    assert_near(&probe().activate(&gate, &up).unwrap(), &expected, 1e-6, "silu");
}

#[test]
fn attention_is_the_cpu_s_in_any_pages_with_and_without_a_window() {
    let r = &mut Random(6);
    let int8 = Codes::Int { bits: 8 };
    for (heads, kv_heads, head_dim, window, tokens, codes) in [
        (4, 2, 16, None, 300, None),
        (6, 2, 12, Some(70), 330, None),
        (1, 1, 256, None, 65, None),
        (5, 1, 64, None, 513, None),
        (4, 2, 16, None, 130, Some(Codes::Float8)),
        (4, 2, 16, None, 130, Some(int8)),
    ] {
        let head = |i: usize| HeadScale {
            scale: 0.02 * (1 + i) as f32,
            zero: if codes == Some(int8) { 3 - i as i8 } else { 0 },
        };
        let cached = codes.map(|codes| CacheCodes {
            codes,
            keys: (0..kv_heads).map(head).collect(),
            values: (0..kv_heads).map(|i| head(i + 1)).collect(),
        });
        let sizes = Heads {
            heads,
            kv_heads,
            head_dim,
            window,
        };
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let (q, k, v) = (
            r.normals(tokens * q_width, 1.0),
            r.normals(tokens * kv_width, 1.0),
            r.normals(tokens * kv_width, 1.0),
        );
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let inverse = inverse_frequencies(head_dim, 1e4, None);
        let turns: Vec<(f32, f32)> = positions
            .iter()
            .flat_map(|&at| inverse.iter().map(move |&f| rotation(at, f)))
            .collect();
        let turns_flat: Vec<[f32; 2]> = turns.iter().map(|&(cos, sin)| [cos, sin]).collect();
        let pages: Vec<u32> = (0..tokens.div_ceil(64) as u32).rev().map(|p| p + 2).collect();
        let sequence = Sequence {
            positions: &positions,
            pages: &pages,
            rotations: &turns_flat,
        };
        let attend = |steps: &[usize]| {
            let (qkv, room) = ([&q[..], &k, &v], pages.len() + 2);
            probe()
                .attend_in_steps(sizes, &sequence, cached.as_ref(), qkv, room, steps)
                .unwrap()
        };
        let got = attend(&[tokens]);
        // many rows walk through their chunks, few have them side by side
        let mut steps = vec![64; tokens / 64];
        steps.extend((!tokens.is_multiple_of(64)).then_some(tokens % 64));
        let in_steps = attend(&steps);
        assert!(in_steps == got, "{sizes:?} in steps");

        // the CPU's own kernels
        let turned = |x: &[f32], width: usize, scale: f32| {
            let mut x = x.to_vec();
            for (row, x) in x.chunks_mut(width).enumerate() {
                Isa::detect().run(HeadsOfRow {
                    x,
                    head_dim,
                    weight: None,
                    eps: 0.0,
                    rotations: Some(&turns[row * head_dim / 2..][..head_dim / 2]),
                    scale,
                });
            }
            x
        };
        let (q, k) = (
            turned(&q, q_width, 1.0 / (head_dim as f32).sqrt()),
            turned(&k, kv_width, 1.0),
        );
        let pool = Pool::new(1);
        let mut cache = KvCache::new(kv_heads, head_dim, pages.len() + 2).with_codes(cached);
        let segment = Segment {
            first_row: 0,
            rows: tokens,
            kv_len: tokens,
            pages: pages.clone(),
        };
        cache.store(
            &pool,
            Precision::Pair,
            &[segment],
            |row, head| &k[row * kv_width + head * head_dim..][..head_dim],
            |row, head| &v[row * kv_width + head * head_dim..][..head_dim],
        );
        let mut expected = vec![0.0; tokens * q_width];
        let group = heads / kv_heads * head_dim;
        for (i, out) in expected.chunks_mut(group).enumerate() {
            let (row, head) = (i / kv_heads, i % kv_heads);
            let first = window.map_or(0, |w| (row + 1).saturating_sub(w));
            cache.attend(Isa::detect(), head, &pages, first, row, &q[i * group..][..group], out);
        }
        let worst = got
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        let equal = got.iter().zip(&expected).filter(|(a, b)| a == b).count();
        println!("{sizes:?}: worst {worst:.1e}, {equal} of {} equal", got.len());
        assert!(
            worst < 1e-5 && got.iter().all(|x| x.is_finite()),
            "{sizes:?}: {worst:e}"
        );
    }
}
