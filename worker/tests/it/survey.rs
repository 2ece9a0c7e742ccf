//! `survey`, of a software adapter and with little work: that it answers every question, not how fast anything is.

use serde_json::Value;

use crate::support::worker;

#[test]
fn a_card_is_looked_over_and_found_sound() {
    let output = worker()
        .args(["survey", "--card", "llvmpipe", "--json", "--shape", "96", "256"])
        .args([
            "--rows",
            "5,1,70,1000000",
            "--patience",
            "2",
            "--memory",
            "1",
            "--dispatches",
            "20",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["card"].as_str().unwrap().starts_with("llvmpipe"));
    assert_eq!(found["kind"], "Cpu");
    assert!(found["limits"]["max_buffer_size"].as_u64().unwrap() >= 128 << 20);
    let products = found["products"].as_array().unwrap();
    for (kernel, rows) in [
        ("narrow over int4", vec![1, 5]),
        ("wide over int4", vec![1, 5, 70, 1_000_000]),
        ("narrow over bf16", vec![1, 5]),
        ("wide over bf16", vec![1, 5, 70, 1_000_000]),
    ] {
        let of = products.iter().filter(|p| p["kernel"] == kernel);
        assert_eq!(
            of.map(|p| p["rows"].as_u64().unwrap()).collect::<Vec<_>>(),
            rows,
            "{kernel}"
        );
    }
    for product in products {
        let rows = product["rows"].as_f64().unwrap();
        if rows == 1e6 {
            assert!(product["seconds"].is_null(), "it would take too long: {product}");
            continue;
        }
        let operations = 2.0 * rows * 96.0 * 256.0;
        let rate = product["rate"].as_f64().unwrap();
        assert!((rate * product["seconds"].as_f64().unwrap() / operations - 1.0).abs() < 1e-9);
    }
    for (part, names) in [
        ("dispatches", &["dependent", "independent", "record"][..]),
        ("memory", &["up", "down", "within", "read", "staged_f32"]),
    ] {
        for name in names {
            assert!(found[part][name].as_f64().unwrap() > 0.0, "{part} {name}");
        }
    }
    let checks = found["checks"].as_array().unwrap();
    assert!(
        checks.len() >= 4 && checks.iter().all(|check| check["passed"] == true),
        "{checks:?}"
    );
}

#[test]
fn a_card_that_is_not_there_is_named() {
    let output = worker().args(["survey", "--card", "no such card"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && told.contains("no such card"),
        "{told}"
    );
}
