//! The files of `static/`, embedded, under addresses that change whenever any of them does.
//!
//! All files share one digest in their address, `/static/<digest>/<path>`: ES modules, workers and style sheets can then refer to
//! each other by relative addresses, and every one of them may be cached for ever.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, web};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

#[derive(RustEmbed)]
#[folder = "../static"]
struct Files;

/// The first 12 hex digits of the digest of every served file's path and content.
static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let mut paths: Vec<_> = Files::iter().filter(|path| media_type(path).is_some()).collect();
    paths.sort();
    let mut hash = Sha256::new();
    for path in paths {
        if let Some(file) = Files::get(&path) {
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
            hash.update(file.metadata.sha256_hash());
        }
    }
    hex::encode(&hash.finalize()[..6])
});

/// The media type of a path that is served; `None` for what only lies there for those who build (manifests, scripts, tests).
fn media_type(path: &str) -> Option<&'static str> {
    if path.starts_with("test/") || path.starts_with("node_modules/") {
        return None;
    }
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => Some("text/css; charset=utf-8"),
        Some("js") => Some("text/javascript; charset=utf-8"),
        Some("svg") => Some("image/svg+xml"),
        // Licences travel with the code they cover.
        _ if path.ends_with("/LICENSE") => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

/// The address of a file under `static/`.
pub fn url(path: &str) -> String {
    format!("/static/{}/{path}", *DIGEST)
}

/// Whether a file under `static/` is served.
pub fn exists(path: &str) -> bool {
    media_type(path).is_some() && Files::get(path).is_some()
}

/// Adds `GET /static/{digest}/{path}`.
pub fn configure(config: &mut web::ServiceConfig) {
    config.route("/static/{digest}/{path:.*}", web::get().to(serve));
}

async fn serve(place: web::Path<(String, String)>) -> HttpResponse {
    let (digest, path) = place.into_inner();
    let (Some(media), Some(file)) = (media_type(&path), Files::get(&path)) else {
        return HttpResponse::NotFound().finish();
    };
    // A page of an earlier build may still ask with its digest: it gets the present file, but may not keep it.
    let caching = if digest == *DIGEST {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media))
        .insert_header((CACHE_CONTROL, caching))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((ETAG, format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..8]))))
        .body(file.data.into_owned())
}
