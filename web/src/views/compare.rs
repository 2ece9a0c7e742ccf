//! Two submissions beside each other, document by document.

use super::filters::{self, Real};
use super::format;
use super::page::Page;
use super::report::Sealing;
use askama::Template;

/// GET `/compare`.
#[derive(Debug, Default, Template)]
#[template(path = "compare.html")]
pub struct ComparePage {
    /// What every page carries.
    pub page: Page,
    /// The two.
    pub sides: [Side; 2],
    /// Decimals the contest shows scores with.
    pub decimals: u32,
    /// One row a metric that both have outcomes of.
    pub rows: Vec<CompareRow>,
    /// Confidence of the intervals in percent: `95`.
    pub confidence: String,
    /// Which documents the figures are of.
    pub sealing: Sealing,
    /// The same with the two swapped.
    pub swap: String,
}

/// One of the two.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The team's name.
    pub team: String,
    /// The submission's title.
    pub title: String,
    /// Where its page is, for those who may open it.
    pub href: Option<String>,
    /// Its rank, if it is on the board.
    pub rank: Option<u32>,
    /// Its score.
    pub score: Option<f64>,
    /// Length of its weight files.
    pub bytes: Option<u64>,
}

/// One metric of one task, over the documents both answered.
#[derive(Clone, Debug, Default)]
pub struct CompareRow {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// The filter; `none` is shown as nothing.
    pub filter: String,
    /// Documents both answered.
    pub n: u64,
    /// How right and wrong fall together, for metrics that are right or wrong: both right, only the first, only the
    /// second, both wrong.
    pub table: Option<[u64; 4]>,
    /// First minus second.
    pub difference: f64,
    /// Ends of its confidence interval.
    pub interval: Option<(f64, f64)>,
    /// Probability of so uneven a split if both were equally good.
    pub p: Option<f64>,
    /// Whether that is less likely than the contest's confidence leaves.
    pub differs: bool,
}

impl ComparePage {
    fn score(&self, score: impl Real) -> String {
        format::score(score.real(), self.decimals)
    }

    /// The axis of the plots: symmetric around no difference, a whole number of hundredths.
    fn reach(&self) -> f64 {
        let ends = self.rows.iter().flat_map(|row| {
            let (low, high) = row.interval.unwrap_or((row.difference, row.difference));
            [low, high, row.difference]
        });
        let widest = ends
            .filter(|end| end.is_finite())
            .fold(0.0_f64, |widest, end| widest.max(end.abs()));
        ((widest * 100.0).ceil() / 100.0).max(0.01)
    }

    /// What a side is called where there is little room.
    fn name(&self, at: usize) -> &str {
        match &self.sides {
            [first, second] if first.team == second.team => [first, second][at].title.as_str(),
            sides => sides[at].team.as_str(),
        }
    }
}

impl CompareRow {
    /// The filter, unless it is the harness's word for "no filter".
    fn filter(&self) -> Option<&str> {
        Some(self.filter.as_str()).filter(|filter| !filter.is_empty() && *filter != "none")
    }

    fn difference(&self) -> String {
        format::signed(self.difference)
    }

    fn p(&self) -> Option<String> {
        self.p.map(format::probability)
    }

    /// Where a difference lies on an axis 144 wide from `-reach` to `reach`.
    fn at(&self, value: &f64, reach: &f64) -> String {
        format!("{:.2}", 72.0 + (value / reach).clamp(-1.0, 1.0) * 66.0)
    }
}
