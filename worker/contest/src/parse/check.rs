//! What each value has to be, and the sentences for when it is not.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::read::short;
use crate::formula::FormulaError;
use crate::nearest::nearest;
use crate::problem::Text;

/// A mistake without its place.
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: Text,
    pub(super) fix: Text,
}

impl Fault {
    fn new(code: &'static str, en: String, ko: String, fix_en: impl Into<String>, fix_ko: impl Into<String>) -> Self {
        Self {
            code,
            message: Text::new(en, ko),
            fix: Text::new(fix_en, fix_ko),
        }
    }

    pub(super) fn too_long(bytes: usize, most: usize) -> Self {
        Self::new(
            "contest-too-long",
            format!("the file has {bytes} bytes; {most} are allowed"),
            format!("파일이 {bytes}바이트입니다. 최대 {most}바이트입니다"),
            "Remove what does not belong to the rules.",
            "규칙이 아닌 내용을 지우십시오.",
        )
    }

    pub(super) fn syntax(message: &str) -> Self {
        Self::new(
            "toml-syntax",
            format!("this is not TOML: {message}"),
            format!("TOML 문법에 맞지 않습니다: {message}"),
            "Correct the syntax; see https://toml.io.",
            "문법을 고치십시오. https://toml.io/ko 를 참고하십시오.",
        )
    }

    pub(super) fn missing(key: &str) -> Self {
        Self::new(
            "missing-key",
            format!("`{key}` is missing"),
            format!("`{key}`이(가) 없습니다"),
            format!("Add `{key}`."),
            format!("`{key}`을(를) 추가하십시오."),
        )
    }

    pub(super) fn unknown_key(key: &str, near: Option<&str>, known: &[&str]) -> Self {
        let (fix_en, fix_ko) = match near {
            Some(near) => (
                format!("Did you mean `{near}`?"),
                format!("`{near}`을(를) 쓰려던 것입니까?"),
            ),
            None => (
                format!("Remove it. The keys here are: {}.", known.join(", ")),
                format!("지우십시오. 여기에 쓸 수 있는 키: {}.", known.join(", ")),
            ),
        };
        Self::new(
            "unknown-key",
            format!("there is no key `{key}` here"),
            format!("여기에 `{key}`라는 키는 없습니다"),
            fix_en,
            fix_ko,
        )
    }

    pub(super) fn wrong_type(found: &str, wanted: &Text) -> Self {
        Self::new(
            "wrong-type",
            format!("this has to be {}, not a TOML {found}", wanted.en),
            format!("{} 자리인데 TOML {found} 값이 있습니다", wanted.ko),
            format!("Write {}.", wanted.en),
            format!("{}(으)로 쓰십시오.", wanted.ko),
        )
    }

    pub(super) fn count(found: usize, allowed: &RangeInclusive<usize>) -> Self {
        let (least, most) = (allowed.start(), allowed.end());
        Self::new(
            "wrong-count",
            format!("{found} entries are given; {least} to {most} are allowed"),
            format!("항목이 {found}개입니다. {least}~{most}개만 쓸 수 있습니다"),
            "Add or remove entries.",
            "항목을 추가하거나 지우십시오.",
        )
    }

    pub(super) fn range(found: &str, allowed: &RangeInclusive<u64>) -> Self {
        let (least, most) = (allowed.start(), allowed.end());
        Self::new(
            "out-of-range",
            format!("{found} is out of range"),
            format!("{found}은(는) 범위를 벗어납니다"),
            format!("Write a whole number from {least} to {most}."),
            format!("{least}~{most}의 정수를 쓰십시오."),
        )
    }

    pub(super) fn not_finite() -> Self {
        Self::new(
            "not-finite",
            "this is not a finite number".to_owned(),
            "유한한 수가 아닙니다".to_owned(),
            "Write a number such as 0.75.",
            "0.75처럼 유한한 수를 쓰십시오.",
        )
    }

    pub(super) fn time(found: &str) -> Self {
        Self::new(
            "invalid-time",
            format!("`{found}` is not a time with its offset from UTC"),
            format!("`{found}`은(는) UTC와의 시차가 있는 시각이 아닙니다"),
            "Write it like 2026-01-01T00:00:00+09:00.",
            "2026-01-01T00:00:00+09:00처럼 쓰십시오.",
        )
    }

    pub(super) fn repeated(what: &str) -> Self {
        Self::new(
            "repeated",
            format!("`{}` is given twice", short(what)),
            format!("`{}`이(가) 두 번 나옵니다", short(what)),
            "Keep one of them.",
            "하나만 남기십시오.",
        )
    }

    pub(super) fn phase_order() -> Self {
        Self::new(
            "phase-order",
            "the phase closes before it opens".to_owned(),
            "종료 시각이 시작 시각보다 늦지 않습니다".to_owned(),
            "Let `closes` be later than `opens`.",
            "`closes`를 `opens`보다 늦게 하십시오.",
        )
    }

    pub(super) fn phase_overlap() -> Self {
        Self::new(
            "phase-overlap",
            "the phase opens before the one above closes".to_owned(),
            "앞 단계가 끝나기 전에 시작합니다".to_owned(),
            "List phases in order of time, each opening when or after the one before it closes.",
            "단계를 시간 순서로 쓰고 서로 겹치지 않게 하십시오.",
        )
    }

    pub(super) fn unknown_measure(name: &str) -> Self {
        let name_shown = short(name);
        Self {
            code: "unknown-measure",
            message: Text::new(
                format!("there is no measure `{name_shown}`"),
                format!("`{name_shown}`이라는 측정값은 없습니다"),
            ),
            fix: crate::measure::suggest(name),
        }
    }

    pub(super) fn measure_of_base(name: &str) -> Self {
        Self::new(
            "measure-of-base",
            format!("`{name}` cannot stand here: it is the same for every submission, or has its own key"),
            format!("`{name}`은(는) 여기에 쓸 수 없습니다. 모든 제출물에 같은 값이거나 별도의 키가 있습니다"),
            "Name a measure of the submission; the base's size is `base.bytes`, its key is `bytes` in [base].",
            "제출물의 측정값을 쓰십시오. 기준 모델의 용량은 [base]의 `bytes`에 씁니다.",
        )
    }

    pub(super) fn base_measure_missing(name: &str) -> Self {
        let own = name.strip_prefix("base.").unwrap_or(name);
        Self::new(
            "base-measure-missing",
            format!("the formula uses `{name}`, but [base.measures] does not have `{own}`"),
            format!("수식이 `{name}`을(를) 쓰지만 [base.measures]에 `{own}`이(가) 없습니다"),
            format!("Grade the base once and add its `{own}` to [base.measures]."),
            format!("기준 모델을 채점하여 `{own}` 값을 [base.measures]에 추가하십시오."),
        )
    }

    pub(super) fn formula(error: FormulaError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            fix: *error.fix,
        }
    }

    pub(super) fn constant_formula() -> Self {
        Self::new(
            "formula-constant",
            "the formula names no measure of the submission: every team would have the same score".to_owned(),
            "수식에 제출물의 측정값이 없습니다. 모든 팀의 점수가 같아집니다".to_owned(),
            "Name at least one measure, such as `bytes`.",
            "`bytes`와 같은 측정값을 하나 이상 쓰십시오.",
        )
    }

    fn invalid(code: &'static str, what: &str, wanted_en: impl Display, wanted_ko: impl Display) -> Self {
        Self::new(
            code,
            format!("`{}` is not {wanted_en}", short(what)),
            format!("`{}`: {wanted_ko}이(가) 아닙니다", short(what)),
            format!("Write {wanted_en}."),
            format!("{wanted_ko}을(를) 쓰십시오."),
        )
    }
}

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
