//! The sealed documents of a contest: what is known of them before, and the moment everybody is told.

use actix_web::http::header;
use actix_web::web::{self, Data, Form, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin;
use super::precheck::current;
use super::visit::{Visit, see_other};
use crate::auth::RequireOrganizer;
use crate::db::{contests, seals};
use crate::error::ApiError;
use crate::state::AppState;

/// `/api/v1/sealed` and `/admin/reveal`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/v1/sealed").route(web::get().to(published)))
        .service(web::resource("/admin/reveal").route(web::post().to(reveal)));
}

#[derive(Deserialize)]
struct Which {
    contest: Option<String>,
}

/// What was announced; after the reveal also the key and the documents it chose, so that anybody can check one against
/// the other.
async fn published(state: Data<AppState>, which: Query<Which>) -> Result<HttpResponse, ApiError> {
    let contest = match &which.contest {
        Some(id) => contests::find(&state.pool, id).await?.ok_or_else(ApiError::not_found)?,
        None => current(&state).await?,
    };
    let (Some(seal), Some(announced)) = (&contest.seal, &contest.rules.grading.sealed) else {
        return Err(ApiError::not_found());
    };
    let key = seals::revealed_key(&state.pool, &contest.rules.id).await?;
    let documents = key.is_some().then(|| -> Vec<Value> {
        let document = |(task, index, hash)| json!({ "task": task, "index": index, "doc_hash": hash });
        seal.documents.documents().map(document).collect()
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .json(json!({
            "contest": contest.rules.id,
            "share": announced.share,
            "digest": announced.digest,
            "after": announced.after,
            "revealed_at": seal.revealed_at,
            "key": key.map(hex::encode),
            "documents": documents,
        })))
}

#[derive(Deserialize)]
struct Confirmation {
    confirm: String,
}

/// Reveals the sealed documents of the current contest, once and for good. The contest's name has to be typed.
async fn reveal(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
    Form(form): Form<Confirmation>,
) -> Result<HttpResponse, ApiError> {
    let contest = current(&state).await?.rules;
    if form.confirm.trim() != contest.id {
        // This address answers no GET: whoever changes the language here comes back to the desk.
        visit.page.path = "/admin".to_owned();
        let wrong = visit.locale().t("admin-seal-confirm-wrong");
        return admin::draw(&state, visit, admin::Said { wrong: Some(wrong) }).await;
    }
    let mut transaction = state.pool.begin().await?;
    if !seals::reveal(&mut transaction, &contest.id).await? {
        return Err(ApiError::conflict(
            "nothing-to-reveal",
            "This contest has no sealed documents, or they are revealed already.",
            "봉인 문항이 없거나 이미 공개되었습니다.",
        ));
    }
    let object = format!("contest:{}", contest.id);
    admin::record(
        &mut transaction,
        &request,
        &user,
        "contest.revealed",
        &object,
        json!({}),
    )
    .await?;
    transaction.commit().await?;
    state.boards.changed();
    Ok(see_other("/admin?done=revealed"))
}
