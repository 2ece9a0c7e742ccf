//! A quantization_config in the place of the one in a fixture's config.json, and in the files that other tools write beside it.
#![no_main]

use assay_checkpoint_fuzz::{Counting, choose, judge, seeds, with_text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[global_allocator]
static COUNTING: Counting = Counting;

fn config(fixture: &assay_checkpoint_fuzz::Fixture) -> Option<Value> {
    serde_json::from_slice(fixture.listing.text("config.json")?).ok()
}

fuzz_target!(
    init: seeds::if_asked(|| seeds::each(|fixture| Some(config(fixture)?.get("quantization_config")?.to_string().into_bytes()))),
    |data: &[u8]| {
        let Some((fixture, block)) = choose(data) else { return };
        let Some(Value::Object(mut fields)) = config(fixture) else { return };
        fields.shift_remove("quantization_config");
        let mut beside = Value::Object(fields).to_string();
        let mut listing = with_text(&fixture.listing, "quantize_config.json", block);
        listing = with_text(&listing, "config.json", beside.as_bytes());
        judge(&listing);
        beside.pop();
        let inside = [beside.as_bytes(), b",\"quantization_config\":", block, b"}"].concat();
        judge(&with_text(&fixture.listing, "config.json", &inside));
    }
);
