//! `assay-web migrate`.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::settings::StoreSettings;
use crate::{MIGRATOR, telemetry};

/// Applies what is missing. Two of these at once take turns; running it again changes nothing.
pub async fn run(store: StoreSettings) -> anyhow::Result<()> {
    telemetry::init(false);
    let mut database = PgConnection::connect(&store.database_url)
        .await
        .context("cannot reach the database")?;
    MIGRATOR
        .run(&mut database)
        .await
        .context("the schema could not be brought up to date")?;
    println!("the schema is up to date");
    Ok(())
}
