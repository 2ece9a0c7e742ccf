//! The beginning of a safetensors file. Odd first byte: the rest is the JSON alone, and length field and file length are made to fit.
#![no_main]

use assay_checkpoint::safetensors::{NewTensor, header_of, parse_header};
use assay_checkpoint_fuzz::{Counting, bound, fixtures, measured, seeds};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[global_allocator]
static COUNTING: Counting = Counting;

/// The largest end of any tensor, whatever else is wrong.
fn last_end(json: &[u8]) -> u64 {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let ends = value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, t)| t["data_offsets"][1].as_u64());
    ends.max().unwrap_or(0)
}

fn fitted(json: &[u8]) -> (Vec<u8>, u64) {
    let prefix = [&(json.len() as u64).to_le_bytes(), json].concat();
    let bytes = (prefix.len() as u64).saturating_add(last_end(json));
    (prefix, bytes)
}

fn seeds_of_headers() -> Vec<Vec<u8>> {
    let of = |(header, bytes): (&[u8], u64)| {
        [
            [&[0u8], header, &bytes.to_le_bytes()].concat(),
            [&[1u8], &header[8..]].concat(),
        ]
    };
    fixtures()
        .iter()
        .flat_map(|f| seeds::headers(&f.listing).flat_map(of).collect::<Vec<_>>())
        .collect()
}

fuzz_target!(
    init: seeds::if_asked(seeds_of_headers),
    |data: &[u8]| {
        let Some((mode, rest)) = data.split_first() else { return };
        let (prefix, bytes) = if mode & 1 == 1 {
            fitted(rest)
        } else {
            match rest.split_last_chunk::<8>() {
                Some((prefix, last)) => (prefix.to_vec(), u64::from_le_bytes(*last)),
                None => (rest.to_vec(), rest.len() as u64),
            }
        };
        let read = measured(bound(prefix.len()), || parse_header(&prefix, bytes));
        let Ok(header) = read else { return };
        let mut at = 0;
        let mut places: Vec<_> = header.tensors.values().map(|t| (t.begin, t.end)).collect();
        places.sort_unstable();
        for (begin, end) in places {
            assert_eq!((begin, end > begin), (at, true), "tensors tile the data");
            at = end;
        }
        assert_eq!(header.header_bytes + at, header.file_bytes);
        // what was read can be written, and reads as the same
        let tensors: Vec<NewTensor> = header
            .tensors
            .iter()
            .map(|(name, t)| NewTensor { name: name.clone(), dtype: t.dtype, shape: t.shape.clone(), data: &[] })
            .collect();
        let (written, length) = header_of(&tensors, &[]).unwrap();
        let again = parse_header(&written, length);
        let again = match again {
            Ok(again) => again,
            // ours may be longer than what was read, and there is a limit
            Err(_) if written.len() > 4 << 20 => return,
            Err(why) => panic!("{why}"),
        };
        assert_eq!(again.tensors.len(), header.tensors.len());
        for (name, t) in &again.tensors {
            assert_eq!((t.dtype, &t.shape), (header.tensors[name].dtype, &header.tensors[name].shape));
        }
    }
);
