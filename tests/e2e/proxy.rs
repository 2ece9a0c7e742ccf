//! A TCP proxy that cuts connections: after so many bytes, in either direction, politely or not. Seeded, so that what went
//! wrong can be asked for again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Small, so that a cut falls between almost any two bytes.
const BLOCK: usize = 4096;

pub struct Proxy {
    pub address: SocketAddr,
    pub cuts: Arc<Cuts>,
    task: tokio::task::JoinHandle<()>,
}

/// How often each kind of cut was made.
#[derive(Default, Debug)]
pub struct Cuts {
    pub up_fin: AtomicUsize,
    pub up_rst: AtomicUsize,
    pub down_fin: AtomicUsize,
    pub down_rst: AtomicUsize,
}

/// A small generator; nothing here needs a good one.
pub struct Dice(pub AtomicU64);

impl Dice {
    pub fn below(&self, n: u64) -> u64 {
        let step = |x: u64| {
            Some(
                x.wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let old = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).unwrap();
        (old >> 33) % n
    }
}

impl Proxy {
    /// Before `server`; `seed` decides every cut.
    pub async fn start(server: SocketAddr, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, dice) = (Arc::new(Cuts::default()), Arc::new(Dice(AtomicU64::new(seed))));
        let counts = cuts.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(connection(client, server, counts.clone(), dice.clone()));
            }
        });
        Proxy { address, cuts, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cuts {
    pub fn all(&self) -> [usize; 4] {
        [&self.up_fin, &self.up_rst, &self.down_fin, &self.down_rst].map(|count| count.load(Ordering::SeqCst))
    }
}

async fn connection(mut client: TcpStream, server: SocketAddr, cuts: Arc<Cuts>, dice: Arc<Dice>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    // Four of five connections live only so many bytes: of what is sent, or of what is answered.
    let (mut up, mut down) = match dice.below(5) {
        0 => (u64::MAX, u64::MAX),
        1 | 2 => (dice.below(150_000), u64::MAX),
        _ => (u64::MAX, dice.below(1_200)),
    };
    let rude = dice.below(2) == 1;
    let (mut from_client, mut from_server) = (vec![0; BLOCK], vec![0; BLOCK]);
    let count = loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                let pass = read.min(usize::try_from(up).unwrap_or(usize::MAX));
                if server.write_all(&from_client[..pass]).await.is_err() { return }
                up -= pass as u64;
                if up == 0 { break if rude { &cuts.up_rst } else { &cuts.up_fin } }
            }
            read = server.read(&mut from_server) => {
                let Ok(read @ 1..) = read else { return };
                let pass = read.min(usize::try_from(down).unwrap_or(usize::MAX));
                if client.write_all(&from_server[..pass]).await.is_err() { return }
                down -= pass as u64;
                if down == 0 { break if rude { &cuts.down_rst } else { &cuts.down_fin } }
            }
        }
    };
    count.fetch_add(1, Ordering::SeqCst);
    if rude {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}
