//! Every layout × width × strategy × symmetry of compressed-tensors, written from random codes and read back.

use assay_checkpoint::safetensors::Dtype;
use assay_checkpoint::{Listing, verify, verify_data};
use proptest::prelude::*;

use crate::support::codes as codes_of;
use crate::written::*;

/// The words and bytes that the tools themselves write.
#[test]
fn the_writer_follows_the_golden_numbers() {
    let fields: Vec<u32> = (0..32).map(|i| i % 8).collect();
    assert_eq!(packed_words(&fields, 3, false), [0x88FA_C688, 0xC688_FAC6, 0xFAC6_88FA]);
    assert_eq!(
        packed_words(&fields, 3, true),
        [0x08FA_C688, 0x1A23_EB1A, 0x2C68_8FAC, 0x0000_003E]
    );
    let eight: Vec<u32> = (0..8).collect();
    for legacy in [false, true] {
        assert_eq!(packed_words(&eight, 4, legacy), [0x7654_3210]);
        assert_eq!(packed_words(&[0, 127, 128, 255], 8, legacy), [0xFF80_7F00]);
    }
    // NVFP4: even 1.0, odd −6.0
    assert_eq!(bit_stream(&[2, 15], 4), [0xF2]);
    // four float6 in three bytes
    assert_eq!(
        bit_stream(&[0b000001, 0b000010, 0b000100, 0b100000], 6),
        [0x81, 0x40, 0x80]
    );
    assert_eq!(rounded(f64::from(f32::from_bits(0x3F80_8000)), Dtype::BF16), 1.0);
    assert_eq!(rounded(65519.0, Dtype::F16), 65504.0);
    assert_eq!(rounded(2f64.powi(-25), Dtype::F16), 0.0);
}

fn plan(seed: u64) -> (Plan, Random) {
    let mut random = Random(seed ^ 0x9E37_79B9_7F4A_7C15);
    random.bits();
    let codes = random.pick(&[
        Codes::Packed { legacy: false },
        Codes::Packed { legacy: true },
        Codes::Bytes,
        Codes::Float8,
        Codes::Nvfp4,
        Codes::Mxfp4,
        Codes::Mxfp6,
        Codes::Mxfp8,
    ]);
    let integer = matches!(codes, Codes::Packed { .. } | Codes::Bytes);
    let group = random.pick(&[1, 3, 8, 16, 32, 40, 1000]);
    let block = Shared::Block(random.pick(&[1, 5, 16, 64]), random.pick(&[1, 7, 16, 64]));
    let shared = match codes {
        Codes::Nvfp4 => Shared::Group(16),
        Codes::Mxfp4 | Codes::Mxfp6 | Codes::Mxfp8 => Shared::Group(32),
        _ => random.pick(&[Shared::Tensor, Shared::Channel, Shared::Group(group), block]),
    };
    let bits = match codes {
        Codes::Nvfp4 | Codes::Mxfp4 => 4,
        Codes::Mxfp6 => 6,
        Codes::Float8 | Codes::Mxfp8 => 8,
        _ => 2 + random.below(7) as u8,
    };
    let mut plan = Plan {
        codes,
        bits,
        symmetric: !integer || random.below(2) == 0,
        shared,
        indexed: false,
        scale: random.pick(&[Dtype::BF16, Dtype::F16, Dtype::F32]),
        hidden: 1 + random.below(50),
        mlp: 1 + random.below(70),
    };
    if matches!(plan.shared, Shared::Group(16)) && integer && random.below(2) == 0 {
        // every group has its sixteen columns
        (plan.indexed, plan.hidden, plan.mlp) = (true, 48, 64);
    }
    (plan, random)
}

/// Seven rows of byte-sized zero points, one for each block, are no zero points packed down the rows.
#[test]
fn zero_points_of_blocks_say_nothing_about_the_packing_of_codes() {
    let (plan, mut random) = plan(12_640_826_247_356_666_746);
    let (small, expected) = submission(&plan, &mut random);
    assert_reads(&small, &plan, &expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_scheme_is_read_as_it_is_written(seed in any::<u64>()) {
        let (plan, mut random) = plan(seed);
        let (small, expected) = submission(&plan, &mut random);
        let dir = small.save();
        let found = verify_data(dir.path(), &verify(&Listing::read_dir(dir.path()).unwrap(), None, None));
        prop_assert!(found.accepted(), "{:?}: {:?}", plan, found.problems);
        let sum: u64 = found.bytes.groups.iter().map(|g| g.bytes).sum();
        prop_assert_eq!((sum, found.bytes.group("other")), (found.bytes.total, 0));
        assert_reads(&small, &plan, &expected);
    }
}

/// Rows of six six-bit codes take two words either way: the version decides, and without one the zero points do.
#[test]
fn equal_widths_are_told_apart_by_version_and_by_zero_points() {
    let at = |legacy, symmetric, mlp| Plan {
        codes: Codes::Packed { legacy },
        bits: 6,
        symmetric,
        shared: Shared::Channel,
        indexed: false,
        scale: Dtype::BF16,
        hidden: 6,
        mlp,
    };
    for legacy in [false, true] {
        let (small, expected) = submission(&at(legacy, true, 6), &mut Random(7));
        assert_reads(&small, &at(legacy, true, 6), &expected);
    }
    // a file of words that does not say its version: o and down tell by the width of their 32 columns, all others by the height of the zero
    // points of their 16 or 32 rows
    let plan = at(true, false, 32);
    let (small, expected) = submission(&plan, &mut Random(9));
    let lost = small.quant(|q| q["version"] = serde_json::Value::Null);
    assert!(codes_of(&lost.inspect().problems).is_empty());
    assert_reads(&lost, &plan, &expected);
}
