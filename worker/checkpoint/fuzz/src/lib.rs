//! What the fuzz targets share: the fixtures they start from, the promises every answer must keep, and the seeds.
//!
//! An input's first byte chooses the fixture, the rest is for the target to read. Promises, on top of "no panic":
//! at most [`bound`] bytes allocated at once, [`SECONDS`] of processor time, and an answer that is well formed.

mod meter;
pub mod seeds;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use assay_checkpoint::{BaseModel, Content, Inspection, ListedFile, Listing, verify};
use assay_contest::{CheckpointRules, Contest, Problem};

pub use meter::{Counting, measured};

/// Longest an answer may take, of processor time: other programs on the machine do not count.
pub const SECONDS: Duration = Duration::from_secs(1);
/// Longest answer as JSON, bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// Most bytes that may be allocated at once while looking at `given` bytes of headers and texts.
pub const fn bound(given: usize) -> usize {
    (32 << 20) + 48 * given
}

/// A folder that real tools wrote, or the header and texts of one.
pub struct Fixture {
    pub name: String,
    /// where its tensors are, if they are kept
    pub dir: Option<PathBuf>,
    pub listing: Listing,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    found
}

/// Every fixture, in name order; those that have their tensors first.
pub fn fixtures() -> &'static [Fixture] {
    static ALL: OnceLock<Vec<Fixture>> = OnceLock::new();
    ALL.get_or_init(|| {
        let name = |dir: &Path| dir.file_name().unwrap().to_string_lossy().into_owned();
        let checkpoints = ["checkpoints", "foreign"].map(|kind| folders(&root().join("tests/fixtures").join(kind)));
        let whole = checkpoints.into_iter().flatten().map(|dir| Fixture {
            name: name(&dir),
            listing: Listing::read_dir(&dir).unwrap(),
            dir: Some(dir),
        });
        let headers = folders(&root().join("tests/fixtures/headers"))
            .into_iter()
            .filter_map(|dir| {
                Some(Fixture {
                    name: name(&dir),
                    listing: header_only(&dir, &name(&dir))?,
                    dir: None,
                })
            });
        whole.chain(headers).collect()
    })
}

/// `NAME.header` and `NAME.bytes`: a checkpoint of which only what a browser would send is kept.
fn header_only(dir: &Path, name: &str) -> Option<Listing> {
    let header = std::fs::read(dir.join(format!("{name}.header"))).ok()?;
    let bytes = std::fs::read_to_string(dir.join(format!("{name}.bytes")))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let mut files = vec![ListedFile {
        name: "model.safetensors".into(),
        bytes,
        content: Content::Header(header),
    }];
    for text in ["config.json", "recipe.yaml", "quantize_config.json"] {
        if let Ok(content) = std::fs::read(dir.join(text)) {
            files.push(text_file(text, content));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Some(Listing { files })
}

pub fn text_file(name: &str, content: Vec<u8>) -> ListedFile {
    ListedFile {
        name: name.into(),
        bytes: content.len() as u64,
        content: Content::Text(content),
    }
}

/// The base model, its tokenizer already parsed: the web keeps it so.
pub fn base() -> &'static BaseModel {
    static BASE: OnceLock<BaseModel> = OnceLock::new();
    BASE.get_or_init(|| {
        let dir = root().join("tests/fixtures/checkpoints/base");
        let base = BaseModel::read_dir(&dir).unwrap();
        verify(&Listing::read_dir(&dir).unwrap(), Some(&base), None);
        base
    })
}

/// The sample contest's rules with every format and module opened, so that nothing is refused before it is read.
pub fn rules() -> &'static CheckpointRules {
    static RULES: OnceLock<CheckpointRules> = OnceLock::new();
    RULES.get_or_init(|| {
        let source = std::fs::read_to_string(root().join("deploy/sample/contest.toml")).unwrap();
        let mut rules = Contest::parse(&source).unwrap().checkpoint;
        rules.formats = assay_contest::rules::FORMATS.iter().map(|f| f.to_string()).collect();
        rules.modules = assay_contest::rules::MODULES.iter().map(|m| m.to_string()).collect();
        rules
    })
}

/// The fixture an input chooses, and the rest of the input.
pub fn choose(data: &[u8]) -> Option<(&'static Fixture, &[u8])> {
    let (first, rest) = data.split_first()?;
    let all = fixtures();
    Some((&all[usize::from(*first) % all.len()], rest))
}

/// `listing` with a text put in the place of the one of that name. Its tokenizer stays away unless it is the text: reading it
/// would take most of the time.
pub fn with_text(listing: &Listing, name: &str, content: &[u8]) -> Listing {
    let kept = |f: &&ListedFile| f.name != name && f.name != "tokenizer.json";
    let mut changed = Listing {
        files: listing.files.iter().filter(kept).cloned().collect(),
    };
    changed.files.push(text_file(name, content.to_vec()));
    changed
}

/// Bytes of content at hand.
pub fn given(listing: &Listing) -> usize {
    let of = |f: &ListedFile| match &f.content {
        Content::Header(bytes) | Content::Text(bytes) => bytes.len(),
        _ => 0,
    };
    listing.files.iter().map(of).sum()
}

/// Judges as the web and the worker do, once with a base and rules and once without, and holds the answers to the promises.
pub fn judge(listing: &Listing) {
    let (base, rules, given) = (base(), rules(), given(listing));
    let found = measured(bound(given), || verify(listing, Some(base), Some(rules)));
    well_formed(&found);
    let alone = measured(bound(given), || verify(listing, None, None));
    well_formed(&alone);
}

/// What every answer is.
pub fn well_formed(found: &Inspection) {
    assert_eq!(found.accepted(), found.problems.is_empty());
    for problem in found.problems.iter().chain(&found.findings) {
        sound(problem);
    }
    let sum: u128 = found.bytes.groups.iter().map(|g| u128::from(g.bytes)).sum();
    assert_eq!(sum, u128::from(found.bytes.total), "groups do not add up");
    assert!(found.hints.is_sorted_by_key(|h| std::cmp::Reverse(h.saves)));
    for hint in &found.hints {
        assert!(
            hint.saves > 0 && hint.saves <= found.bytes.total,
            "{hint:?} of {}",
            found.bytes.total
        );
        assert!(!hint.message.en.is_empty() && !hint.message.ko.is_empty());
    }
    let json = serde_json::to_string(found).unwrap();
    assert!(json.len() <= ANSWER_BYTES, "an answer of {} bytes", json.len());
    let back: Inspection = serde_json::from_str(&json).unwrap();
    assert_eq!(&back, found);
}

fn sound(problem: &Problem) {
    let code = &problem.code;
    let kebab = code
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    assert!(!code.is_empty() && kebab, "{code:?} is no code");
    for text in [&problem.message, &problem.fix] {
        assert!(!text.en.is_empty() && !text.ko.is_empty(), "{code}: an empty sentence");
        assert!(
            text.en.len() < 8192 && text.ko.len() < 8192,
            "{code}: a sentence of {} bytes",
            text.en.len()
        );
    }
}
