//! `assay-web relay`.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::dispatch_metrics::DispatchMetrics;
use crate::relay::Relay;
use crate::settings::{BrokerSettings, StoreSettings};

/// What it needs.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    broker: BrokerSettings,
}

/// Relays until SIGTERM or SIGINT. `serve` does the same by itself where it is given the broker's address; this is for
/// those who want it in a process of its own.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let pool = super::open(&arguments.store).await?;
    let url = arguments
        .broker
        .amqp_url
        .context("which broker? Give --amqp-url or ASSAY_AMQP_URL")?;
    let stopping = CancellationToken::new();
    let relay = Relay {
        pool,
        url,
        queue: arguments.broker.amqp_queue,
        metrics: DispatchMetrics::new(&prometheus::Registry::new())?,
        stopping: stopping.clone(),
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    println!("relaying");
    relay.run().await;
    Ok(())
}
