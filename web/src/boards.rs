//! Boards in memory. A board is a pure function of stored results and rules; drawing documents anew for its rank bands
//! takes a while, so a board is computed once and given out until a result, a name or a rule changes. What a result gives
//! (its measures, its draws) never changes and is kept by its job.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderValue;
use actix_web::web;

use assay_contest::Measures;
use assay_contest::statistics::{Draws, Resampler};
use assay_contest::wire::ItemScores;
use assay_tasks::pooled;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::db::board::{self, Graded, Measured as Stored};
use crate::db::contests::{self, StoredContest};
use crate::db::ids::{JobId, SubmissionId};
use crate::error::ApiError;
use crate::live::Note;
use crate::outcomes::{Lens, Measured};
use crate::scoreboard::{self, Scoreboard, Scored};
use crate::spreadsheet;
use crate::state::AppState;

/// Results read at once: what their outcomes hold in memory meanwhile is bounded.
const BATCH: usize = 64;

/// How long a board is given out without asking the database whether it still holds. Whatever changes it is told at once
/// (see [`Boards::changed`]); this bounds how long a lost notification is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// The boards of this process, by contest.
#[derive(Default)]
pub struct Boards {
    // Held while a board is computed: whoever asks meanwhile waits for it instead of computing it, too.
    kept: Mutex<HashMap<String, Kept>>,
    // What the last question to the database answered.
    latest: RwLock<Option<Latest>>,
    // Rises with every change heard of.
    changes: AtomicU64,
}

/// A board that held when it was asked for.
#[derive(Clone)]
struct Latest {
    contest: String,
    digest: String,
    board: Arc<Board>,
    changes: u64,
    until: Instant,
    /// Whether its contest is the current one.
    current: bool,
}

/// A board with what programs get of it.
#[derive(Debug)]
pub struct Board {
    /// The board.
    pub scoreboard: Scoreboard,
    /// As JSON.
    pub body: Published,
    /// As a table for spreadsheets: UTF-8 with its mark, comma-separated.
    pub csv: Published,
    /// What counts of every result.
    outcomes: HashMap<JobId, Arc<Outcome>>,
    /// Score of every graded submission, its team's best or not; one without a score has none here.
    pub scores: HashMap<SubmissionId, f64>,
}

/// A body ready to be sent: shared, never copied.
#[derive(Clone, Debug)]
pub struct Published {
    /// The bytes.
    pub bytes: Bytes,
    /// Their digest in quotes, as the `ETag` header has it.
    pub etag: HeaderValue,
}

impl Published {
    fn new(text: String) -> Published {
        let bytes = Bytes::from(text);
        let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
        Published {
            bytes,
            // Hexadecimal digits and quotes are a header value.
            etag: HeaderValue::from_str(&etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        }
    }

    /// The digest without its quotes.
    pub fn digest(&self) -> &str {
        self.etag.to_str().unwrap_or_default().trim_matches('"')
    }
}

/// What counts of one result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Measures that count.
    pub measures: Measured,
    /// Measures of the public documents, once the sealed ones are revealed.
    pub public: Option<Measured>,
    /// The device class it was graded on.
    pub device: Option<String>,
    /// Digest of its certificate.
    pub certificate: Option<String>,
}

/// The last board of a contest and what it was computed from.
struct Kept {
    of: Epoch,
    graded: Vec<Graded>,
    results: Known,
    board: Arc<Board>,
}

/// What decides how results are looked at: the rules, the import that brought the files beside them, and whether the
/// sealed documents are revealed. What was made of a result holds as long as this does.
#[derive(Clone, PartialEq, Eq)]
struct Epoch {
    rules: String,
    imported: i64,
    revealed: bool,
}

/// What was made of results so far.
#[derive(Default)]
struct Known {
    outcomes: HashMap<JobId, Arc<Outcome>>,
    draws: HashMap<JobId, Arc<Draws>>,
}

impl Board {
    /// What counts of a result.
    pub fn outcome(&self, job: JobId) -> Option<&Outcome> {
        self.outcomes.get(&job).map(Arc::as_ref)
    }
}

impl Boards {
    /// Something a board shows may have changed: the next to ask looks.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn latest(&self, wanted: impl Fn(&Latest) -> bool) -> Option<Arc<Board>> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let latest = latest.as_ref().filter(|latest| wanted(latest))?;
        let holds = latest.until > Instant::now() && latest.changes == self.changes.load(Ordering::SeqCst);
        holds.then(|| latest.board.clone())
    }

    /// The board of the current contest; none before there is one. What programs poll: while nothing changes, the
    /// database is asked once a second, whoever asks.
    ///
    /// # Errors
    /// As [`Boards::of`].
    pub async fn current(&self, state: &AppState) -> Result<Option<Arc<Board>>, ApiError> {
        if let Some(board) = self.latest(|latest| latest.current) {
            return Ok(Some(board));
        }
        match contests::current(&state.pool).await? {
            Some(contest) => self.look(state, &contest, true).await.map(Some),
            None => Ok(None),
        }
    }

    /// The board of a contest as it stands.
    ///
    /// # Errors
    /// The database; the files of a sealed contest.
    pub async fn of(&self, state: &AppState, contest: &StoredContest) -> Result<Arc<Board>, ApiError> {
        let revealed = contest.seal.as_ref().is_some_and(|seal| seal.revealed_at.is_some());
        let known = self.latest(|latest| {
            latest.contest == contest.rules.id
                && latest.digest == contest.digest
                && latest.board.scoreboard.sealing.both() == revealed
        });
        match known {
            Some(board) => Ok(board),
            None => self.look(state, contest, false).await,
        }
    }

    /// Asks the database, and remembers the answer.
    async fn look(&self, state: &AppState, contest: &StoredContest, current: bool) -> Result<Arc<Board>, ApiError> {
        // Read before the database is: a change in between makes the answer stale at once.
        let changes = self.changes.load(Ordering::SeqCst);
        let until = Instant::now() + BELIEVED;
        let board = self.computed(state, contest).await?;
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Latest {
            contest: contest.rules.id.clone(),
            digest: contest.digest.clone(),
            board: board.clone(),
            changes,
            until,
            current,
        });
        Ok(board)
    }

    async fn computed(&self, state: &AppState, contest: &StoredContest) -> Result<Arc<Board>, ApiError> {
        let of = Epoch {
            rules: contest.digest.clone(),
            imported: contest.imported_at.timestamp_micros(),
            revealed: contest.seal.as_ref().is_some_and(|seal| seal.revealed_at.is_some()),
        };
        let graded = board::graded(&state.pool, &contest.rules.id).await?;
        let mut all = self.kept.lock().await;
        let mut known = Known::default();
        if let Some(kept) = all.remove(&contest.rules.id).filter(|kept| kept.of == of) {
            if kept.graded == graded {
                let board = kept.board.clone();
                all.insert(contest.rules.id.clone(), kept);
                return Ok(board);
            }
            known = kept.results;
        }
        let lens = Lens::of(state, contest).await.map_err(ApiError::internal)?;
        let made = make(state, contest, &lens, &graded, &mut known).await;
        if let Ok(board) = &made {
            let (board, results) = (board.clone(), known);
            all.insert(
                contest.rules.id.clone(),
                Kept {
                    of,
                    graded,
                    results,
                    board,
                },
            );
        }
        made
    }
}

/// Hears of changes until the process stops.
pub fn start(state: web::Data<AppState>) {
    let mut notes = state.live.subscribe();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = state.stopping.cancelled() => return,
                note = notes.next() => if matches!(note, Note::Board(_) | Note::Everything) {
                    state.boards.changed();
                },
            }
        }
    });
}

/// The board as it would be under other rules for the same files. Nothing of it is kept.
///
/// # Errors
/// The database; the files of a sealed contest.
pub async fn replay(state: &AppState, contest: &StoredContest) -> Result<Arc<Board>, ApiError> {
    let graded = board::graded(&state.pool, &contest.rules.id).await?;
    let lens = Lens::of(state, contest).await.map_err(ApiError::internal)?;
    make(state, contest, &lens, &graded, &mut Known::default()).await
}

async fn make(
    state: &AppState,
    contest: &StoredContest,
    lens: &Lens,
    graded: &[Graded],
    known: &mut Known,
) -> Result<Arc<Board>, ApiError> {
    let jobs: HashSet<JobId> = graded.iter().map(|graded| graded.job).collect();
    known.outcomes.retain(|job, _| jobs.contains(job));
    known.draws.retain(|job, _| jobs.contains(job));
    let new: Vec<JobId> = jobs
        .into_iter()
        .filter(|job| !known.outcomes.contains_key(job))
        .collect();
    for batch in new.chunks(BATCH) {
        let stored = board::measured(&state.pool, batch, lens.needs_items()).await?;
        let lens = lens.clone();
        let outcomes = computing(move || {
            stored
                .into_iter()
                .map(|of| (of.job, Arc::new(outcome(&lens, of))))
                .collect::<Vec<_>>()
        });
        known.outcomes.extend(outcomes.await?);
    }
    let Known { outcomes, draws } = known;
    let scored: Vec<Scored<'_>> = graded
        .iter()
        .filter_map(|graded| {
            let outcome = outcomes.get(&graded.job)?;
            Some(Scored { graded, outcome })
        })
        .collect();
    let mut scoreboard = scoreboard::compute(&contest.rules, &scored, lens.sealing());
    draw(state, contest, lens, &scoreboard, outcomes, draws).await?;
    scoreboard.judge(&contest.rules, draws);
    let scores = scored.iter().filter_map(|of| {
        let score = contest.rules.score_of(&Measures(of.outcome.measures.clone())).ok()?;
        Some((of.graded.submission, score))
    });
    let scores = scores.collect();
    Ok(Arc::new(Board {
        body: Published::new(scoreboard.json(&contest.rules, &contest.digest)),
        csv: Published::new(spreadsheet::csv(&contest.rules, &scoreboard)),
        scoreboard,
        outcomes: outcomes.clone(),
        scores,
    }))
}

/// Draws documents anew for the rows that have none yet. Only rows of the board have a band, so only theirs are drawn.
async fn draw(
    state: &AppState,
    contest: &StoredContest,
    lens: &Lens,
    board: &Scoreboard,
    outcomes: &HashMap<JobId, Arc<Outcome>>,
    draws: &mut HashMap<JobId, Arc<Draws>>,
) -> Result<(), ApiError> {
    let ranked = board.rows.iter().filter(|row| row.rank.is_some()).map(|row| row.job);
    let new: Vec<JobId> = ranked.filter(|job| !draws.contains_key(job)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let tasks = state.task_sets.of(state, contest).await.map_err(ApiError::internal)?;
    let mut resampler = Resampler::new(&contest.rules, &pooled(&tasks)).map_err(ApiError::internal)?;
    for batch in new.chunks(BATCH) {
        let stored = board::measured(&state.pool, batch, true).await?;
        let of: Vec<(JobId, Arc<Outcome>, Vec<ItemScores>)> = stored
            .into_iter()
            .filter_map(|of| Some((of.job, outcomes.get(&of.job)?.clone(), of.items?.0)))
            .collect();
        let lens = lens.clone();
        let work = move || {
            // A result from before outcomes were kept has no draws, and so no band.
            let mut drawn = Vec::with_capacity(of.len());
            for (job, outcome, items) in of {
                let measures = Measures(outcome.measures.clone());
                if let Ok(draws) = resampler.draws(&measures, &lens.items(items)) {
                    drawn.push((job, Arc::new(draws)));
                }
            }
            (resampler, drawn)
        };
        let drawn;
        (resampler, drawn) = computing(work).await?;
        draws.extend(drawn);
    }
    Ok(())
}

fn outcome(lens: &Lens, of: Stored) -> Outcome {
    let (items, measures) = (of.items.map(|items| items.0).unwrap_or_default(), of.measures.0);
    Outcome {
        public: lens.public(&measures, &items),
        measures: lens.measures(measures, &items),
        device: of.device,
        certificate: of.certificate,
    }
}

/// Work that takes long enough to hold up a thread that answers requests.
async fn computing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
}
