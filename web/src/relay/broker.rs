//! One connection to RabbitMQ with confirms. The queue is durable and replicated and has no other argument, so that every
//! version since 3.8 takes it; limits and lifetimes are the operator's, as policies.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::db::outbox::Due;
use crate::dispatch_metrics::DispatchMetrics;
use crate::reconciler;

/// Longest that connecting and declaring may take together.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest that the confirms of one batch may take; below the relay's lease on the rows.
const CONFIRM: Duration = Duration::from_secs(15);
/// `delivery-mode`: written to disk before it is confirmed.
const PERSISTENT: u8 = 2;

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mood {
    Open,
    Blocked(String),
    Gone(String),
}

/// See the module.
pub(super) struct Broker {
    channel: Channel,
    queue: String,
    mood: watch::Receiver<Mood>,
    // Held: dropping it closes the channel.
    _connection: Connection,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Published {
    /// Rows the broker has taken.
    pub(super) confirmed: Vec<i64>,
    /// The others, and why the first of them was not taken.
    pub(super) failed: Option<(Vec<i64>, String)>,
}

impl Published {
    fn fail(&mut self, row: i64, error: impl Into<String>) {
        self.failed
            .get_or_insert_with(|| (Vec::new(), error.into()))
            .0
            .push(row);
    }
}

impl Broker {
    pub(super) async fn connect(url: &str, queue: &str, metrics: &DispatchMetrics) -> anyhow::Result<Broker> {
        timeout(CONNECT, Broker::open(url, queue, metrics))
            .await
            .context("the broker does not answer")?
    }

    async fn open(url: &str, queue: &str, metrics: &DispatchMetrics) -> anyhow::Result<Broker> {
        let properties = ConnectionProperties::default().with_connection_name("assay-web relay".into());
        let connection = Connection::connect(url, properties)
            .await
            .context("cannot connect to the broker")?;
        let (tell, mood) = watch::channel(Mood::Open);
        let (mut events, blocked) = (connection.events_listener(), metrics.broker_blocked.clone());
        blocked.set(0);
        tokio::spawn(async move {
            // Ends with the connection, or when the broker's last listener is dropped.
            while let Some(event) = events.next().await {
                let mood = match event {
                    Event::ConnectionBlocked(reason) => Mood::Blocked(reason),
                    Event::ConnectionUnblocked | Event::Connected => Mood::Open,
                    Event::Error(error) => Mood::Gone(error.to_string()),
                    _ => continue,
                };
                blocked.set(i64::from(matches!(mood, Mood::Blocked(_))));
                let gone = matches!(mood, Mood::Gone(_));
                if tell.send(mood).is_err() || gone {
                    break;
                }
            }
            blocked.set(0);
        });
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declared = channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await;
        let channel = match declared {
            Ok(_) => channel,
            Err(error) => {
                // One that the operator made otherwise is as good, as long as it is there.
                tracing::warn!(%error, queue, "the queue is not what would be declared; using it as it is");
                let channel = connection.create_channel().await?;
                let passive = QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                };
                channel
                    .queue_declare(queue.into(), passive, FieldTable::default())
                    .await
                    .context("the queue cannot be declared")?;
                channel
            }
        };
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Broker {
            channel,
            queue: queue.to_owned(),
            mood,
            _connection: connection,
        })
    }

    /// Waits while the broker asks for silence.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        loop {
            let mood = self.mood.borrow_and_update().clone();
            match mood {
                Mood::Open if self.channel.status().connected() => return Ok(()),
                Mood::Open => bail!("the channel is closed"),
                Mood::Gone(error) => bail!("the connection broke: {error}"),
                Mood::Blocked(reason) => {
                    tracing::warn!(reason, "the broker takes no messages for now");
                    self.mood.changed().await.context("the connection is gone")?;
                }
            }
        }
    }

    /// Waits until the connection is blocked, unblocked or broken.
    pub(super) async fn changed(&mut self) -> anyhow::Result<()> {
        self.mood.changed().await.context("the connection is gone")
    }

    /// Publishes rows and waits for their confirms. A message that comes back, because nothing is there to hold it, counts
    /// as not taken although the broker "acks" it.
    pub(super) async fn publish(&self, rows: &[&Due]) -> Published {
        let mut published = Published::default();
        let mut waiting = Vec::with_capacity(rows.len());
        let until = Instant::now() + CONFIRM;
        for row in rows {
            let properties = BasicProperties::default()
                .with_message_id(row.dedupe_key.to_string().into())
                .with_type(row.topic.as_str().into())
                .with_content_type("application/json".into())
                .with_delivery_mode(PERSISTENT)
                // A bell nobody heard until it is rung again need not be kept.
                .with_expiration(reconciler::PATIENCE.as_millis().to_string().into());
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let body = row.payload.to_string();
            let sent = self.channel.basic_publish(
                "".into(),
                self.queue.as_str().into(),
                options,
                body.as_bytes(),
                properties,
            );
            match timeout_at(until, sent).await {
                Ok(Ok(confirm)) => waiting.push((row.id, confirm)),
                Ok(Err(error)) => published.fail(row.id, error.to_string()),
                Err(_) => published.fail(row.id, "the broker does not read"),
            }
        }
        for (row, confirm) in waiting {
            match timeout_at(until, confirm).await {
                Ok(Ok(Confirmation::Ack(None))) => published.confirmed.push(row),
                Ok(Ok(Confirmation::Ack(Some(_)))) => published.fail(row, "returned: no queue takes it"),
                Ok(Ok(Confirmation::Nack(_))) => published.fail(row, "refused by the broker"),
                Ok(Ok(Confirmation::NotRequested)) => published.fail(row, "confirms are off"),
                Ok(Err(error)) => published.fail(row, error.to_string()),
                Err(_) => published.fail(row, "no confirm in time"),
            }
        }
        published
    }
}
