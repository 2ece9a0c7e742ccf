//! A whole precheck: edits of a fixture's files, headers, names and lengths, as a browser (or somebody else) may send them.
#![no_main]

use assay_checkpoint::{Content, ListedFile};
use assay_checkpoint_fuzz::{Counting, choose, fixtures, judge, seeds, text_file};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static COUNTING: Counting = Counting;

const NAMES: [&str; 16] = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "recipe.yaml",
    "quantize_config.json",
    "quantization_config.json",
    "hf_quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "adapter_config.json",
    "pytorch_model.bin",
    "model.gguf",
    "../config.json",
];

/// Reads the input from the front; after its end everything is zero.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length byte (or, from 128 on, sixteen times as much) and so many bytes.
    fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte());
        self.take(if n < 128 { n } else { (n - 127) * 16 })
    }
}

fn edit(files: &mut Vec<ListedFile>, input: &mut Reader) {
    let (how, which) = (input.byte(), usize::from(input.byte()));
    if files.is_empty() || how % 12 == 0 {
        files.push(text_file(NAMES[which % NAMES.len()], input.bytes().to_vec()));
        return;
    }
    let at = which % files.len();
    let file = &mut files[at];
    match how % 12 {
        1 => file.bytes = input.number(),
        2 => file.bytes = file.bytes.wrapping_add(input.number() as i8 as u64),
        3 => file.name = String::from_utf8_lossy(input.bytes()).into_owned(),
        4 => file.name = NAMES[usize::from(input.byte()) % NAMES.len()].to_owned(),
        5 => drop(files.remove(at)),
        6 => {
            let copy = file.clone();
            files.push(copy);
        }
        7 => {
            file.content = match input.byte() % 5 {
                0 => Content::Absent,
                1 => Content::Folder,
                2 => Content::Special,
                3 => Content::Text(input.bytes().to_vec()),
                _ => Content::Header(input.bytes().to_vec()),
            }
        }
        // the rest change a few bytes of the content
        _ => {
            let (Content::Header(content) | Content::Text(content)) = &mut file.content else {
                return;
            };
            let place = input.number() as usize % (content.len() + 1);
            let cut = usize::from(input.byte()).min(content.len() - place);
            let put = input.bytes();
            content.splice(place..place + cut, put.iter().copied());
            // a header that only got longer or shorter goes on being one
            if how % 12 == 11
                && let Content::Header(content) = &mut file.content
                && content.len() >= 8
            {
                let n = (content.len() - 8) as u64;
                content[..8].copy_from_slice(&n.to_le_bytes());
                file.bytes = file.bytes.saturating_add(put.len() as u64).saturating_sub(cut as u64);
            }
        }
    }
}

fuzz_target!(
    init: seeds::if_asked(|| {
        let mut all = seeds::each(|_| Some(Vec::new()));
        for how in 0..12u8 {
            all.extend((0..fixtures().len() as u8).step_by(3).map(|i| [vec![i, how, 1], vec![3; 20]].concat()));
        }
        all
    }),
    |data: &[u8]| {
        let Some((fixture, rest)) = choose(data) else { return };
        let mut listing = fixture.listing.clone();
        // comparing tokenizers takes most of the time: one fixture keeps its own
        listing.files.retain(|f| fixture.name == "base" || f.name != "tokenizer.json");
        let mut input = Reader(rest);
        while !input.0.is_empty() {
            edit(&mut listing.files, &mut input);
        }
        judge(&listing);
    }
);
