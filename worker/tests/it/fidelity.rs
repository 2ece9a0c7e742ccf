//! `fidelity`: the page says what is so, and the command fails when something is not.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{code, fixture, run, stderr};

#[test]
fn the_page_is_written_and_every_bound_is_met() {
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("fidelity.md");
    let output = run(&[
        &"fidelity",
        &fixture(""),
        &"--only",
        &"base,w4a16-gptq,hybrid",
        &"--limit",
        &"6",
        &"--out",
        &page,
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let page = std::fs::read_to_string(page).unwrap();
    for row in [
        "| base | dense",
        "| w4a16-gptq | pack-quantized W4A16",
        "| hybrid¹ |",
        "| base | chat | mini_gsm | cpu | 6 | 6 | 6 |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
    assert!(page.contains("0 of 120 documents"), "{page}");
    assert!(!page.contains("threads"), "the number of threads decides nothing");
}

/// Fixtures with one checkpoint, whose recorded outcomes are changed.
fn doctored(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str| std::os::unix::fs::symlink(fixture(name), dir.path().join(name)).unwrap();
    link("checkpoints");
    link("tasks");
    let copy = |from: &Path, to: &Path| std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
    for folder in ["golden", "harness"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    copy(
        &fixture("golden/base.safetensors"),
        &dir.path().join("golden/base.safetensors"),
    );
    let mut harness: Value =
        serde_json::from_slice(&std::fs::read(fixture("harness/base.plain.json")).unwrap()).unwrap();
    change(&mut harness);
    std::fs::write(dir.path().join("harness/base.plain.json"), harness.to_string()).unwrap();
    dir
}

#[test]
fn a_difference_that_nothing_explains_fails() {
    let fixtures = doctored(|harness| {
        let doc = &mut harness["tasks"]["mini_gsm"]["docs"][1];
        doc["responses"] = json!([" 99\n\n"]);
        doc["outcomes"]["strict-match"]["exact_match"] = json!(0.0);
        let doc = &mut harness["tasks"]["mini_arc"]["docs"][0];
        doc["responses"][0][0] = json!(0.0);
        doc["outcomes"]["none"]["acc"] = json!(0.0);
    });
    let page = fixtures.path().join("fidelity.md");
    let output = run(&[&"fidelity", &fixtures.path(), &"--limit", &"2", &"--out", &page]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("2 of 10 documents") && page.matches("**no**").count() == 2,
        "{page}"
    );
    assert!(page.contains("choice 0 is ahead there, 2 here"), "{page}");
}

#[test]
fn another_prompt_fails() {
    let fixtures = doctored(|harness| {
        harness["tasks"]["mini_boolq"]["docs"][1]["prompt_hash"] = json!("0".repeat(64));
    });
    let page = fixtures.path().join("fidelity.md");
    let output = run(&[&"fidelity", &fixtures.path(), &"--limit", &"2", &"--out", &page]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("mini_boolq on cpu: 1 of 2 prompts agree"),
        "{}",
        stderr(&output)
    );
}
