//! Formulas to start from. Each is plain text that an organizer may change afterwards.
//!
//! `ACCURACY` stands for the measure that decides, such as `acc.gsm8k.exact_match.strict-match`; [`ReadyMade::formula_for`]
//! puts it in.

use crate::problem::Text;

/// A formula to start from.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadyMade {
    /// Stable, kebab-case.
    pub id: &'static str,
    /// The formula with `ACCURACY` for the deciding measure.
    pub formula: &'static str,
    /// Whether it says nothing without a floor under the accuracy.
    pub needs_floor: bool,
    /// Whether the rules need a time track for it, `[grading.time]`.
    pub needs_time: bool,
}

/// Reach the accuracy floor, then be small: how many times smaller than the base. The base has 1; twice as small has 2.
///
/// Needs `[[score.floors]]`: without one, a file of noise wins. No trade between points and bytes, which is what
/// compression contests that lasted do.
pub const FLOOR_THEN_SMALLEST: &str = "base.bytes / bytes";

/// Reach the accuracy floor, then be fast: how many times less time the time track's workload takes than the base takes for
/// it on the same device. Needs `[grading.time]`.
///
/// Not `time_per_token`: the tokens behind it are those each model chose to generate, on whatever device graded it.
pub const FLOOR_THEN_FASTEST: &str = "1 / time_ratio";

/// Reach the accuracy floor, then weigh size and accuracy together, each as a ratio to the base: the base has 1. An
/// accuracy above the base's counts no more than the base's, as most of such a gain is noise.
pub const WEIGHTED_RATIO: &str = "0.5 * min(ACCURACY / base.ACCURACY, 1) + 0.5 * base.bytes / bytes";

/// Half accuracy, half time saved, both relative to the base, never below zero: `max(0.5·perf + 0.5·(1 − time ratio), 0)`.
/// The base has 0.5. The time is the time track's: needs `[grading.time]`.
///
/// It lets a fast model trade away its accuracy: with a floor it does not.
pub const PERFORMANCE_AND_TIME: &str = "max(0.5 * ACCURACY / base.ACCURACY + 0.5 * (1 - time_ratio), 0)";

/// The same with bytes in the place of time: half accuracy, half size saved. The base has 0.5.
pub const PERFORMANCE_AND_SIZE: &str = "max(0.5 * ACCURACY / base.ACCURACY + 0.5 * (1 - bytes / base.bytes), 0)";

/// Every ready-made formula, the recommended one first.
pub const READY_MADE: &[ReadyMade] = &[
    ReadyMade {
        id: "floor-then-smallest",
        formula: FLOOR_THEN_SMALLEST,
        needs_floor: true,
        needs_time: false,
    },
    ReadyMade {
        id: "floor-then-fastest",
        formula: FLOOR_THEN_FASTEST,
        needs_floor: true,
        needs_time: true,
    },
    ReadyMade {
        id: "weighted-ratio",
        formula: WEIGHTED_RATIO,
        needs_floor: true,
        needs_time: false,
    },
    ReadyMade {
        id: "performance-and-time",
        formula: PERFORMANCE_AND_TIME,
        needs_floor: false,
        needs_time: true,
    },
    ReadyMade {
        id: "performance-and-size",
        formula: PERFORMANCE_AND_SIZE,
        needs_floor: false,
        needs_time: false,
    },
];

impl ReadyMade {
    /// The formula with `accuracy`, a measure's name without `base.`, put in.
    pub fn formula_for(&self, accuracy: &str) -> String {
        self.formula.replace("ACCURACY", accuracy)
    }

    /// What it rewards, in a sentence.
    pub fn about(&self) -> Text {
        match self.id {
            "floor-then-smallest" => Text::new(
                "Reach the accuracy floor; then the smallest file wins.",
                "정확도 하한을 넘은 뒤 용량이 가장 작은 모델이 이깁니다.",
            ),
            "floor-then-fastest" => Text::new(
                "Reach the accuracy floor; then the least time for the fixed workload wins.",
                "정확도 하한을 넘은 뒤 고정 작업량을 가장 짧은 시간에 처리하는 모델이 이깁니다.",
            ),
            "weighted-ratio" => Text::new(
                "Accuracy and size as ratios to the base, half each; above the floor.",
                "정확도 하한을 넘은 뒤, 기준 모델 대비 정확도와 용량의 비율을 절반씩 합칩니다.",
            ),
            "performance-and-time" => Text::new(
                "Half accuracy, half time saved, relative to the base; never below zero.",
                "기준 모델 대비 정확도 절반과 줄인 시간 절반을 합칩니다. 0보다 작아지지 않습니다.",
            ),
            _ => Text::new(
                "Half accuracy, half size saved, relative to the base; never below zero.",
                "기준 모델 대비 정확도 절반과 줄인 용량 절반을 합칩니다. 0보다 작아지지 않습니다.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formula::Formula;
    use crate::measure::{Measures, Name, TIME_TRACK};

    const ACCURACY: &str = "acc.gsm8k.exact_match.strict-match";

    /// The score of a model with these ratios to the base.
    fn score(formula: &str, accuracy: f64, bytes: f64, time: f64) -> f64 {
        let measures = Measures::from_iter([
            (ACCURACY.to_owned(), 0.6 * accuracy),
            (format!("base.{ACCURACY}"), 0.6),
            ("bytes".to_owned(), 2.56e9 * bytes),
            ("base.bytes".to_owned(), 2.56e9),
            ("time_ratio".to_owned(), time),
        ]);
        Formula::parse(&formula.replace("ACCURACY", ACCURACY))
            .unwrap()
            .eval(&measures)
            .unwrap()
    }

    #[test]
    fn all_parse_over_known_measures_and_explain_themselves() {
        for made in READY_MADE {
            let formula = Formula::parse(&made.formula_for(ACCURACY)).unwrap();
            assert!(
                formula.check(&|name| Name::parse(name).is_some()).is_ok(),
                "{}",
                made.id
            );
            assert!(
                formula.measures().iter().any(|name| !name.starts_with("base.")),
                "{}",
                made.id
            );
            let timed = formula
                .measures()
                .iter()
                .any(|name| TIME_TRACK.contains(&name.as_str()));
            assert_eq!(timed, made.needs_time, "{}", made.id);
            assert!(!made.about().en.is_empty() && !made.about().ko.is_empty());
            // Already in canonical spelling, but for the placeholder.
            assert_eq!(formula.to_string(), made.formula_for(ACCURACY));
        }
        let abouts: std::collections::BTreeSet<String> = READY_MADE.iter().map(|made| made.about().en).collect();
        assert_eq!(abouts.len(), READY_MADE.len());
    }

    #[test]
    fn the_base_scores_what_is_said() {
        for (formula, expected) in [
            (FLOOR_THEN_SMALLEST, 1.0),
            (FLOOR_THEN_FASTEST, 1.0),
            (WEIGHTED_RATIO, 1.0),
            (PERFORMANCE_AND_TIME, 0.5),
            (PERFORMANCE_AND_SIZE, 0.5),
        ] {
            assert!((score(formula, 1.0, 1.0, 1.0) - expected).abs() < 1e-12, "{formula}");
        }
    }

    #[test]
    fn half_the_size_half_the_time_and_a_tenth_less_accuracy() {
        assert_eq!(score(FLOOR_THEN_SMALLEST, 0.9, 0.5, 0.5), 2.0);
        assert_eq!(score(FLOOR_THEN_FASTEST, 0.9, 0.5, 0.5), 2.0);
        assert!((score(WEIGHTED_RATIO, 0.9, 0.5, 0.5) - 1.45).abs() < 1e-12);
        assert!((score(PERFORMANCE_AND_TIME, 0.9, 0.5, 0.5) - 0.7).abs() < 1e-12);
        assert!((score(PERFORMANCE_AND_SIZE, 0.9, 0.5, 0.5) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn gains_above_the_base_do_not_pay_where_they_are_capped_and_nothing_is_negative() {
        assert_eq!(score(WEIGHTED_RATIO, 1.2, 1.0, 1.0), 1.0);
        assert_eq!(score(PERFORMANCE_AND_TIME, 0.0, 1.0, 3.0), 0.0);
        assert_eq!(score(PERFORMANCE_AND_SIZE, 0.0, 2.0, 1.0), 0.0);
    }
}
