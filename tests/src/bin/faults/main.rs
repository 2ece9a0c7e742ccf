//! Kills parts of a running Assay at random under load and checks that nothing is lost and nothing is counted twice.
//!
//! ```text
//! tests/faults --rounds 50 --out docs/reliability.md
//! ```
//! Nothing is replaced: two web processes on one database and one data folder, a relay, a RabbitMQ node, a Postgres cluster,
//! two workers that really grade, and teams that upload over HTTP and never give up. Each round kills one of them with
//! `SIGKILL` at a random moment, waits a little, and starts it again. What teams were promised is written down as they hear it
//! and held against the database, the disk and the board afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod chance;
mod parts;
mod promises;
mod summary;
mod team;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chance::Chance;
use clap::Parser;
use parts::{Parts, Victim};
use promises::Promises;
use summary::{Round, Summary};

/// Kills parts of a running Assay at random and checks what it promised.
#[derive(Parser)]
struct Arguments {
    /// Rounds: one kill and one restart each
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Teams that upload at the same time
    #[arg(long, default_value_t = 6)]
    teams: usize,
    /// Seed of every random choice; a run is not repeatable beyond its choices, since processes race
    #[arg(long)]
    seed: Option<u64>,
    /// Only these victims (web, relay, worker, broker, database), separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Victim>,
    /// Writes the summary here
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keeps the folder with databases, uploads and logs
    #[arg(long)]
    keep: bool,
}

/// Longest time that a round may go without a byte acknowledged, a submission accepted or a grade published.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Longest time for everything that was accepted to be graded once the killing has stopped.
const DRAIN: Duration = Duration::from_secs(900);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| std::process::id().into());
    let mut chance = Chance::new(seed);
    let mut parts = Parts::start(arguments.keep).await?;
    let promises = Arc::new(Promises::default());
    let teams: Vec<_> = (0..arguments.teams)
        .map(|number| {
            let (addresses, promises) = (parts.addresses(), promises.clone());
            tokio::spawn(async move {
                team::compete(number, seed, addresses, &promises)
                    .await
                    .inspect_err(|error| {
                        // A team that gives up was let down: the run must not end as if nothing had happened.
                        promises.with(|told| told.broken.push(format!("team {number} gave up: {error:#}")));
                        eprintln!("team {number} gave up: {error:#}");
                    })
            })
        })
        .collect();
    promises
        .wait_for(|told| told.accepted.len() >= arguments.teams, STANDSTILL)
        .await?;

    let victims = if arguments.only.is_empty() {
        Victim::ALL.to_vec()
    } else {
        arguments.only
    };
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        // Every victim in turn, so that each is hit equally often; the moment is what chance decides.
        let victim = victims[(number - 1) % victims.len()];
        tokio::time::sleep(chance.between(300, 4000)).await;
        let what = parts.kill(victim, &mut chance)?;
        tokio::time::sleep(chance.between(0, 2500)).await;
        let started = Instant::now();
        parts.restart(victim).await?;
        let seen = promises.count();
        promises.wait_for_more(seen, STANDSTILL).await?;
        let round = Round {
            victim,
            what,
            back: started.elapsed(),
        };
        audit::committed_bytes(&parts, &promises).await?;
        println!("round {number}: {}", round.line());
        rounds.push(round);
    }

    promises.stop();
    for team in teams {
        team.await?.ok();
    }
    let found = audit::everything(&mut parts, &promises, DRAIN).await?;
    let summary = Summary {
        seed,
        teams: arguments.teams,
        rounds,
        found,
    };
    println!("\n{}", summary.text());
    if let Some(out) = arguments.out {
        std::fs::write(&out, summary.page())?;
    }
    anyhow::ensure!(summary.found.wrong.is_empty(), "{}", summary.found.wrong.join("\n"));
    Ok(())
}
