//! The confidence interval of an accuracy.

use super::normal_quantile;

/// The two-sided confidence interval around a mean over `n` items, with its standard error.
///
/// For means in [0, 1] this is Wilson's score interval, with the number of items that the standard error amounts to:
/// `m(1 − m)/s² + 1`, which for right-or-wrong items is `n` itself. It stays within [0, 1], is honest near 1, where most
/// accuracies lie that a floor is put under, and is defined without variation. Other means have `m ± z·s`.
pub fn interval(mean: f64, stderr: f64, n: f64, confidence: f64) -> (f64, f64) {
    let z = normal_quantile(0.5 + confidence / 2.0);
    if !(0.0..=1.0).contains(&mean) {
        return (mean - z * stderr, mean + z * stderr);
    }
    let items = if stderr > 0.0 {
        mean * (1.0 - mean) / (stderr * stderr) + 1.0
    } else {
        n
    };
    let z2 = z * z;
    let middle = mean + z2 / (2.0 * items);
    let half = z * (mean * (1.0 - mean) / items + z2 / (4.0 * items * items)).sqrt();
    let end = |sum: f64| sum / (1.0 + z2 / items);
    // Rounding may put an end a hair beyond the mean it belongs around.
    (end(middle - half).clamp(0.0, mean), end(middle + half).clamp(mean, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness's standard error of `hits` right answers of `n`.
    fn stderr(hits: f64, n: f64) -> f64 {
        let mean = hits / n;
        (mean * (1.0 - mean) / (n - 1.0)).sqrt()
    }

    #[test]
    fn of_right_and_wrong_it_is_wilsons_interval() {
        // statsmodels 0.14: proportion_confint(hits, n, 1 - confidence, "wilson")[0]
        for (hits, n, confidence, bound) in [
            (75.0, 100.0, 0.95, 0.656955364519384),
            (100.0, 100.0, 0.95, 0.9630065017930143),
            (1.0, 100.0, 0.95, 0.0017674320641406505),
            (0.0, 20.0, 0.95, 0.0),
            (1187.0, 1319.0, 0.95, 0.8825492552466531),
            (5.0, 5.0, 0.99, 0.4297416789729908),
        ] {
            let found = interval(hits / n, stderr(hits, n), n, confidence).0;
            assert!((found - bound).abs() < 1e-14, "{hits}/{n}: {found}");
            // Right and wrong have the same interval, seen from the other side.
            let upper = interval(1.0 - hits / n, stderr(hits, n), n, confidence).1;
            assert!((upper - (1.0 - bound)).abs() < 1e-12, "{hits}/{n}: {upper}");
        }
    }

    #[test]
    fn other_means_have_their_standard_error() {
        assert!((interval(30.0, 2.0, 50.0, 0.95).0 - (30.0 - 2.0 * 1.959963984540054)).abs() < 1e-13);
        // Answers that are half right vary less than right and wrong ones: the bound is nearer.
        assert!(interval(0.5, 0.02, 100.0, 0.95).0 > interval(0.5, 0.05, 100.0, 0.95).0);
    }

    #[test]
    fn more_certainty_asks_for_more() {
        let bound = |confidence| interval(0.9, 0.03, 100.0, confidence).0;
        assert!(bound(0.8) > bound(0.95) && bound(0.95) > bound(0.999));
        assert!(bound(0.8) < 0.9);
    }
}
