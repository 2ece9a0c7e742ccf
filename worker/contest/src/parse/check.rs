//! What each value has to be.

use super::fault::{Fault, short};
use crate::nearest::nearest;

pub(super) type Check = Result<(), Fault>;

/// A slug of 1 to 64 of `a-z`, `0-9`, `-`, not at its ends.
pub(super) fn slug(text: &str) -> Check {
    let fits = text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Fault::invalid(
        "invalid-slug",
        text,
        "a short name of a-z, 0-9 and hyphens inside, at most 64 long",
        "a-z, 0-9와 가운데의 하이픈으로 된 64자 이하의 짧은 이름",
    ))
}

/// A line people read: 1 to `most` characters, none of them a control character, not only blanks.
pub(super) fn line(most: usize) -> impl Fn(&str) -> Check {
    move |text| {
        let fits = text.chars().count() <= most && !text.trim().is_empty() && !text.chars().any(char::is_control);
        if fits {
            return Ok(());
        }
        Err(Fault::invalid(
            "invalid-text",
            text,
            format_args!("a line of 1 to {most} characters"),
            format_args!("1~{most}자의 한 줄 글"),
        ))
    }
}

/// Text for a model: 1 to `most` bytes, anything but NUL.
pub(super) fn prompt(most: usize) -> impl Fn(&str) -> Check {
    move |text| {
        if !text.is_empty() && text.len() <= most && !text.contains('\0') {
            return Ok(());
        }
        Err(Fault::invalid(
            "invalid-text",
            text,
            format_args!("text of 1 to {most} bytes without NUL"),
            format_args!("NUL이 없는 1~{most}바이트의 글"),
        ))
    }
}

/// A name in configuration files and task files: 1 to 128 of letters, digits, `_`, `-`, `.`, `/`.
pub(super) fn identifier(text: &str) -> Check {
    let fits = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'));
    if fits {
        return Ok(());
    }
    Err(Fault::invalid(
        "invalid-name",
        text,
        "a name of letters, digits, _, -, . and /",
        "영문자, 숫자, _, -, ., /로 된 이름",
    ))
}

/// Any number.
pub(super) fn any_number(_: f64) -> Check {
    Ok(())
}

/// A share of documents: some, but not all.
pub(super) fn share(share: f64) -> Check {
    if share > 0.0 && share < 1.0 {
        return Ok(());
    }
    Err(Fault::number_range(
        share,
        "between 0 and 1, such as 0.5",
        "0과 1 사이의 수(예: 0.5)",
    ))
}

/// The confidence of an interval.
pub(super) fn confidence(confidence: f64) -> Check {
    if (0.5..=0.999).contains(&confidence) {
        return Ok(());
    }
    Err(Fault::number_range(
        confidence,
        "from 0.5 to 0.999, such as 0.95",
        "0.5~0.999의 수(예: 0.95)",
    ))
}

/// A price an hour.
pub(super) fn price(price: f64) -> Check {
    if (0.0..=10_000.0).contains(&price) {
        return Ok(());
    }
    Err(Fault::number_range(
        price,
        "from 0 to 10000, such as 0.35",
        "0~10000의 수(예: 0.35)",
    ))
}

/// 64 lowercase hex digits.
pub(super) fn sha256(text: &str) -> Check {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(());
    }
    Err(Fault::invalid(
        "invalid-sha256",
        text,
        "a sha256 digest of 64 lowercase hex digits, as sha256sum prints it",
        "sha256sum이 출력하는 64자리 소문자 16진수",
    ))
}

/// A folder relative to `contest.toml`. It may lead out of the rules' folder: organizers choose it, submissions cannot.
pub(super) fn folder(text: &str) -> Check {
    let fits = (1..=255).contains(&text.len())
        && !text.starts_with('/')
        && !text.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
        && text.trim_end_matches('/').split('/').all(|part| !part.is_empty());
    if fits {
        return Ok(());
    }
    Err(Fault::invalid(
        "invalid-path",
        text,
        "a folder relative to contest.toml, with / between its parts",
        "contest.toml을 기준으로 한, /로 구분한 상대 경로",
    ))
}

/// An IANA time zone.
pub(super) fn timezone(text: &str) -> Check {
    if text.len() <= 64 && text.parse::<chrono_tz::Tz>().is_ok() {
        return Ok(());
    }
    let near = nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
    let (fix_en, fix_ko) = match near {
        Some(near) => (
            format!("Did you mean `{near}`?"),
            format!("`{near}`을(를) 쓰려던 것입니까?"),
        ),
        None => (
            "Write an IANA name such as Asia/Seoul.".to_owned(),
            "Asia/Seoul과 같은 IANA 이름을 쓰십시오.".to_owned(),
        ),
    };
    Err(Fault::new(
        "unknown-timezone",
        format!("there is no time zone `{}`", short(text)),
        format!("`{}`이라는 시간대는 없습니다", short(text)),
        fix_en,
        fix_ko,
    ))
}

/// One of `names`; the mistake has `code`.
pub(super) fn one_of(code: &'static str, names: &'static [&'static str]) -> impl Fn(&str) -> Check {
    move |text| {
        if names.contains(&text) {
            return Ok(());
        }
        let (fix_en, fix_ko) = match nearest(text, names.iter().copied()) {
            Some(near) => (
                format!("Did you mean `{near}`?"),
                format!("`{near}`을(를) 쓰려던 것입니까?"),
            ),
            None => (
                format!("Use one of: {}.", names.join(", ")),
                format!("다음 중에서 쓰십시오: {}.", names.join(", ")),
            ),
        };
        Err(Fault::new(
            code,
            format!("`{}` is not known", short(text)),
            format!("`{}`은(는) 알 수 없는 값입니다", short(text)),
            fix_en,
            fix_ko,
        ))
    }
}

/// The name of a submission's measure.
pub(super) fn measure(text: &str) -> Check {
    match crate::measure::Name::parse(text) {
        None => Err(Fault::unknown_measure(text)),
        Some(name) if name.of_base => Err(Fault::measure_of_base(text)),
        Some(_) => Ok(()),
    }
}
