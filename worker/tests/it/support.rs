//! Where things are, and running the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

/// A path below tests/fixtures.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(path)
}

/// The sample contest.
pub fn sample_contest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sample/contest.toml")
}

/// The binary, with nothing of this environment that could change what it does or says.
pub fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-worker"));
    for name in [
        "LC_ALL",
        "LC_MESSAGES",
        "RUST_LOG",
        "ASSAY_SERVER",
        "ASSAY_ENROL_TOKEN",
        "ASSAY_WORKER_DATA",
        "ASSAY_DEVICE",
    ] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8").env("ASSAY_THREADS", "2");
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    worker()
        .args(arguments.iter().map(|argument| argument.as_ref()))
        .output()
        .unwrap()
}

/// Its exit code.
pub fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("killed: {}", String::from_utf8_lossy(&output.stderr)))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A copy of a fixture checkpoint that a test may spoil.
pub fn copy_checkpoint(name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("checkpoints").join(name)).unwrap() {
        let entry = entry.unwrap();
        // Fixtures may be read-only; the copies must not be.
        std::fs::write(to.path().join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
    to
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

/// The sample contest in a folder of its own, with the fixtures linked beside it.
pub struct Contest(PathBuf);

impl Contest {
    /// Cut down to the first `limit` documents of `tasks`, a TOML list.
    pub fn cut(dir: &Path, limit: usize, tasks: &str) -> Contest {
        let source = std::fs::read_to_string(sample_contest()).unwrap();
        let all = r#"["mini_gsm", "mini_komath", "mini_arc", "mini_boolq", "mini_wino"]"#;
        assert!(source.contains(all) && source.contains("\nlimit = 100\n"));
        let source = source
            .replace("\nlimit = 100\n", &format!("\nlimit = {limit}\n"))
            .replace(all, tasks)
            .replace("../../tests/fixtures/checkpoints/base", "base")
            .replace("../../tests/fixtures/tasks", "tasks");
        std::fs::write(dir.join("contest.toml"), source).unwrap();
        std::os::unix::fs::symlink(fixture("checkpoints/base"), dir.join("base")).unwrap();
        std::os::unix::fs::symlink(fixture("tasks"), dir.join("tasks")).unwrap();
        Contest(dir.join("contest.toml"))
    }

    pub fn file(&self) -> &Path {
        &self.0
    }

    pub fn source(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// Replaces every `from`.
    pub fn edit(&self, from: &str, to: &str) {
        let source = self.source();
        assert!(source.contains(from), "{from}");
        std::fs::write(&self.0, source.replace(from, to)).unwrap();
    }
}
