//! `assay-worker`: takes a job, grades a checkpoint, reports; and the same by hand.

mod assemble;
mod commands;
mod diff;
mod energy;
mod evaluate;
mod files;
mod grounds;
mod halt;
mod host;
mod locale;
mod merge;
mod models;
mod outcome;
mod outputs;
mod pipeline;
mod progress;
mod rates;
mod record;
mod report;
mod rescore;
mod service;
mod steps;
mod stops;
mod synthetic;
mod texts;
mod thinking;
mod time_track;
mod times;
mod tokenizer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use locale::Locale;

/// Grades compressed EXAONE checkpoints.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Language of what is printed; taken from the environment unless said otherwise
    #[arg(long, global = true, value_enum)]
    lang: Option<Locale>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(commands::inspect::Args),
    Grade(commands::grade::Args),
    Logits(commands::logits::Args),
    Run(commands::run::Args),
    Fidelity(commands::fidelity::Args),
    Formats(commands::formats::Args),
    Rescore(commands::rescore::Args),
    Merge(commands::merge::Args),
    Diff(commands::diff::Args),
    BaseRules(commands::base_rules::Args),
    Bench(commands::bench::Args),
    Bits(commands::bits::Args),
    Survey(commands::survey::Args),
}

/// The command could not do its work: neither a yes nor a no.
const COULD_NOT: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let locale = Locale::choose(cli.lang);
    let result = match cli.command {
        Command::Inspect(args) => commands::inspect::run(args, locale),
        Command::Grade(args) => commands::grade::run(args, locale),
        Command::Logits(args) => commands::logits::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Fidelity(args) => commands::fidelity::run(args),
        Command::Formats(args) => commands::formats::run(args),
        Command::Rescore(args) => commands::rescore::run(args, locale),
        Command::Merge(args) => commands::merge::run(args, locale),
        Command::Diff(args) => commands::diff::run(args, locale),
        Command::BaseRules(args) => commands::base_rules::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Bits(args) => commands::bits::run(args),
        Command::Survey(args) => commands::survey::run(args),
    };
    result.unwrap_or_else(|error| {
        match error.downcast_ref::<grounds::GroundsError>() {
            Some(error) => {
                let mut out = String::new();
                let title = locale.say(
                    "The contest or its files cannot be used",
                    "대회 설정이나 파일을 사용할 수 없습니다",
                );
                report::problems(&mut out, title, &error.problems(), locale);
                eprint!("{out}");
            }
            None => eprintln!("assay-worker: {}", told(&error)),
        }
        ExitCode::from(COULD_NOT)
    })
}

/// An error with its causes, each told once: some name their cause themselves.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |said, cause| {
        let cause = cause.to_string();
        if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}
