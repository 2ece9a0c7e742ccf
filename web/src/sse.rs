//! Server-sent events: a page subscribes once and hears of every change; the first event is always the whole.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// Silence after which a comment is sent: proxies cut silent connections, and a closed one is only noticed when written to.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it connects again.
const RETRY_MS: u32 = 2000;
/// Events waiting for a slow reader. Every event is a full snapshot, so a reader that slow is better told once, later.
const BACKLOG: usize = 4;
/// A reader that takes nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The writing end of one stream.
pub struct Events {
    out: mpsc::Sender<Bytes>,
}

/// The reader has gone, or reads too slowly: end the stream.
#[derive(Debug)]
pub struct Gone;

impl Events {
    /// A stream and its response.
    #[must_use]
    pub fn open() -> (Events, HttpResponse) {
        let (out, inbox) = mpsc::channel::<Bytes>(BACKLOG);
        let body = stream::unfold(inbox, |mut inbox| async move {
            inbox
                .recv()
                .await
                .map(|bytes| (Ok::<_, actix_web::Error>(bytes), inbox))
        });
        let response = HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            // nginx would hold events back otherwise.
            .insert_header(("X-Accel-Buffering", "no"))
            .streaming(Box::pin(body));
        (Events { out }, response)
    }

    /// Sends an event. `data` may have several lines.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, event: &str, id: &str, data: &str) -> Result<(), Gone> {
        self.write(encode(event, id, data)).await
    }

    /// Sends a comment, which says only that the connection is alive.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn keep_alive(&self) -> Result<(), Gone> {
        self.write(": alive\n\n".to_owned()).await
    }

    async fn write(&self, text: String) -> Result<(), Gone> {
        match tokio::time::timeout(PATIENCE, self.out.send(Bytes::from(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Waits until the reader has gone.
    pub async fn closed(&self) {
        self.out.closed().await;
    }
}

fn encode(event: &str, id: &str, data: &str) -> String {
    let mut text = format!("retry: {RETRY_MS}\nevent: {event}\nid: {id}\n");
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_data_cannot_become_fields() {
        let text = encode("snapshot", "3", "a\nevent: forged\r\nb");
        assert_eq!(
            text,
            "retry: 2000\nevent: snapshot\nid: 3\ndata: a\ndata: event: forged\ndata: \ndata: b\n\n"
        );
    }
}
