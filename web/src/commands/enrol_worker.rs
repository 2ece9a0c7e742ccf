//! `assay-web enrol-worker`.

use std::time::Duration;

use crate::db::workers;
use crate::settings::StoreSettings;

/// Time between printing the token and starting the worker with it.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
}

/// Prints the token alone, so that a script can pass it on.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    println!("{}", workers::create_enrolment(&pool, LIFETIME).await?);
    Ok(())
}
