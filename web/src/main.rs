//! `assay-web`: see [`assay_web::commands`] for what it can do.

use std::process::ExitCode;

#[actix_web::main]
async fn main() -> ExitCode {
    match assay_web::commands::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assay-web: {error:#}");
            ExitCode::FAILURE
        }
    }
}
