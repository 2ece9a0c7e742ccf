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
    let of = |way: &str| rows.iter().filter(move |row| row["way"] == way);
    for way in WAYS {
        assert!(of(way).count() > 0, "{way}");
    }
    assert!(of("all from the cache").all(|row| row["cached"].as_u64() > Some(0)));
    assert!(of("without the cache").all(|row| row["cached"].as_u64() == Some(0)));
    assert!(of("preempted and resumed").all(|row| row["preemptions"].as_u64() > Some(0)));
}

#[test]
fn no_bit_depends_on_how_a_result_is_computed() {
    let small = ["--prompts", "5", "--length", "150", "--generate", "20", "--batch", "8"];
    let devices = "cpu,cpu:fast,reference,gpu:llvmpipe";
    let rows = bits(&[&small[..], &["--devices", devices]].concat());
    for device in devices.split(',') {
        let rows: Vec<Value> = rows.iter().filter(|row| row["device"] == device).cloned().collect();
        assert_same(&rows);
    }
}

#[test]
fn nor_with_a_checkpoint_whose_inputs_are_quantized() {
    let checkpoint = fixture("checkpoints/w8a8");
    let small = ["--prompts", "4", "--length", "90", "--generate", "12", "--batch", "8"];
    assert_same(&bits(&[&[checkpoint.to_str().unwrap()][..], &small].concat()));
}
