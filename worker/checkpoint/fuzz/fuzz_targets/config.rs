//! config.json in the place of a fixture's own.
#![no_main]

use assay_checkpoint_fuzz::{Counting, choose, judge, seeds, with_text};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static COUNTING: Counting = Counting;

fuzz_target!(
    init: seeds::if_asked(|| seeds::each(|fixture| fixture.listing.text("config.json").map(<[u8]>::to_vec))),
    |data: &[u8]| {
        if let Some((fixture, text)) = choose(data) {
            judge(&with_text(&fixture.listing, "config.json", text));
        }
    }
);
