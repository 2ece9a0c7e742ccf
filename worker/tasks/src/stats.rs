//! Means, standard errors and group scores, in the order of operations of lm-evaluation-harness on CPython.

use crate::random::Random;

/// `sum(xs) / len(xs)`, added from left to right.
pub fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// The sample standard deviation (n − 1 below).
pub fn sample_stddev(xs: &[f64]) -> f64 {
    let mu = mean(xs);
    let squares: f64 = xs.iter().map(|x| (x - mu) * (x - mu)).sum();
    (squares / (xs.len() as f64 - 1.0)).sqrt()
}

/// The standard error of a mean; nothing for fewer than two values.
pub fn mean_stderr(xs: &[f64]) -> Option<f64> {
    (xs.len() > 1).then(|| sample_stddev(xs) / (xs.len() as f64).sqrt())
}

/// The replicates of one seeded block.
const BLOCK: usize = 1000;

/// The standard error of any statistic by resampling: blocks of up to 1000 replicates, block `i` from `Random(i)`.
/// `statistic` is given the indices drawn. Nothing for fewer than two values or no iterations.
pub fn bootstrap_stderr(n: usize, iterations: usize, mut statistic: impl FnMut(&[usize]) -> f64) -> Option<f64> {
    if n < 2 || iterations == 0 {
        return None;
    }
    let block = BLOCK.min(iterations);
    let mut replicates = Vec::with_capacity(iterations);
    let mut drawn = vec![0; n];
    for i in 0..iterations / block {
        let mut rng = Random::new(i as u64);
        for _ in 0..block {
            drawn.iter_mut().for_each(|at| *at = rng.choice(n));
            replicates.push(statistic(&drawn));
        }
    }
    Some(sample_stddev(&replicates))
}

/// A group's score from its tasks' scores and sizes: the mean over documents, or over tasks.
pub fn group_mean(scores: &[f64], sizes: &[usize], weight_by_size: bool) -> f64 {
    if !weight_by_size {
        return mean(scores);
    }
    let weighted: f64 = scores.iter().zip(sizes).map(|(score, size)| score * *size as f64).sum();
    weighted / sizes.iter().sum::<usize>() as f64
}

/// The standard error that belongs to a mean over documents: the pooled one.
pub fn pooled_stderr(stderrs: &[f64], sizes: &[usize]) -> f64 {
    let total: usize = sizes.iter().sum();
    let squares: f64 = sizes
        .iter()
        .zip(stderrs)
        .map(|(size, stderr)| (*size as f64 - 1.0) * (stderr * stderr) * *size as f64)
        .sum();
    (squares / (total as f64 - sizes.len() as f64) / total as f64).sqrt()
}

/// The standard error that belongs to a mean over tasks.
pub fn unweighted_stderr(stderrs: &[f64]) -> f64 {
    stderrs.iter().map(|s| s * s).sum::<f64>().sqrt() / stderrs.len() as f64
}

/// The class-balanced F1 of class 1, as sklearn's binary `f1_score`: 0 where it is undefined.
pub fn f1(pairs: impl Iterator<Item = (i64, i64)>) -> f64 {
    let (mut hits, mut wrong) = (0u64, 0u64);
    for (gold, predicted) in pairs {
        match (gold == 1, predicted == 1) {
            (true, true) => hits += 1,
            (false, false) => {}
            _ => wrong += 1,
        }
    }
    let below = 2 * hits + wrong;
    if below == 0 {
        0.0
    } else {
        2.0 * hits as f64 / below as f64
    }
}

/// Matthews' correlation of gold and prediction over any number of classes: 0 where it is undefined.
pub fn matthews(pairs: &[(i64, i64)]) -> f64 {
    let mut classes: Vec<i64> = pairs.iter().flat_map(|(g, p)| [*g, *p]).collect();
    classes.sort_unstable();
    classes.dedup();
    let n = pairs.len() as f64;
    let hits = pairs.iter().filter(|(g, p)| g == p).count() as f64;
    let (mut both, mut golds, mut predictions) = (0.0, 0.0, 0.0);
    for class in classes {
        let gold = pairs.iter().filter(|(g, _)| *g == class).count() as f64;
        let predicted = pairs.iter().filter(|(_, p)| *p == class).count() as f64;
        both += gold * predicted;
        golds += gold * gold;
        predictions += predicted * predicted;
    }
    let below = (n * n - golds) * (n * n - predictions);
    if below == 0.0 {
        0.0
    } else {
        (hits * n - both) / below.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(hits: usize, n: usize) -> Vec<f64> {
        (0..n).map(|i| if i < hits { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn the_published_figures() {
        assert_eq!(mean(&ones(332, 512)), 0.6484375);
        assert_eq!(mean_stderr(&ones(332, 512)), Some(0.02112150611891607));
        assert_eq!(mean_stderr(&ones(289, 512)), Some(0.021934156703395467));
        assert_eq!(mean_stderr(&[1.0]), None);
    }

    #[test]
    fn groups() {
        let (stderrs, sizes) = ([0.02, 0.03, 0.01], [100, 200, 50]);
        assert_eq!(pooled_stderr(&stderrs, &sizes), 0.018153773423226712);
        assert_eq!(group_mean(&[0.5, 0.25], &[100, 300], true), 0.3125);
        assert_eq!(group_mean(&[0.5, 0.25], &[100, 300], false), 0.375);
        assert!((unweighted_stderr(&stderrs) - 0.012472191289246471).abs() < 1e-17);
    }

    // Printed by CPython 3.11: the same loop over random.Random(i).choices with the mean as the statistic.
    #[test]
    fn bootstrap_draws_as_cpython_does() {
        let xs = [1.0, 0.0, 1.0, 1.0, 0.0, 0.5, 2.0];
        let stderr = bootstrap_stderr(xs.len(), 2500, |drawn| {
            mean(&drawn.iter().map(|i| xs[*i]).collect::<Vec<_>>())
        });
        assert_eq!(stderr, Some(BOOTSTRAP));
        assert_eq!(bootstrap_stderr(1, 100, |_| 0.0), None);
    }
    const BOOTSTRAP: f64 = 0.24945954127964165;

    #[test]
    fn f1_and_matthews() {
        let pairs = [(1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (0, 0)];
        assert!((f1(pairs.into_iter()) - 2.0 / 3.0).abs() < 1e-15);
        assert!((matthews(&pairs) - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(f1([(0, 0)].into_iter()), 0.0);
        assert_eq!(matthews(&[(0, 0), (0, 1)]), 0.0);
    }
}
