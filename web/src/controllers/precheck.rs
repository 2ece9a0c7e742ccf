//! The verdict before the upload.

use actix_web::web::{self, Data, Json, Query, ServiceConfig};
use actix_web::{HttpResponse, http::header};
use askama::Template as _;
use assay_checkpoint::Inspection;
use assay_contest::Contest;
use serde::Deserialize;
use serde_json::Value;

use super::json_config;
use crate::auth::RequireUser;
use crate::db::contests::{self, StoredContest};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::precheck::{self, BODY_BYTES, SlicedFile};
use crate::state::AppState;
use crate::views::InspectionFragment;

/// Most files a precheck looks at: beyond every contest's limit.
const FILES: usize = 4096;

/// `POST /api/v1/precheck`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/api/v1/precheck")
            .app_data(json_config(BODY_BYTES))
            .route(web::post().to(check)),
    );
}

#[derive(Deserialize)]
struct Question {
    files: Vec<SlicedFile>,
}

/// What a page adds to the address: the language it wants the inspection drawn in.
#[derive(Deserialize)]
pub(super) struct Drawn {
    drawn: Option<Locale>,
}

impl Drawn {
    /// The inspection, and beside it its drawing as HTML where one is wanted.
    pub(super) fn answer(&self, inspection: &Inspection, rules: &Contest) -> anyhow::Result<Value> {
        let mut answer = serde_json::to_value(inspection)?;
        if let Some(locale) = self.drawn {
            let drawing = InspectionFragment::new(locale, Some(rules.base.bytes), &answer);
            answer["drawn"] = drawing.render()?.into();
        }
        Ok(answer)
    }
}

async fn check(
    state: Data<AppState>,
    RequireUser(_): RequireUser,
    drawn: Query<Drawn>,
    Json(question): Json<Question>,
) -> Result<HttpResponse, ApiError> {
    if question.files.len() > FILES {
        return Err(ApiError::of_status(actix_web::http::StatusCode::PAYLOAD_TOO_LARGE));
    }
    let contest = current(&state).await?;
    let listing = precheck::listing(question.files).map_err(|error| {
        ApiError::bad_request(
            "precheck-not-base64",
            &format!("The content of {} is not base64.", error.0),
            &format!("{}의 내용이 base64 형식이 아닙니다.", error.0),
        )
    })?;
    let inspection = precheck::inspect(&state.pool, &state.storage, &contest, move || Ok(listing))
        .await
        .map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(drawn.answer(&inspection, &contest.rules).map_err(ApiError::internal)?))
}

/// The contest submissions go to now.
pub(super) async fn current(state: &AppState) -> Result<StoredContest, ApiError> {
    contests::current(&state.pool).await?.ok_or_else(|| {
        ApiError::conflict(
            "no-contest",
            "There is no contest yet. Come back when the organizers have opened one.",
            "아직 열린 대회가 없습니다. 운영진이 대회를 연 뒤에 다시 오세요.",
        )
    })
}
