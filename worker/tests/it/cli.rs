//! `inspect`, and what every command says about wrong arguments.

use serde_json::Value;

use crate::support::{code, copy_checkpoint, fixture, run, sample_contest, stderr, stdout};

fn inspect(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, Value) {
    let output = run(&[&[&"inspect" as &dyn AsRef<std::ffi::OsStr>, &"--json"], arguments].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", stderr(&output)));
    (code(&output), json)
}

#[test]
fn an_accepted_checkpoint_exits_with_0_and_its_weight_adds_up() {
    for name in ["base", "w4a16-gptq", "w4a16-asym", "w8a16", "sharded-w8a16"] {
        let dir = fixture("checkpoints").join(name);
        let (code, found) = inspect(&[&dir, &"--contest", &sample_contest()]);
        assert_eq!(code, 0, "{name}: {found:#}");
        assert_eq!(found["verdict"], "accepted");
        assert_eq!(found["format"], if name == "base" { "dense" } else { "pack-quantized" });
        let files = std::fs::read_dir(&dir).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(".safetensors"));
        let expected: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
        assert_eq!(found["bytes"]["total"], expected, "{name}");
        let groups = found["bytes"]["groups"].as_array().unwrap();
        assert_eq!(
            groups.iter().map(|group| group["bytes"].as_u64().unwrap()).sum::<u64>(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_copy_of_the_tied_embedding_is_the_first_hint() {
    let (code, found) = inspect(&[&fixture("checkpoints/untied-w4a16")]);
    assert_eq!(code, 0, "{found:#}");
    // the lengths of the file with the copy and of the same without it
    assert_eq!(found["hints"][0]["saves"], 1_859_272 - 1_546_352);
    assert!(found["hints"][0]["code"].is_string());
}

#[test]
fn a_broken_checkpoint_exits_with_1_and_says_why_in_both_languages() {
    let dir = copy_checkpoint("w4a16-gptq");
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 4);
    std::fs::write(&path, bytes).unwrap();
    let (code, found) = inspect(&[&dir.path()]);
    assert_eq!(code, 1);
    assert_eq!(found["verdict"], "rejected");
    let problem = &found["problems"][0];
    assert!(
        problem["code"].is_string() && problem["where"] == "model.safetensors",
        "{problem:#}"
    );
    for language in ["en", "ko"] {
        assert!(!problem["message"][language].as_str().unwrap().is_empty());
        assert!(!problem["fix"][language].as_str().unwrap().is_empty());
    }
    for key in ["verdict", "format", "scheme", "problems", "findings", "bytes", "hints"] {
        assert!(found.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_folder_that_cannot_be_looked_at_exits_with_2() {
    let output = run(&[&"inspect", &"/no/such/folder"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("/no/such/folder"));
    assert_eq!(
        stderr(&output).matches("No such file").count(),
        1,
        "{}",
        stderr(&output)
    );
    let output = run(&[
        &"inspect",
        &fixture("checkpoints/base"),
        &"--contest",
        &"/no/such/contest.toml",
    ]);
    assert_eq!(code(&output), 2);
}

#[test]
fn a_contest_whose_base_was_changed_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let source = std::fs::read_to_string(sample_contest()).unwrap();
    let source = source.replace(
        "../../tests/fixtures",
        fixture("").to_str().unwrap().trim_end_matches('/'),
    );
    // Folders in a contest are relative: put the contest where the fixtures can be named so.
    let root = dir.path().join("contest.toml");
    let base = copy_checkpoint("base");
    std::fs::rename(base.path(), dir.path().join("base")).unwrap();
    let source = source.replace(fixture("checkpoints/base").to_str().unwrap(), "base");
    let source = source.replace(fixture("tasks").to_str().unwrap(), "tasks");
    std::fs::write(&root, source).unwrap();
    let output = run(&[&"inspect", &fixture("checkpoints/base"), &"--contest", &root]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    std::fs::write(dir.path().join("base/chat_template.jinja"), "{{ messages }}").unwrap();
    let output = run(&[&"inspect", &fixture("checkpoints/base"), &"--contest", &root]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("chat_template.jinja"), "{}", stderr(&output));
}

#[test]
fn people_read_their_own_language() {
    let dir = fixture("checkpoints/w4a16-gptq");
    let english = stdout(&run(&[&"inspect", &dir]));
    assert!(english.contains("Verdict") && english.contains("accepted"), "{english}");
    let korean = stdout(&run(&[&"--lang", &"ko", &"inspect", &dir]));
    assert!(korean.contains("판정") && korean.contains("통과"), "{korean}");
    let output = crate::support::worker()
        .env("LANG", "ko_KR.UTF-8")
        .arg("inspect")
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(stdout(&output), korean);
}

#[test]
fn an_unknown_device_and_one_that_is_not_built_are_told_apart() {
    let dir = fixture("checkpoints/base");
    let prompts = fixture("golden/base.safetensors");
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("out.safetensors");
    let ask = |device: &str| {
        run(&[
            &"logits",
            &dir,
            &"--prompts",
            &prompts,
            &"--out",
            &file,
            &"--device",
            &device,
        ])
    };
    let output = ask("tpu");
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("`tpu`") && stderr(&output).contains("reference"),
        "{}",
        stderr(&output)
    );
    let output = ask("gpu");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--device cpu"), "{}", stderr(&output));
    assert!(!file.exists());
}
