//! `assay-web seal`.

use std::path::PathBuf;

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    /// The contest.toml; its tasks are found from where it lies.
    file: PathBuf,
    /// Share of each task's documents to seal, between 0 and 1; the one in contest.toml where there is one.
    #[arg(long)]
    share: Option<f64>,
    /// The key that chooses the documents. Made where there is no such file: keep it secret, and do not lose it.
    #[arg(long)]
    key_file: PathBuf,
}

/// Prints what to write into contest.toml. Neither touches a database.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "{}",
        crate::sealing::seal(&arguments.file, arguments.share, &arguments.key_file)?
    );
    Ok(())
}
