//! The relay against a real RabbitMQ: published exactly when confirmed, nothing lost, duplicates harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assay_web::db::outbox;
use assay_web::dispatch_metrics::DispatchMetrics;
use assay_web::relay::Relay;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::desk::{Hand, graded, run, submitted, value, weight_of};
use crate::helpers::{TestApp, TestDatabase, repository};

fn broker() -> String {
    std::env::var("ASSAY_TEST_AMQP_URL").expect("ASSAY_TEST_AMQP_URL names a RabbitMQ; see tests/run")
}

/// Someone who reads a queue of this test's own.
struct Ear {
    _connection: Connection,
    channel: Channel,
    queue: String,
}

/// One message, as it was sent.
#[derive(Debug)]
struct Heard {
    id: String,
    persistent: bool,
    body: Value,
}

impl Ear {
    async fn new(url: &str, queue: &str) -> Ear {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await
            .unwrap();
        Ear {
            _connection: connection,
            channel,
            queue: queue.to_owned(),
        }
    }

    /// Takes all that waits.
    async fn all(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let taken = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(self.queue.as_str().into(), taken).await.unwrap() {
            let properties = &message.delivery.properties;
            heard.push(Heard {
                id: properties.message_id().as_ref().unwrap().to_string(),
                persistent: *properties.delivery_mode() == Some(2),
                body: serde_json::from_slice(&message.delivery.data).unwrap(),
            });
        }
        heard
    }

    async fn delete(&self) {
        let deleted = self
            .channel
            .queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }
}

fn name() -> String {
    format!("test.relay.{}", Uuid::new_v4())
}

fn relay(pool: &PgPool, url: &str, queue: &str) -> Relay {
    Relay {
        pool: pool.clone(),
        url: url.to_owned(),
        queue: queue.to_owned(),
        metrics: DispatchMetrics::new(&prometheus::Registry::new()).unwrap(),
        stopping: CancellationToken::new(),
    }
}

/// Waits until all that is due is published.
async fn emptied(pool: &PgPool, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            .fetch_one(pool)
            .await
            .unwrap();
        if waiting == 0 {
            return;
        }
        if Instant::now() >= until {
            let why: Vec<(i32, Option<String>, i64)> = sqlx::query_as(
                "SELECT attempts, last_error, count(*) FROM outbox WHERE published_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2",
            )
            .fetch_all(pool)
            .await
            .unwrap();
            panic!("{waiting} announcements were never published (tries, last error, how many): {why:?}");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// An announcement of nothing in particular.
async fn announce(pool: &PgPool) -> String {
    let key = Uuid::now_v7();
    sqlx::query("INSERT INTO outbox (dedupe_key, topic, payload) VALUES ($1, 'job.queued', $2)")
        .bind(key)
        .bind(json!({ "v": 1, "job_id": Uuid::now_v7(), "kind": "grade" }))
        .execute(pool)
        .await
        .unwrap();
    key.to_string()
}

#[tokio::test]
async fn a_submission_is_announced_with_its_id_and_nothing_else() {
    let queue = name();
    let app = TestApp::spawn_with(|settings| {
        settings.broker.amqp_url = Some(broker());
        settings.broker.amqp_queue = queue.clone();
    })
    .await;
    app.import_sample().await;
    let ear = Ear::new(&broker(), &queue).await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    let sent = Instant::now();
    emptied(&app.pool, 20).await;
    println!("published after {:?}", sent.elapsed());
    let heard = ear.all().await;
    assert_eq!(heard.len(), 1);
    let key = value::<Uuid>(&app, "SELECT dedupe_key FROM outbox").await.to_string();
    let job = value::<Uuid>(&app, "SELECT id FROM jobs").await;
    assert!(heard[0].persistent && heard[0].id == key, "{heard:?}");
    assert_eq!(heard[0].body, json!({ "v": 1, "job_id": job, "kind": "grade" }));
    assert_eq!(
        value::<Option<Uuid>>(&app, "SELECT claim_token FROM outbox").await,
        None
    );

    // The broker loses everything: what waits is announced again, what does not is not.
    let hand = Hand::enrol(&app, "hand").await;
    ear.channel
        .queue_purge(queue.as_str().into(), QueuePurgeOptions::default())
        .await
        .unwrap();
    let again = |app: &TestApp| {
        let pool = app.pool.clone();
        async move {
            let mut transaction = pool.begin().await.unwrap();
            let count = outbox::reconcile(&mut transaction, Duration::from_secs(180))
                .await
                .unwrap();
            transaction.commit().await.unwrap();
            count
        }
    };
    assert_eq!(again(&app).await, 0, "it was announced a moment ago");
    run(&app, "UPDATE jobs SET announced_at = now() - interval '1 hour'").await;
    let (a, b) = futures_util::future::join(again(&app), again(&app)).await;
    assert_eq!(a + b, 1, "two who look at once announce it once");
    emptied(&app.pool, 20).await;
    assert_eq!(ear.all().await[0].body["job_id"], json!(job));
    let claim = hand.claim(0).await.unwrap();
    run(&app, "UPDATE jobs SET announced_at = now() - interval '1 hour'").await;
    assert_eq!(again(&app).await, 0, "nobody waits");
    hand.put(&claim, graded(0.9, weight_of(&claim))).await;

    // After a day what was published is gone.
    run(&app, "UPDATE outbox SET published_at = now() - interval '25 hours'").await;
    assert_eq!(outbox::sweep(&app.pool).await.unwrap(), 2);
    ear.delete().await;
}

#[tokio::test]
async fn what_no_queue_holds_is_not_called_published() {
    let (database, queue) = (TestDatabase::migrated().await, name());
    let pool = PgPool::connect(&database.url).await.unwrap();
    let ear = Ear::new(&broker(), &queue).await;
    let relay = relay(&pool, &broker(), &queue);
    let (metrics, stopping) = (relay.metrics.clone(), relay.stopping.clone());
    let task = tokio::spawn(relay.run());
    announce(&pool).await;
    emptied(&pool, 20).await;
    // Somebody deletes the queue under a relay that is connected: the broker acks, and gives the message back.
    ear.delete().await;
    let key = announce(&pool).await;
    emptied(&pool, 20).await;
    // Twice where the deletion is still under way when it is tried again.
    assert!(metrics.publish_failures.get() >= 1, "the return was noticed");
    assert_eq!(metrics.published.get(), 2);
    let tries: i32 = sqlx::query_scalar("SELECT attempts FROM outbox ORDER BY id DESC LIMIT 1")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(tries >= 2, "{tries}");
    // It was declared again, and the message is there.
    let heard = ear.all().await;
    assert_eq!(heard.iter().map(|heard| heard.id.clone()).collect::<Vec<_>>(), [key]);
    stopping.cancel();
    task.await.unwrap();
    ear.delete().await;
    pool.close().await;
}

#[tokio::test]
async fn a_relay_that_dies_between_publishing_and_marking_only_rings_twice() {
    let queue = name();
    let app = TestApp::with_contest().await;
    let ear = Ear::new(&broker(), &queue).await;
    let mut browser = app.captain("captain", "Team").await;
    submitted(&mut browser, "gptq", "w4a16-gptq").await;
    // The first relay takes the row, publishes it, and is gone.
    let dead = Uuid::new_v4();
    let rows = outbox::claim(&app.pool, dead, Duration::from_secs(30), 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    let properties = BasicProperties::default().with_message_id(rows[0].dedupe_key.to_string().into());
    let body = rows[0].payload.to_string();
    let sent = ear.channel.basic_publish(
        "".into(),
        queue.as_str().into(),
        BasicPublishOptions::default(),
        body.as_bytes(),
        properties,
    );
    sent.await.unwrap().await.unwrap();
    let other = Uuid::new_v4();
    let taken = outbox::claim(&app.pool, other, Duration::from_secs(30), 10)
        .await
        .unwrap();
    assert!(taken.is_empty(), "its lease still runs");
    run(&app, "UPDATE outbox SET claimed_until = now()").await;
    let relay = relay(&app.pool, &broker(), &queue);
    let stopping = relay.stopping.clone();
    let task = tokio::spawn(relay.run());
    emptied(&app.pool, 20).await;
    assert_eq!(
        outbox::published(&app.pool, dead, &[rows[0].id]).await.unwrap(),
        0,
        "the dead one's word comes too late"
    );
    let heard = ear.all().await;
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].id, heard[1].id, "the same message");
    // Two workers hear it and both ask: one run.
    let (a, b) = (Hand::enrol(&app, "a").await, Hand::enrol(&app, "b").await);
    let claims = futures_util::future::join(a.claim(0), b.claim(0)).await;
    assert!(claims.0.is_some() != claims.1.is_some());
    stopping.cancel();
    task.await.unwrap();
    ear.delete().await;
}

#[tokio::test]
async fn several_relays_publish_each_announcement_once() {
    let (database, queue) = (TestDatabase::migrated().await, name());
    let pool = PgPool::connect(&database.url).await.unwrap();
    let mut keys = BTreeSet::new();
    for _ in 0..150 {
        keys.insert(announce(&pool).await);
    }
    let ear = Ear::new(&broker(), &queue).await;
    let relays: Vec<Relay> = (0..3).map(|_| relay(&pool, &broker(), &queue)).collect();
    let stops: Vec<_> = relays.iter().map(|relay| relay.stopping.clone()).collect();
    let tasks: Vec<_> = relays.into_iter().map(|relay| tokio::spawn(relay.run())).collect();
    emptied(&pool, 30).await;
    let heard: Vec<String> = ear.all().await.into_iter().map(|heard| heard.id).collect();
    assert_eq!(heard.len(), 150);
    assert_eq!(heard.into_iter().collect::<BTreeSet<_>>(), keys);
    stops.iter().for_each(CancellationToken::cancel);
    for task in tasks {
        task.await.unwrap();
    }
    ear.delete().await;
    pool.close().await;
}

/// A broker of this test's own, to be killed.
struct OwnBroker {
    folder: TempDir,
    url: String,
}

impl OwnBroker {
    fn shell(folder: &TempDir, script: &str) -> String {
        let library: PathBuf = repository().join("deploy/lib.sh");
        let output = Command::new("bash")
            .args(["-c", &format!("set -euo pipefail; . \"$0\"; {script}")])
            .arg(library)
            .arg(folder.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn start() -> OwnBroker {
        let folder = tempfile::tempdir().unwrap();
        let url = OwnBroker::shell(&folder, "rabbit_start \"$1\"; echo \"$amqp_url\"");
        OwnBroker { folder, url }
    }

    /// `kill -9`, and at once up again.
    fn kill_and_start(&self) {
        let again = "kill -9 -- -\"$(cat \"$1/pid\")\"; sleep 0.2; rabbit_start \"$1\"";
        OwnBroker::shell(&self.folder, again);
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        OwnBroker::shell(&self.folder, "rabbit_stop \"$1\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_under_load_loses_nothing() {
    let own = OwnBroker::start();
    let (database, queue) = (TestDatabase::migrated().await, name());
    let pool = PgPool::connect(&database.url).await.unwrap();
    let relay = relay(&pool, &own.url, &queue);
    let (metrics, stopping) = (relay.metrics.clone(), relay.stopping.clone());
    let task = tokio::spawn(relay.run());
    let mut keys = BTreeSet::new();
    for _ in 0..50 {
        keys.insert(announce(&pool).await);
    }
    emptied(&pool, 30).await;
    // RabbitMQ 3.10 saves its list of replicated queues when it has not changed for half a second: a broker killed before that comes
    // back with a queue that takes nothing until it is deleted.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The load goes on while the broker dies and comes back.
    let load = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut keys = BTreeSet::new();
            for _ in 0..200 {
                keys.insert(announce(&pool).await);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            keys
        }
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let own = tokio::task::spawn_blocking(move || {
        own.kill_and_start();
        own
    })
    .await
    .unwrap();
    keys.extend(load.await.unwrap());
    emptied(&pool, 180).await;
    assert_eq!(metrics.published.get(), 250, "each is marked once");
    let ear = Ear::new(&own.url, &queue).await;
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    for message in ear.all().await {
        *heard.entry(message.id).or_default() += 1;
    }
    assert_eq!(
        heard.keys().cloned().collect::<BTreeSet<_>>(),
        keys,
        "every one of them is there"
    );
    let twice = heard.values().filter(|count| **count > 1).count();
    println!("{} announcements, {twice} of them rung twice", heard.len());
    stopping.cancel();
    task.await.unwrap();
    pool.close().await;
}
