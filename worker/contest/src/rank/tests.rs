use proptest::prelude::*;

use super::*;
use crate::rules::{Floor, Judge};

/// The sample's rules with `formula`, a floor under `acc.t.acc.none` and two decimals, so that ties happen.
fn contest(formula: &str, order: Order) -> Contest {
    let mut contest = crate::sample::contest();
    contest.base.bytes = 1000;
    contest.score.formula = formula.to_owned();
    contest.score.order = order;
    contest.score.decimals = 2;
    contest.score.floors = vec![Floor {
        measure: "acc.t.acc.none".to_owned(),
        at_least: 0.5,
        judge: Judge::Value,
    }];
    contest
}

fn entry(team: &str, submission: &str, minute: u32, bytes: f64, accuracy: f64) -> Entry {
    Entry {
        submission: submission.to_owned(),
        team: team.to_owned(),
        received_at: format!("2026-05-01T10:{minute:02}:00+09:00"),
        measures: Measures::from_iter([("bytes", bytes), ("acc.t.acc.none", accuracy)]),
    }
}

fn ranks(rows: &[Row]) -> Vec<(&str, Option<u32>)> {
    rows.iter()
        .map(|row| match &row.standing {
            Standing::Ranked { rank, .. } => (row.submission.as_str(), Some(*rank)),
            _ => (row.submission.as_str(), None),
        })
        .collect()
}

#[test]
fn the_best_of_each_team_ranks_and_equal_numbers_share_a_rank() {
    let contest = contest("base.bytes / bytes", Order::Descending);
    let entries = [
        entry("a", "a1", 1, 500.0, 0.9),
        entry("a", "a2", 2, 400.0, 0.9),
        // Smaller still, but below the floor: the older best stands.
        entry("a", "a3", 3, 100.0, 0.2),
        // 2.5 and 2.499…: the same number on the board, hence the same rank, the earlier first.
        entry("b", "b1", 0, 400.1, 0.9),
        entry("c", "c1", 4, 800.0, 0.9),
        entry("d", "d1", 5, 10.0, 0.4),
        entry("e", "e1", 6, 10.0, 0.45),
        entry("f", "f1", 7, 0.0, 0.9),
    ];
    let rows = board(&contest, &entries);
    assert_eq!(
        ranks(&rows),
        [
            ("b1", Some(1)),
            ("a2", Some(1)),
            ("c1", Some(3)),
            ("e1", None),
            ("d1", None),
            ("f1", None)
        ]
    );
    assert_eq!(rows[0].standing, Standing::Ranked { rank: 1, score: 2.5 });
    let missed = Standing::BelowFloor {
        measure: "acc.t.acc.none".into(),
        value: 0.45,
        bound: None,
        at_least: 0.5,
        score: Some(100.0),
    };
    assert_eq!(rows[3].standing, missed);
    let Standing::Unscored { reason } = &rows[5].standing else {
        panic!("{:?}", rows[5])
    };
    assert_eq!(reason.en, "the formula divides by zero");
}

#[test]
fn a_floor_on_the_interval_asks_for_certainty() {
    let mut contest = contest("base.bytes / bytes", Order::Descending);
    contest.score.floors[0].judge = Judge::LowerBound;
    let measured = |accuracy: f64, items: f64| {
        let mut entry = entry("a", "a1", 1, 500.0, accuracy);
        let stderr = (accuracy * (1.0 - accuracy) / (items - 1.0)).sqrt();
        entry.measures.0.insert("acc_stderr.t.acc.none".into(), stderr);
        entry.measures.0.insert("items.t".into(), items);
        entry
    };
    let standing = |entry: Entry| board(&contest, &[entry]).remove(0).standing;
    // 59 of 100 is above a half, but not surely; 590 of 1000 is. statsmodels: 0.4920, 0.5592.
    let Standing::BelowFloor { value, bound, .. } = standing(measured(0.59, 100.0)) else {
        panic!("59 of 100 passed")
    };
    assert_eq!((value, bound.map(|b| (b * 1e4).round())), (0.59, Some(4920.0)));
    assert!(matches!(standing(measured(0.59, 1000.0)), Standing::Ranked { .. }));
    // Right in all of three says little; without its interval nothing is judged.
    assert!(matches!(
        standing(measured(1.0, 3.0)),
        Standing::BelowFloor { bound: Some(_), .. }
    ));
    assert!(matches!(
        standing(entry("a", "a1", 1, 500.0, 0.9)),
        Standing::Unscored { .. }
    ));
}

#[test]
fn ascending_boards_put_the_lowest_first() {
    let contest = contest("bytes", Order::Ascending);
    let entries = [
        entry("a", "a1", 1, 5.0, 0.9),
        entry("b", "b1", 2, 4.0, 0.9),
        entry("a", "a2", 3, 3.0, 0.9),
    ];
    assert_eq!(ranks(&board(&contest, &entries)), [("a2", Some(1)), ("b1", Some(2))]);
}

#[test]
fn receipt_is_compared_as_time_and_not_as_text() {
    let contest = contest("1 + 0 * bytes", Order::Descending);
    let mut later = entry("a", "a1", 0, 1.0, 0.9);
    later.received_at = "2026-05-01T02:00:00Z".into();
    let mut earlier = entry("b", "b1", 0, 1.0, 0.9);
    earlier.received_at = "2026-05-01T10:59:59+09:00".into();
    let mut unreadable = entry("c", "c1", 0, 1.0, 0.9);
    unreadable.received_at = "2026".into();
    let rows = board(&contest, &[later, unreadable, earlier]);
    assert_eq!(ranks(&rows), [("b1", Some(1)), ("a1", Some(1)), ("c1", Some(1))]);
}

#[test]
fn a_report_cannot_speak_for_the_base() {
    let contest = contest("base.bytes / bytes", Order::Descending);
    let mut cheat = entry("a", "a1", 1, 500.0, 0.9);
    cheat.measures.0.insert("base.bytes".into(), 1e12);
    assert_eq!(
        board(&contest, &[cheat.clone()])[0].standing,
        Standing::Ranked { rank: 1, score: 2.0 }
    );
    let mut needs_more = contest;
    needs_more.score.formula = "base.time_per_token / bytes".into();
    cheat.measures.0.insert("base.time_per_token".into(), 1e12);
    assert!(matches!(
        board(&needs_more, &[cheat])[0].standing,
        Standing::Unscored { .. }
    ));
}

#[test]
fn rules_that_cannot_be_read_rank_nobody() {
    let contest = contest("bytes +", Order::Descending);
    let rows = board(&contest, &[entry("a", "a1", 1, 500.0, 0.9)]);
    assert!(matches!(rows[0].standing, Standing::Unscored { .. }));
    let mut contest = self::contest("bytes", Order::Descending);
    contest.score.floors[0].at_least = f64::NAN;
    let rows = board(&contest, &[entry("a", "a1", 1, 500.0, 0.9)]);
    assert!(!matches!(rows[0].standing, Standing::Ranked { .. }));
}

#[test]
fn scores_are_shown_with_the_rules_decimals_and_one_zero() {
    let contest = contest("bytes", Order::Descending);
    for (score, shown) in [
        (1.0, "1.00"),
        (0.005, "0.01"),
        (-0.004, "0.00"),
        (-0.0, "0.00"),
        (-1.5, "-1.50"),
    ] {
        assert_eq!(contest.shown(score), shown, "{score}");
    }
    assert_eq!(
        contest
            .score_of(&Measures::from_iter([("bytes", -0.001)]))
            .unwrap()
            .to_bits(),
        0
    );
}

#[test]
fn rows_read_well_as_json() {
    let contest = contest("base.bytes / bytes", Order::Descending);
    let rows = board(&contest, &[entry("a", "a1", 1, 500.0, 0.9)]);
    let json = serde_json::to_value(&rows).unwrap();
    assert_eq!(
        json[0]["standing"],
        serde_json::json!({"kind": "ranked", "rank": 1, "score": 2.0})
    );
    assert_eq!(json[0]["measures"]["bytes"], 500.0);
    assert_eq!(serde_json::from_value::<Vec<Row>>(json).unwrap(), rows);
}

/// A measure as it may come: mostly good, of few different values so that ties happen, else worthless or absent.
fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        12 => (1u32..12).prop_map(|x| Some(f64::from(x) / 8.0)),
        2 => (0.01..2.0f64).prop_map(Some),
        3 => prop::sample::select(vec![
            None, Some(0.0), Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(-1.0),
        ]),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0u32..6, 0u32..4, value(), value()), 0..24).prop_map(|drafts| {
        let mut entries = Vec::new();
        for (i, (team, minute, bytes, accuracy)) in drafts.into_iter().enumerate() {
            let mut entry = entry(&format!("t{team}"), &format!("s{i}"), minute, 0.0, 0.0);
            entry.measures = Measures::default();
            entry.measures.0.extend(bytes.map(|x| ("bytes".to_owned(), x)));
            entry
                .measures
                .0
                .extend(accuracy.map(|x| ("acc.t.acc.none".to_owned(), x)));
            entries.push(entry);
        }
        entries
    })
}

fn rules() -> impl Strategy<Value = Contest> {
    let formula = prop::sample::select(vec![
        "base.bytes / bytes",
        "bytes",
        "ln(bytes) * acc.t.acc.none",
        "if(bytes > 1, 1, acc.t.acc.none)",
    ]);
    let order = prop::sample::select(vec![Order::Descending, Order::Ascending]);
    (formula, order).prop_map(|(formula, order)| contest(formula, order))
}

/// NaN is not equal to itself; bits are.
fn bits(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| format!("{row:?}")).collect()
}

proptest! {
    /// The board is a function of the set of entries.
    #[test]
    fn order_of_entries_does_not_matter(
        contest in rules(),
        (entries, shuffled) in entries().prop_flat_map(|e| (Just(e.clone()), Just(e).prop_shuffle())),
    ) {
        prop_assert_eq!(bits(&board(&contest, &entries)), bits(&board(&contest, &shuffled)));
    }

    /// Even when one submission comes twice with different measures.
    #[test]
    fn not_even_of_two_records_of_one_submission(
        contest in rules(),
        (entries, shuffled) in entries().prop_flat_map(|mut e| {
            e.iter_mut().for_each(|entry| entry.submission = "s".into());
            (Just(e.clone()), Just(e).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(bits(&board(&contest, &entries)), bits(&board(&contest, &shuffled)));
    }

    /// A rank is one more than the number of rows whose shown number is better; and rows stand in that order.
    #[test]
    fn ranks_are_the_sort_of_the_numbers_shown(contest in rules(), entries in entries()) {
        let rows = board(&contest, &entries);
        let shown: Vec<(u32, f64)> = rows.iter().filter_map(|row| match row.standing {
            Standing::Ranked { rank, score } => Some((rank, contest.shown(score).parse().unwrap())),
            _ => None,
        }).collect();
        let better = |a: f64, b: f64| match contest.score.order {
            Order::Descending => a > b,
            Order::Ascending => a < b,
        };
        for &(rank, score) in &shown {
            prop_assert_eq!(rank as usize, 1 + shown.iter().filter(|(_, other)| better(*other, score)).count());
        }
        prop_assert!(shown.is_sorted_by_key(|(rank, _)| *rank));
        // Ranked rows first, and the shown number is the score itself.
        let ranked = rows.iter().take_while(|row| matches!(row.standing, Standing::Ranked { .. })).count();
        prop_assert_eq!(ranked, shown.len());
        for row in &rows {
            if let Standing::Ranked { score, .. } = row.standing {
                prop_assert_eq!(contest.shown(score).parse::<f64>().unwrap(), score);
                prop_assert_eq!(contest.score_of(&row.measures), Ok(score));
            }
        }
    }

    /// Whatever is missing, NaN, infinite or below the floor never ranks; whoever has something that ranks, ranks.
    #[test]
    fn only_whole_results_rank(contest in rules(), entries in entries()) {
        let rows = board(&contest, &entries);
        let eligible = |entry: &Entry| {
            let floor = entry.measures.0.get("acc.t.acc.none").is_some_and(|x| x.is_finite() && *x >= 0.5);
            let whole = contest.measures_used().iter()
                .filter(|name| !contest.score.show.contains(name))
                .all(|name| entry.measures.0.get(name).is_some_and(|x| x.is_finite()));
            floor && whole && contest.score_of(&entry.measures).is_ok()
        };
        for row in &rows {
            let same: Vec<&Entry> = entries.iter().filter(|e| e.team == row.team).collect();
            let own = same.iter().find(|e| e.submission == row.submission).unwrap();
            let ranked = matches!(row.standing, Standing::Ranked { .. });
            prop_assert_eq!(ranked, eligible(own));
            prop_assert_eq!(ranked, same.iter().any(|e| eligible(e)));
        }
        let teams: std::collections::BTreeSet<&str> = entries.iter().map(|e| e.team.as_str()).collect();
        prop_assert_eq!(rows.len(), teams.len());
    }

    /// A submission that is not its team's best can come or go without a trace.
    #[test]
    fn what_is_not_the_best_leaves_no_trace(contest in rules(), entries in entries()) {
        let rows = board(&contest, &entries);
        for gone in 0..entries.len() {
            if rows.iter().any(|row| row.submission == entries[gone].submission) {
                continue;
            }
            let mut rest = entries.clone();
            rest.remove(gone);
            prop_assert_eq!(bits(&board(&contest, &rest)), bits(&rows));
        }
    }
}
