//! `assay-web submit-sample`.

use std::path::PathBuf;

use crate::ingest;
use crate::settings::StoreSettings;
use crate::storage::Storage;

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
    /// Team to submit for; made when there is none of this name.
    #[arg(long)]
    team: String,
    /// Title of the submission.
    #[arg(long)]
    title: String,
    /// The checkpoint's folder.
    dir: PathBuf,
}

/// The same verification and the same transaction as a submission by browser.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    let storage = Storage::open(&arguments.store.data_dir)?;
    let submitted = ingest::submit_sample(&pool, &storage, &arguments.team, &arguments.title, &arguments.dir).await?;
    println!("{submitted}");
    Ok(())
}
