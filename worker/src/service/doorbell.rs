//! The doorbell: a queue of the broker on which waiting jobs are announced. A message gives no right to anything; whoever
//! hears it asks the server, and only the server's answer is work. So a message that is lost, late or doubled costs nothing
//! but time, and without a broker the worker asks by itself.
//!
//! Nothing is consumed while this worker is busy: a message it held meanwhile would be a job nobody else hears of.

use std::time::Duration;

use assay_contest::wire::{Doorbell, Ring};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use tokio::time::{Instant, timeout};

use super::retry::Backoff;

/// Longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest that the broker may take to answer a command.
const COMMAND: Duration = Duration::from_secs(10);

/// What was heard.
pub enum Heard {
    /// A job was announced.
    Ring(Box<Announced>),
    /// Nothing, for as long as was waited.
    Nothing,
    /// The line is down; for some time there is no use in listening.
    Down,
}

/// An announcement that has not been answered yet.
pub struct Announced {
    delivery: Delivery,
    /// The job it names, if it names one.
    pub job_id: Option<String>,
}

/// The doorbell, connected or not.
pub struct Bell {
    at: Doorbell,
    name: String,
    line: Option<Line>,
    backoff: Backoff,
    again: Instant,
}

struct Line {
    // Held: dropping it hangs up.
    _connection: Connection,
    channel: Channel,
    consumer: Option<Consumer>,
}

impl Bell {
    /// Not connected yet; `name` is shown in the broker's list of connections.
    pub fn new(at: Doorbell, name: &str) -> Bell {
        Bell {
            at,
            name: name.to_owned(),
            line: None,
            backoff: Backoff::default(),
            again: Instant::now(),
        }
    }

    /// Whether this is the bell at that address.
    pub fn is_at(&self, at: &Doorbell) -> bool {
        self.at == *at
    }

    /// Connects when there is no line and it is time to try. True: a line was just opened, and what was announced before
    /// may have been missed.
    pub async fn connect(&mut self) -> bool {
        if self.line.is_some() || Instant::now() < self.again {
            return false;
        }
        match timeout(CONNECT, open(&self.at, &self.name)).await {
            Ok(Ok(line)) => {
                tracing::info!(queue = self.at.queue, "listening for announcements");
                self.line = Some(line);
                self.backoff.reset();
                true
            }
            Ok(Err(error)) => {
                self.hang_up(&error.to_string());
                false
            }
            Err(_) => {
                self.hang_up("no answer");
                false
            }
        }
    }

    /// Whether there is a line.
    pub fn is_up(&self) -> bool {
        self.line.is_some()
    }

    fn hang_up(&mut self, why: &str) {
        let wait = self.backoff.next(None);
        tracing::warn!(
            why,
            "no line to the broker; asking the server instead, trying again in {wait:?}"
        );
        self.line = None;
        self.again = Instant::now() + wait;
    }

    /// Listens for an announcement, for at most `patience`. Safe to drop at any time: an announcement that was not handed
    /// out returns to the queue with the line.
    pub async fn listen(&mut self, patience: Duration) -> Heard {
        let heard = match &mut self.line {
            None => return Heard::Down,
            Some(line) => match timeout(patience, next(line, &self.at.queue, &self.name)).await {
                Err(_) => return Heard::Nothing,
                Ok(heard) => heard,
            },
        };
        match heard {
            Ok(delivery) => {
                let ring: Option<Ring> = serde_json::from_slice(&delivery.data).ok();
                Heard::Ring(Box::new(Announced {
                    delivery,
                    job_id: ring.map(|ring| ring.job_id),
                }))
            }
            Err(error) => {
                self.hang_up(&error);
                Heard::Down
            }
        }
    }

    /// Takes an announcement off the queue: the server has been asked, whatever it said. Where the answer was work, nothing
    /// more is listened for until [`Bell::listen`] is called again.
    pub async fn answered(&mut self, announced: Announced, busy: bool) {
        if busy {
            self.stop_listening().await;
        }
        let acked = timeout(COMMAND, announced.delivery.acker.ack(BasicAckOptions::default())).await;
        match acked {
            Ok(Ok(true)) => {}
            // It comes back to somebody, who asks and hears that there is nothing: harmless.
            Ok(Ok(false)) => tracing::debug!("the announcement had gone with its line"),
            Ok(Err(error)) => self.hang_up(&error.to_string()),
            Err(_) => self.hang_up("the broker does not take an ack"),
        }
    }

    /// Gives an announcement back: the server could not be asked, or this worker is about to stop.
    pub async fn give_back(&mut self, announced: Announced) {
        self.stop_listening().await;
        let back = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        match timeout(COMMAND, announced.delivery.acker.nack(back)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.hang_up(&error.to_string()),
            Err(_) => self.hang_up("the broker does not take a message back"),
        }
    }

    /// Lets other workers hear what is announced from now on.
    pub async fn stop_listening(&mut self) {
        let Some(line) = &mut self.line else { return };
        let Some(consumer) = line.consumer.take() else { return };
        let cancel = line.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        match timeout(COMMAND, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.hang_up(&error.to_string()),
            Err(_) => self.hang_up("the broker does not answer"),
        }
    }
}

async fn open(at: &Doorbell, name: &str) -> lapin::Result<Line> {
    let properties = ConnectionProperties::default().with_connection_name(format!("assay-worker {name}").into());
    let connection = Connection::connect(&at.url, properties).await?;
    let channel = connection.create_channel().await?;
    // One at a time: the second may be somebody else's.
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let mut line = Line {
        _connection: connection,
        channel,
        consumer: None,
    };
    // Nothing is declared: an account of a worker may read the queue and do nothing else.
    consume(&mut line, &at.queue, name).await?;
    Ok(line)
}

async fn consume(line: &mut Line, queue: &str, name: &str) -> lapin::Result<()> {
    let tag = format!("{name} {}", uuid::Uuid::new_v4().simple());
    let consumer = line
        .channel
        .basic_consume(
            queue.into(),
            tag.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    line.consumer = Some(consumer);
    Ok(())
}

async fn next(line: &mut Line, queue: &str, name: &str) -> Result<Delivery, String> {
    if line.consumer.is_none() {
        consume(line, queue, name).await.map_err(|error| error.to_string())?;
    }
    match &mut line.consumer {
        Some(consumer) => match consumer.next().await {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the broker ended the subscription".to_owned()),
        },
        None => Err("no subscription".to_owned()),
    }
}
