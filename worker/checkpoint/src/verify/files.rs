//! Which files a submission may contain.

use assay_contest::CheckpointRules;
use assay_contest::problem::grouped;

use crate::listing::{Content, ListedFile, Listing, text_limit};
use crate::problem::{Problems, problem, quoted};

/// Most safetensors files: a 32B model has about 14.
const MAX_SHARDS: usize = 1024;
/// Longest file name, bytes.
const MAX_NAME: usize = 128;

/// Companions that tools write and nobody here reads.
const COMPANIONS: [&str; 6] = [
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "preprocessor_config.json",
];

/// Kinds of files, by what is done about them.
enum Kind {
    /// read, or harmless and standard
    Expected,
    /// never read, worth a word
    Ignored,
    /// weights in a container that runs code when opened, or that is not ours
    Foreign,
    /// programs
    Code,
    /// side-car adapters
    Adapter,
    Gguf,
    Unknown,
}

fn kind(name: &str) -> Kind {
    let lower = name.to_ascii_lowercase();
    let extension = lower.rsplit_once('.').map_or("", |(_, e)| e);
    if lower.starts_with("adapter_") {
        return Kind::Adapter;
    }
    if lower.ends_with(".safetensors") || text_limit(name).is_some() || COMPANIONS.contains(&name) {
        return Kind::Expected;
    }
    match extension {
        "bin" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" | "joblib" | "npy" | "npz" | "h5" | "msgpack" | "onnx"
        | "pdparams" => Kind::Foreign,
        "gguf" => Kind::Gguf,
        "py" | "pyc" | "ipynb" | "sh" | "so" | "dll" | "dylib" | "exe" | "js" | "jar" => Kind::Code,
        "md" | "png" | "jpg" | "jpeg" | "svg" | "pdf" | "log" => Kind::Ignored,
        _ if name.starts_with('.')
            || lower.starts_with("license")
            || lower.starts_with("notice")
            || lower.starts_with("readme") =>
        {
            Kind::Ignored
        }
        _ => Kind::Unknown,
    }
}

/// Checks names, kinds, number and lengths.
pub(super) fn check(
    listing: &Listing,
    rules: Option<&CheckpointRules>,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let mut seen = std::collections::BTreeSet::new();
    let mut shards = 0usize;
    for file in &listing.files {
        let shown = quoted(&file.name);
        if !seen.insert(file.name.to_ascii_lowercase()) {
            problems.push(problem(
                "file-duplicate",
                &shown,
                (
                    format!("two files are called {shown}"),
                    format!("{shown} 파일이 두 개입니다"),
                ),
                ("Keep one of them.", "하나만 남겨 주세요."),
            ));
        }
        match file.content {
            Content::Folder => {
                problems.push(problem(
                    "subfolder",
                    &shown,
                    (format!("{shown} is a folder"), format!("{shown}은(는) 폴더입니다")),
                    (
                        "Upload only the files of the model's own folder.",
                        "모델 폴더 바로 안의 파일만 올려 주세요.",
                    ),
                ));
                continue;
            }
            Content::Special => {
                problems.push(problem(
                    "not-a-plain-file",
                    &shown,
                    (
                        format!("{shown} is a link or a device, not a file"),
                        format!("{shown}은(는) 파일이 아니라 링크나 장치입니다"),
                    ),
                    (
                        "Copy the files themselves (cp -rL), then try again.",
                        "파일 자체를 복사한 뒤(cp -rL) 다시 시도하세요.",
                    ),
                ));
                continue;
            }
            _ => {}
        }
        if !good_name(&file.name) {
            problems.push(problem(
                "file-name",
                &shown,
                (
                    format!("\"{shown}\": file names consist of A-Z a-z 0-9 . _ -, at most {MAX_NAME} characters"),
                    format!("\"{shown}\": 파일 이름에는 영문자, 숫자, '.', '_', '-'만 {MAX_NAME}자까지 쓸 수 있습니다"),
                ),
                (
                    "Rename the file as save_pretrained names it.",
                    "save_pretrained가 쓰는 이름으로 바꿔 주세요.",
                ),
            ));
            continue;
        }
        shards += usize::from(file.name.ends_with(".safetensors"));
        by_kind(file, &shown, problems, findings);
    }
    if shards > MAX_SHARDS {
        problems.push(problem(
            "too-many-shards",
            "*.safetensors",
            (
                format!("{shards} safetensors files, at most {MAX_SHARDS}"),
                format!("safetensors 파일이 {shards}개입니다. {MAX_SHARDS}개까지 됩니다"),
            ),
            (
                "Save with larger shards (max_shard_size).",
                "max_shard_size를 키워 다시 저장하세요.",
            ),
        ));
    }
    if let Some(rules) = rules {
        limits(listing, rules, problems);
    }
}

fn good_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(name, "." | "..")
}

fn by_kind(file: &ListedFile, shown: &str, problems: &mut Problems, findings: &mut Problems) {
    let (code, message, fix) = match kind(&file.name) {
        Kind::Expected => {
            too_long(file, shown, problems);
            return;
        }
        Kind::Ignored => {
            findings.push(problem(
                "file-ignored",
                shown,
                (format!("{shown} is not read"), format!("{shown}은(는) 읽지 않습니다")),
                ("It can be left out.", "올리지 않아도 됩니다."),
            ));
            return;
        }
        Kind::Foreign => (
            "pickle-file",
            (
                format!("{shown}: only safetensors files are accepted; pickles can run code when they are opened"),
                format!("{shown}: safetensors 파일만 받습니다. pickle은 열기만 해도 코드를 실행할 수 있습니다"),
            ),
            (
                "Save with safe_serialization=True and remove this file.",
                "safe_serialization=True로 저장하고 이 파일은 빼 주세요.",
            ),
        ),
        Kind::Code => (
            "code-file",
            (
                format!("{shown} is code; nothing from an upload is executed"),
                format!("{shown}은(는) 코드입니다. 올린 것은 아무것도 실행하지 않습니다"),
            ),
            (
                "Remove it: EXAONE needs no code of its own here.",
                "빼 주세요. 여기서 EXAONE은 별도의 코드가 필요 없습니다.",
            ),
        ),
        Kind::Adapter => (
            "adapter-file",
            (
                format!("{shown} belongs to an adapter, which is not applied"),
                format!("{shown}은(는) 어댑터 파일이며 적용되지 않습니다"),
            ),
            (
                "Merge the adapter into the weights before compressing.",
                "압축하기 전에 어댑터를 가중치에 합쳐 주세요.",
            ),
        ),
        Kind::Gguf => {
            let mut refused = crate::foreign::refused("gguf");
            shown.clone_into(&mut refused.place);
            problems.push(refused);
            return;
        }
        Kind::Unknown => (
            "file-not-allowed",
            (
                format!("{shown} is not part of a checkpoint"),
                format!("{shown}은(는) 체크포인트에 속하지 않는 파일입니다"),
            ),
            ("Remove it from the folder.", "폴더에서 빼 주세요."),
        ),
    };
    problems.push(problem(code, shown, message, fix));
}

fn too_long(file: &ListedFile, shown: &str, problems: &mut Problems) {
    if let Some(limit) = text_limit(&file.name)
        && file.bytes > limit
    {
        let (bytes, limit) = (grouped(file.bytes), grouped(limit));
        problems.push(problem(
            "file-too-long",
            shown,
            (
                format!("{shown} has {bytes} bytes, the limit is {limit}"),
                format!("{shown}이(가) {bytes}바이트입니다. 한도는 {limit}바이트입니다"),
            ),
            (
                "Upload the file that save_pretrained wrote.",
                "save_pretrained가 쓴 파일을 올려 주세요.",
            ),
        ));
    }
}

fn limits(listing: &Listing, rules: &CheckpointRules, problems: &mut Problems) {
    let (count, max) = (listing.files.len(), rules.max_files as usize);
    if count > max {
        problems.push(problem(
            "too-many-files",
            "submission",
            (
                format!("{count} files, the contest allows {max}"),
                format!("파일이 {count}개입니다. 이 대회는 {max}개까지 받습니다"),
            ),
            (
                "Remove files that are not needed, or save with larger shards.",
                "필요 없는 파일을 빼거나 더 큰 조각으로 저장하세요.",
            ),
        ));
    }
    let total = listing.files.iter().fold(0u64, |sum, f| sum.saturating_add(f.bytes));
    if total > rules.max_bytes {
        let (total, max) = (grouped(total), grouped(rules.max_bytes));
        problems.push(problem(
            "too-large",
            "submission",
            (
                format!("{total} bytes in all, the contest allows {max}"),
                format!("모두 {total}바이트입니다. 이 대회는 {max}바이트까지 받습니다"),
            ),
            (
                "Compress further; the hints show where the bytes are.",
                "더 압축하세요. 어디에 용량이 있는지는 힌트에 나옵니다.",
            ),
        ));
    }
}
