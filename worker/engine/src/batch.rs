//! What a step is given and what it gives back: the whole language between the scheduler and an executor.

use crate::numerics::PAGE_TOKENS;

/// A page of the key/value cache: room for [`PAGE_TOKENS`] tokens in every layer. Only executors know where it lies.
pub type Page = u32;

/// Consecutive tokens of one sequence in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// index of its first row in the step
    pub first_row: usize,
    /// how many rows
    pub rows: usize,
    /// tokens in the cache once these rows are stored; the rows' positions are `kv_len − rows .. kv_len`
    pub kv_len: usize,
    /// the sequence's pages in order; at least `kv_len / PAGE_TOKENS`, rounded up
    pub pages: Vec<Page>,
}

/// What is wanted of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// the most likely next token
    Greedy,
    /// the log-probability of this next token, and whether it is the most likely one
    Score(u32),
    /// all logits: for holding an engine to a reference, never for grading
    Logits,
}

/// A row of the step and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// row index in the step
    pub row: usize,
    /// what to compute from its logits
    pub want: Want,
}

/// A ragged batch of tokens: one row a token, rows of a sequence next to each other.
#[derive(Clone, Debug, Default)]
pub struct StepBatch {
    /// token ids (rows)
    pub tokens: Vec<u32>,
    /// positions (rows)
    pub positions: Vec<u32>,
    /// the sequences, in row order, covering every row once
    pub segments: Vec<Segment>,
    /// wanted outputs, in row order
    pub outputs: Vec<Output>,
    /// rows whose token is what the step before picked, which may not have come down yet: (row, number of that step's output), in row
    /// order. Their entries in `tokens` count for nothing. Only a [`Pipeline`](crate::Pipeline) takes such rows.
    pub follows: Vec<(usize, usize)>,
}

/// The answer for one [`Output`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picked {
    /// the most likely next token; the lowest id among equals
    pub argmax: u32,
    /// natural logarithm of the target's probability; only for [`Want::Score`]
    pub logprob: f64,
    /// `ln(Σ e^logit)`; only for [`Want::Score`]
    pub log_sum_exp: f64,
}

/// What a step gives back.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// one for each of the batch's outputs, in order
    pub picked: Vec<Picked>,
    /// rows of `vocab` logits, one for each output that wants [`Want::Logits`], in order
    pub logits: Vec<f32>,
}

/// What an executor can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// rows in one step
    pub step_tokens: usize,
    /// pages of key/value cache
    pub pages: usize,
    /// highest position + 1
    pub positions: usize,
    /// token ids are below this
    pub vocab: usize,
}

/// Why a step could not be computed. The first kind is a mistake of the caller, `NotFinite` is the model's, the others the device's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// the batch contradicts itself or the limits
    #[error("malformed step: {0}")]
    Malformed(&'static str),
    /// a logit came out as NaN or infinite
    #[error("output {output} of the step has a logit that is not a finite number")]
    NotFinite {
        /// index into the batch's outputs
        output: usize,
    },
    /// the device was lost and is set up again: nothing of the step is done and every cached key and value is gone, so sequences
    /// begin again from their tokens
    #[error("the device was lost and has been set up again without its cache")]
    CacheLost,
    /// the device failed for good
    #[error("the device failed: {0}")]
    Device(String),
}

impl StepBatch {
    /// Checks everything an executor relies on, so that a wrong batch is an error and not a wrong answer. `before` is how many outputs of the
    /// step before may be followed.
    pub fn check(&self, limits: &Limits, before: usize) -> Result<(), StepError> {
        let require = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(StepError::Malformed(what)) };
        let rows = self.tokens.len();
        require(rows <= limits.step_tokens, "more rows than the executor takes")?;
        require(self.positions.len() == rows, "as many positions as tokens")?;
        require(
            self.tokens.iter().all(|&t| (t as usize) < limits.vocab),
            "token id outside the vocabulary",
        )?;
        let mut next = 0;
        for s in &self.segments {
            require(s.first_row == next && s.rows > 0, "segments cover the rows in order")?;
            next = s.first_row.saturating_add(s.rows);
            require(next <= rows, "a segment ends after the last row")?;
            require(
                s.kv_len >= s.rows && s.kv_len <= limits.positions.min(limits.pages * PAGE_TOKENS),
                "positions outside the model's range or the cache",
            )?;
            require(
                s.pages.len() >= s.kv_len.div_ceil(PAGE_TOKENS),
                "too few pages for the segment",
            )?;
            require(
                s.pages.iter().all(|&p| (p as usize) < limits.pages),
                "page outside the cache",
            )?;
            let first = s.kv_len - s.rows;
            let positions = &self.positions[s.first_row..next];
            require(
                positions.iter().enumerate().all(|(i, &p)| p as usize == first + i),
                "positions follow each other",
            )?;
        }
        require(next == rows, "rows without a segment")?;
        let mut last = 0;
        for o in &self.outputs {
            require(o.row < rows, "output of a row that is not there")?;
            require(o.row >= last, "outputs follow the order of rows")?;
            last = o.row;
            require(
                !matches!(o.want, Want::Score(t) if t as usize >= limits.vocab),
                "target outside the vocabulary",
            )?;
        }
        let mut free = 0;
        for &(row, output) in &self.follows {
            require(row >= free && row < rows, "rows that follow are there, in order")?;
            require(output < before, "an output to follow that the step before did not have")?;
            free = row + 1;
        }
        Ok(())
    }
}
