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
    /// The key of a contest that seals documents, as `assay-web seal` made it. Needed once; kept on the server.
    #[arg(long)]
    sealed_key_file: Option<PathBuf>,
}

/// Stores the rules and every file a grade needs.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    let storage = Storage::open(&arguments.store.data_dir)?;
    let key = arguments.sealed_key_file.as_deref();
    let imported = ingest::import_contest(&pool, &storage, &arguments.file, key).await?;
    println!("{imported}");
    Ok(())
}
