//! For whoever keeps the process running: is it alive, and can it serve?

use std::io;
use std::path::Path;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use serde_json::json;

use crate::db;
use crate::state::AppState;

/// A probe must answer before whoever asks gives up on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room a data folder needs to count as usable, in bytes: enough for what is on its way to be finished and logged.
const LEAST_FREE: u64 = 256 << 20;

/// `GET /livez` and `GET /readyz`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/livez", web::get().to(live))
        .route("/readyz", web::get().to(ready));
}

/// The process answers. It looks at nothing else, or a slow database would get it killed.
async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

/// The database answers, the data folder can be written and has room, and the process is not stopping. The broker is
/// reported and does not count: without it work flows by long poll. Nor does the object store: files wait here for it.
async fn ready(state: web::Data<AppState>) -> HttpResponse {
    let database = matches!(tokio::time::timeout(PATIENCE, db::ping(&state.pool)).await, Ok(Ok(())));
    let folder = state.settings.store.data_dir.clone();
    let disk = web::block(move || usable(&folder))
        .await
        .is_ok_and(|usable| usable.is_ok());
    let running = !state.stopping.is_cancelled();
    let (broker, objects) = (state.health.broker().name(), state.health.objects().name());
    let mut answer = if database && disk && running {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    answer.insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "database": database, "disk": disk, "running": running, "broker": broker, "object_store": objects,
    }))
}

/// Can a file be written here, and is there room for more than that?
fn usable(folder: &Path) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_FREE {
        return Err(io::Error::other("the disk is full"));
    }
    let path = folder.join(format!(
        ".ready-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, b"ready")?;
    std::fs::remove_file(&path)
}
