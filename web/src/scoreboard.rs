//! The board as people and programs read it. A pure function of the contest's rules and the stored results: the same
//! inputs give the same bytes, so its digest is its ETag.

use std::collections::{BTreeMap, HashMap};

use assay_contest::{Contest, Entry, Measures, Standing, board};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::db::board::Scored;
use crate::db::ids::TeamId;

/// The board.
#[derive(Debug, Clone)]
pub struct Scoreboard {
    /// One row a team, in order.
    pub rows: Vec<BoardLine>,
    /// The base model's own line.
    pub base: BaseLine,
}

/// A team's best submission.
#[derive(Debug, Clone, Serialize)]
pub struct BoardLine {
    /// 1 is the best; null below a floor or without a score.
    pub rank: Option<u32>,
    /// The team's name.
    pub team: String,
    /// The submission.
    pub submission: String,
    /// What the team calls it.
    pub title: String,
    /// As shown, rounded to the contest's decimals. Also given below a floor, where it counts for nothing.
    pub score: Option<f64>,
    /// Where it stands and why.
    pub standing: Standing,
    /// Length of all weight files together.
    pub bytes: Option<u64>,
    /// Everything measured on it, standard errors as `acc_stderr.…`.
    pub measures: BTreeMap<String, f64>,
    /// What it was graded on.
    pub device: Option<String>,
    /// When it was received.
    pub received_at: String,
    /// Whose it is; not published.
    #[serde(skip)]
    pub team_id: TeamId,
}

/// The base model, for comparison: it has no rank.
#[derive(Debug, Clone, Serialize)]
pub struct BaseLine {
    /// Its name.
    pub name: String,
    /// What the formula makes of the base itself.
    pub score: Option<f64>,
    /// Length of its weight files together.
    pub bytes: u64,
    /// Its measures as the contest states them.
    pub measures: BTreeMap<String, f64>,
}

/// Computes the board.
#[must_use]
pub fn compute(rules: &Contest, scored: &[Scored]) -> Scoreboard {
    let entries: Vec<Entry> = scored
        .iter()
        .map(|scored| Entry {
            submission: scored.submission.to_string(),
            team: scored.team_id.to_string(),
            received_at: scored.received_at.clone(),
            measures: Measures(scored.measures.0.clone()),
        })
        .collect();
    let known: HashMap<String, &Scored> = scored
        .iter()
        .map(|scored| (scored.submission.to_string(), scored))
        .collect();
    let rows = board(rules, &entries)
        .into_iter()
        .filter_map(|row| {
            let of = known.get(&row.submission)?;
            let (rank, score) = match &row.standing {
                Standing::Ranked { rank, score } => (Some(*rank), Some(*score)),
                Standing::BelowFloor { score, .. } => (None, *score),
                Standing::Unscored { .. } => (None, None),
            };
            Some(BoardLine {
                rank,
                team: of.team.clone(),
                submission: row.submission,
                title: of.title.clone(),
                score,
                standing: row.standing,
                bytes: row.measures.0.get("bytes").and_then(|bytes| whole(*bytes)),
                measures: row.measures.0,
                device: of.device.clone(),
                received_at: row.received_at,
                team_id: of.team_id,
            })
        })
        .collect();
    let mut measures = rules.base.measures.clone();
    // Exact up to 2^53 bytes.
    measures.insert("bytes".to_owned(), rules.base.bytes as f64);
    let base = BaseLine {
        name: rules.base.name.clone(),
        score: rules.score_of(&Measures(measures.clone())).ok(),
        bytes: rules.base.bytes,
        measures,
    };
    Scoreboard { rows, base }
}

/// A count that travelled as a double.
pub fn whole(value: f64) -> Option<u64> {
    ((0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

impl Scoreboard {
    /// The JSON that `/api/v1/board` answers, and its digest.
    #[must_use]
    pub fn published(&self, rules: &Contest, digest: &str) -> (String, String) {
        let body: Value = json!({
            "contest": {
                "id": rules.id,
                "title": rules.title,
                "digest": digest,
                "timezone": rules.timezone,
                "formula": rules.score.formula,
                "order": rules.score.order,
                "floors": rules.score.floors,
                "show": rules.score.show,
                "decimals": rules.score.decimals,
            },
            "base": self.base,
            "rows": self.rows,
        });
        let body = body.to_string();
        let etag = hex::encode(Sha256::digest(body.as_bytes()));
        (body, etag)
    }

    /// The line of a submission, if it is its team's best.
    #[must_use]
    pub fn line(&self, submission: &str) -> Option<&BoardLine> {
        self.rows.iter().find(|row| row.submission == submission)
    }
}
