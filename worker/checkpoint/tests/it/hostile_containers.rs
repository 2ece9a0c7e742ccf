//! Broken safetensors files, each with its code.

use assay_checkpoint::safetensors::parse_header;
use assay_checkpoint::{Content, ListedFile, Listing, verify};

use crate::support::*;

/// A file of that header text (padded to eight bytes) and that many data bytes.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut json = header.as_bytes().to_vec();
    json.resize(json.len().next_multiple_of(8), b' ');
    [(json.len() as u64).to_le_bytes().as_slice(), &json, &vec![0; data]].concat()
}

#[test]
fn containers() {
    let one = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
    assert!(parse_header(&raw(one, 4), raw(one, 4).len() as u64).is_ok());
    let entry = |body: &str| format!(r#"{{"a":{{{body}}}}}"#);
    let many: Vec<String> = (0..20_001)
        .map(|i| format!(r#""t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1))
        .collect();
    let metadata: Vec<String> = (0..5000).map(|i| format!(r#""k{i}":"v""#)).collect();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("safetensors-truncated", vec![]),
        ("safetensors-truncated", vec![1, 2, 3]),
        ("safetensors-header-too-long", u64::MAX.to_le_bytes().to_vec()),
        ("safetensors-header-too-long", 100_000_000u64.to_le_bytes().to_vec()),
        ("safetensors-truncated", 1000u64.to_le_bytes().to_vec()),
        ("safetensors-not-an-object", raw("[]", 0)),
        ("safetensors-not-an-object", raw("", 0)),
        ("safetensors-not-an-object", raw(&format!(" {one}"), 4)),
        ("safetensors-not-an-object", raw(&"[".repeat(1 << 20), 0)),
        (
            "safetensors-malformed",
            raw(&format!(r#"{{"a":{}"#, "[".repeat(1 << 20)), 0),
        ),
        ("safetensors-malformed", raw(&r#"{"a":"#.repeat(10_000), 0)),
        ("safetensors-malformed", raw("{", 0)),
        ("safetensors-malformed", raw(r#"{"a":1}"#, 0)),
        ("safetensors-malformed", raw(&entry(r#""dtype":"U8","shape":[4]"#), 4)),
        (
            "safetensors-malformed",
            raw(&entry(r#""dtype":"U8","shape":[4],"data_offsets":[0]"#), 4),
        ),
        (
            "safetensors-malformed",
            raw(&entry(r#""dtype":"U8","shape":[4],"data_offsets":[0,4,8]"#), 4),
        ),
        (
            "safetensors-malformed",
            raw(&entry(r#""dtype":"U8","shape":[4.0],"data_offsets":[0,4]"#), 4),
        ),
        (
            "safetensors-malformed",
            raw(&entry(r#""dtype":"U8","shape":[-4],"data_offsets":[0,4]"#), 4),
        ),
        (
            "safetensors-malformed",
            raw(&entry(r#""dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1"#), 4),
        ),
        ("safetensors-malformed", raw(r#"{"__metadata__":{"a":1}}"#, 0)),
        ("safetensors-malformed", raw(r#"{"__metadata__":[]}"#, 0)),
        ("safetensors-bad-padding", raw(&format!("{one}\n"), 4)),
        ("safetensors-bad-padding", raw(&format!("{one}\t  "), 4)),
        ("safetensors-bad-padding", raw(&format!("{one}{one}"), 4)),
        ("safetensors-bad-padding", raw(&format!("{one}\0"), 4)),
        (
            "safetensors-not-utf8",
            [raw(r#"{"aaaaaa"#, 0), vec![0xFF; 8]]
                .concat()
                .into_iter()
                .enumerate()
                .map(|(i, b)| if i == 0 { 16 } else { b })
                .collect(),
        ),
        (
            "safetensors-duplicate-key",
            raw(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\u0061":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
                8,
            ),
        ),
        (
            "safetensors-duplicate-key",
            raw(r#"{"__metadata__":{},"__metadata__":{}}"#, 0),
        ),
        (
            "safetensors-duplicate-key",
            raw(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0),
        ),
        (
            "safetensors-duplicate-key",
            raw(
                &entry(r#""dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]"#),
                4,
            ),
        ),
        (
            "safetensors-too-many-tensors",
            raw(&format!("{{{}}}", many.join(",")), 20_001),
        ),
        (
            "safetensors-too-much-metadata",
            raw(&format!(r#"{{"__metadata__":{{{}}}}}"#, metadata.join(",")), 0),
        ),
        ("safetensors-bad-name", raw(&one.replace("\"a\"", "\"../a\""), 4)),
        ("safetensors-bad-name", raw(&one.replace("\"a\"", "\"\""), 4)),
        ("safetensors-bad-name", raw(&one.replace("\"a\"", "\"a\\u0000b\""), 4)),
        ("safetensors-bad-name", raw(&one.replace("\"a\"", "\"wеight\""), 4)), // Cyrillic е
        (
            "safetensors-bad-name",
            raw(&one.replace("\"a\"", &format!("\"{}\"", "a".repeat(1 << 20))), 4),
        ),
        ("safetensors-unknown-dtype", raw(&one.replace("U8", "u8"), 4)),
        ("safetensors-unknown-dtype", raw(&one.replace("U8", "Q4_K"), 4)),
        ("safetensors-rank", raw(&one.replace("[4]", "[1,1,1,1,4]"), 4)),
        (
            "safetensors-rank",
            raw(&one.replace("[4]", &format!("[{}4]", "1,".repeat(100_000))), 4),
        ),
        ("safetensors-empty-tensor", raw(&one.replace("[4]", "[0,4]"), 4)),
        (
            "safetensors-impossible-shape",
            raw(&one.replace("[4]", "[4294967296,4294967296]"), 4),
        ),
        (
            "safetensors-impossible-shape",
            raw(&one.replace("[4]", "[9223372036854775808,2]"), 4),
        ), // wraps to 0
        (
            "safetensors-impossible-shape",
            raw(&one.replace("U8", "F4").replace("[4]", "[7]"), 4),
        ), // three and a half bytes
        ("safetensors-wrong-length", raw(&one.replace("[4]", "[5]"), 4)),
        ("safetensors-wrong-length", raw(&one.replace("[0,4]", "[4,0]"), 4)),
        (
            "safetensors-wrong-length",
            raw(&one.replace("[0,4]", "[0,18446744073709551615]"), 4),
        ),
        ("safetensors-hole", raw(&one.replace("[0,4]", "[4,8]"), 8)),
        (
            "safetensors-hole",
            raw(&one.replace("[0,4]", "[18446744073709551608,18446744073709551612]"), 4),
        ),
        (
            "safetensors-overlap",
            raw(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
                4,
            ),
        ),
        (
            "safetensors-overlap",
            raw(
                r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
                6,
            ),
        ),
        ("safetensors-trailing-bytes", raw(one, 5)),
        ("safetensors-data-missing", raw(one, 3)),
        ("safetensors-no-tensors", raw("{}", 0)),
        ("safetensors-no-tensors", raw(r#"{"__metadata__":{"format":"pt"}}"#, 0)),
    ];
    for (code, file) in table {
        let shown = String::from_utf8_lossy(&file[..file.len().min(90)]).into_owned();
        let error = parse_header(&file, file.len() as u64).expect_err(&shown);
        assert_eq!(error.code(), code, "{shown}: {error}");
        let small = Small::dense();
        let listing = listing_of(&small.config.to_string().into_bytes(), &file, &[]);
        let found = verify(&listing, None, None);
        let problem = found
            .problems
            .iter()
            .find(|p| p.code == code)
            .expect("the verdict names it");
        assert!(
            problem.place.starts_with("model.safetensors")
                && problem.message.ko.chars().any(|c| ('가'..='힣').contains(&c))
        );
        assert!(problem.message.en.len() < 600, "a hostile string is shortened");
        assert_eq!(
            found.bytes.groups.iter().map(|g| g.bytes).sum::<u64>(),
            found.bytes.total
        );
    }
}

#[test]
fn lengths_a_browser_only_claims() {
    // the header matches the claim, the claim is absurd: two such files would overflow any sum
    let huge = 1u64 << 63;
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{huge}],"data_offsets":[0,{huge}]}}}}"#);
    let prefix = raw(&header, 0);
    let bytes = prefix.len() as u64 + huge;
    let file = |name: &str| ListedFile {
        name: name.into(),
        bytes,
        content: Content::Header(prefix.clone()),
    };
    let found = verify(
        &Listing {
            files: vec![file("a.safetensors"), file("b.safetensors")],
        },
        Some(&base()),
        Some(&rules()),
    );
    assert!(
        codes(&found.problems).contains(&"file-too-long"),
        "{:?}",
        codes(&found.problems)
    );
    let found = verify(&Listing::default(), Some(&base()), Some(&rules()));
    assert_eq!(codes(&found.problems), ["config-missing", "weights-missing"]);
}
