//! The board as people and programs read it. A pure function of the contest's rules and the stored results: the same
//! inputs give the same bytes, so its digest is its ETag.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use assay_contest::rules::{Reference, Sealed};
use assay_contest::statistics::{Band, Draws, bands, interval, resolution, score_resolution};
use assay_contest::{Contest, Entry, Formula, Measures, Row, Standing, Text, board};
use serde::Serialize;
use serde_json::{Value, json};

use crate::boards::Outcome;
use crate::db::board::Graded;
use crate::db::ids::{JobId, TeamId};
use crate::outcomes::Measured;
use crate::views::Sealing;

/// The board.
#[derive(Debug, Clone)]
pub struct Scoreboard {
    /// One row a team, in order.
    pub rows: Vec<BoardLine>,
    /// The base model's own line.
    pub base: BaseLine,
    /// The models the rules name for comparison, in their order.
    pub references: Vec<ReferenceLine>,
    /// What the documents can tell apart.
    pub resolution: Resolution,
    /// Which documents the figures are of.
    pub sealing: Sealing,
}

/// The smallest differences that are more than chance.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Resolution {
    /// Of scores, between neighbours on the board; null where fewer than two rows are known by document.
    pub score: Option<f64>,
    /// Of accuracies: what takes the fewest documents, all speaking for the same model. Any smaller difference may be chance.
    pub measures: BTreeMap<String, f64>,
}

/// A team's best submission.
#[derive(Debug, Clone, Serialize)]
pub struct BoardLine {
    /// 1 is the best; null below a floor or without a score.
    pub rank: Option<u32>,
    /// The ranks it may as well have, best and worst, at the contest's confidence; null where outcomes by document are not known.
    pub band: Option<Band>,
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
    pub measures: Measured,
    /// Confidence intervals of its accuracies.
    pub intervals: BTreeMap<String, (f64, f64)>,
    /// How the team stood on the public documents alone, once the sealed ones are revealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicLine>,
    /// What it was graded on.
    pub device: Option<String>,
    /// Digest of its certificate.
    pub certificate: Option<String>,
    /// When it was received.
    pub received_at: String,
    /// Whose it is; not published.
    #[serde(skip)]
    pub team_id: TeamId,
    /// The result that counts; not published.
    #[serde(skip)]
    pub job: JobId,
}

/// How a team stood on the public documents alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublicLine {
    /// The submission that was its best then.
    pub submission: String,
    /// Its rank then.
    pub rank: Option<u32>,
    /// Its score then.
    pub score: Option<f64>,
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
    /// Confidence intervals of its accuracies, as far as the contest states their standard errors and documents.
    pub intervals: BTreeMap<String, (f64, f64)>,
}

/// A model the rules name for comparison: it has no rank.
#[derive(Debug, Clone, Serialize)]
pub struct ReferenceLine {
    /// Its name.
    pub name: String,
    /// Where its figures come from.
    pub source: Text,
    /// What the formula makes of it; null where it lacks a measure the formula reads.
    pub score: Option<f64>,
    /// Length of its weight files together.
    pub bytes: u64,
    /// Its measures as the contest states them.
    pub measures: BTreeMap<String, f64>,
    /// Confidence intervals of its accuracies.
    pub intervals: BTreeMap<String, (f64, f64)>,
}

/// A graded submission with what counts of its result.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The submission.
    pub graded: &'a Graded,
    /// What counts of its result.
    pub outcome: &'a Outcome,
}

/// Computes the board, without bands: those need the outcomes by document.
#[must_use]
pub fn compute(rules: &Contest, scored: &[Scored<'_>], sealing: Sealing) -> Scoreboard {
    let known: HashMap<String, &Scored<'_>> = scored.iter().map(|of| (of.graded.submission.to_string(), of)).collect();
    let rows = board(rules, &entries(scored, |outcome| Some(&outcome.measures)));
    let then: HashMap<String, PublicLine> = board(rules, &entries(scored, |outcome| outcome.public.as_ref()))
        .into_iter()
        .map(|row| {
            let (rank, score) = place(&row.standing);
            let submission = row.submission;
            (
                row.team,
                PublicLine {
                    submission,
                    rank,
                    score,
                },
            )
        })
        .collect();
    let rows = rows
        .into_iter()
        .filter_map(|row| {
            let (of, public) = (known.get(&row.submission)?, then.get(&row.team).cloned());
            Some(line(rules, row, of, public))
        })
        .collect();
    Scoreboard {
        rows,
        base: base(rules),
        references: rules.references.iter().map(|of| reference(rules, of)).collect(),
        resolution: Resolution::default(),
        sealing,
    }
}

fn entries<'a>(scored: &[Scored<'a>], measures: impl Fn(&'a Outcome) -> Option<&'a Measured>) -> Vec<Entry> {
    let entry = |of: &Scored<'a>| {
        Some(Entry {
            submission: of.graded.submission.to_string(),
            team: of.graded.team_id.to_string(),
            received_at: of.graded.received_at.clone(),
            measures: Measures(measures(of.outcome)?.clone()),
        })
    };
    scored.iter().filter_map(entry).collect()
}

/// Rank and score of a standing, as far as it has them.
fn place(standing: &Standing) -> (Option<u32>, Option<f64>) {
    match standing {
        Standing::Ranked { rank, score } => (Some(*rank), Some(*score)),
        Standing::BelowFloor { score, .. } => (None, *score),
        Standing::Unscored { .. } => (None, None),
    }
}

fn line(rules: &Contest, row: Row, of: &Scored<'_>, public: Option<PublicLine>) -> BoardLine {
    let (rank, score) = place(&row.standing);
    BoardLine {
        rank,
        band: None,
        team: of.graded.team.clone(),
        submission: row.submission,
        title: of.graded.title.clone(),
        score,
        standing: row.standing,
        bytes: row.measures.0.get("bytes").and_then(|bytes| whole(*bytes)),
        intervals: intervals(rules, &row.measures.0),
        measures: row.measures.0,
        public,
        device: of.outcome.device.clone(),
        certificate: of.outcome.certificate.clone(),
        received_at: row.received_at,
        team_id: of.graded.team_id,
        job: of.graded.job,
    }
}

/// Every measure that the formula or a floor reads.
#[must_use]
pub fn counting(rules: &Contest) -> Vec<String> {
    let formula = Formula::parse(&rules.score.formula).map(|formula| formula.measures());
    let floors = rules.score.floors.iter().map(|floor| floor.measure.clone());
    formula.unwrap_or_default().into_iter().chain(floors).collect()
}

/// The confidence interval of every accuracy that has a standard error; floors are judged by its lower end.
#[must_use]
pub fn intervals(rules: &Contest, measures: &Measured) -> BTreeMap<String, (f64, f64)> {
    let of = |(name, mean): (&String, &f64)| {
        let rest = name.strip_prefix("acc.")?;
        let stderr = measures.get(&format!("acc_stderr.{rest}"))?;
        let items = documents(measures, rest)?;
        Some((name.clone(), interval(*mean, *stderr, items, rules.score.confidence)))
    };
    measures.iter().filter_map(of).collect()
}

/// Documents behind a measure, named from its task on.
fn documents(measures: &Measured, rest: &str) -> Option<f64> {
    measures.get(&format!("items.{}", rest.split('.').next()?)).copied()
}

fn base(rules: &Contest) -> BaseLine {
    let mut measures = stated(&rules.base.measures, rules.base.bytes);
    if rules.grading.time.is_some() {
        // By definition: it is what submissions are timed against.
        measures.entry("time_ratio".to_owned()).or_insert(1.0);
    }
    BaseLine {
        name: rules.base.name.clone(),
        score: rules.score_of(&Measures(measures.clone())).ok(),
        bytes: rules.base.bytes,
        intervals: intervals(rules, &measures),
        measures,
    }
}

fn reference(rules: &Contest, of: &Reference) -> ReferenceLine {
    let measures = stated(&of.measures, of.bytes);
    ReferenceLine {
        name: of.name.clone(),
        source: of.source.clone(),
        score: rules.score_of(&Measures(measures.clone())).ok(),
        bytes: of.bytes,
        intervals: intervals(rules, &measures),
        measures,
    }
}

/// The measures the rules state of a model, with its size.
fn stated(measures: &BTreeMap<String, f64>, bytes: u64) -> BTreeMap<String, f64> {
    let mut measures = measures.clone();
    // Exact up to 2^53 bytes.
    measures.insert("bytes".to_owned(), bytes as f64);
    measures
}

/// A count that travelled as a double.
pub fn whole(value: f64) -> Option<u64> {
    ((0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// The least difference of each accuracy on the board that can be more than chance, whoever is compared.
fn least(rules: &Contest, measures: &Measured) -> BTreeMap<String, f64> {
    let of = |name: &String| {
        let items = whole(documents(measures, name.strip_prefix("acc.")?)?)?;
        let found = resolution(usize::try_from(items).ok()?, 0, rules.score.confidence)?;
        Some((name.clone(), found.least))
    };
    rules.score.show.iter().filter_map(of).collect()
}

impl BoardLine {
    /// The row it was made of.
    fn row(&self) -> Row {
        Row {
            submission: self.submission.clone(),
            team: self.team_id.to_string(),
            received_at: self.received_at.clone(),
            measures: Measures(self.measures.clone()),
            standing: self.standing.clone(),
        }
    }
}

impl Scoreboard {
    /// The JSON that `/api/v1/board` answers.
    #[must_use]
    pub fn json(&self, rules: &Contest, digest: &str) -> String {
        let sealed = rules.grading.sealed.as_ref().map(|Sealed { share, digest, after }| {
            json!({ "share": share, "digest": digest, "after": after, "revealed": self.sealing.both() })
        });
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
                "confidence": rules.score.confidence,
                "resamples": rules.score.resamples,
                "sealed": sealed,
            },
            "resolution": self.resolution,
            "base": self.base,
            "references": self.references,
            "rows": self.rows,
        });
        body.to_string()
    }

    /// Adds what the outcomes by document say: the ranks each row may as well have, and what the documents tell apart.
    pub fn judge(&mut self, rules: &Contest, draws: &HashMap<JobId, Arc<Draws>>) {
        let rows: Vec<Row> = self.rows.iter().map(BoardLine::row).collect();
        let own: Vec<Option<&Draws>> = self
            .rows
            .iter()
            .map(|line| draws.get(&line.job).map(Arc::as_ref))
            .collect();
        for (line, band) in self.rows.iter_mut().zip(bands(rules, &rows, &own)) {
            line.band = band;
        }
        self.resolution = Resolution {
            score: score_resolution(rules, &rows, &own),
            measures: self
                .rows
                .first()
                .map(|line| least(rules, &line.measures))
                .unwrap_or_default(),
        };
    }

    /// The line of a submission, if it is its team's best.
    #[must_use]
    pub fn line(&self, submission: &str) -> Option<&BoardLine> {
        self.rows.iter().find(|row| row.submission == submission)
    }
}
