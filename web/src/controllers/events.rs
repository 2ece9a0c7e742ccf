//! What open pages hear: a submission's stages as they happen, and that the board has changed.

use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::submission_pages::parts;
use crate::auth::{User, Viewer};
use crate::db::ids::SubmissionId;
use crate::db::sessions;
use crate::db::submissions::{self, Reader, State};
use crate::error::ApiError;
use crate::live::{Listener, Note};
use crate::sse::{Events, Gone, KEEP_ALIVE};
use crate::state::AppState;
use crate::views;

/// `/submissions/{id}/events` and `/board/events`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/submissions/{id}/events").route(web::get().to(submission)))
        .service(web::resource("/board/events").route(web::get().to(board_changes)));
}

/// Events of one submission: `snapshot`, each the whole, with the submission's version as id.
async fn submission(state: Data<AppState>, id: Path<SubmissionId>, viewer: Viewer) -> Result<HttpResponse, ApiError> {
    let user = viewer.clone().require_user()?;
    // Subscribed before the first look, so that no change falls in between.
    let notes = state.live.subscribe();
    let reader = Reader {
        user: user.id,
        organizer: user.role.organizes(),
    };
    submissions::find(&state.pool, *id, reader)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let (events, response) = Events::open();
    actix_web::rt::spawn(follow(state, viewer, *id, notes, events));
    Ok(response)
}

/// Why a stream ends.
enum End {
    /// The reader has gone, or may no longer read.
    Over,
    /// The database did not answer; the browser connects again.
    Failed(ApiError),
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Over
    }
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> End {
        End::Failed(error)
    }
}

impl From<sqlx::Error> for End {
    fn from(error: sqlx::Error) -> End {
        End::Failed(error.into())
    }
}

async fn follow(state: Data<AppState>, viewer: Viewer, id: SubmissionId, mut notes: Listener, events: Events) {
    let watch = async {
        let mut sent = String::new();
        loop {
            if tell(&state, &viewer, id, &events, &mut sent).await? {
                return Ok::<(), End>(());
            }
            // Silence is a reason to look, too: a session that was ended or a team that was left ends the stream, and the
            // jobs ahead of a waiting one go away without a word about this one.
            let changed = async {
                loop {
                    match notes.next().await {
                        Note::Submission(changed) if changed == id => return,
                        Note::Everything => return,
                        _ => {}
                    }
                }
            };
            let _ = tokio::time::timeout(KEEP_ALIVE, changed).await;
        }
    };
    let outcome = tokio::select! {
        outcome = watch => outcome,
        () = events.closed() => Ok(()),
        () = state.stopping.cancelled() => Ok(()),
    };
    if let Err(End::Failed(error)) = outcome {
        tracing::warn!(%error, submission = %id, "an event stream ended early");
    }
}

/// The viewer as their session says now.
async fn still(state: &AppState, viewer: &Viewer) -> Result<User, End> {
    let token = viewer.session_token().ok_or(End::Over)?;
    let session = sessions::find(&state.pool, &token.digest()).await?.ok_or(End::Over)?;
    Ok(session.user)
}

/// Sends the present state, or only a sign of life where it was sent before. True when nothing more will come.
async fn tell(
    state: &AppState,
    viewer: &Viewer,
    id: SubmissionId,
    events: &Events,
    sent: &mut String,
) -> Result<bool, End> {
    let user = still(state, viewer).await?;
    let reader = Reader {
        user: user.id,
        organizer: user.role.organizes(),
    };
    let submission = submissions::find(&state.pool, id, reader).await?.ok_or(End::Over)?;
    let parts = parts(state, &submission, viewer.locale).await?;
    let data = views::snapshot(&parts.stages, parts.report.as_ref())
        .map_err(|error| End::Failed(ApiError::internal(error)))?;
    if data == *sent {
        events.keep_alive().await?;
    } else {
        events.send("snapshot", &submission.version.to_string(), &data).await?;
        *sent = data;
    }
    Ok(!submission.state.is_live() && submission.state != State::Draft)
}

/// Events of the board: `board`, whose id is the board's digest. The page then asks for what it shows.
async fn board_changes(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let notes = state.live.subscribe();
    let known = request
        .headers()
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let (events, response) = Events::open();
    actix_web::rt::spawn(async move {
        tokio::select! {
            _ = follow_board(&state, notes, &events, known) => {}
            () = events.closed() => {}
            () = state.stopping.cancelled() => {}
        }
    });
    Ok(response)
}

async fn follow_board(
    state: &AppState,
    mut notes: Listener,
    events: &Events,
    known: Option<String>,
) -> Result<(), End> {
    let mut sent = known;
    loop {
        if let Some(board) = state.boards.current(state).await? {
            let digest = board.body.digest();
            if sent.as_deref() != Some(digest) {
                events.send("board", digest, "changed").await?;
                sent = Some(digest.to_owned());
            }
        }
        loop {
            match tokio::time::timeout(KEEP_ALIVE, notes.next()).await {
                Ok(Note::Board(_) | Note::Everything) => break,
                Ok(_) => {}
                Err(_) => events.keep_alive().await?,
            }
        }
    }
}
