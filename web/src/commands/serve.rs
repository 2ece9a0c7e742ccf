//! `assay-web serve`.

use tokio::signal::unix::{SignalKind, signal};

use crate::settings::Settings;
use crate::startup::Application;
use crate::telemetry;

/// Serves until SIGTERM or SIGINT, then ends streams, lets uploads commit, and waits for requests in flight. A second
/// signal ends the process at once.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::init(settings.log_json);
    telemetry::log_panics();
    tracing::info!(?settings, "starting");
    let application = Application::build(settings).await?;
    let stopper = application.stopper();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round > 0 {
                tracing::warn!("told twice to stop: ending at once");
                std::process::exit(1);
            }
            tracing::info!("stopping");
            stopper.cancel();
        }
    });
    // For whoever started us on port 0.
    println!("listening on http://{}", application.address());
    application.run().await?;
    tracing::info!("stopped");
    Ok(())
}
