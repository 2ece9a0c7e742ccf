//! `assay-web migrate`.

use anyhow::Context as _;

use crate::settings::StoreSettings;
use crate::{MIGRATOR, startup, telemetry};

/// Applies what is missing. Two of these at once take turns; running it again changes nothing.
pub async fn run(store: StoreSettings) -> anyhow::Result<()> {
    telemetry::init(false);
    let pool = startup::connect(&store, 1).await?;
    MIGRATOR
        .run(&pool)
        .await
        .context("the schema could not be brought up to date")?;
    println!("the schema is up to date");
    Ok(())
}
