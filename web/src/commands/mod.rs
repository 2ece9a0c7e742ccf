//! The program's verbs, one file each.

mod create_organizer;
mod enrol_worker;
mod import_contest;
mod migrate;
mod relay;
mod seal;
mod serve;
mod submit_sample;

use clap::{Parser, Subcommand};
use sqlx::PgPool;

use crate::settings::{Settings, StoreSettings};
use crate::startup;

/// The web application of Assay: pages, API, uploads, queue and admin.
#[derive(Parser)]
#[command(name = "assay-web", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until told to stop.
    Serve(Box<Settings>),
    /// Bring the database's schema up to date.
    Migrate(StoreSettings),
    /// Read a contest.toml with its base and tasks, and store it. Again with changes: the next version.
    ImportContest(import_contest::Arguments),
    /// Choose documents of a contest to keep back until they are revealed. Prints what to write into contest.toml.
    Seal(seal::Arguments),
    /// Make an organizer's account, or make an existing account one. The password comes from ASSAY_PASSWORD or the
    /// first line of standard input.
    CreateOrganizer(create_organizer::Arguments),
    /// Announce waiting jobs on the broker, without serving anything else.
    Relay(relay::Arguments),
    /// Print a one-time token with which a worker enrols.
    EnrolWorker(enrol_worker::Arguments),
    /// Submit a folder for a team without a browser. Once a (team, title).
    SubmitSample(submit_sample::Arguments),
}

/// Parses the command line and does what it says.
pub async fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(settings) => serve::run(*settings).await,
        Command::Migrate(store) => migrate::run(store).await,
        Command::ImportContest(arguments) => import_contest::run(arguments).await,
        Command::Seal(arguments) => seal::run(&arguments),
        Command::CreateOrganizer(arguments) => create_organizer::run(arguments).await,
        Command::Relay(arguments) => relay::run(arguments).await,
        Command::EnrolWorker(arguments) => enrol_worker::run(arguments).await,
        Command::SubmitSample(arguments) => submit_sample::run(arguments).await,
    }
}

/// A few connections to a database whose schema is current: what every verb but `migrate` starts with.
async fn open(store: &StoreSettings) -> anyhow::Result<PgPool> {
    crate::telemetry::init(false);
    let pool = startup::connect(store, 2).await?;
    startup::check_schema(&pool).await?;
    Ok(pool)
}
