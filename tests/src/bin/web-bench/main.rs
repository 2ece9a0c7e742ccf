//! Measures the web application against what the machine itself reaches, in one run: figure, floor, ratio.
//!
//! `tests/bench` runs it. `ASSAY_BENCH_BYTES` is the length of the upload (2 GB unless set).

mod board;
mod precheck;
mod server;
mod upload;

use std::env;

use anyhow::Context as _;

/// One line of the summary.
pub struct Line {
    what: &'static str,
    figure: String,
    floor: String,
    /// What was reached of the floor or of the limit; the goal beside it.
    ratio: String,
    goal: &'static str,
    met: bool,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some("constant") {
        let bytes = arguments.next().context("constant BYTES PORT")?.parse()?;
        return board::constant(bytes, arguments.next().context("constant BYTES PORT")?.parse()?).await;
    }
    let bytes: u64 = match env::var("ASSAY_BENCH_BYTES") {
        Ok(bytes) => bytes.parse().context("ASSAY_BENCH_BYTES is no number")?,
        Err(_) => 2_000_000_000,
    };
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!(
        "assay-web, {build} build, {} cores",
        std::thread::available_parallelism()?
    );
    let server = server::Server::start(bytes).await?;
    let mut lines = upload::measure(&server, bytes).await?;
    lines.push(precheck::measure(&server).await?);
    lines.extend(board::measure(&server).await?);
    println!("\n{:<34} {:>22} {:>22} {:>8}  goal", "what", "figure", "floor", "ratio");
    for line in &lines {
        let met = if line.met { "met" } else { "MISSED" };
        println!(
            "{:<34} {:>22} {:>22} {:>8}  {} ({met})",
            line.what, line.figure, line.floor, line.ratio, line.goal
        );
    }
    Ok(())
}
