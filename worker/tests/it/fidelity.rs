//! `fidelity`: the page says what is so, and the command fails when something is not.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{code, fixture, run, stderr};

#[test]
fn the_page_is_written_and_every_bound_is_met() {
    let page = written(&[
        &"--only",
        &"base,w4a16-gptq,hybrid",
        &"--limit",
        &"6",
        &"--kernels",
        &"small",
        &"--devices",
        &"reference,cpu,cpu:fast",
        &"--task-devices",
        &"cpu,cpu:fast",
    ]);
    for row in [
        "| bf16 |  | cpu | bf16 |",
        "| int4, groups of 128 |  | cpu | as stored, in integers |",
        "| int4, groups of 128 |  | cpu:fast | as stored, in bytes |",
        "| int4, groups of 128 | int8 by row | cpu:fast | as stored, in integers |",
        "| nvfp4 | nvfp4 | cpu | bf16 |",
        "| RMSNorm | cpu |",
        "| attention, tokens after it: 5 heads of 128, 1 of keys, a window of 130, 260 tokens | cpu:fast |",
        "| base | dense",
        "| w4a16-gptq | pack-quantized W4A16",
        "| hybrid¹ |",
        "| base | chat | mini_gsm | cpu | 6 | 6 | 6 |",
        "| base | chat | mini_gsm | cpu:fast | 6 | 6 | 6 |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
    assert!(page.contains("0 of 120 documents"), "{page}");
    assert!(page.contains("of 120 documents flip"), "{page}");
    assert!(!page.contains("threads"), "the number of threads decides nothing");

    // dense matrices are multiplied alike; what inputs of eight bits cost is a hundred times what those of sixteen do, and still little
    let divergence = |row: &str| figure(&page, &format!("{row} | 161 | "));
    assert_eq!(divergence("| base | cpu"), divergence("| base | cpu:fast"));
    let (exact, fast) = (divergence("| w4a16-gptq | cpu"), divergence("| w4a16-gptq | cpu:fast"));
    assert!(
        exact < 1e-5 && 100.0 * exact < fast && fast < 0.05,
        "{exact} {fast}\n{page}"
    );
}

/// A card's kernels are held to the same bounds. No checkpoint: the engine's own tests compare its logits.
#[test]
fn the_page_shows_a_card() {
    let page = written(&[
        &"--only",
        &"none",
        &"--no-tasks",
        &"--kernels",
        &"small",
        &"--devices",
        &"gpu:llvmpipe",
    ]);
    for row in [
        "| int4, groups of 128 |  | gpu:llvmpipe | int4 |",
        "| fp8 by row | fp8 by row | gpu:llvmpipe | fp8 |",
        "| QK norm, RoPE and scale | gpu:llvmpipe |",
        "| attention, tokens after it: 8 heads of 64, 2 of keys, 260 tokens | gpu:llvmpipe |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
    assert!(!page.contains("## Tasks"), "{page}");
}

/// The page of a run in which nothing fails.
fn written(args: &[&dyn AsRef<OsStr>]) -> String {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("fidelity.md");
    let fixtures = fixture("");
    let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"fidelity", &fixtures, &"--out", &path];
    all.extend_from_slice(args);
    let output = run(&all);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    std::fs::read_to_string(path).unwrap()
}

/// The number that follows the beginning of a row.
fn figure(page: &str, row: &str) -> f64 {
    let mut rows = page.lines().filter_map(|line| line.strip_prefix(row));
    let rest = rows.next().unwrap_or_else(|| panic!("{row}\n{page}"));
    rest.split(' ').next().unwrap().parse().unwrap()
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
    let output = run(&[
        &"fidelity",
        &fixtures.path(),
        &"--limit",
        &"2",
        &"--kernels",
        &"none",
        &"--out",
        &page,
    ]);
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
    let output = run(&[
        &"fidelity",
        &fixtures.path(),
        &"--limit",
        &"2",
        &"--kernels",
        &"none",
        &"--out",
        &page,
    ]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("mini_boolq on cpu: 1 of 2 prompts agree"),
        "{}",
        stderr(&output)
    );
}
