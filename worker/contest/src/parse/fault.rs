//! The sentences for what can be wrong with a file.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::formula::FormulaError;
use crate::problem::Text;

/// A mistake without its place.
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: Text,
    pub(super) fix: Text,
}

impl Fault {
    pub(super) fn new(
        code: &'static str,
        en: String,
        ko: String,
        fix_en: impl Into<String>,
        fix_ko: impl Into<String>,
    ) -> Self {
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

    pub(super) fn number_range(found: f64, allowed_en: &str, allowed_ko: &str) -> Self {
        Self::new(
            "out-of-range",
            format!("{found} is out of range"),
            format!("{found}은(는) 범위를 벗어납니다"),
            format!("Write a number {allowed_en}."),
            format!("{allowed_ko}를 쓰십시오."),
        )
    }

    pub(super) fn too_few_resamples(found: u32, least: f64) -> Self {
        Self::new(
            "too-few-resamples",
            format!("{found} resamples are too few for this confidence: fewer than ten would lie in each tail"),
            format!("재표집 {found}번은 이 신뢰수준에 너무 적습니다. 양 끝에 열 번도 남지 않습니다"),
            format!("Set `resamples` to {least} or more, or lower the confidence."),
            format!("`resamples`를 {least} 이상으로 하거나 신뢰수준을 낮추십시오."),
        )
    }

    pub(super) fn floor_without_interval(measure: &str) -> Self {
        let measure = short(measure);
        Self::new(
            "floor-without-interval",
            format!("`{measure}` has no confidence interval: only acc.<task>.<metric>.<filter> has"),
            format!("`{measure}`에는 신뢰구간이 없습니다. acc.<task>.<metric>.<filter>에만 있습니다"),
            "Remove `judge`, or put the floor under an accuracy.",
            "`judge`를 지우거나 정확도에 하한을 두십시오.",
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

    pub(super) fn reference_without_error(measure: &str, missing: &str) -> Self {
        let (measure, missing) = (short(measure), short(missing));
        Self::new(
            "reference-without-error",
            format!("`{measure}` of this reference has no `{missing}`: nobody could tell how sure it is"),
            format!("이 참고 모델의 `{measure}`에 `{missing}`이(가) 없습니다. 얼마나 확실한 값인지 알 수 없습니다"),
            format!("Add `{missing}`, or remove `{measure}`."),
            format!("`{missing}`을(를) 추가하거나 `{measure}`을(를) 지우십시오."),
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

    pub(super) fn time_without_workload(measure: &str) -> Self {
        Self::new(
            "time-without-workload",
            format!("`{measure}` is measured by the time track, and the rules have no [grading.time]"),
            format!("`{measure}`은(는) 시간 트랙의 측정값인데 규칙에 [grading.time]이 없습니다"),
            "Add [grading.time], or name another measure.",
            "[grading.time]을 추가하거나 다른 측정값을 쓰십시오.",
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

    pub(super) fn invalid(code: &'static str, what: &str, wanted_en: impl Display, wanted_ko: impl Display) -> Self {
        Self::new(
            code,
            format!("`{}` is not {wanted_en}", short(what)),
            format!("`{}`: {wanted_ko}이(가) 아닙니다", short(what)),
            format!("Write {wanted_en}."),
            format!("{wanted_ko}을(를) 쓰십시오."),
        )
    }
}

/// A name from the file, fit to be shown: at most 60 characters.
pub(super) fn short(name: &str) -> String {
    if name.chars().count() <= 60 {
        name.to_owned()
    } else {
        name.chars().take(59).chain(['…']).collect()
    }
}
