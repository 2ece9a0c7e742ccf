use super::*;

fn contest(formula: &str, resamples: u32) -> Contest {
    let mut contest = crate::sample::contest();
    contest.score.formula = formula.to_owned();
    contest.score.resamples = resamples;
    contest.score.decimals = 12;
    contest
}

fn items(task: &str, values: impl IntoIterator<Item = Option<f64>>) -> ItemScores {
    ItemScores {
        task: task.into(),
        key: "acc,none".into(),
        values: values.into_iter().collect(),
    }
}

/// Right on two of three, in a pattern that differs by task.
fn hits(task: &str, n: usize, step: usize) -> ItemScores {
    items(
        task,
        (0..n).map(|i| Some(f64::from(u8::from(!(i * step).is_multiple_of(3))))),
    )
}

/// The mean of each resample, document by document: what the planes count.
fn naive(item: &ItemScores, resamples: usize) -> Vec<f64> {
    let mut random = SplitMix64::of(&item.task);
    let n = item.values.len();
    (0..resamples)
        .map(|_| {
            let drawn: Vec<f64> = (0..n).filter_map(|_| item.values[random.below(n)]).collect();
            drawn.iter().sum::<f64>() / drawn.len() as f64
        })
        .collect()
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-11 || (a.is_nan() && b.is_nan()), "{a} {b}");
    }
}

#[test]
fn planes_count_what_was_drawn() {
    let contest = contest("acc.t.acc.none", 300);
    let half = |i: usize| f64::from(u8::try_from(i % 5).unwrap()) / 4.0;
    for item in [
        hits("t", 1, 1),
        hits("t", 63, 1),
        hits("t", 64, 2),
        hits("t", 200, 1),
        items("t", (0..130).map(|i| Some(half(i)))),
        items("t", (0..130).map(|i| (i % 7 > 0).then(|| half(i)))),
        items(
            "t",
            (0..90).map(|i| (i % 4 > 0).then(|| f64::from(u8::from(i % 3 > 0)))),
        ),
        items("t", [None, Some(1.0)]),
    ] {
        let found = Resampler::new(&contest, &[])
            .unwrap()
            .draws(&Measures::default(), std::slice::from_ref(&item))
            .unwrap();
        close(found.scores(), &naive(&item, 300));
    }
}

#[test]
fn the_formula_is_evaluated_in_every_resample() {
    let contest = contest(
        "0.5 * min(acc.t.acc.none / base.acc.mini_arc.acc.none, 1) + base.bytes / bytes",
        50,
    );
    let own = hits("t", 40, 1);
    let measures = Measures::from_iter([("bytes", 1e6), ("acc.t.acc.none", 0.9)]);
    let found = Resampler::new(&contest, &[])
        .unwrap()
        .draws(&measures, std::slice::from_ref(&own))
        .unwrap();
    let base = contest.base.measures["acc.mini_arc.acc.none"];
    let size = contest.base.bytes as f64 / 1e6;
    let wanted: Vec<f64> = naive(&own, 50)
        .into_iter()
        .map(|acc| 0.5 * (acc / base).min(1.0) + size)
        .collect();
    close(found.scores(), &wanted);
    let (low, high) = found.interval(0.95).unwrap();
    assert!(low < high && found.scores().iter().any(|s| *s < low) && found.scores().iter().any(|s| *s > high));
}

#[test]
fn groups_are_means_over_documents_or_over_tasks() {
    let (a, b) = (hits("a", 30, 1), hits("b", 90, 2));
    for weight_by_size in [true, false] {
        let contest = contest("acc.g.acc.none", 40);
        let group = Pooled {
            measure: "acc.g.acc.none".into(),
            tasks: vec!["a".into(), "b".into()],
            weight_by_size,
        };
        let items = [a.clone(), b.clone()];
        let found = Resampler::new(&contest, &[group])
            .unwrap()
            .draws(&Measures::default(), &items)
            .unwrap();
        let (wa, wb) = if weight_by_size { (0.25, 0.75) } else { (0.5, 0.5) };
        let both = naive(&a, 40).into_iter().zip(naive(&b, 40));
        let wanted: Vec<f64> = both.map(|(a, b)| wa * a + wb * b).collect();
        close(found.scores(), &wanted);
    }
}

#[test]
fn what_is_missing_or_undefined_is_told() {
    let contest = contest("1 / (acc.t.acc.none - acc.u.acc.none)", 20);
    let mut resampler = Resampler::new(&contest, &[]).unwrap();
    let error = resampler.draws(&Measures::default(), &[hits("t", 9, 1)]).unwrap_err();
    assert_eq!(error.code(), "measure-missing");
    // Always right on both: the formula divides by zero.
    let right = |task| items(task, vec![Some(1.0); 9]);
    let found = resampler
        .draws(&Measures::default(), &[right("t"), right("u")])
        .unwrap();
    assert!(found.scores().iter().all(|score| score.is_nan()));
    assert_eq!(found.interval(0.95), None);
    // Of two documents one has no value: some resamples draw that one alone.
    let none = resampler
        .draws(&Measures::default(), &[items("t", []), right("u")])
        .unwrap();
    assert!(none.scores().iter().all(|score| score.is_nan()));
}

#[test]
fn draws_do_not_depend_on_who_came_before() {
    let contest = contest("acc.t.acc.none", 100);
    let (first, second) = (hits("t", 50, 1), hits("t", 50, 2));
    let mut shared = Resampler::new(&contest, &[]).unwrap();
    shared.draws(&Measures::default(), &[first]).unwrap();
    let after = shared
        .draws(&Measures::default(), std::slice::from_ref(&second))
        .unwrap();
    let alone = Resampler::new(&contest, &[])
        .unwrap()
        .draws(&Measures::default(), &[second])
        .unwrap();
    assert_eq!(after, alone);
    // Better on each document is never worse in a resample.
    let all = shared
        .draws(&Measures::default(), &[items("t", vec![Some(1.0); 50])])
        .unwrap();
    assert!(all.scores().iter().zip(after.scores()).all(|(all, some)| all >= some));
}
