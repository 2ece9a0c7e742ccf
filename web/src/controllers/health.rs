//! For whoever keeps the process running: is it alive, and can it serve?

use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use serde_json::json;

use crate::db;
use crate::state::AppState;

/// A probe must answer before whoever asks gives up on it.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// The database answers, the data folder can be written, and the process is not stopping.
async fn ready(state: web::Data<AppState>) -> HttpResponse {
    let database = matches!(tokio::time::timeout(PATIENCE, db::ping(&state.pool)).await, Ok(Ok(())));
    let folder = state.settings.store.data_dir.clone();
    let disk = web::block(move || tempfile_in(&folder))
        .await
        .is_ok_and(|written| written.is_ok());
    let running = !state.stopping.is_cancelled();
    let mut answer = if database && disk && running {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "database": database, "disk": disk, "running": running }))
}

fn tempfile_in(folder: &std::path::Path) -> std::io::Result<()> {
    let path = folder.join(format!(
        ".ready-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, b"ready")?;
    std::fs::remove_file(&path)
}
