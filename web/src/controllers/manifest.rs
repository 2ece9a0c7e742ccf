//! What a team declares before it uploads: names, lengths and digests, held against the contest's limits.

use assay_contest::problem::grouped;
use assay_contest::{Contest, Problem, Text};
use serde::Deserialize;

use crate::db::submissions::Declared;
use crate::error::ApiError;
use crate::storage::FileName;

/// Longest title, in characters.
const TITLE_CHARS: usize = 80;
/// Most bytes of a companion file; tokenizers are the largest.
const COMPANION_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) title: String,
    /// None: declared one by one, as their uploads are created.
    #[serde(default)]
    pub(super) files: Option<Vec<DeclaredFile>>,
}

#[derive(Deserialize)]
pub(super) struct DeclaredFile {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) content: DeclaredContent,
}

#[derive(Deserialize)]
pub(super) struct DeclaredContent {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

pub(super) fn title(text: &str) -> Result<String, ApiError> {
    let title = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if title.chars().count() <= TITLE_CHARS && !title.chars().any(char::is_control) {
        return Ok(title);
    }
    Err(ApiError::unprocessable(
        "title-too-long",
        &format!("A title has at most {TITLE_CHARS} characters."),
        &format!("제목은 {TITLE_CHARS}자 이하여야 합니다."),
    ))
}

/// Holds a manifest against the contest's limits and says everything that is wrong with it at once.
pub(super) fn check_manifest(contest: &Contest, files: &[DeclaredFile]) -> Result<Vec<Declared>, ApiError> {
    let mut problems = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut declared = Vec::new();
    let mut total = 0u64;
    for file in files.iter().take(contest.checkpoint.max_files as usize) {
        match check_file(&file.name, &file.content) {
            Err(problem) => problems.push(*problem),
            Ok(_) if !seen.insert(&file.name) => problems.push(twice(&file.name)),
            Ok(fine) => declared.push(fine),
        }
        total = total.saturating_add(file.content.bytes);
    }
    if files.len() > contest.checkpoint.max_files as usize {
        problems.push(Problem::new(
            "too-many-files",
            "",
            Text::new(
                format!(
                    "{} files are more than the {} allowed.",
                    files.len(),
                    contest.checkpoint.max_files
                ),
                format!(
                    "파일이 {}개로, 허용된 {}개를 넘습니다.",
                    files.len(),
                    contest.checkpoint.max_files
                ),
            ),
            Text::new(
                "Save the weights in fewer shards.",
                "가중치를 더 적은 수의 파일로 저장하세요.",
            ),
        ));
    }
    if total > contest.checkpoint.max_bytes {
        let (total, allowed) = (grouped(total), grouped(contest.checkpoint.max_bytes));
        problems.push(Problem::new(
            "too-many-bytes",
            "",
            Text::new(
                format!("{total} bytes are more than the {allowed} allowed."),
                format!("전체 {total}바이트로, 허용된 {allowed}바이트를 넘습니다."),
            ),
            Text::new("Compress the checkpoint further.", "체크포인트를 더 압축하세요."),
        ));
    }
    let has = |wanted: &dyn Fn(&Declared) -> bool| declared.iter().any(wanted);
    if !has(&|file| file.name.as_str() == "config.json") || !has(&|file| file.name.is_weights()) {
        problems.push(Problem::new(
            "not-a-checkpoint",
            "",
            Text::new(
                "A checkpoint has a config.json and at least one .safetensors file.",
                "체크포인트에는 config.json과 하나 이상의 .safetensors 파일이 있어야 합니다.",
            ),
            Text::new(
                "Choose the folder your tool saved the model to.",
                "도구가 모델을 저장한 폴더를 선택하세요.",
            ),
        ));
    }
    if problems.is_empty() {
        Ok(declared)
    } else {
        Err(refused(problems))
    }
}

pub(super) fn refused(problems: Vec<Problem>) -> ApiError {
    ApiError::unprocessable(
        "manifest-refused",
        "These files cannot be submitted as they are; the problems say why.",
        "이 파일들은 이대로 제출할 수 없습니다. 자세한 이유를 확인하세요.",
    )
    .with_problems(problems)
}

pub(super) fn check_file(name: &str, content: &DeclaredContent) -> Result<Declared, Box<Problem>> {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    let Some(name) = FileName::parse(name) else {
        return Err(Box::new(Problem::new(
            "file-not-allowed",
            shown,
            Text::new(
                "A submission may not have a file of this name.",
                "제출에 포함할 수 없는 이름의 파일입니다.",
            ),
            Text::new(
                "Leave it out: config.json, *.safetensors and their index, recipe.yaml and the tokenizer's files are what is read.",
                "이 파일을 빼세요. config.json, *.safetensors와 그 색인, recipe.yaml, 토크나이저 파일만 사용됩니다.",
            ),
        )));
    };
    let fits = name.is_weights() || content.bytes <= COMPANION_BYTES;
    let Some(bytes) = i64::try_from(content.bytes).ok().filter(|_| fits) else {
        let bytes = grouped(content.bytes);
        return Err(Box::new(Problem::new(
            "file-too-large",
            shown,
            Text::new(
                format!("{bytes} bytes are too many for this file."),
                format!("{bytes}바이트는 이 파일에 허용된 크기를 넘습니다."),
            ),
            Text::new(
                "Save it again with the usual tools.",
                "일반적인 도구로 다시 저장하세요.",
            ),
        )));
    };
    let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if content.sha256.len() != 64 || !content.sha256.bytes().all(digits) {
        return Err(Box::new(Problem::new(
            "sha256-invalid",
            shown,
            Text::new(
                "The declared sha256 is not 64 lowercase hex digits.",
                "등록한 sha256이 소문자 16진수 64자리가 아닙니다.",
            ),
            Text::new(
                "Reload the page and choose the files again.",
                "페이지를 새로고침하고 파일을 다시 선택하세요.",
            ),
        )));
    }
    Ok(Declared {
        name,
        bytes,
        sha256: content.sha256.clone(),
    })
}

fn twice(name: &str) -> Problem {
    Problem::new(
        "file-twice",
        name,
        Text::new("Two files have this name.", "같은 이름의 파일이 두 개 있습니다."),
        Text::new("Choose one folder only.", "폴더를 하나만 선택하세요."),
    )
}
