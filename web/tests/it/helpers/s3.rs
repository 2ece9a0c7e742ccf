//! A real S3 over HTTP, moto's server, behind a line that can be cut.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use assay_web::settings::ObjectSettings;
use reqwest::{Client, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::repository;

/// The bucket every server has.
const BUCKET: &str = "checkpoints";

/// Somebody's signature, as far as moto looks at it.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=someone/20260101/us-east-1/s3/aws4_request, \
                         SignedHeaders=host, Signature=0";

/// A server of the test's own; killed with the value.
pub struct S3 {
    child: Child,
    /// Where it really listens.
    direct: String,
    /// Where it is reached over the line.
    line: String,
    /// Bytes the line still carries to the server; after that it stands still. Below zero: every connection is refused.
    budget: Arc<AtomicI64>,
    client: Client,
}

impl S3 {
    /// Starts one with an empty bucket.
    pub async fn start() -> S3 {
        let program = repository().join("tests/clients/.venv/bin/moto_server");
        assert!(
            program.exists(),
            "{} is missing; tests/run installs it",
            program.display()
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let direct = format!("http://127.0.0.1:{port}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = format!("http://{}", listener.local_addr().unwrap());
        let budget = Arc::new(AtomicI64::new(i64::MAX));
        tokio::spawn(carry(listener, port, budget.clone()));
        let s3 = S3 {
            child,
            direct,
            line,
            budget,
            client: Client::builder().no_proxy().build().unwrap(),
        };
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let made = s3.client.put(format!("{}/{BUCKET}", s3.direct)).send().await;
            if made.is_ok_and(|answer| answer.status() == 200) {
                return s3;
            }
        }
        panic!("moto does not answer");
    }

    /// Cuts the line, or mends it.
    pub fn cut(&self, cut: bool) {
        self.budget.store(if cut { -1 } else { i64::MAX }, Ordering::SeqCst);
    }

    /// Lets the line stand still after this many bytes more.
    pub fn stall_after(&self, bytes: i64) {
        self.budget.store(bytes, Ordering::SeqCst);
    }

    /// Does it stand still?
    pub fn stalled(&self) -> bool {
        self.budget.load(Ordering::SeqCst) == 0
    }

    /// What a server is told to use it.
    pub fn settings(&self, prefix: &str) -> ObjectSettings {
        ObjectSettings {
            object_store_url: Some(format!("s3://{BUCKET}/{prefix}")),
            aws: self
                .environment()
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        }
    }

    /// The usual variables.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.line.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "someone".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
    }

    /// The address of the bucket for a server's command line.
    pub fn url(prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Asks the server itself, past the line. Returns status and body.
    pub async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = self.client.request(method, format!("{}/{BUCKET}/{path}", self.direct));
        // moto looks whether a request is signed, not by whom; unsigned ones may not read.
        let signed = request
            .header("authorization", SIGNATURE)
            .header("x-amz-date", "20260101T000000Z");
        let answer = signed.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// An object's bytes.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (status, body) = self.ask(Method::GET, key, Vec::new()).await;
        (status == 200).then_some(body)
    }

    /// How many multipart uploads are under way.
    pub async fn uploads(&self) -> usize {
        let (status, body) = self.ask(Method::GET, "?uploads", Vec::new()).await;
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap().matches("<UploadId>").count()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn carry(listener: TcpListener, port: u16, budget: Arc<AtomicI64>) {
    while let Ok((near, _)) = listener.accept().await {
        let budget = budget.clone();
        tokio::spawn(async move {
            if budget.load(Ordering::SeqCst) < 0 {
                return;
            }
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
                (near.into_split(), far.into_split());
            let up = async {
                let mut block = vec![0; 64 << 10];
                while let Ok(read @ 1..) = near_read.read(&mut block).await {
                    let spend = |left: i64| (left >= 0).then(|| (left - read as i64).max(0));
                    match budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
                        Ok(left) if left > read as i64 => {}
                        Ok(_) => std::future::pending::<()>().await,
                        Err(_) => return,
                    }
                    if far_write.write_all(&block[..read]).await.is_err() {
                        return;
                    }
                }
            };
            let down = async { drop(tokio::io::copy(&mut far_read, &mut near_write).await) };
            tokio::select! { () = up => {}, () = down => {} }
        });
    }
}
