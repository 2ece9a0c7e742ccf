//! Bytes inside a checkpoint's files changed: the checks that read tensors, then loading whatever they accept.
#![no_main]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assay_checkpoint::{Checkpoint, Linear, Listing, Matrix, verify, verify_data};
use assay_checkpoint_fuzz::{Counting, base, bound, choose, fixtures, given, measured, rules, seeds, well_formed};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes for reading tensors, whatever the headers say: the longest tensor of a fixture, decoded, and some to work with.
const DATA_BYTES: usize = 64 << 20;

/// Copies that may be changed, one a fixture, under `ASSAY_FUZZ_SCRATCH` (a folder in memory).
fn copies() -> &'static [PathBuf] {
    static COPIES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    COPIES.get_or_init(|| {
        let root = std::env::var_os("ASSAY_FUZZ_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from);
        let root = root.join(format!("assay-fuzz-{}", std::process::id()));
        let copy = |dir: &Path| {
            let to = root.join(dir.file_name().unwrap());
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(dir).unwrap() {
                let from = entry.unwrap().path();
                std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
            }
            to
        };
        fixtures().iter().filter_map(|f| f.dir.as_deref()).map(copy).collect()
    })
}

/// An edit of a file: what was there before is put back when it goes.
struct Edit {
    file: File,
    at: u64,
    before: Vec<u8>,
}

impl Edit {
    fn make(path: &Path, at: u64, bytes: &[u8]) -> Edit {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let at = at % length;
        let bytes = &bytes[..bytes.len().min((length - at) as usize)];
        let mut before = vec![0; bytes.len()];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(bytes, at).unwrap();
        Edit { file, at, before }
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        self.file.write_all_at(&self.before, self.at).unwrap();
    }
}

fn use_rows(matrix: &Matrix) {
    let mut row = vec![0.0; matrix.cols];
    for r in [0, matrix.rows / 2, matrix.rows - 1] {
        matrix.row_f32(r, &mut row);
    }
}

fn look(dir: &Path) {
    let listing = Listing::read_dir(dir).unwrap();
    let first = verify(&listing, Some(base()), Some(rules()));
    let second = measured(bound(given(&listing)) + DATA_BYTES, || verify_data(dir, &first));
    well_formed(&second);
    if !second.accepted() {
        return;
    }
    let Ok(checkpoint) = Checkpoint::open(dir) else { return };
    let mut matrices = vec![
        checkpoint.embedding(),
        checkpoint.linear(0, Linear::Down),
        checkpoint.linear(0, Linear::Q),
    ];
    matrices.extend(checkpoint.head().transpose());
    let last = checkpoint.config().layers - 1;
    matrices.push(checkpoint.linear(last, Linear::Gate));
    matrices.iter().flatten().for_each(use_rows);
}

fuzz_target!(
    init: seeds::if_asked(|| {
        let places = [0x10u32, 0x400, 0x4000, 0x40000, 0x100000, 0x180000];
        let of = |f: &assay_checkpoint_fuzz::Fixture| {
            f.dir.as_ref()?;
            Some(places.iter().flat_map(|p| [&[0u8][..], &p.to_le_bytes()[..3], &[0x7F, 0xC0]].concat()).collect())
        };
        seeds::each(of)
    }),
    |data: &[u8]| {
        let Some((fixture, mut rest)) = choose(data) else { return };
        let Some(number) = fixtures().iter().filter(|f| f.dir.is_some()).position(|f| f.name == fixture.name) else { return };
        let dir = &copies()[number];
        let files: Vec<&str> = fixture.listing.files.iter().map(|f| f.name.as_str()).filter(|n| n.ends_with(".safetensors")).collect();
        let mut edits = Vec::new();
        // which file, three bytes of place, two bytes to write
        while let Some((head, tail)) = rest.split_first_chunk::<6>() {
            let at = u64::from(head[1]) | u64::from(head[2]) << 8 | u64::from(head[3]) << 16;
            edits.push(Edit::make(&dir.join(files[usize::from(head[0]) % files.len()]), at, &head[4..]));
            rest = tail;
        }
        look(dir);
        // the last edit first: two may overlap
        while let Some(edit) = edits.pop() {
            drop(edit);
        }
    }
);
