//! `bench`, on a model small enough for a test: that it measures what it is asked to, not how fast anything is.

use serde_json::Value;

use crate::support::worker;

#[test]
fn a_bench_measures_the_prompt_and_every_batch_at_every_context() {
    for scheme in ["w4a16", "w8a16", "w8a8", "bf16"] {
        let output = worker()
            .args([
                "bench", "--model", "tiny", "--scheme", scheme, "--device", "cpu", "--json",
            ])
            .args([
                "--prompt",
                "40",
                "--step",
                "32",
                "--batches",
                "1,3",
                "--contexts",
                "100,20",
            ])
            .args(["--generate", "2", "--repeat", "2"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let measures = found["measures"].as_array().unwrap();
        let what: Vec<_> = measures
            .iter()
            .map(|m| {
                (
                    m["what"].as_str().unwrap(),
                    m["batch"].as_u64().unwrap(),
                    m["context"].as_u64().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("prompt", 1, 40),
            ("generate", 1, 20),
            ("generate", 3, 20),
            ("generate", 1, 100),
            ("generate", 3, 100),
        ];
        assert_eq!(what, expected);
        for m in measures {
            let number = |key: &str| m[key].as_f64().unwrap();
            assert!(number("slowest") > 0.0 && number("floor") > 0.0);
            assert!(number("slowest") <= number("rate") && number("rate") <= number("quickest"));
        }
        // four bits and a group's four bytes, or two bytes, beside the head in bf16
        let layers = 2 * (256 * 256 * 2 + 2 * 256 * 256 + 3 * 256 * 512);
        let bytes = found["weight_bytes"].as_u64().unwrap();
        let head = 512 * 256 * 2;
        match scheme {
            "w4a16" => assert!((head + layers / 2..head + layers * 3 / 5).contains(&bytes), "{bytes}"),
            _ => assert_eq!(bytes, head + layers * 2),
        }
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_in_a_sentence() {
    for wrong in [["--prompt", "0"], ["--contexts", "70000"], ["--batches", "0"]] {
        let output = worker()
            .args(["bench", "--model", "tiny"])
            .args(wrong)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("must be at least 1"));
    }
}
