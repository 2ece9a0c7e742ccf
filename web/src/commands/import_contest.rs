//! `assay-web import-contest`.

use std::path::PathBuf;

use crate::ingest;
use crate::settings::StoreSettings;
use crate::storage::Storage;

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
    /// The contest.toml; the folders it names are found from where it lies.
    file: PathBuf,
}

/// Stores the rules and every file a grade needs.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    let storage = Storage::open(&arguments.store.data_dir)?;
    let imported = ingest::import_contest(&pool, &storage, &arguments.file).await?;
    println!("{imported}");
    Ok(())
}
