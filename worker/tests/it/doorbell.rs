//! `run` with a real broker: what is announced is asked for, and without the broker it goes on.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::server::Server;
use crate::support::{stderr, worker};

fn broker() -> String {
    std::env::var("ASSAY_TEST_AMQP_URL").expect("ASSAY_TEST_AMQP_URL names a RabbitMQ; see tests/run")
}

/// A queue of this test's own.
struct Queue {
    runtime: Runtime,
    _connection: Connection,
    channel: Channel,
    name: String,
}

impl Queue {
    fn new() -> Queue {
        let runtime = Runtime::new().unwrap();
        let name = format!("test.doorbell.{}", uuid::Uuid::new_v4());
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(&broker(), ConnectionProperties::default())
                .await
                .unwrap();
            let channel = connection.create_channel().await.unwrap();
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            channel
                .queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments)
                .await
                .unwrap();
            (connection, channel)
        });
        Queue {
            runtime,
            _connection: connection,
            channel,
            name,
        }
    }

    fn ring(&self, body: &str) {
        let sent = self.channel.basic_publish(
            "".into(),
            self.name.as_str().into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            BasicProperties::default(),
        );
        self.runtime.block_on(async { sent.await.unwrap().await.unwrap() });
    }

    /// Messages that wait for somebody to listen, and listeners.
    fn state(&self) -> (u32, u32) {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare(self.name.as_str().into(), passive, FieldTable::default());
        let queue = self.runtime.block_on(declared).unwrap();
        (queue.message_count(), queue.consumer_count())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let deleted = self
            .channel
            .queue_delete(self.name.as_str().into(), QueueDeleteOptions::default());
        let _ = self.runtime.block_on(deleted);
    }
}

/// A line to the broker that can be cut.
#[derive(Clone)]
struct Line {
    port: u16,
    streams: Arc<Mutex<(bool, Vec<TcpStream>)>>,
}

impl Line {
    fn new() -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Line {
            port: listener.local_addr().unwrap().port(),
            streams: Arc::new(Mutex::new((true, Vec::new()))),
        };
        let target = broker();
        let target = target.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let shared = line.streams.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut shared = shared.lock().unwrap();
                if !shared.0 {
                    continue;
                }
                let server = TcpStream::connect(&target).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                shared.1.extend([client, server]);
            }
        });
        line
    }

    fn set(&self, up: bool) {
        let mut streams = self.streams.lock().unwrap();
        streams.0 = up;
        for stream in streams.1.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn url(&self) -> String {
        let url = broker();
        let (account, rest) = url.rsplit_once('@').unwrap();
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        format!("{account}@127.0.0.1:{}/{path}", self.port)
    }
}

fn start(server: &Server, data: &std::path::Path, line: &Line, queue: &Queue) -> Child {
    let mut command: Command = worker();
    command.args([
        "run",
        "--server",
        &server.address,
        "--enrol",
        "one-time",
        "--name",
        "bench",
        "--data",
    ]);
    command
        .arg(data)
        .args(["--amqp-url", &line.url(), "--amqp-queue", &queue.name]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn stop(child: Child) -> String {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    stderr(&child.wait_with_output().unwrap())
}

#[test]
fn what_is_announced_is_asked_for_once_and_nothing_is_held_while_busy() {
    let (queue, line) = (Queue::new(), Line::new());
    let server = Server::start("w4a16-gptq", 1, Box::new(|_| None));
    let data = tempfile::tempdir().unwrap();
    // One job is there already: it is found without an announcement.
    let child = start(&server, data.path(), &line, &queue);
    until("the first result", || server.of("PUT", "/result").len() == 1);
    until("somebody listens", || queue.state().1 == 1);
    std::thread::sleep(Duration::from_millis(300));
    let quiet = server.of("POST", "/claim").len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        server.of("POST", "/claim").len(),
        quiet,
        "nothing is asked while nothing is announced"
    );

    // A bell: the job is asked for by name, and the rest of the bells stay for others while it is worked on.
    server.again(1);
    for _ in 0..3 {
        queue.ring(&json!({"v": 1, "job_id": "j7", "kind": "grade"}).to_string());
    }
    until("the second result", || server.of("PUT", "/result").len() == 2);
    let claims = server.of("POST", "/claim");
    assert_eq!(
        claims[quiet].json()["job_id"],
        "j7",
        "the first claim after the silence names the job"
    );
    // The other two announce nothing that is left: they are taken off and nothing runs twice.
    until("an empty queue", || queue.state().0 == 0);
    queue.ring("not json");
    until("nonsense is taken off, too", || queue.state().0 == 0);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(server.of("PUT", "/result").len(), 2);
    let log = stop(child);
    assert!(log.contains("listening for announcements"), "{log}");
}

#[test]
fn without_the_broker_it_asks_by_itself_and_comes_back_to_it() {
    let (queue, line) = (Queue::new(), Line::new());
    line.set(false);
    let server = Server::start("w4a16-gptq", 1, Box::new(|_| None));
    let data = tempfile::tempdir().unwrap();
    let child = start(&server, data.path(), &line, &queue);
    until("a result without a broker", || server.of("PUT", "/result").len() == 1);
    until("it goes on asking", || server.of("POST", "/claim").len() >= 5);
    line.set(true);
    until("it listens", || queue.state().1 == 1);
    // Cut in the middle of listening, with a job that nobody announces.
    line.set(false);
    server.again(1);
    until("a result although the line was cut", || {
        server.of("PUT", "/result").len() == 2
    });
    line.set(true);
    until("it listens again", || queue.state().1 == 1);
    server.again(1);
    queue.ring(&json!({"v": 1, "job_id": "j8", "kind": "grade"}).to_string());
    until("a result of an announcement", || server.of("PUT", "/result").len() == 3);
    let log = stop(child);
    assert!(log.contains("no line to the broker"), "{log}");
}
