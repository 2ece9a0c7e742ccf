//! Every reason a safetensors header is refused.

use assay_contest::Problem;
use assay_contest::problem::grouped;

use super::{MAX_HEADER_BYTES, MAX_METADATA_ENTRIES, MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS};
use crate::problem::{problem, quoted};

/// Why a header was refused. Each variant has its own stable code, see [`HeaderError::code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is shorter than the eight bytes of the length field, or than `8 + n`, or the prefix handed in is.
    #[error("the file ends inside its header: {} bytes, {} needed", grouped(*.have), grouped(*.need))]
    Truncated {
        /// bytes at hand
        have: u64,
        /// bytes needed
        need: u64,
    },
    /// `n` is beyond our cap.
    #[error("the header says it is {} bytes long, the limit is {}", grouped(*.n), grouped(MAX_HEADER_BYTES))]
    HeaderTooLong {
        /// the length field
        n: u64,
    },
    /// The first byte is not `{`.
    #[error("the header does not begin with '{{'")]
    NotAnObject,
    /// Something other than spaces follows the JSON object.
    #[error("the header is followed by something other than spaces")]
    BadPadding,
    /// Not UTF-8.
    #[error("the header is not UTF-8 (byte {at})")]
    NotUtf8 {
        /// offset in the header
        at: u64,
    },
    /// JSON syntax, wrong type, unknown or missing field.
    #[error("the header is not what safetensors defines: {0}")]
    Malformed(String),
    /// A tensor's name or a field twice.
    #[error("\"{0}\" appears twice in the header")]
    DuplicateKey(String),
    /// More tensors than we read.
    #[error("more than {MAX_TENSORS} tensors")]
    TooManyTensors,
    /// Metadata beyond the caps.
    #[error("more than {MAX_METADATA_ENTRIES} metadata entries")]
    TooMuchMetadata,
    /// Empty, too long, or with characters outside `A-Z a-z 0-9 . _ -`.
    #[error("tensor name \"{0}\": 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ - are allowed")]
    BadName(String),
    /// A dtype that the format does not define.
    #[error("tensor {name}: unknown dtype \"{dtype}\"")]
    UnknownDtype {
        /// tensor
        name: String,
        /// as written
        dtype: String,
    },
    /// More than four dimensions.
    #[error("tensor {name} has {rank} dimensions, at most {MAX_RANK} are allowed")]
    RankTooHigh {
        /// tensor
        name: String,
        /// dimensions
        rank: usize,
    },
    /// A zero dimension.
    #[error("tensor {name} has no elements")]
    Empty {
        /// tensor
        name: String,
    },
    /// The product of shape and dtype overflows or is not whole bytes.
    #[error("tensor {name}: its shape is impossible")]
    ImpossibleShape {
        /// tensor
        name: String,
    },
    /// `begin > end`, or the length is not what shape and dtype need.
    #[error("tensor {name}: {} bytes by its offsets, {} by its shape and dtype", grouped(*.have), grouped(*.need))]
    WrongLength {
        /// tensor
        name: String,
        /// by offsets (0 when they run backwards)
        have: u64,
        /// by shape and dtype
        need: u64,
    },
    /// Bytes between tensors, or before the first.
    #[error("{} bytes before tensor {name} belong to no tensor", grouped(*.bytes))]
    Hole {
        /// tensor after the hole
        name: String,
        /// length of the hole
        bytes: u64,
    },
    /// Two tensors share bytes.
    #[error("tensor {name} overlaps another one")]
    Overlap {
        /// the later tensor
        name: String,
    },
    /// The data section is longer than the tensors.
    #[error("{} bytes after the last tensor belong to no tensor", grouped(*.bytes))]
    TrailingBytes {
        /// how many
        bytes: u64,
    },
    /// The data section is shorter than the tensors.
    #[error("the file is {} bytes short of its tensors", grouped(*.bytes))]
    DataMissing {
        /// how many
        bytes: u64,
    },
    /// No tensor at all.
    #[error("the file holds no tensor")]
    NoTensors,
}

impl HeaderError {
    /// The stable kebab-case code of this rejection.
    pub fn code(&self) -> &'static str {
        match self {
            HeaderError::Truncated { .. } => "safetensors-truncated",
            HeaderError::HeaderTooLong { .. } => "safetensors-header-too-long",
            HeaderError::NotAnObject => "safetensors-not-an-object",
            HeaderError::BadPadding => "safetensors-bad-padding",
            HeaderError::NotUtf8 { .. } => "safetensors-not-utf8",
            HeaderError::Malformed(_) => "safetensors-malformed",
            HeaderError::DuplicateKey(_) => "safetensors-duplicate-key",
            HeaderError::TooManyTensors => "safetensors-too-many-tensors",
            HeaderError::TooMuchMetadata => "safetensors-too-much-metadata",
            HeaderError::BadName(_) => "safetensors-bad-name",
            HeaderError::UnknownDtype { .. } => "safetensors-unknown-dtype",
            HeaderError::RankTooHigh { .. } => "safetensors-rank",
            HeaderError::Empty { .. } => "safetensors-empty-tensor",
            HeaderError::ImpossibleShape { .. } => "safetensors-impossible-shape",
            HeaderError::WrongLength { .. } => "safetensors-wrong-length",
            HeaderError::Hole { .. } => "safetensors-hole",
            HeaderError::Overlap { .. } => "safetensors-overlap",
            HeaderError::TrailingBytes { .. } => "safetensors-trailing-bytes",
            HeaderError::DataMissing { .. } => "safetensors-data-missing",
            HeaderError::NoTensors => "safetensors-no-tensors",
        }
    }

    /// As a problem of that file, in both languages.
    pub fn problem(&self, file: &str) -> Problem {
        let resave = (
            "Save the model again with save_pretrained(..., safe_serialization=True) and upload the file unchanged.",
            "save_pretrained(..., safe_serialization=True)로 모델을 다시 저장하고 그 파일을 그대로 올려 주세요.",
        );
        let upload = (
            "The file was cut or is another version than its header: copy it again from where it was saved, then upload it.",
            "파일이 잘렸거나 헤더와 다른 판입니다. 저장한 곳에서 다시 복사한 뒤 올려 주세요.",
        );
        let payload = (
            "Every byte must belong to a named tensor. Write the file with the safetensors library, without appending anything.",
            "모든 바이트는 이름 있는 텐서에 속해야 합니다. 아무것도 덧붙이지 말고 safetensors 라이브러리로 파일을 쓰세요.",
        );
        let english = format!("{file}: {self}");
        let (place, korean, fix) = match self {
            HeaderError::Truncated { have, need } => (
                file.to_owned(),
                format!(
                    "파일이 헤더 도중에 끝납니다: {}바이트가 필요한데 {}바이트뿐입니다",
                    grouped(*need),
                    grouped(*have)
                ),
                upload,
            ),
            HeaderError::HeaderTooLong { n } => (
                file.to_owned(),
                format!(
                    "헤더 길이가 {}바이트라고 되어 있습니다. 한도는 {}바이트입니다",
                    grouped(*n),
                    grouped(MAX_HEADER_BYTES)
                ),
                resave,
            ),
            HeaderError::NotAnObject => (file.to_owned(), "헤더가 '{'로 시작하지 않습니다".to_owned(), resave),
            HeaderError::BadPadding => (
                file.to_owned(),
                "헤더 뒤에 공백이 아닌 것이 있습니다".to_owned(),
                payload,
            ),
            HeaderError::NotUtf8 { at } => (
                file.to_owned(),
                format!("헤더가 UTF-8이 아닙니다 ({at}번째 바이트)"),
                resave,
            ),
            HeaderError::Malformed(why) => (
                file.to_owned(),
                format!("헤더가 safetensors 규격과 다릅니다: {}", quoted(why)),
                resave,
            ),
            HeaderError::DuplicateKey(key) => (
                place(file, key),
                format!("헤더에 \"{}\"가 두 번 나옵니다", quoted(key)),
                resave,
            ),
            HeaderError::TooManyTensors => (file.to_owned(), format!("텐서가 {MAX_TENSORS}개를 넘습니다"), resave),
            HeaderError::TooMuchMetadata => (
                file.to_owned(),
                format!("메타데이터가 {MAX_METADATA_ENTRIES}개를 넘습니다"),
                resave,
            ),
            HeaderError::BadName(name) => (
                place(file, name),
                format!(
                    "텐서 이름 \"{}\": 영문자, 숫자, '.', '_', '-'로 된 1~{MAX_NAME_BYTES}자만 됩니다",
                    quoted(name)
                ),
                resave,
            ),
            HeaderError::UnknownDtype { name, dtype } => (
                place(file, name),
                format!("텐서 {name}: 알 수 없는 자료형 \"{}\"", quoted(dtype)),
                resave,
            ),
            HeaderError::RankTooHigh { name, rank } => (
                place(file, name),
                format!("텐서 {name}의 차원이 {rank}개입니다. {MAX_RANK}개까지 됩니다"),
                resave,
            ),
            HeaderError::Empty { name } => (place(file, name), format!("텐서 {name}에 원소가 없습니다"), resave),
            HeaderError::ImpossibleShape { name } => (
                place(file, name),
                format!("텐서 {name}의 모양은 있을 수 없는 크기입니다"),
                resave,
            ),
            HeaderError::WrongLength { name, have, need } => (
                place(file, name),
                format!(
                    "텐서 {name}: 위치로는 {}바이트, 모양과 자료형으로는 {}바이트입니다",
                    grouped(*have),
                    grouped(*need)
                ),
                resave,
            ),
            HeaderError::Hole { name, bytes } => (
                place(file, name),
                format!(
                    "텐서 {name} 앞의 {}바이트는 어느 텐서에도 속하지 않습니다",
                    grouped(*bytes)
                ),
                payload,
            ),
            HeaderError::Overlap { name } => (
                place(file, name),
                format!("텐서 {name}이(가) 다른 텐서와 겹칩니다"),
                payload,
            ),
            HeaderError::TrailingBytes { bytes } => (
                file.to_owned(),
                format!(
                    "마지막 텐서 뒤의 {}바이트는 어느 텐서에도 속하지 않습니다",
                    grouped(*bytes)
                ),
                payload,
            ),
            HeaderError::DataMissing { bytes } => (
                file.to_owned(),
                format!("파일이 텐서에 필요한 것보다 {}바이트 짧습니다", grouped(*bytes)),
                upload,
            ),
            HeaderError::NoTensors => (file.to_owned(), "파일에 텐서가 하나도 없습니다".to_owned(), resave),
        };
        problem(self.code(), place, (english, format!("{file}: {korean}")), fix)
    }
}

fn place(file: &str, tensor: &str) -> String {
    format!("{file}: {}", quoted(tensor))
}
