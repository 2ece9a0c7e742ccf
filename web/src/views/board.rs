//! The leaderboard: every number that makes the score, beside it.

use super::chart::{self, Chart, PointKind};
use super::filters::{self, Count, Real};
use super::format;
use super::measures::{Cell, MeasureColumn, MeasureKind};
use super::page::{Page, When};
use super::report::Sealing;
use askama::Template;

/// GET `/`.
#[derive(Debug, Default, Template)]
#[template(path = "board.html")]
pub struct BoardPage {
    /// What every page carries.
    pub page: Page,
    /// The measures shown, in the contest's order (`score.show`, without `bytes`, which has a column of its own).
    pub columns: Vec<MeasureColumn>,
    /// Their groups, in the same order.
    pub groups: Vec<ColumnGroup>,
    /// What sorts by each column: rank, team, score, size, [`BoardPage::columns`], time received.
    pub headings: Vec<Heading>,
    /// The base model and the references, pinned above the teams; `team` is the model's name.
    pub pinned: Vec<BoardRow>,
    /// One row a team as it is asked for: by default ranked first, then below the floor, then without a score.
    pub rows: Vec<BoardRow>,
    /// How many teams there are, shown or not.
    pub total: usize,
    /// How many of them have a rank.
    pub ranked: usize,
    /// Teams with a rank, for the form that compares two: submission and name.
    pub rivals: Vec<(String, String)>,
    /// What the rows are filtered by.
    pub filter: BoardFilter,
    /// Accuracy against size.
    pub chart: Option<Chart>,
    /// The score formula as the contest states it.
    pub formula: String,
    /// Decimals the contest shows scores with: ranks come from the score as shown.
    pub decimals: u32,
    /// Whether a higher score is better.
    pub descending: bool,
    /// The floors a submission must reach to be ranked.
    pub floors: Vec<FloorView>,
    /// What the time track runs, in a sentence; `None` where the contest has none.
    pub workload: Option<String>,
    /// Confidence of intervals and bands in percent: `95`.
    pub confidence: String,
    /// How often documents are drawn anew for the bands.
    pub resamples: u64,
    /// The smallest difference of scores that is more than chance.
    pub score_resolution: Option<f64>,
    /// The smallest difference of accuracies that can be more than chance, by task.
    pub resolution: Vec<(String, f64)>,
    /// Which documents the figures are of.
    pub sealing: Sealing,
    /// When the newest result was published.
    pub updated: Option<When>,
    /// Digest of the board shown: the id of the event that says it has changed.
    pub digest: String,
    /// The address of the board's events (server-sent, event name `board`, data ignored); `None` polls `/api/v1/board` by ETag.
    pub events_url: Option<String>,
}

/// Neighbouring columns about the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnGroup {
    /// What they are about.
    pub kind: MeasureKind,
    /// Their name.
    pub label: String,
    /// How many.
    pub span: usize,
}

/// The link of a column's heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// The board sorted by this column; the other way round where it is.
    pub href: String,
    /// `ascending` or `descending` where it is sorted by this column: the value of `aria-sort`.
    pub sorted: Option<&'static str>,
}

/// What the rows are filtered by.
#[derive(Clone, Debug, Default)]
pub struct BoardFilter {
    /// Part of a name.
    pub q: String,
    /// Only teams with a rank.
    pub ranked: bool,
    /// The order, kept while filtering.
    pub sort: String,
    /// The accuracy drawn, kept while filtering.
    pub chart: String,
    /// The board without the filter.
    pub clear: String,
}

/// One row.
#[derive(Clone, Debug, Default)]
pub struct BoardRow {
    /// The fragment of its address.
    pub anchor: String,
    /// Where it stands in the board's own order, from 0.
    pub place: usize,
    /// Rank, or why there is none.
    pub standing: BoardStanding,
    /// The ranks it may as well have.
    pub band: Option<(u32, u32)>,
    /// Its neighbour on the board and the address where the two are compared.
    pub compare: Option<(String, String)>,
    /// The team's (or base model's) name.
    pub team: String,
    /// The submission's title.
    pub title: String,
    /// The submission's id.
    pub submission: String,
    /// Where the row leads (`/submissions/{id}`), only for those who may open it.
    pub href: Option<String>,
    /// Whether this is the viewer's team.
    pub mine: bool,
    /// The score.
    pub score: Option<f64>,
    /// How it stood on the public documents, once the sealed ones are revealed.
    pub public: Option<PublicStanding>,
    /// Length of all weight files together.
    pub bytes: Option<u64>,
    /// One cell a column of [`BoardPage::columns`].
    pub cells: Vec<Cell>,
    /// When the submission was received.
    pub received: Option<When>,
}

/// How a team stood on the public documents alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublicStanding {
    /// Its rank.
    pub rank: Option<u32>,
    /// Its score.
    pub score: Option<f64>,
}

/// Rank, or why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum BoardStanding {
    /// The base model: a reference, not a contestant.
    #[default]
    Base,
    /// A model the rules name for comparison; `title` says where its figures come from.
    Reference,
    /// Ranked; equal ranks are ties.
    Ranked(u32),
    /// Below a floor of the contest.
    BelowFloor {
        /// The measure's key.
        measure: String,
        /// What the submission reached.
        value: f64,
        /// The lower bound of its interval, where that was judged.
        bound: Option<f64>,
        /// What it had to reach.
        at_least: f64,
    },
    /// No score could be computed; the sentence says why, in the page's language.
    Unscored(String),
}

/// A floor of the contest.
#[derive(Clone, Debug)]
pub struct FloorView {
    /// The measure's key.
    pub measure: String,
    /// What it must reach.
    pub at_least: f64,
    /// Whether the lower bound of the interval must reach it, not the value.
    pub bound: bool,
}

impl BoardStanding {
    /// Whether it has a rank.
    pub fn is_ranked(&self) -> bool {
        matches!(self, BoardStanding::Ranked(_))
    }
}

impl BoardRow {
    /// The row's CSS classes.
    fn class(&self) -> String {
        let mut class = match self.standing {
            BoardStanding::Base | BoardStanding::Reference => "base",
            BoardStanding::Ranked(1) => "ranked first",
            BoardStanding::Ranked(_) => "ranked",
            _ => "unranked",
        }
        .to_owned();
        if self.mine {
            class.push_str(" mine");
        }
        class
    }
}

impl BoardPage {
    /// What an empty board asks of the viewer: the suffix of its message keys, and where its button leads.
    pub fn next_step(&self) -> (&'static str, Option<&'static str>) {
        match &self.page.viewer {
            _ if self.page.contest.is_none() => ("no-contest", None),
            None => ("visitor", Some("/signup")),
            Some(viewer) if viewer.team.is_none() => ("no-team", Some("/team")),
            Some(_) => ("ready", Some("/submissions/new")),
        }
    }

    fn empty_key(&self, step: &str) -> String {
        format!("board-empty-{step}")
    }

    fn empty_button_key(&self, step: &str) -> String {
        format!("board-empty-{step}-button")
    }

    /// The short name of a measure, for a line with little room.
    fn short(&self, measure: &str) -> String {
        MeasureColumn::from_key(self.page.locale, measure).label
    }

    /// The ranks a row may as well have, where that is more than its own.
    fn band(&self, row: &BoardRow) -> Option<String> {
        row.band.filter(|(best, worst)| best < worst).map(format::ranks)
    }

    /// Whether a column's intervals are the fastest and the slowest round.
    fn timed(&self) -> bool {
        self.columns.iter().any(|column| column.key == "time_ratio")
    }

    /// Whether a row may as well have another rank.
    fn banded(&self) -> bool {
        self.rows.iter().any(|row| self.band(row).is_some())
    }

    /// How a row stood on the public documents alone.
    fn public(&self, public: &PublicStanding) -> String {
        let score = public.score.map_or_else(|| "–".to_owned(), |score| self.score(score));
        match public.rank {
            Some(rank) => self.page.t2("board-public-rank", "score", score, "rank", rank),
            None => self.page.t1("board-public", "score", score),
        }
    }

    /// A name that fits beside a point of the drawing.
    fn beside(&self, name: &str) -> String {
        chart::short(name)
    }

    fn difference(&self, smallest: &f64) -> String {
        format!("{smallest:.3}")
    }

    /// The link that sorts by the `at`-th column.
    fn heading(&self, at: usize) -> Heading {
        self.headings.get(at).cloned().unwrap_or_default()
    }

    /// A measured value in the unit of its column.
    fn value(&self, column: &usize, value: &f64) -> String {
        let key = self.columns.get(*column).map_or("", |column| column.key.as_str());
        format::in_unit(self.page.locale, key, *value)
    }

    /// Whether anything is left out.
    fn filtered(&self) -> bool {
        self.rows.len() < self.total || !self.filter.q.is_empty() || self.filter.ranked
    }

    /// How many of how many rows are shown.
    fn shown(&self) -> String {
        self.page.t2("board-shown", "n", self.rows.len(), "total", self.total)
    }

    fn score(&self, score: impl Real) -> String {
        format::score(score.real(), self.decimals)
    }

    fn exact(&self, bytes: impl Count) -> String {
        format::grouped(bytes.count())
    }

    /// A weight as a share of the base's.
    fn of_base(&self, bytes: impl Count) -> Option<String> {
        let base = self.pinned.first()?.bytes?;
        Some(format::percent(bytes.count(), base))
    }
}
