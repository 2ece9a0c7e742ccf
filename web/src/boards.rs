//! Boards in memory. A board is a pure function of stored results and rules; drawing documents anew for its rank bands
//! takes a while, so a board is computed once and given out until a result, a name or a rule changes. What a result gives
//! (its measures, its draws) never changes and is kept by its job.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use assay_contest::Measures;
use assay_contest::statistics::{Draws, Resampler};
use assay_contest::wire::ItemScores;
use assay_tasks::pooled;
use tokio::sync::Mutex;

use crate::db::board::{self, Graded, Measured as Stored};
use crate::db::contests::StoredContest;
use crate::db::ids::{JobId, SubmissionId};
use crate::error::ApiError;
use crate::outcomes::{Lens, Measured};
use crate::scoreboard::{self, Scoreboard, Scored};
use crate::state::AppState;

/// Results read at once: what their outcomes hold in memory meanwhile is bounded.
const BATCH: usize = 64;

/// The boards of this process, by contest.
#[derive(Default)]
pub struct Boards {
    // Held while a board is computed: whoever asks meanwhile waits for it instead of computing it, too.
    kept: Mutex<HashMap<String, Kept>>,
}

/// A board with what programs get of it.
#[derive(Debug)]
pub struct Board {
    /// The board.
    pub scoreboard: Scoreboard,
    /// As JSON.
    pub body: String,
    /// Digest of the JSON.
    pub etag: String,
    /// What counts of every result.
    outcomes: HashMap<JobId, Arc<Outcome>>,
    /// Score of every graded submission, its team's best or not; one without a score has none here.
    pub scores: HashMap<SubmissionId, f64>,
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
    /// The board of a contest as it stands.
    ///
    /// # Errors
    /// The database; the files of a sealed contest.
    pub async fn of(&self, state: &AppState, contest: &StoredContest) -> Result<Arc<Board>, ApiError> {
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
    let (body, etag) = scoreboard.published(&contest.rules, &contest.digest);
    Ok(Arc::new(Board {
        scoreboard,
        body,
        etag,
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
