//! The safetensors files together: headers, the index, and that both tell one story to every loader.

use std::collections::{BTreeMap, BTreeSet};

use assay_contest::problem::grouped;
use serde_json::Value;

use crate::listing::{Content, Listing};
use crate::problem::{Problems, problem, quoted};
use crate::safetensors::{Header, parse_header};
use crate::strict_json::{self, Limits};

const INDEX: &str = "model.safetensors.index.json";
const INDEX_LIMITS: Limits = Limits {
    bytes: 16 << 20,
    depth: 6,
    values: 100_000,
};
/// Longest safetensors file, bytes: 16 TiB. A length is only a claim before the upload; sums of such claims must not overflow.
const MAX_FILE_BYTES: u64 = 1 << 44;
const SINGLE: &str = "model.safetensors";

/// Headers that could be read, by file, and whether all could.
pub(super) struct Read {
    pub headers: Vec<(String, Header)>,
    pub complete: bool,
}

pub(super) fn read(listing: &Listing, problems: &mut Problems) -> Read {
    let mut read = Read {
        headers: Vec::new(),
        complete: true,
    };
    for file in listing.files.iter().filter(|f| f.name.ends_with(".safetensors")) {
        if file.bytes > MAX_FILE_BYTES {
            let (shown, bytes, limit) = (quoted(&file.name), grouped(file.bytes), grouped(MAX_FILE_BYTES));
            problems.push(problem(
                "file-too-long",
                &shown,
                (
                    format!("{shown} is said to have {bytes} bytes, the limit is {limit}"),
                    format!("{shown}이(가) {bytes}바이트라고 합니다. 한도는 {limit}바이트입니다"),
                ),
                (
                    "Upload the file that save_pretrained wrote.",
                    "save_pretrained가 쓴 파일을 올려 주세요.",
                ),
            ));
            read.complete = false;
            continue;
        }
        match &file.content {
            Content::Header(prefix) => match parse_header(prefix, file.bytes) {
                Ok(header) => read.headers.push((file.name.clone(), header)),
                Err(reason) => {
                    problems.push(reason.problem(&quoted(&file.name)));
                    read.complete = false;
                }
            },
            // named elsewhere
            Content::Folder | Content::Special => read.complete = false,
            Content::Text(_) | Content::Absent => {
                let shown = quoted(&file.name);
                problems.push(problem(
                    "header-missing",
                    &shown,
                    (
                        format!("the header of {shown} was not sent"),
                        format!("{shown}의 헤더가 오지 않았습니다"),
                    ),
                    (
                        "Send the first 8 + n bytes of the file.",
                        "파일의 처음 8 + n바이트를 보내 주세요.",
                    ),
                ));
                read.complete = false;
            }
        }
    }
    read.complete &= arrangement(listing, &read.headers, problems);
    read
}

/// One `model.safetensors`, or an index and exactly its shards.
fn arrangement(listing: &Listing, headers: &[(String, Header)], problems: &mut Problems) -> bool {
    let files: Vec<&str> = listing
        .files
        .iter()
        .map(|f| f.name.as_str())
        .filter(|n| n.ends_with(".safetensors"))
        .collect();
    let index = listing.file(INDEX);
    if files.is_empty() {
        problems.push(problem(
            "weights-missing",
            SINGLE,
            ("there is no safetensors file", "safetensors 파일이 없습니다"),
            (
                "Upload model.safetensors, or every shard with its index.",
                "model.safetensors 또는 모든 조각과 색인 파일을 올려 주세요.",
            ),
        ));
        return false;
    }
    let Some(index) = index else {
        if files == [SINGLE] {
            return true;
        }
        let others = files.iter().map(|f| quoted(f)).take(4).collect::<Vec<_>>().join(", ");
        problems.push(problem(
            "index-missing",
            INDEX,
            (
                format!("without {INDEX} the only safetensors file may be {SINGLE}; found {others}"),
                format!("{INDEX}이 없으면 {SINGLE} 하나만 있어야 합니다. 있는 파일: {others}"),
            ),
            (
                "Upload the index that belongs to the shards, or save the model as one file.",
                "조각들의 색인 파일을 함께 올리거나 한 파일로 저장하세요.",
            ),
        ));
        return false;
    };
    if files.contains(&SINGLE) {
        problems.push(problem(
            "weights-ambiguous",
            INDEX,
            (
                format!("both {SINGLE} and {INDEX} are there; loaders disagree about which one counts"),
                format!("{SINGLE}와 {INDEX}이 함께 있습니다. 어느 쪽을 읽을지 로더마다 다릅니다"),
            ),
            (
                "Remove the one that is left over from an earlier save.",
                "예전에 저장하고 남은 쪽을 지워 주세요.",
            ),
        ));
        return false;
    }
    let map = match &index.content {
        Content::Text(bytes) => weight_map(bytes),
        _ => Err("its content is not at hand".to_owned()),
    };
    match map {
        Ok(map) => agrees(&map, &files, headers, problems),
        Err(why) => {
            let why = quoted(&why);
            problems.push(problem(
                "index-unreadable",
                INDEX,
                (
                    format!("{INDEX} cannot be read: {why}"),
                    format!("{INDEX}을 읽을 수 없습니다: {why}"),
                ),
                (
                    "Upload the index that save_pretrained wrote.",
                    "save_pretrained가 쓴 색인 파일을 올려 주세요.",
                ),
            ));
            false
        }
    }
}

fn weight_map(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let index = strict_json::parse(bytes, INDEX_LIMITS).map_err(|e| e.to_string())?;
    if !index.get("metadata").is_some_and(Value::is_object) {
        return Err("\"metadata\" is not an object".to_owned());
    }
    let Some(Value::Object(entries)) = index.get("weight_map") else {
        return Err("\"weight_map\" is not an object".to_owned());
    };
    let entry = |(tensor, shard): (&String, &Value)| match shard.as_str() {
        Some(shard) if shard.ends_with(".safetensors") && !shard.contains(['/', '\\']) => {
            Ok((tensor.clone(), shard.to_owned()))
        }
        _ => Err(format!("{} maps to {}", quoted(tensor), quoted(&shard.to_string()))),
    };
    entries.iter().map(entry).collect()
}

/// Every mapped tensor in its shard, every tensor mapped, every file mentioned.
fn agrees(
    map: &BTreeMap<String, String>,
    files: &[&str],
    headers: &[(String, Header)],
    problems: &mut Problems,
) -> bool {
    let mut good = true;
    let resave = (
        "Upload all files of one save, and nothing left over from another.",
        "한 번에 저장한 파일을 모두 올리고, 다른 저장에서 남은 파일은 빼 주세요.",
    );
    let mut report = |code: &str, place: &str, message: (String, String)| {
        problems.push(problem(code, quoted(place), message, resave));
        good = false;
    };
    let mentioned: BTreeSet<&str> = map.values().map(String::as_str).collect();
    for shard in &mentioned {
        if !files.contains(shard) {
            let shown = quoted(shard);
            report(
                "shard-missing",
                shard,
                (
                    format!("the index names {shown}, which is not there"),
                    format!("색인에 있는 {shown}이(가) 없습니다"),
                ),
            );
        }
    }
    for file in files {
        if !mentioned.contains(file) {
            let shown = quoted(file);
            report(
                "shard-unlisted",
                file,
                (
                    format!("{shown} is not in the index"),
                    format!("{shown}이(가) 색인에 없습니다"),
                ),
            );
        }
    }
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, header) in headers {
        for tensor in header.tensors.keys() {
            if let Some(first) = found.insert(tensor, file) {
                report(
                    "tensor-duplicate",
                    tensor,
                    (
                        format!("{tensor} is in {first} and in {file}"),
                        format!("{tensor}이(가) {first}와 {file}에 모두 있습니다"),
                    ),
                );
            }
            match map.get(tensor) {
                Some(shard) if shard == file => {}
                Some(shard) => {
                    let shard = quoted(shard);
                    report(
                        "index-mismatch",
                        tensor,
                        (
                            format!("{tensor} is in {file}, the index says {shard}"),
                            format!("{tensor}은(는) {file}에 있는데 색인에는 {shard}라고 되어 있습니다"),
                        ),
                    );
                }
                None => report(
                    "index-mismatch",
                    tensor,
                    (
                        format!("{tensor} of {file} is not in the index"),
                        format!("{file}의 {tensor}이(가) 색인에 없습니다"),
                    ),
                ),
            }
        }
    }
    for (tensor, shard) in map {
        if headers.iter().any(|(file, _)| file == shard) && !found.contains_key(tensor.as_str()) {
            let (tensor, shard) = (quoted(tensor), quoted(shard));
            report(
                "index-mismatch",
                &tensor,
                (
                    format!("the index says {tensor} is in {shard}; it is not"),
                    format!("색인에는 {tensor}이(가) {shard}에 있다는데 없습니다"),
                ),
            );
        }
    }
    good
}
