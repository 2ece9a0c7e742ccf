//! The board's JSON, against a constant answer of the same size from a bare handler, asked by the same client.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::ensure;
use sqlx::{Connection as _, PgConnection};

use crate::Line;
use crate::server::{Server, free_port};

const CLIENTS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// Answers every request with so many bytes.
pub async fn constant(bytes: usize, port: u16) -> anyhow::Result<()> {
    let body = bytes::Bytes::from(vec![b'x'; bytes]);
    HttpServer::new(move || {
        let body = body.clone();
        App::new().default_service(web::to(move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        }))
    })
    .bind(("127.0.0.1", port))?
    .run()
    .await?;
    Ok(())
}

/// Ended with the value.
struct Constant(Child);

impl Drop for Constant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Requests a second over connections that stay open.
async fn rate(url: &str) -> anyhow::Result<f64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (http, url) = (http.clone(), url.to_owned());
        async move {
            let mut count = 0u64;
            while began.elapsed() < ROUND {
                let answer = http.get(&url).send().await?;
                ensure!(answer.status() == 200, "{url} answered {}", answer.status());
                answer.bytes().await?;
                count += 1;
            }
            Ok(count)
        }
    });
    let counts: Vec<u64> = futures_util::future::try_join_all(clients).await?;
    Ok(counts.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64())
}

/// The board as it is, and with 600 teams on it.
pub async fn measure(server: &Server) -> anyhow::Result<Vec<Line>> {
    // The most that can be lost: next to nothing to send, so that it is all limits, headers and log.
    let empty = Line {
        goal: "none: what a request costs",
        met: true,
        ..compare(server, "board as JSON, nobody on it").await?
    };
    let mut connection = PgConnection::connect(&server.database).await?;
    sqlx::query(include_str!("../../../fixtures/crowd.sql"))
        .bind(600)
        .execute(&mut connection)
        .await?;
    sqlx::query("SELECT pg_notify('assay_board', 'sample')")
        .execute(&mut connection)
        .await?;
    let began = Instant::now();
    while !board(server).await?.contains("Team 600") {
        ensure!(began.elapsed() < Duration::from_secs(30), "the board does not fill");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(vec![compare(server, "board as JSON, 600 teams").await?, empty])
}

async fn board(server: &Server) -> anyhow::Result<String> {
    Ok(reqwest::get(format!("{}/api/v1/board", server.address))
        .await?
        .text()
        .await?)
}

async fn compare(server: &Server, what: &'static str) -> anyhow::Result<Line> {
    let url = format!("{}/api/v1/board", server.address);
    let size = board(server).await?.len();
    let port = free_port()?;
    let child = Command::new(std::env::current_exe()?)
        .args(["constant", &size.to_string(), &port.to_string()])
        .stdin(Stdio::null())
        .spawn()?;
    let _constant = Constant(child);
    let constant = format!("http://127.0.0.1:{port}/");
    let began = Instant::now();
    while reqwest::get(&constant).await.is_err() {
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "the constant answer does not come"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut board, mut floor) = (0.0, 0.0);
    // In turn, so that a busy moment of the machine meets both.
    for _ in 0..ROUNDS {
        board += rate(&url).await? / ROUNDS as f64;
        floor += rate(&constant).await? / ROUNDS as f64;
    }
    println!("{what}: {size} bytes");
    let ratio = board / floor;
    Ok(Line {
        what,
        figure: format!("{board:.0} requests/s"),
        floor: format!("{floor:.0} requests/s"),
        ratio: format!("{:.0} %", 100.0 * ratio),
        goal: ">= 80 % of a constant answer",
        met: ratio >= 0.8,
    })
}
