use proptest::prelude::*;

use super::*;
use crate::measure::Measures;
use crate::rank::{Entry, board};
use crate::wire::ItemScores;

fn contest(formula: &str) -> Contest {
    let mut contest = crate::sample::contest();
    contest.score.formula = formula.to_owned();
    contest.score.floors.clear();
    contest.score.resamples = 200;
    contest
}

fn entry(name: &str, bytes: f64, accuracy: f64) -> Entry {
    Entry {
        submission: name.to_owned(),
        team: name.to_owned(),
        received_at: "2026-05-01T10:00:00+09:00".into(),
        measures: Measures::from_iter([("bytes", bytes), ("acc.t.acc.none", accuracy)]),
    }
}

fn band(best: u32, worst: u32) -> Option<Band> {
    Some(Band { best, worst })
}

/// A board of `scores` with these draws.
fn of(contest: &Contest, drawn: &[(f64, Option<Vec<f64>>)]) -> Vec<Option<Band>> {
    let entries: Vec<Entry> = drawn
        .iter()
        .enumerate()
        .map(|(i, (score, _))| entry(&format!("t{i}"), *score, 0.5))
        .collect();
    let rows = board(contest, &entries);
    let draws: Vec<Option<Draws>> = drawn.iter().map(|(_, d)| d.clone().map(Draws::of)).collect();
    let in_order: Vec<Option<&Draws>> = rows
        .iter()
        .map(|row| draws[row.team[1..].parse::<usize>().unwrap()].as_ref())
        .collect();
    bands(contest, &rows, &in_order)
}

#[test]
fn bands_reach_as_far_as_resamples_overlap() {
    let contest = contest("bytes");
    let around = |middle: f64, spread: f64| -> Vec<f64> {
        (0..200)
            .map(|i| middle + spread * (f64::from(i) / 100.0 - 1.0))
            .collect()
    };
    let reversed = |mut draws: Vec<f64>| {
        draws.reverse();
        draws
    };
    // First and second overlap when their luck is opposed; the third is far below both.
    let overlapping = [
        (10.0, Some(around(10.0, 1.0))),
        (9.5, Some(reversed(around(9.5, 1.0)))),
        (5.0, Some(around(5.0, 1.0))),
    ];
    assert_eq!(of(&contest, &overlapping), [band(1, 2), band(1, 2), band(3, 3)]);
    // The same spread with the same luck: told apart.
    let together = [
        (10.0, Some(around(10.0, 1.0))),
        (9.5, Some(around(9.5, 1.0))),
        (5.0, Some(around(5.0, 1.0))),
    ];
    assert_eq!(of(&contest, &together), [band(1, 1), band(2, 2), band(3, 3)]);
    // Nothing known of the second: it may be anywhere, and so may the others around it.
    let unknown = [
        (10.0, Some(around(10.0, 1.0))),
        (9.5, None),
        (5.0, Some(around(5.0, 1.0))),
    ];
    assert_eq!(of(&contest, &unknown), [band(1, 2), None, band(2, 3)]);
}

#[test]
fn the_confidence_says_how_many_resamples_may_disagree() {
    let contest = contest("bytes");
    for (opposed, told_apart) in [(4, true), (5, false)] {
        // 200 resamples at 0.95: five would be a tail.
        let lower: Vec<f64> = (0..200).map(|i| if i < opposed { 3.0 } else { 1.0 }).collect();
        let bands = of(&contest, &[(2.0, Some(vec![2.0; 200])), (1.0, Some(lower))]);
        assert_eq!(bands[1] == band(2, 2), told_apart, "{opposed}");
    }
    // A resample without a score tells nothing apart.
    let lower: Vec<f64> = (0..200).map(|i| if i < 10 { f64::NAN } else { 1.0 }).collect();
    let bands = of(&contest, &[(2.0, Some(vec![2.0; 200])), (1.0, Some(lower))]);
    assert_eq!(bands, [band(1, 2), band(1, 2)]);
}

#[test]
fn what_does_not_rank_has_no_band() {
    let mut contest = contest("base.bytes / bytes");
    contest.score.order = Order::Descending;
    let rows = board(&contest, &[entry("a", 100.0, 0.5), entry("b", 0.0, 0.5)]);
    let draws = Draws::of(vec![1.0; 200]);
    assert_eq!(
        bands(&contest, &rows, &[Some(&draws), Some(&draws)]),
        [band(1, 1), None]
    );
    assert_eq!(bands(&contest, &rows, &[]), [None, None]);
    assert_eq!(bands(&contest, &[], &[]), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A formula without accuracies gives plain ranks: from the rank to itself, ties included, whichever end wins.
    #[test]
    fn exact_scores_have_plain_ranks(bytes in prop::collection::vec(1u32..8, 1..12), up in any::<bool>()) {
        let mut contest = contest("bytes");
        contest.score.order = if up { Order::Ascending } else { Order::Descending };
        let entries: Vec<Entry> =
            bytes.iter().enumerate().map(|(i, b)| entry(&format!("t{i}"), f64::from(*b), 0.5)).collect();
        let rows = board(&contest, &entries);
        let mut resampler = crate::statistics::Resampler::new(&contest, &[]).unwrap();
        let draws: Vec<Draws> = rows.iter().map(|row| resampler.draws(&row.measures, &[]).unwrap()).collect();
        for (row, found) in rows.iter().zip(bands(&contest, &rows, &draws.iter().map(Some).collect::<Vec<_>>())) {
            let Standing::Ranked { rank, .. } = row.standing else { panic!() };
            prop_assert_eq!(found, band(rank, rank));
        }
    }

    /// The rank lies in its band, and bands are ordered as the board is when nothing is equal.
    #[test]
    fn a_rank_lies_in_its_band(hits in prop::collection::vec(prop::collection::vec(any::<bool>(), 40), 1..8)) {
        let contest = contest("acc.t.acc.none");
        let items = |hits: &[bool]| [ItemScores {
            task: "t".into(),
            key: "acc,none".into(),
            values: hits.iter().map(|hit| Some(f64::from(u8::from(*hit)))).collect(),
        }];
        let entries: Vec<Entry> = hits.iter().enumerate().map(|(i, hits)| {
            entry(&format!("t{i}"), 1.0, hits.iter().filter(|hit| **hit).count() as f64 / 40.0)
        }).collect();
        let rows = board(&contest, &entries);
        let mut resampler = crate::statistics::Resampler::new(&contest, &[]).unwrap();
        let draws: Vec<Draws> = rows.iter().map(|row| {
            let own = &hits[row.team[1..].parse::<usize>().unwrap()];
            resampler.draws(&row.measures, &items(own)).unwrap()
        }).collect();
        let found = bands(&contest, &rows, &draws.iter().map(Some).collect::<Vec<_>>());
        for (row, band) in rows.iter().zip(found) {
            let (Standing::Ranked { rank, .. }, Some(band)) = (&row.standing, band) else { panic!() };
            prop_assert!(band.best <= *rank && *rank <= band.worst && band.worst as usize <= rows.len());
        }
    }
}
