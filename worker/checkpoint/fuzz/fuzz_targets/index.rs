//! model.safetensors.index.json in the place of the one a sharded fixture has.
#![no_main]

use assay_checkpoint_fuzz::{Counting, fixtures, judge, seeds, with_text};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static COUNTING: Counting = Counting;

const INDEX: &str = "model.safetensors.index.json";

fuzz_target!(
    init: seeds::if_asked(|| fixtures().iter().filter_map(|f| f.listing.text(INDEX)).map(<[u8]>::to_vec).collect()),
    |data: &[u8]| {
        for fixture in fixtures().iter().filter(|f| f.listing.file(INDEX).is_some()).take(1) {
            judge(&with_text(&fixture.listing, INDEX, data));
        }
    }
);
