//! Files as responses: whole or one range, never more than a few blocks in memory, wherever they lie.

use std::io;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use crate::error::ApiError;
use crate::storage::{Key, Storage};

/// Answers with a finished file, honouring a single `Range`. Whatever its name says, it is sent as bytes to keep, so
/// that nothing from an upload can run in a browser. `etag` names the content (its sha256, where known).
///
/// # Errors
/// 404 when there is no such file, 416 for a range outside of it, 503 when only the object store has it and is away.
pub async fn file(
    request: &HttpRequest,
    storage: &Storage,
    key: &Key,
    etag: Option<&str>,
) -> Result<HttpResponse, ApiError> {
    let object = storage.find(key).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ApiError::not_found(),
        io::ErrorKind::HostUnreachable => ApiError::unavailable(error),
        _ => ApiError::internal(error),
    })?;
    let length = object.length();
    let asked = request
        .headers()
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    // If-Range with another content's tag means: then send it whole.
    let fresh = match request
        .headers()
        .get(header::IF_RANGE)
        .and_then(|tag| tag.to_str().ok())
    {
        None => true,
        Some(tag) => etag.is_some_and(|etag| tag == format!("\"{etag}\"")),
    };
    let range = match asked.filter(|_| fresh).map(|range| parse_range(range, length)) {
        None | Some(Range::Ignored) => None,
        Some(Range::Part(begin, end)) => Some((begin, end)),
        Some(Range::Outside) => {
            return Ok(HttpResponse::RangeNotSatisfiable()
                .insert_header((header::CONTENT_RANGE, format!("bytes */{length}")))
                .finish());
        }
    };
    let (begin, end) = range.unwrap_or((0, length));
    let mut response = HttpResponse::build(if range.is_some() {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    });
    response
        .content_type("application/octet-stream")
        .insert_header((header::CONTENT_DISPOSITION, "attachment"))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, "private, no-store"));
    if let Some(etag) = etag {
        response.insert_header((header::ETAG, format!("\"{etag}\"")));
    }
    if range.is_some() {
        response.insert_header((header::CONTENT_RANGE, format!("bytes {begin}-{}/{length}", end - 1)));
    }
    Ok(response.body(SizedStream::new(end - begin, object.stream(begin, end))))
}

#[derive(Debug, PartialEq)]
enum Range {
    /// `begin..end`, not empty, inside the file.
    Part(u64, u64),
    Outside,
    /// Several ranges, another unit, nonsense: RFC 9110 lets a server send the whole.
    Ignored,
}

fn parse_range(text: &str, length: u64) -> Range {
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Ignored;
    };
    match (digits(first.trim()), last.trim()) {
        (Some(first), "") if first < length => Range::Part(first, length),
        (Some(_), "") => Range::Outside,
        (Some(first), last) => match digits(last) {
            Some(last) if last < first => Range::Ignored,
            Some(_) if first >= length => Range::Outside,
            Some(last) => Range::Part(first, last.saturating_add(1).min(length)),
            None => Range::Ignored,
        },
        (None, last) if first.trim().is_empty() => match digits(last) {
            Some(0) => Range::Outside,
            Some(_) if length == 0 => Range::Outside,
            Some(suffix) => Range::Part(length - suffix.min(length), length),
            None => Range::Ignored,
        },
        (None, _) => Range::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-", Range::Part(0, 10)),
            ("bytes=3-", Range::Part(3, 10)),
            ("bytes=3-5", Range::Part(3, 6)),
            ("bytes=3-99999999999999999999999", Range::Part(3, 10)),
            ("bytes=-4", Range::Part(6, 10)),
            ("bytes=-40", Range::Part(0, 10)),
            ("bytes=10-", Range::Outside),
            ("bytes=10-12", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-3", Range::Ignored),
            ("bytes=0-1,3-4", Range::Ignored),
            ("bytes=a-", Range::Ignored),
            ("lines=0-1", Range::Ignored),
            ("bytes=-", Range::Ignored),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Outside);
        assert_eq!(parse_range("bytes=-1", 0), Range::Outside);
    }
}
