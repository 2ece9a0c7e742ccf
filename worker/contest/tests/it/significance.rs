//! Which pairs differ and what bands follow, against scipy's exact test and numpy's resamples.

use assay_contest::Row;
use assay_contest::statistics::{Band, Draws, Resampler, bands, compare};

use crate::recorded::{KEYS, contest, items, json, rows};

/// Every pair of checkpoints on every measure: the table and the p-value are scipy's, and the interval is what the
/// standard error of the paired difference gives, as far as a few discordant documents allow.
#[test]
fn pairs_differ_where_scipy_says_so() {
    let items = items();
    let independent = json("statistics/independent.json");
    let pairs = independent["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 5 * 21 * 20 / 2);
    let mut significant = 0;
    for pair in pairs {
        let [task, a, b] = [0, 1, 2].map(|i| pair[i].as_str().unwrap());
        let at = KEYS.iter().position(|(known, _)| *known == task).unwrap();
        let found = compare(task, &items[a][at].values, &items[b][at].values, 0.95, 2000).unwrap();
        let table = found.table.unwrap();
        let counts = [3, 4].map(|i| pair[i].as_u64().unwrap() as usize);
        assert_eq!([table.only_a, table.only_b], counts, "{pair}");
        let p = pair[5].as_f64().unwrap();
        assert!((found.p() - p).abs() <= 1e-12 * p, "{pair}: {}", found.p());
        assert_eq!(found.is_significant(0.95), p <= 0.05);
        significant += usize::from(p <= 0.05);

        let half = 1.959964 * pair[6].as_f64().unwrap();
        let slack = 0.15 * half + 1.5 / found.n as f64;
        for (end, wanted) in [
            (found.interval.0, found.difference - half),
            (found.interval.1, found.difference + half),
        ] {
            assert!((end - wanted).abs() <= slack, "{pair}: {end} {wanted}");
        }
        // With enough discordant documents the two tests agree on all but what lies at the border.
        if counts.iter().sum::<usize>() >= 25 && !(0.02..0.1).contains(&p) {
            assert_eq!(found.p_bootstrap <= 0.05, p <= 0.05, "{pair}: {}", found.p_bootstrap);
        }
    }
    assert!(significant > 50, "{significant}");
}

fn drawn(rows: &[Row]) -> Vec<Draws> {
    let items = items();
    let mut resampler = Resampler::new(&contest(), &[]).unwrap();
    rows.iter()
        .map(|row| resampler.draws(&row.measures, &items[&row.team]).unwrap())
        .collect()
}

/// Scores of pairs by our 2000 resamples and by numpy's 20,000, which drew other documents.
#[test]
fn score_differences_are_numpys() {
    let rows = rows(&contest(), &items());
    let draws = drawn(&rows);
    let of = |name: &str| draws[rows.iter().position(|row| row.team == name).unwrap()].scores();
    let independent = json("statistics/independent.json");
    for pair in independent["score"].as_array().unwrap() {
        let [a, b] = [0, 1].map(|i| pair[i].as_str().unwrap());
        let [difference, low, high, not_better, deviation] = [2, 3, 4, 5, 6].map(|i| pair[i].as_f64().unwrap());
        let mut drawn: Vec<f64> = of(a).iter().zip(of(b)).map(|(a, b)| a - b).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let mean = drawn.iter().sum::<f64>() / 2000.0;
        // Means of 2000 draws: within five of their standard errors, and the rounding to four decimals.
        assert!(
            (mean - difference).abs() <= 5.0 * deviation / 2000f64.sqrt() + 1e-4,
            "{pair} {mean}"
        );
        // The end of an interval wavers by 0.06 deviations, in steps of one answer: 1/4 of 1/400, and the rounding.
        for (end, wanted) in [(drawn[50], low), (drawn[1949], high)] {
            assert!(
                (end - wanted).abs() <= 0.25 * deviation + 1.0 / 1600.0 + 1e-4,
                "{pair}: {end} {wanted}"
            );
        }
        let share = drawn.iter().filter(|d| **d <= 1e-9).count() as f64 / 2000.0;
        let error = (not_better * (1.0 - not_better) / 2000.0).sqrt();
        assert!((share - not_better).abs() <= 5.0 * error + 0.005, "{pair}: {share}");
    }
}

/// The bands are those of numpy's resamples wherever these leave no doubt.
#[test]
fn bands_are_those_of_an_independent_computation() {
    let contest = contest();
    let rows = rows(&contest, &items());
    let draws = drawn(&rows);
    let found = bands(&contest, &rows, &draws.iter().map(Some).collect::<Vec<_>>());
    let independent = json("statistics/independent.json");
    let pairs = independent["score"].as_array().unwrap();
    for (row, band) in rows.iter().zip(&found) {
        let Band { best, worst } = band.unwrap();
        // Pairs are listed with the better first. Sure: beyond what 2000 resamples can waver around 0.025.
        let count = |side: usize, limit: f64| {
            let own = pairs.iter().filter(|pair| pair[side] == row.team.as_str());
            u32::try_from(own.filter(|pair| pair[5].as_f64().unwrap() < limit).count()).unwrap()
        };
        let better = 1 + count(1, 0.012)..=1 + count(1, 0.04);
        assert!(better.contains(&best), "{}: {best} {better:?}", row.team);
        let twins = rows.iter().zip(&draws).filter(|(other, own)| {
            let at = rows.iter().position(|r| r.team == row.team).unwrap();
            other.team != row.team && **own == draws[at]
        });
        let all = 21 - u32::try_from(twins.count()).unwrap();
        let worse = all - count(0, 0.04)..=all - count(0, 0.012);
        assert!(worse.contains(&worst), "{}: {worst} {worse:?}", row.team);
    }
    // Two broken ones stand alone at the end, and nobody is surely first.
    let last: Vec<(&str, Band)> = rows
        .iter()
        .zip(found)
        .map(|(row, band)| (row.team.as_str(), band.unwrap()))
        .collect();
    assert_eq!(last[19], ("w3a16", Band { best: 20, worst: 20 }));
    assert_eq!(last[20], ("w2a16-g32", Band { best: 21, worst: 21 }));
    assert!(last[0].1.worst > 5);
}
