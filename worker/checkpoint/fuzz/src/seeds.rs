//! Seeds made from the fixtures by the code that reads them: run a target with `ASSAY_FUZZ_SEEDS` naming a folder.

use std::collections::BTreeSet;
use std::path::Path;

use assay_checkpoint::{Content, Listing};
use serde_json::Value;

use crate::{Fixture, fixtures};

/// If seeds are asked for, writes them and a dictionary of the words in every fixture's texts, and ends the process.
pub fn if_asked(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(dir) = std::env::var_os("ASSAY_FUZZ_SEEDS") else {
        return;
    };
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir).unwrap();
    for (i, seed) in seeds().iter().enumerate() {
        std::fs::write(dir.join(format!("seed-{i:04}")), seed).unwrap();
    }
    let mut words = BTreeSet::new();
    for fixture in fixtures() {
        for file in ["config.json", "quantize_config.json", "model.safetensors.index.json"] {
            if let Some(Ok(value)) = fixture.listing.text(file).map(serde_json::from_slice) {
                collect(&value, &mut words);
            }
        }
        for line in fixture
            .listing
            .text("recipe.yaml")
            .map(String::from_utf8_lossy)
            .into_iter()
            .flat_map(|t| {
                t.split([' ', '\n', '[', ']', ',', '{', '}'])
                    .map(String::from)
                    .collect::<Vec<_>>()
            })
        {
            words.insert(line);
        }
    }
    let usable =
        |w: &&String| (2..=40).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let lines: String = words.iter().filter(usable).map(|w| format!("\"{w}\"\n")).collect();
    std::fs::write(dir.with_extension("dict"), lines).unwrap();
    std::process::exit(0);
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                words.insert(key.clone());
                collect(value, words);
            }
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, words)),
        Value::String(text) => drop(words.insert(text.clone())),
        Value::Number(number) => drop(words.insert(number.to_string())),
        _ => {}
    }
}

/// One seed a fixture: its number and what `of` makes of it.
pub fn each(of: impl Fn(&Fixture) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let numbered = fixtures().iter().enumerate();
    numbered
        .filter_map(|(i, f)| Some([vec![i as u8], of(f)?].concat()))
        .collect()
}

/// The headers of a listing, with the lengths of their files.
pub fn headers(listing: &Listing) -> impl Iterator<Item = (&[u8], u64)> {
    listing.files.iter().filter_map(|f| match &f.content {
        Content::Header(bytes) => Some((bytes.as_slice(), f.bytes)),
        _ => None,
    })
}
