//! `assay-web enrol-worker`.

use crate::db::workers::{self, ENROLMENT_LIFE};
use crate::settings::StoreSettings;

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
}

/// Prints the token alone, so that a script can pass it on.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    println!("{}", workers::create_enrolment(&pool, ENROLMENT_LIFE).await?);
    Ok(())
}
