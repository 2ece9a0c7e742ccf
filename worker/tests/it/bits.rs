//! `bits`, at a size for a test: no bit of a result depends on how it was computed.

use serde_json::Value;

use crate::support::{fixture, worker};

/// Ways that must have been tried, whatever the device.
const WAYS: [&str; 9] = [
    "1 at once",
    "8 at once",
    "prompts in pieces of 1",
    "prompts in pieces of 2048",
    "without the cache",
    "all from the cache",
    "shuffled, seed 1",
    "preempted and resumed",
    "in 3 shards",
];

fn bits(args: &[&str]) -> Vec<Value> {
    let output = worker().args(["bits", "--json"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_same(rows: &[Value]) {
    for row in rows {
        assert_eq!(
            (row["differing_tokens"].as_u64(), row["differing_bits"].as_u64()),
            (Some(0), Some(0)),
            "{row}"
        );
        assert!(
            row["tokens"].as_u64() > Some(0) && row["bits"].as_u64() > Some(0),
            "{row}"
        );
    }
    let of = |way: &str| {
        rows.iter()
            .find(|row| row["way"] == way)
            .unwrap_or_else(|| panic!("{way}"))
    };
    for way in WAYS {
        of(way);
    }
    assert!(of("all from the cache")["cached"].as_u64() > Some(0));
    assert_eq!(of("without the cache")["cached"].as_u64(), Some(0));
    assert!(of("preempted and resumed")["preemptions"].as_u64() > Some(0));
}

#[test]
fn no_bit_depends_on_how_a_result_is_computed() {
    let small = ["--prompts", "4", "--length", "100", "--generate", "70", "--batch", "8"];
    let devices = "cpu,cpu:fast,reference";
    let rows = bits(&[&small[..], &["--devices", devices]].concat());
    for device in devices.split(',') {
        let rows: Vec<Value> = rows.iter().filter(|row| row["device"] == device).cloned().collect();
        assert_same(&rows);
    }
}

/// The same on a graphics card, in software: too slow for more than the ways themselves.
#[test]
fn nor_on_a_card() {
    let least = ["--prompts", "1", "--length", "66", "--generate", "3", "--batch", "2"];
    let rows = bits(&[&least[..], &["--devices", "gpu:llvmpipe"]].concat());
    assert!(rows.len() >= 11 && rows.iter().all(|row| row["device"] == "gpu:llvmpipe"));
    for row in rows {
        assert_eq!(row["differing_tokens"].as_u64(), Some(0), "{row}");
        assert_eq!(row["differing_bits"].as_u64(), Some(0), "{row}");
        assert!(row["bits"].as_u64() > Some(0), "{row}");
    }
}

#[test]
fn nor_with_a_checkpoint_whose_inputs_are_quantized() {
    let checkpoint = fixture("checkpoints/w8a8");
    let small = ["--prompts", "4", "--length", "90", "--generate", "70", "--batch", "8"];
    assert_same(&bits(&[&[checkpoint.to_str().unwrap()][..], &small].concat()));
}
