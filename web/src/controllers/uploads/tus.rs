//! What tus says in headers, parsed once at the edge.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use super::VERSION;
use crate::db::uploads::UploadFile;
use crate::error::ApiError;
use crate::uploader::Checksum;

pub(super) const BYTES: &str = "application/offset+octet-stream";
/// Three short fields in base64 need a tenth of this.
const METADATA_BYTES: usize = 4096;

pub(super) fn text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request
        .headers()
        .get(name)
        .map(HeaderValue::to_str)
        .and_then(Result::ok)
}

/// Digits only: `+1` and ` 1` are not numbers of this protocol.
pub(super) fn number(request: &HttpRequest, name: &str) -> Option<u64> {
    text(request, name)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// Does the body hold bytes of a file?
pub(super) fn has_bytes(request: &HttpRequest) -> bool {
    text(request, "content-type") == Some(BYTES)
}

/// The refusal of a request that speaks no version of ours; 412 names the one that is spoken.
pub(super) fn check_version(request: &HttpRequest) -> Option<HttpResponse> {
    if text(request, "tus-resumable") == Some(VERSION) {
        return None;
    }
    let refusal = ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "tus-version",
        "Uploads speak tus 1.0.0: send Tus-Resumable: 1.0.0.",
        "업로드는 tus 1.0.0을 사용합니다. Tus-Resumable: 1.0.0 헤더를 보내세요.",
    );
    let mut response = refusal.error_response();
    insert(&mut response, "Tus-Version", VERSION);
    Some(response)
}

pub(super) fn insert(response: &mut HttpResponse, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

/// `Upload-Expires`, RFC 9110 §5.6.7.
pub(super) fn expires(file: &UploadFile) -> (&'static str, String) {
    ("Upload-Expires", http_date(file.expires_at))
}

fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `Upload-Checksum: <algorithm> <base64>`, where there is one.
pub(super) fn checksum(request: &HttpRequest) -> Result<Option<Checksum>, ApiError> {
    let Some(value) = request.headers().get("upload-checksum") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|value| value.split_once(' '));
    let parsed = parsed.and_then(|(algorithm, digest)| {
        let digest = STANDARD.decode(digest.trim()).ok()?;
        Checksum::new(algorithm, digest)
    });
    parsed.map(Some).ok_or_else(|| {
        ApiError::bad_request(
            "upload-checksum-unsupported",
            "Upload-Checksum is `sha1` or `sha256`, a space, and that digest in base64.",
            "Upload-Checksum은 `sha1` 또는 `sha256`, 공백, 그리고 base64로 쓴 값이어야 합니다.",
        )
    })
}

/// `Upload-Length`: tus allows to say it later, we do not.
pub(super) fn length(request: &HttpRequest) -> Result<u64, ApiError> {
    let deferred = request.headers().contains_key("upload-defer-length");
    let given = request.headers().contains_key("upload-length");
    match (given, deferred) {
        (false, true) => Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "upload-length-deferred",
            "The length must be known from the start: send Upload-Length.",
            "파일 길이를 처음부터 알려야 합니다. Upload-Length 헤더를 보내세요.",
        )),
        (true, false) => number(request, "upload-length").ok_or_else(bad_length),
        _ => Err(bad_length()),
    }
}

fn bad_length() -> ApiError {
    ApiError::bad_request(
        "upload-length-invalid",
        "Upload-Length must say how many bytes the file has, and nothing else may.",
        "Upload-Length 헤더 하나로 파일의 바이트 수를 알려야 합니다.",
    )
}

/// What we read of Upload-Metadata. The text itself is kept as it came and given back by HEAD.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) filename: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) submission: Option<String>,
}

impl Metadata {
    /// Comma-separated `key base64`; keys are unique, not empty, ASCII without blanks and commas; a value may be missing.
    /// `name` means the same as `filename`: clients differ.
    pub(super) fn parse(text: &str) -> Result<Metadata, ApiError> {
        let mut found = Metadata::default();
        if text.len() > METADATA_BYTES {
            return Err(bad_metadata());
        }
        let mut seen = std::collections::HashSet::new();
        for pair in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let graphic = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
            let value = STANDARD
                .decode(value.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let (true, true, Some(value)) = (graphic, seen.insert(key), value) else {
                return Err(bad_metadata());
            };
            match key {
                "filename" => found.filename = Some(value),
                "name" => {
                    found.filename.get_or_insert(value);
                }
                "sha256" => found.sha256 = Some(value),
                "submission" => found.submission = Some(value),
                _ => {}
            }
        }
        Ok(found)
    }
}

pub(super) fn bad_metadata() -> ApiError {
    ApiError::bad_request(
        "upload-metadata-invalid",
        "Upload-Metadata must name filename, sha256 (64 lowercase hex digits) and submission, each value in base64.",
        "Upload-Metadata에 filename, sha256(소문자 16진수 64자리), submission을 각각 base64 값으로 적어야 합니다.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn metadata_is_read_and_garbage_is_refused() {
        let parsed = Metadata::parse("filename Y29uZmlnLmpzb24=,sha256 YWJj, submission eA==,extra").unwrap();
        assert_eq!(parsed.filename.as_deref(), Some("config.json"));
        assert_eq!(
            (parsed.sha256.as_deref(), parsed.submission.as_deref()),
            (Some("abc"), Some("x"))
        );
        assert_eq!(Metadata::parse("").unwrap(), Metadata::default());
        assert_eq!(Metadata::parse("name YQ==").unwrap().filename.as_deref(), Some("a"));
        for bad in [
            ",",
            "filename Y29u,filename Y29u",
            "filename ***",
            "filename /w==",
            "ключ YQ==",
            "filename YQ== YQ==",
        ] {
            assert!(Metadata::parse(bad).is_err(), "{bad}");
        }
        assert!(Metadata::parse(&format!("filename {}", "A".repeat(5000))).is_err());
    }

    #[test]
    fn checksums_are_of_known_algorithms_and_full_length() {
        let of = |value: &str| {
            checksum(
                &TestRequest::default()
                    .insert_header(("upload-checksum", value))
                    .to_http_request(),
            )
        };
        let digest = STANDARD.encode([7; 20]);
        assert!(of(&format!("sha1 {digest}")).unwrap().is_some());
        for bad in [
            format!("sha256 {digest}"),
            format!("md5 {digest}"),
            format!("SHA1 {digest}"),
            "sha1".into(),
            "sha1 ".into(),
            "sha1 !!".into(),
            digest.clone(),
        ] {
            assert_eq!(of(&bad).unwrap_err().status, StatusCode::BAD_REQUEST, "{bad}");
        }
        assert!(checksum(&TestRequest::default().to_http_request()).unwrap().is_none());
    }
}
