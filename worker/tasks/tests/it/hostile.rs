//! Folders, files, templates and patterns that mean harm.

use std::fs;
use std::time::{Duration, Instant};

use assay_tasks::{Response, Settings};
use tempfile::TempDir;

use crate::files::{BASE, folder, load, task};

/// Errors come well before anybody would stop waiting.
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    result
}

fn code(folder: &TempDir, name: &str) -> &'static str {
    soon(|| load(folder, &[name])).unwrap_err().code()
}

#[test]
fn includes_stay_inside_and_end() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.yaml"), "description: secret\n").unwrap();
    let absolute = outside.path().join("secret.yaml");
    let folder = folder(&[
        ("a.yaml", "include: ../../../../etc/passwd\ntask: a\n"),
        ("b.yaml", &format!("include: {}\ntask: b\n", absolute.display())),
        ("c.yaml", "include: [c.yaml]\ntask: c\n"),
        ("d.yaml", "include: e\ntask: d\n"),
        ("e", "include: d.yaml\n"),
        ("f.yaml", "include: link\ntask: f\n"),
        ("g.yaml", "include: missing\ntask: g\n"),
    ]);
    std::os::unix::fs::symlink(&absolute, folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
    for name in ["a", "b", "c", "d", "f", "g"] {
        // A file that cannot be read has no name in the index; the first such file is named in the answer.
        let error = load(&folder, &[name]).unwrap_err();
        assert_eq!(error.code(), "task-unknown");
        assert!(
            error
                .to_string()
                .contains("a.yaml:1: The path \"../../../../etc/passwd\" leads out"),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"));
    }
    for (file, code) in [
        ("b.yaml", "task-path-outside"),
        ("c.yaml", "task-include-cycle"),
        ("f.yaml", "task-path-outside"),
    ] {
        for other in ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "f.yaml", "g.yaml"] {
            if other != file {
                let _ = fs::rename(folder.path().join(other), folder.path().join(format!("{other}.off")));
            }
        }
        let error = load(&folder, &["x"]).unwrap_err();
        assert!(error.to_string().contains(&format!("[{code}]")), "{error}");
        for other in ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "f.yaml", "g.yaml"] {
            let _ = fs::rename(folder.path().join(format!("{other}.off")), folder.path().join(other));
        }
    }
}

#[test]
fn long_chains_and_deep_groups_end() {
    let chain: Vec<(String, String)> = (0..200)
        .map(|i| (format!("i{i}"), format!("include: i{}\n", i + 1)))
        .chain([("i200".into(), BASE.into())])
        .collect();
    let mut files: Vec<(&str, &str)> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.push(("a.yaml", "include: i0\ntask: a\n"));
    let long = folder(&files);
    assert!(load(&long, &["a"]).unwrap_err().to_string().contains("task-too-large"));

    let groups: Vec<(String, String)> = (0..40)
        .map(|i| (format!("g{i}.yaml"), format!("group: g{i}\ntask: [g{}]\n", i + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> = groups.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.push(("x.yaml", "group: x\ntask: [y]\n"));
    files.push(("y.yaml", "group: y\ntask: [{group: x}]\n"));
    let deep = folder(&files);
    assert_eq!(code(&deep, "g0"), "task-too-large");
    assert_eq!(code(&deep, "x"), "task-group-cycle");
    assert_eq!(code(&deep, "nothing"), "task-unknown");
}

#[test]
fn huge_files_are_refused() {
    let huge = "x".repeat(3 << 20);
    let big = folder(&[("a.yaml", &format!("task: a\ndescription: {huge}\n"))]);
    let error = soon(|| load(&big, &["a"])).unwrap_err();
    assert!(error.to_string().contains("task-too-large"), "{error}");

    let sparse = folder(&[("a.yaml", &task("a", "").replace("d.jsonl", "big.jsonl"))]);
    let file = fs::File::create(sparse.path().join("big.jsonl")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(code(&sparse, "a"), "task-too-large");

    let pipes = folder(&[("a.yaml", &task("a", "").replace("d.jsonl", "/dev/zero"))]);
    assert_eq!(code(&pipes, "a"), "task-path-outside");
}

#[test]
fn bad_bytes_have_a_line() {
    let folder = folder(&[("a.yaml", &task("a", "").replace("d.jsonl", "bytes.jsonl"))]);
    fs::write(
        folder.path().join("bytes.jsonl"),
        b"{\"q\": \"x\"}\n{\"q\": \"\xff\"}\n",
    )
    .unwrap();
    let error = load(&folder, &["a"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bytes.jsonl:2: Not JSON records: not UTF-8. [task-data]"
    );
}

#[test]
fn endless_templates_end() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    let slow = folder(&[(
        "a.yaml",
        &task("a", "").replace("doc_to_text: q", &format!("doc_to_text: '{loops}'")),
    )]);
    let error = soon(|| load(&slow, &["a"])).unwrap_err();
    assert_eq!(
        (error.code(), error.place.to_string().as_str()),
        ("task-template-limit", "a.yaml:5")
    );

    let doubling = format!("{{% set x = q %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60));
    let big = folder(&[("a.yaml", &task("a", &format!("description: '{doubling}'\n")))]);
    assert_eq!(code(&big, "a"), "task-template");
}

#[test]
fn a_pattern_without_end_is_a_typed_error() {
    let filter = "filter_list:\n  - name: x\n    filter:\n      - {function: regex, regex_pattern: '^((x+)*)*\\2y'}\n      \
                  - {function: take_first}\n";
    let folder = folder(&[("a.yaml", &task("a", filter))]);
    let set = load(&folder, &["a"]).unwrap();
    assert_eq!(set.tasks()[0].instances(&Settings::default()).unwrap().len(), 4);
    let error = soon(|| set.tasks()[0].score(&[vec![Response::Text("x".repeat(2000))]])).unwrap_err();
    assert_eq!(
        (error.code(), error.place.to_string().as_str()),
        ("task-pattern-limit", "a.yaml:8")
    );
}

#[test]
fn laughing_yaml_ends() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..20 {
        text.push_str(&format!(
            "a{i}: &a{i} [{}]\n",
            vec![format!("*a{}", i - 1); 9].join(", ")
        ));
    }
    let folder = folder(&[("a.yaml", &text)]);
    let error = soon(|| load(&folder, &["a"])).unwrap_err();
    assert!(error.to_string().contains("a.yaml:6"), "{error}");
}
