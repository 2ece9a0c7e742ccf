//! The tables of `docs/statistics.md` are what the code computes.

use std::collections::BTreeMap;
use std::fmt::Write;

use assay_contest::Standing;
use assay_contest::statistics::{Comparison, Resampler, bands, compare, resolution, score_resolution};
use assay_contest::wire::ItemScores;

use crate::recorded::{KEYS, contest, items, repository, rows};

const BEGIN: &str = "<!-- fixtures: written by the tests -->\n";
const END: &str = "<!-- end of fixtures -->";
/// Set to write the page instead of checking it.
const WRITE: &str = "ASSAY_WRITE_DOCS";

#[test]
fn the_page_says_what_is_computed() {
    let path = repository().join("docs/statistics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark where the tables begin");
    let (_, after) = rest.split_once(END).expect("the mark where they end");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", tables());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(
            page == wanted,
            "docs/statistics.md is out of date: run this test once with {WRITE}=1"
        );
    }
}

type Pairs<'a> = Vec<(&'a str, &'a str, Comparison)>;

fn tables() -> String {
    let items = items();
    let mut text = String::new();
    let by_key: Vec<Pairs<'_>> = (0..KEYS.len()).map(|at| pairs(&items, at)).collect();
    overview(&mut text, &by_key);
    differing(&mut text, &by_key);
    board(&mut text, &items);
    text
}

/// Every pair of checkpoints on one measure.
fn pairs(items: &BTreeMap<String, Vec<ItemScores>>, at: usize) -> Pairs<'_> {
    let all: Vec<(&String, &ItemScores)> = items.iter().map(|(name, items)| (name, &items[at])).collect();
    let mut pairs = Vec::new();
    for (i, (a, a_items)) in all.iter().enumerate() {
        for (b, b_items) in &all[i + 1..] {
            let found = compare(KEYS[at].0, &a_items.values, &b_items.values, 0.95, 2000).unwrap();
            pairs.push((a.as_str(), b.as_str(), found));
        }
    }
    pairs
}

const BROKEN: [&str; 2] = ["w2a16-g32", "w3a16"];

fn is_with(name: &str) -> impl Fn(&&(&str, &str, Comparison)) -> bool {
    move |(a, b, _)| *a == name || *b == name
}

fn overview(text: &mut String, by_key: &[Pairs<'_>]) {
    text.push_str("Pairs of checkpoints whose accuracies differ by McNemar's exact test (p ≤ 0.05), of 210:\n\n");
    text.push_str(
        "| task | documents | differ | with w2a16-g32 | with w3a16 | others | discordant, median | resolves | at least |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((task, _), pairs) in KEYS.iter().zip(by_key) {
        let differ: Vec<_> = pairs.iter().filter(|(.., c)| c.is_significant(0.95)).collect();
        let with = |name: &str| differ.iter().copied().filter(is_with(name)).count();
        let both = differ
            .iter()
            .filter(|(a, b, _)| BROKEN.contains(a) && BROKEN.contains(b))
            .count();
        let others = differ.len() + both - with(BROKEN[0]) - with(BROKEN[1]);
        let mut discordant: Vec<usize> = pairs
            .iter()
            .filter_map(|(.., c)| c.table)
            .map(|t| t.only_a + t.only_b)
            .collect();
        discordant.sort_unstable();
        let (n, median) = (pairs[0].2.n, discordant[discordant.len() / 2]);
        let edge = resolution(n, median, 0.95).unwrap();
        let resolves = edge
            .difference
            .map_or_else(|| "none".to_owned(), |d| format!("{:.2} %", 100.0 * d));
        writeln!(
            text,
            "| {task} | {n} | {} | {} | {} | {others} | {median} | {resolves} | {:.2} % |",
            differ.len(),
            with(BROKEN[0]),
            with(BROKEN[1]),
            100.0 * edge.least
        )
        .unwrap();
    }
}

fn differing(text: &mut String, by_key: &[Pairs<'_>]) {
    text.push_str("\nThe pairs of the column \"others\", `a` and `b` alone right on so many documents:\n\n");
    text.push_str("| task | a | b | a alone | b alone | difference | 95 % interval | p |\n|---|---|---|---:|---:|---:|---:|---:|\n");
    for ((task, _), pairs) in KEYS.iter().zip(by_key) {
        for (a, b, c) in pairs {
            if !c.is_significant(0.95) || BROKEN.contains(a) || BROKEN.contains(b) {
                continue;
            }
            let table = c.table.unwrap();
            writeln!(
                text,
                "| {task} | {a} | {b} | {} | {} | {:+.4} | {:+.4} … {:+.4} | {:.4} |",
                table.only_a,
                table.only_b,
                c.difference,
                c.interval.0,
                c.interval.1,
                c.p()
            )
            .unwrap();
        }
    }
}

fn board(text: &mut String, items: &BTreeMap<String, Vec<ItemScores>>) {
    let contest = contest();
    let rows = rows(&contest, items);
    let mut resampler = Resampler::new(&contest, &[]).unwrap();
    let draws: Vec<_> = rows
        .iter()
        .map(|row| resampler.draws(&row.measures, &items[&row.team]).unwrap())
        .collect();
    let drawn: Vec<_> = draws.iter().map(Some).collect();
    let resolves = score_resolution(&contest, &rows, &drawn).unwrap();
    writeln!(
        text,
        "\nThe board by the mean of the first four accuracies. Neighbours are told apart from about {resolves:.4}:\n\n\
         | rank | band | checkpoint | score | 95 % interval |\n|---:|---:|---|---:|---:|"
    )
    .unwrap();
    for ((row, draws), band) in rows.iter().zip(&draws).zip(bands(&contest, &rows, &drawn)) {
        let (Standing::Ranked { rank, score }, Some(band)) = (&row.standing, band) else {
            panic!("{row:?}")
        };
        let (low, high) = draws.interval(0.95).unwrap();
        let range = if band.best == band.worst {
            band.best.to_string()
        } else {
            format!("{}–{}", band.best, band.worst)
        };
        writeln!(
            text,
            "| {rank} | {range} | {} | {} | {low:.4} … {high:.4} |",
            row.team,
            contest.shown(*score)
        )
        .unwrap();
    }
}
