//! Two submissions on the same documents.

use serde::{Deserialize, Serialize};

use super::binomial::sign_test;
use super::quantile;
use super::random::SplitMix64;

/// How two submissions, `a` and `b`, did on the documents of one task that have a value for both.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Documents compared, at least one.
    pub n: usize,
    /// Mean of `a` less mean of `b`.
    pub difference: f64,
    /// The confidence interval of the difference, by resampling documents.
    pub interval: (f64, f64),
    /// How likely chance alone makes a difference as large, by the same resamples: twice the share of them, the measured
    /// one counted in, that lie on the other side of zero or on it.
    pub p_bootstrap: f64,
    /// Who was right where, when every value is 0 or 1.
    pub table: Option<Table>,
    /// The same probability by McNemar's exact test, when every value is 0 or 1. Where there is this one, it decides: it
    /// is no approximation, and errs towards chance.
    pub p_exact: Option<f64>,
}

/// Documents by who was right.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Both.
    pub both: usize,
    /// `a` alone.
    pub only_a: usize,
    /// `b` alone.
    pub only_b: usize,
    /// None.
    pub neither: usize,
}

impl Comparison {
    /// How likely chance alone makes a difference as large: exact where it can be, else by resampling.
    pub fn p(&self) -> f64 {
        self.p_exact.unwrap_or(self.p_bootstrap)
    }

    /// Whether the difference is more than chance makes, at this confidence.
    pub fn is_significant(&self, confidence: f64) -> bool {
        self.p() <= 1.0 - confidence
    }
}

/// Compares the values of `a` and `b` on the documents of `task`, both in order of evaluation. `None` when no document
/// has a value for both. Documents are drawn `resamples` times, by a stream of the task's name.
pub fn compare(
    task: &str,
    a: &[Option<f64>],
    b: &[Option<f64>],
    confidence: f64,
    resamples: u32,
) -> Option<Comparison> {
    let pairs: Vec<(f64, f64)> = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
    let n = pairs.len();
    if n == 0 {
        return None;
    }
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let difference = differences.iter().sum::<f64>() / n as f64;
    let mut random = SplitMix64::of(task);
    let mut drawn: Vec<f64> = (0..resamples)
        .map(|_| (0..n).map(|_| differences[random.below(n)]).sum::<f64>() / n as f64)
        .collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let (low, high) = (
        drawn.iter().filter(|d| **d <= 0.0).count(),
        drawn.iter().filter(|d| **d >= 0.0).count(),
    );
    let tail = (1.0 - confidence) / 2.0;
    let table = table(&pairs);
    Some(Comparison {
        n,
        difference,
        interval: (quantile(&drawn, tail), quantile(&drawn, 1.0 - tail)),
        p_bootstrap: (2.0 * (1 + low.min(high)) as f64 / (f64::from(resamples) + 1.0)).min(1.0),
        table,
        p_exact: table.map(|table| sign_test(table.only_a, table.only_b)),
    })
}

/// The pairs counted; `None` when a value is neither right nor wrong.
fn table(pairs: &[(f64, f64)]) -> Option<Table> {
    let mut table = Table::default();
    for (a, b) in pairs {
        let cell = match (*a, *b) {
            (1.0, 1.0) => &mut table.both,
            (1.0, 0.0) => &mut table.only_a,
            (0.0, 1.0) => &mut table.only_b,
            (0.0, 0.0) => &mut table.neither,
            _ => return None,
        };
        *cell += 1;
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn right(hits: &[u8]) -> Vec<Option<f64>> {
        hits.iter().map(|hit| Some(f64::from(*hit))).collect()
    }

    #[test]
    fn nothing_to_compare_and_nothing_to_see() {
        assert_eq!(compare("t", &[], &[], 0.95, 100), None);
        assert_eq!(compare("t", &[None, Some(1.0)], &[Some(1.0), None], 0.95, 100), None);
        let same = right(&[1, 0, 1, 1]);
        let found = compare("t", &same, &same, 0.95, 100).unwrap();
        assert_eq!((found.difference, found.interval, found.p()), (0.0, (0.0, 0.0), 1.0));
        assert_eq!(found.p_bootstrap, 1.0);
        assert!(!found.is_significant(0.5));
    }

    #[test]
    fn documents_without_a_value_are_left_out_of_both() {
        let mut a = right(&[1, 1, 0, 1, 0, 1]);
        let mut b = right(&[0, 1, 0, 1, 1, 0]);
        a[1] = None;
        b[4] = None;
        let found = compare("t", &a, &b, 0.95, 500).unwrap();
        let table = Table {
            both: 1,
            only_a: 2,
            only_b: 0,
            neither: 1,
        };
        assert_eq!((found.n, found.table, found.difference), (4, Some(table), 0.5));
        assert_eq!(found.p_exact, Some(0.5));
    }

    #[test]
    fn values_between_right_and_wrong_are_resampled_only() {
        // The standard error of the mean difference is 0.0289, its interval about ±0.057 around 0.1.
        let a: Vec<Option<f64>> = (0..300).map(|i| Some(0.5 + 0.1 + 0.5 * f64::from(i % 3 - 1))).collect();
        let b: Vec<Option<f64>> = (0..300).map(|i| Some(0.5 + 0.3 * f64::from(i % 2) - 0.15)).collect();
        let found = compare("t", &a, &b, 0.95, 5000).unwrap();
        assert_eq!((found.table, found.p_exact), (None, None));
        let mean: f64 = found.difference;
        assert!((mean - 0.1).abs() < 1e-12);
        let deviation = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (a.unwrap() - b.unwrap() - mean).powi(2))
            .sum::<f64>()
            / 299.0;
        let half = 1.959964 * (deviation / 300.0).sqrt();
        assert!((found.interval.0 - (mean - half)).abs() < 0.004, "{found:?} {half}");
        assert!((found.interval.1 - (mean + half)).abs() < 0.004, "{found:?} {half}");
        assert!(found.is_significant(0.99) && found.p() < 0.01);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What `a` gains on `b`, `b` loses on `a`.
        #[test]
        fn sides_are_alike(values in prop::collection::vec((0u8..2, 0u8..2), 1..80)) {
            let (a, b): (Vec<u8>, Vec<u8>) = values.into_iter().unzip();
            let one = compare("t", &right(&a), &right(&b), 0.95, 200).unwrap();
            let other = compare("t", &right(&b), &right(&a), 0.95, 200).unwrap();
            prop_assert_eq!(one.difference, -other.difference);
            prop_assert_eq!(one.p(), other.p());
            prop_assert_eq!(one.p_bootstrap, other.p_bootstrap);
            prop_assert!((one.interval.0 + other.interval.1).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&one.p()) && (0.0..=1.0).contains(&one.p_bootstrap));
            prop_assert!(one.interval.0 <= one.interval.1);
            let table = one.table.unwrap();
            prop_assert_eq!(table.both + table.only_a + table.only_b + table.neither, one.n);
        }
    }
}
