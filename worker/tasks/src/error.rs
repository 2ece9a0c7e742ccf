//! What can be wrong with a task: one variant per rejection, each with a stable code, the file and line, a sentence in
//! English and Korean, and the fix.

use std::fmt;
use std::sync::Arc;

use assay_contest::{Problem, Text};

/// Where in the task files something is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Path below the tasks folder; the task's or group's name where there is no file.
    pub file: Arc<str>,
    /// From 1; absent where the whole file is meant.
    pub line: Option<u32>,
}

impl Place {
    /// The whole of `file`.
    pub fn file(file: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            line: None,
        }
    }

    /// A line of `file`, counted from 1.
    pub fn line(file: impl Into<Arc<str>>, line: u32) -> Self {
        Self {
            file: file.into(),
            line: Some(line),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// A task that cannot be loaded, prompted or scored as it is written.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{place}: {} [{}]", kind.text().en, kind.code())]
pub struct TaskError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: Box<Fault>,
}

impl TaskError {
    /// `fault` at `place`.
    pub fn new(place: Place, fault: Fault) -> Self {
        Self {
            place,
            kind: Box::new(fault),
        }
    }

    /// Stable, kebab-case.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// For a person, with the fix.
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), self.place.to_string(), self.kind.text(), self.kind.fix())
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        error.problem()
    }
}

/// Why a task is refused.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The file could not be read at all.
    NotReadable {
        /// The system's reason.
        cause: String,
    },
    /// A path leads out of the tasks folder.
    OutsideRoot {
        /// As written.
        path: String,
    },
    /// Something is larger than this crate accepts.
    TooLarge {
        /// What.
        what: &'static str,
        /// The most that is accepted, in `unit`.
        limit: u64,
        /// `bytes`, `nodes`, `levels`, …
        unit: &'static str,
    },
    /// Not YAML, or YAML that PyYAML's safe loader refuses.
    Yaml {
        /// The parser's sentence.
        message: String,
    },
    /// A tag other than `!function` and YAML's own.
    YamlTag {
        /// With its handle.
        tag: String,
    },
    /// A file is included by itself, directly, through others, or twice.
    IncludeCycle {
        /// The file met again.
        file: String,
    },
    /// No task, group or tag has this name.
    UnknownTask {
        /// As asked for.
        name: String,
        /// The first file of the folder that could not be read, if any: the task may be in it.
        broken: Option<String>,
    },
    /// A task is reached through two of the names asked for.
    DuplicateTask {
        /// The task.
        name: String,
        /// One way.
        first: String,
        /// The other.
        second: String,
    },
    /// A group contains itself.
    GroupCycle {
        /// The group.
        name: String,
    },
    /// A key that lm-evaluation-harness's configuration does not have.
    UnknownKey {
        /// As written.
        key: String,
    },
    /// A key that has to be there is not.
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A value of a kind that its key cannot have.
    WrongKind {
        /// The key.
        key: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A value that is not one of the known ones.
    UnknownValue {
        /// The key.
        key: String,
        /// As written.
        value: String,
    },
    /// `!function`: Python code, which is never run here.
    Function {
        /// As written after the tag.
        name: String,
        /// The key it stands at.
        key: String,
    },
    /// Part of the harness that is not supported here.
    NotSupported {
        /// What, in English.
        what: String,
    },
    /// The documents are not local files.
    DatasetNotLocal {
        /// `dataset_path` as written.
        path: String,
    },
    /// A split is named that `data_files` does not have.
    UnknownSplit {
        /// As named.
        split: String,
    },
    /// A data file that is not JSON records.
    Data {
        /// The parser's sentence.
        message: String,
    },
    /// A split without documents.
    NoDocuments {
        /// Its name.
        split: String,
    },
    /// A template that cannot be parsed or rendered.
    Template {
        /// The key it stands at.
        key: String,
        /// The engine's sentence.
        message: String,
    },
    /// A template that takes too many steps or writes too much.
    TemplateLimit {
        /// The key it stands at.
        key: String,
    },
    /// A pattern that cannot be compiled.
    Pattern {
        /// As written.
        pattern: String,
        /// The engine's sentence.
        message: String,
    },
    /// A pattern that took too long on a text.
    PatternLimit {
        /// As written.
        pattern: String,
    },
    /// Fewer few-shot examples than asked for.
    FewShotPool {
        /// How many a draw needs.
        asked: usize,
        /// How many there are.
        available: usize,
    },
    /// A document gives no usable question, choices or answer.
    Document {
        /// Row in its split, from 0.
        doc: usize,
        /// What is wrong, in English.
        what: String,
    },
    /// A chat profile without a chat template.
    NoChatTemplate,
    /// A task that asks for log-likelihoods, where answers are thought about first.
    ThinkingChoices,
    /// The number or kind of responses does not fit the requests.
    Responses {
        /// Document.
        doc: usize,
        /// Requests.
        expected: usize,
        /// Responses.
        found: usize,
    },
}

impl Fault {
    /// Stable, kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReadable { .. } => "task-file-not-readable",
            Self::OutsideRoot { .. } => "task-path-outside",
            Self::TooLarge { .. } => "task-too-large",
            Self::Yaml { .. } => "task-yaml",
            Self::YamlTag { .. } => "task-yaml-tag",
            Self::IncludeCycle { .. } => "task-include-cycle",
            Self::UnknownTask { .. } => "task-unknown",
            Self::DuplicateTask { .. } => "task-duplicate",
            Self::GroupCycle { .. } => "task-group-cycle",
            Self::UnknownKey { .. } => "task-unknown-key",
            Self::MissingKey { .. } => "task-missing-key",
            Self::WrongKind { .. } => "task-wrong-kind",
            Self::UnknownValue { .. } => "task-unknown-value",
            Self::Function { .. } => "task-function",
            Self::NotSupported { .. } => "task-not-supported",
            Self::DatasetNotLocal { .. } => "task-dataset-not-local",
            Self::UnknownSplit { .. } => "task-unknown-split",
            Self::Data { .. } => "task-data",
            Self::NoDocuments { .. } => "task-no-documents",
            Self::Template { .. } => "task-template",
            Self::TemplateLimit { .. } => "task-template-limit",
            Self::Pattern { .. } => "task-pattern",
            Self::PatternLimit { .. } => "task-pattern-limit",
            Self::FewShotPool { .. } => "task-few-shot-pool",
            Self::Document { .. } => "task-document",
            Self::NoChatTemplate => "task-no-chat-template",
            Self::ThinkingChoices => "task-thinking-choices",
            Self::Responses { .. } => "task-responses",
        }
    }

    /// What is the matter, in both languages. Parser messages and Python terms stay as they are.
    pub fn text(&self) -> Text {
        match self {
            Self::NotReadable { cause } => Text::new(
                format!("The file cannot be read: {cause}."),
                format!("파일을 읽을 수 없습니다: {cause}."),
            ),
            Self::OutsideRoot { path } => Text::new(
                format!("The path {path:?} leads out of the tasks folder."),
                format!("경로 {path:?}가 과제 폴더 밖을 가리킵니다."),
            ),
            Self::TooLarge { what, limit, unit } => Text::new(
                format!("The {what} is larger than the limit of {limit} {unit}."),
                format!("{what}이(가) 한도({limit} {unit})를 넘습니다."),
            ),
            Self::Yaml { message } => Text::new(
                format!("Not valid YAML: {message}."),
                format!("올바른 YAML이 아닙니다: {message}."),
            ),
            Self::YamlTag { tag } => Text::new(
                format!("The YAML tag {tag:?} is not known."),
                format!("YAML 태그 {tag:?}를 알 수 없습니다."),
            ),
            Self::IncludeCycle { file } => Text::new(
                format!("The file {file} is included more than once on the way to this task."),
                format!("이 과제에서 {file} 파일이 두 번 이상 포함(include)됩니다."),
            ),
            Self::UnknownTask { name, broken } => match broken {
                None => Text::new(
                    format!("There is no task, group or tag named {name:?}."),
                    format!("{name:?}라는 과제, 그룹, 태그가 없습니다."),
                ),
                Some(broken) => Text::new(
                    format!("There is no task, group or tag named {name:?}; a file could not be read: {broken}"),
                    format!("{name:?}라는 과제, 그룹, 태그가 없습니다. 읽지 못한 파일이 있습니다: {broken}"),
                ),
            },
            Self::DuplicateTask { name, first, second } => Text::new(
                format!("The task {name:?} is asked for twice, by {first:?} and by {second:?}."),
                format!("과제 {name:?}를 {first:?}와 {second:?}에서 두 번 요청했습니다."),
            ),
            Self::GroupCycle { name } => Text::new(
                format!("The group {name:?} contains itself."),
                format!("그룹 {name:?}가 자기 자신을 포함합니다."),
            ),
            Self::UnknownKey { key } => Text::new(
                format!("The key {key:?} is not known here."),
                format!("{key:?}는 여기서 쓸 수 없는 키입니다."),
            ),
            Self::MissingKey { key } => Text::new(
                format!("The key {key:?} is missing."),
                format!("키 {key:?}가 없습니다."),
            ),
            Self::WrongKind { key, expected } => Text::new(
                format!("{key:?} must be {expected}."),
                format!("{key:?}의 값이 올바른 종류가 아닙니다({expected})."),
            ),
            Self::UnknownValue { key, value } => Text::new(
                format!("{value:?} is not a known value of {key:?}."),
                format!("{value:?}는 {key:?}에 쓸 수 있는 값이 아닙니다."),
            ),
            Self::Function { name, key } => Text::new(
                format!("{key:?} is the Python function {name}, and Python is never run here."),
                format!("{key:?}가 파이썬 함수 {name}입니다. 여기서는 파이썬을 실행하지 않습니다."),
            ),
            Self::NotSupported { what } => Text::new(
                format!("Not supported yet: {what}."),
                format!("아직 지원하지 않습니다: {what}."),
            ),
            Self::DatasetNotLocal { path } => Text::new(
                format!("The documents of {path:?} are not in the tasks folder; nothing is downloaded here."),
                format!("{path:?}의 문서가 과제 폴더에 없습니다. 여기서는 아무것도 내려받지 않습니다."),
            ),
            Self::UnknownSplit { split } => Text::new(
                format!("There is no split named {split:?}."),
                format!("{split:?}라는 분할(split)이 없습니다."),
            ),
            Self::Data { message } => Text::new(
                format!("Not JSON records: {message}."),
                format!("JSON 레코드가 아닙니다: {message}."),
            ),
            Self::NoDocuments { split } => Text::new(
                format!("The split {split:?} has no documents."),
                format!("분할 {split:?}에 문서가 없습니다."),
            ),
            Self::Template { key, message } => Text::new(
                format!("The template of {key:?} fails: {message}."),
                format!("{key:?}의 템플릿에서 오류가 납니다: {message}."),
            ),
            Self::TemplateLimit { key } => Text::new(
                format!("The template of {key:?} takes too many steps or writes too much."),
                format!("{key:?}의 템플릿이 너무 오래 돌거나 너무 많이 출력합니다."),
            ),
            Self::Pattern { pattern, message } => Text::new(
                format!("The pattern {pattern:?} cannot be used: {message}."),
                format!("정규식 {pattern:?}를 쓸 수 없습니다: {message}."),
            ),
            Self::PatternLimit { pattern } => Text::new(
                format!("The pattern {pattern:?} takes too long on a text."),
                format!("정규식 {pattern:?}가 너무 오래 걸립니다."),
            ),
            Self::FewShotPool { asked, available } => Text::new(
                format!("A draw needs {asked} few-shot examples and there are {available}."),
                format!("예시(few-shot)가 {asked}개 필요한데 {available}개뿐입니다."),
            ),
            Self::Document { doc, what } => {
                Text::new(format!("Document {doc}: {what}."), format!("문서 {doc}번: {what}."))
            }
            Self::NoChatTemplate => Text::new(
                "A chat profile needs the base model's chat template.",
                "대화(chat) 프로필에는 기준 모델의 대화 템플릿이 필요합니다.",
            ),
            Self::ThinkingChoices => Text::new(
                "The task compares log-likelihoods, which have no room for a thought: enable_thinking cannot be used with it.",
                "이 과제는 로그 가능도를 비교하므로 생각할 자리가 없습니다. enable_thinking을 함께 쓸 수 없습니다.",
            ),
            Self::Responses { doc, expected, found } => Text::new(
                format!("Document {doc} has {expected} requests and {found} fitting responses."),
                format!("문서 {doc}번은 요청이 {expected}개인데 맞는 응답이 {found}개입니다."),
            ),
        }
    }

    /// What makes it go away.
    pub fn fix(&self) -> Text {
        match self {
            Self::NotReadable { .. } => Text::new(
                "Put the file there and let the worker read it.",
                "파일을 그 자리에 두고 워커가 읽을 수 있게 하세요.",
            ),
            Self::OutsideRoot { .. } => Text::new(
                "Keep every included file and every data file inside the tasks folder.",
                "포함하는 파일과 데이터 파일을 모두 과제 폴더 안에 두세요.",
            ),
            Self::TooLarge { .. } => Text::new("Make it smaller or split it.", "줄이거나 나누세요."),
            Self::Yaml { .. } | Self::YamlTag { .. } => Text::new(
                "Write the file as lm-evaluation-harness (PyYAML) reads it.",
                "lm-evaluation-harness(PyYAML)가 읽는 형식으로 고치세요.",
            ),
            Self::IncludeCycle { .. } => Text::new("Include each file once.", "파일을 한 번씩만 포함하세요."),
            Self::UnknownTask { .. } => Text::new(
                "Check the name, and that the .yaml file is in the tasks folder.",
                "이름과 .yaml 파일이 과제 폴더에 있는지 확인하세요.",
            ),
            Self::DuplicateTask { .. } => Text::new("Ask for the task once.", "과제를 한 번만 요청하세요."),
            Self::GroupCycle { .. } => Text::new(
                "Take the group out of its own members.",
                "그룹의 구성원에서 자기 자신을 빼세요.",
            ),
            Self::UnknownKey { .. } | Self::UnknownValue { .. } | Self::WrongKind { .. } | Self::MissingKey { .. } => {
                Text::new(
                    "Follow the task guide of lm-evaluation-harness 0.4.13.",
                    "lm-evaluation-harness 0.4.13의 과제 작성법을 따르세요.",
                )
            }
            Self::Function { .. } => Text::new(
                "Write it as a template, or apply it to the data once and store the result.",
                "템플릿으로 쓰거나, 데이터에 미리 적용해 결과를 저장하세요.",
            ),
            Self::NotSupported { .. } => Text::new(
                "Use another task, or leave this part out.",
                "다른 과제를 쓰거나 이 부분을 빼세요.",
            ),
            Self::DatasetNotLocal { .. } => Text::new(
                "Store the documents beside the task and write `dataset_path: json` with `dataset_kwargs: {data_files: …}`.",
                "문서를 과제 옆에 저장하고 `dataset_path: json`과 `dataset_kwargs: {data_files: …}`를 쓰세요.",
            ),
            Self::UnknownSplit { .. } => Text::new(
                "Name a split of `data_files`.",
                "`data_files`에 있는 분할 이름을 쓰세요.",
            ),
            Self::Data { .. } => Text::new(
                "Store one JSON object a line, or one list of objects.",
                "한 줄에 JSON 객체 하나씩, 또는 객체의 목록 하나로 저장하세요.",
            ),
            Self::NoDocuments { .. } => Text::new("Add documents.", "문서를 넣으세요."),
            Self::Template { .. } => Text::new(
                "Correct the template or the documents' fields.",
                "템플릿이나 문서의 필드를 고치세요.",
            ),
            Self::TemplateLimit { .. } => Text::new("Make the template simpler.", "템플릿을 더 간단하게 쓰세요."),
            Self::Pattern { .. } => Text::new(
                "Write it in the syntax of Python's re module.",
                "파이썬 re 모듈의 문법으로 쓰세요.",
            ),
            Self::PatternLimit { .. } => Text::new(
                "Write the pattern without nested repetition.",
                "반복을 겹치지 말고 정규식을 쓰세요.",
            ),
            Self::FewShotPool { .. } => Text::new(
                "Add examples to the few-shot split or ask for fewer.",
                "예시를 더 넣거나 예시 수를 줄이세요.",
            ),
            Self::Document { .. } => Text::new(
                "Correct the document or the task's doc_to_* keys.",
                "문서나 과제의 doc_to_* 키를 고치세요.",
            ),
            Self::NoChatTemplate => Text::new(
                "Put chat_template.jinja beside the base model, or use the plain profile.",
                "기준 모델 옆에 chat_template.jinja를 두거나 plain 프로필을 쓰세요.",
            ),
            Self::ThinkingChoices => Text::new(
                "Turn enable_thinking off, or ask only tasks that generate text.",
                "enable_thinking을 끄거나 글을 생성하는 과제만 쓰세요.",
            ),
            Self::Responses { .. } => Text::new(
                "Give one response to every request, in order.",
                "모든 요청에 차례대로 응답을 하나씩 주세요.",
            ),
        }
    }
}
