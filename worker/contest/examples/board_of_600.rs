//! How long the bands of a large board take: 600 teams, 5 tasks of 1,319 documents, 2000 resamples.
//!
//!     cargo run --release -p assay-contest --example board_of_600

use std::time::Instant;

use assay_contest::statistics::{Resampler, bands, score_resolution};
use assay_contest::wire::ItemScores;
use assay_contest::{Contest, Entry, Measures, board};

const TEAMS: usize = 600;
const TASKS: usize = 5;
const DOCUMENTS: usize = 1319;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut contest = Contest::parse(include_str!("../../../deploy/sample/contest.toml"))?;
    contest.score.floors.clear();
    let names: Vec<String> = (0..TASKS).map(|task| format!("acc.t{task}.acc.none")).collect();
    contest.score.formula = format!("({}) / {TASKS} + 0 * bytes", names.join(" + "));

    let (mut entries, mut items) = (Vec::new(), Vec::new());
    for team in 0..TEAMS {
        let own: Vec<ItemScores> = (0..TASKS).map(|task| answers(team, task)).collect();
        let means = own.iter().zip(&names).map(|(item, name)| {
            let right: f64 = item.values.iter().flatten().sum();
            (name.clone(), right / DOCUMENTS as f64)
        });
        entries.push(Entry {
            submission: team.to_string(),
            team: team.to_string(),
            received_at: "2026-05-01T10:00:00+09:00".to_owned(),
            measures: Measures::from_iter(means.chain([("bytes".to_owned(), 1e9)])),
        });
        items.push(own);
    }

    let start = Instant::now();
    let rows = board(&contest, &entries);
    println!("board: {:?}", start.elapsed());

    let mut resampler = Resampler::new(&contest, &[])?;
    let start = Instant::now();
    let mut draws = Vec::new();
    for row in &rows {
        draws.push(resampler.draws(&row.measures, &items[row.team.parse::<usize>()?])?);
        if draws.len() == 1 {
            println!("documents drawn, and the first team: {:?}", start.elapsed());
        }
    }
    println!("scores of {TEAMS} teams: {:?}", start.elapsed());

    let drawn: Vec<_> = draws.iter().map(Some).collect();
    let start = Instant::now();
    let bands = bands(&contest, &rows, &drawn);
    println!("bands: {:?}", start.elapsed());
    let width: u32 = bands.iter().flatten().map(|band| band.worst - band.best + 1).sum();
    println!("a band holds {} ranks on average", f64::from(width) / TEAMS as f64);
    println!(
        "neighbours are told apart from {:?}",
        score_resolution(&contest, &rows, &drawn)
    );
    Ok(())
}

/// Right on four to nine of ten documents: better teams on more, the same documents being hard for all.
fn answers(team: usize, task: usize) -> ItemScores {
    let skill = 400 + 500 * team / TEAMS;
    let right = |document: usize| {
        let noise = |seed: usize| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0x3ff;
        let hard = noise(document + 7919 * task) * 7 / 10 + noise(document * 613 + team * 104_729 + task) * 3 / 10;
        hard < skill
    };
    ItemScores {
        task: format!("t{task}"),
        key: "acc,none".to_owned(),
        values: (0..DOCUMENTS)
            .map(|document| Some(f64::from(u8::from(right(document)))))
            .collect(),
    }
}
