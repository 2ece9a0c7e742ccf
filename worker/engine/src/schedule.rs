//! Which tokens run in the next step.
//!
//! Continuous batching over a token budget: sequences that generate go first, one row each; what is left of the budget computes
//! prompts, cut wherever the budget ends. Prompts start from what the cache already holds, and a prompt that could take more
//! from one being computed right now waits for it. When pages run out the newest sequence gives its pages back and starts again
//! later. A step may be decided on while the one before it is under way: the token that one will give a sequence has its place and is
//! not known yet. None of this changes a bit of any answer (see [`crate::numerics`]), so every choice here is only about time and room.

use std::collections::VecDeque;
use std::ops::Range;

use crate::numerics::PAGE_TOKENS;
use crate::pages::{Page, Pages, Table, common_prefix};

/// A waiting sequence is held back when one being computed will save it at least this many tokens.
const WORTH_WAITING: usize = 16;

/// Waiting sequences looked at in one step, so that a long queue costs nothing.
const LOOK_AHEAD: usize = 64;

/// Which requests come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// those with a common beginning one after the other, so that each beginning is computed once
    #[default]
    Tree,
    /// any order, drawn from a seed: it shows that order changes nothing
    Shuffled(u64),
}

impl Order {
    /// Puts sequences in this order.
    pub fn arrange(self, sequences: &mut [Sequence]) {
        match self {
            Order::Tree => sequences.sort_by(|a, b| a.tokens.cmp(&b.tokens)),
            Order::Shuffled(seed) => {
                // SplitMix64, and Fisher and Yates's shuffle
                let mut state = seed;
                for last in (1..sequences.len()).rev() {
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    z ^= z >> 31;
                    sequences.swap(last, (z % (last as u64 + 1)) as usize);
                }
            }
        }
    }
}

/// One request's tokens and how far they are.
#[derive(Debug)]
pub struct Sequence {
    /// index of the request
    pub request: usize,
    /// the tokens to be in the cache: the prompt, then what was generated. While steps are under way the last ones may be places of tokens that
    /// are not known yet
    pub tokens: Vec<u32>,
    /// the first of them that are known
    pub known: usize,
    /// the number of the output, in the step begun last, that gives the first unknown one
    pub source: usize,
    /// tokens in the cache, or on their way there in steps that have begun
    pub computed: usize,
    /// the first row whose output is still wanted: the cache may stand in for rows before it only
    pub next_output: usize,
    /// the most tokens it can come to hold
    pub most: usize,
    /// tokens ever taken from the cache instead of computed
    pub from_cache: usize,
    // tokens that a lookup in the cache finds
    recorded: usize,
    // tokens to compute before it generates
    start: usize,
    table: Table,
}

impl Sequence {
    /// A sequence at its beginning. `next_output` is below `tokens.len()`, `most` at least `tokens.len()`.
    pub fn new(request: usize, tokens: Vec<u32>, next_output: usize, most: usize) -> Sequence {
        Sequence {
            request,
            known: tokens.len(),
            source: 0,
            start: tokens.len(),
            recorded: 0,
            tokens,
            computed: 0,
            next_output,
            most,
            from_cache: 0,
            table: Table::default(),
        }
    }

    /// The pages it holds, in order.
    pub fn pages(&self) -> &[Page] {
        &self.table.pages
    }

    /// Notes the first unknown token, or one that nobody made a place for.
    pub fn learn(&mut self, token: u32) {
        match self.tokens.get_mut(self.known) {
            Some(place) => *place = token,
            None => self.tokens.push(token),
        }
        self.known += 1;
    }

    fn generates(&self) -> bool {
        self.tokens.len() - self.computed == 1
    }

    // Pages it will want beyond `tokens` if it runs half as long as it may: most generations stop early.
    fn expected_growth(&self) -> usize {
        let later = self.tokens.len() + (self.most - self.tokens.len()) / 2;
        later.div_ceil(PAGE_TOKENS).saturating_sub(self.table.pages.len())
    }
}

/// Rows of one sequence in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// index into [`Schedule::running`] when the step was decided on; later ones move up as sequences before them end
    pub sequence: usize,
    /// the sequence's request
    pub request: usize,
    /// which of its tokens
    pub tokens: Range<usize>,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextStep {
    /// page copies to make first, in order: (from, to)
    pub copies: Vec<(Page, Page)>,
    /// rows to compute
    pub work: Vec<Work>,
}

/// The queue of sequences and those that run.
#[derive(Debug)]
pub struct Schedule {
    budget: usize,
    most: usize,
    shares: bool,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    preemptions: u64,
}

impl Schedule {
    /// An empty schedule with steps of at most `budget` rows (at least one).
    pub fn new(budget: usize) -> Schedule {
        Schedule {
            budget: budget.max(1),
            most: usize::MAX,
            shares: true,
            waiting: VecDeque::new(),
            running: Vec::new(),
            preemptions: 0,
        }
    }

    /// The same with at most `sequences` running at once; 0 sets no bound.
    pub fn at_most(self, sequences: usize) -> Schedule {
        let most = if sequences == 0 { usize::MAX } else { sequences };
        Schedule { most, ..self }
    }

    /// The same, with or without taking shared beginnings from the cache.
    pub fn sharing(self, shares: bool) -> Schedule {
        Schedule { shares, ..self }
    }

    /// Queues a sequence. It must fit in the cache alone, which the caller checks.
    pub fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    /// The running sequences, oldest first.
    pub fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// The sequence that rows belong to, to note their outputs; `None` once it has ended.
    pub fn sequence_mut(&mut self, work: &Work) -> Option<&mut Sequence> {
        match self.place(work) {
            Some(index) => Some(&mut self.running[index]),
            // it gave its pages back after the step had begun
            None => self.waiting.iter_mut().find(|s| s.request == work.request),
        }
    }

    // Sequences only ever move up, so it is at its old place or not far before it.
    fn place(&self, work: &Work) -> Option<usize> {
        let until = self.running.len().min(work.sequence + 1);
        self.running[..until].iter().rposition(|s| s.request == work.request)
    }

    /// Sequences not yet finished.
    pub fn unfinished(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// How often a sequence had to give its pages back.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Decides the next step. No work means that what is under way has to come first, or that nothing is left to do.
    pub fn next(&mut self, pages: &mut Pages) -> NextStep {
        let mut step = NextStep::default();
        let shares = self.share_budget();
        let before = self.preemptions;
        let mut left = self.budget;
        let mut index = 0;
        while index < self.running.len() {
            // shares are in age order and preemption takes the newest, so `index` stays right
            let rows = shares[index];
            if rows > 0 && self.give_pages(index, rows, pages) {
                let computed = self.running[index].computed;
                step.work.push(Work {
                    sequence: index,
                    request: self.running[index].request,
                    tokens: computed..computed + rows,
                });
                left -= rows;
            }
            index += 1;
        }
        if self.preemptions == before {
            self.admit(left, pages, &mut step);
        }
        step
    }

    /// Notes that rows of the step decided on last are on their way to the cache: a next step may be decided on. If one of the step's outputs
    /// gives the sequence its next token, `next` is its number.
    pub fn begun(&mut self, work: &Work, next: Option<usize>) {
        let sequence = &mut self.running[work.sequence];
        sequence.computed = work.tokens.end;
        if let Some(output) = next {
            sequence.tokens.push(0);
            sequence.source = output;
        }
    }

    /// Notes that rows of a step that had begun are in the cache, and that all their tokens are known.
    pub fn computed(&mut self, work: &Work, pages: &mut Pages) {
        // one that gave its pages back meanwhile holds nothing
        if let Some(index) = self.place(work) {
            let sequence = &mut self.running[index];
            sequence.recorded = work.tokens.end;
            pages.record(&mut sequence.table, &sequence.tokens[..sequence.recorded]);
        }
    }

    /// Removes finished sequences, named by their requests, and lets go of their pages.
    pub fn finish(&mut self, done: &[usize], pages: &mut Pages) {
        let before = self.running.len();
        self.running.retain(|sequence| {
            let leaves = done.contains(&sequence.request);
            if leaves {
                pages.release(&sequence.table.pages);
            }
            !leaves
        });
        if before - self.running.len() < done.len() {
            self.waiting.retain(|sequence| !done.contains(&sequence.request));
        }
    }

    /// Forgets every sequence and lets go of their pages.
    pub fn clear(&mut self, pages: &mut Pages) {
        for sequence in self.running.drain(..) {
            pages.release(&sequence.table.pages);
        }
        self.waiting.clear();
    }

    /// Sends every running sequence back to its beginning, oldest first: what their pages held is gone, as are the tokens that steps under
    /// way would have given.
    pub fn begin_again(&mut self, pages: &mut Pages) {
        let all = self.running.iter_mut().chain(&mut self.waiting);
        all.for_each(|s| s.tokens.truncate(s.known));
        while !self.running.is_empty() {
            self.preempt_newest(pages);
        }
    }

    // Rows for each running sequence: one for each that generates, the rest of the budget to prompts in order of age.
    fn share_budget(&self) -> Vec<usize> {
        let mut left = self.budget;
        let mut shares = vec![0; self.running.len()];
        for generating in [true, false] {
            for (share, s) in shares.iter_mut().zip(&self.running) {
                if s.generates() == generating {
                    *share = (s.tokens.len() - s.computed).min(left);
                    left -= *share;
                }
            }
        }
        shares
    }

    // Makes room for the next `rows` rows of a running sequence, preempting the newest as long as needed.
    // False if the sequence itself had to go.
    fn give_pages(&mut self, index: usize, rows: usize, pages: &mut Pages) -> bool {
        loop {
            let sequence = &mut self.running[index];
            let needed = (sequence.computed + rows).div_ceil(PAGE_TOKENS);
            while sequence.table.pages.len() < needed {
                let Some(page) = pages.take() else { break };
                sequence.table.pages.push(page);
            }
            if sequence.table.pages.len() >= needed {
                return true;
            }
            let newest = self.running.len() - 1;
            self.preempt_newest(pages);
            if newest == index {
                return false;
            }
        }
    }

    fn preempt_newest(&mut self, pages: &mut Pages) {
        if let Some(mut sequence) = self.running.pop() {
            pages.release(&sequence.table.pages);
            sequence.table = Table::default();
            (sequence.computed, sequence.recorded) = (0, 0);
            sequence.start = sequence.tokens.len();
            self.preemptions += 1;
            self.waiting.push_front(sequence);
        }
    }

    fn admit(&mut self, mut left: usize, pages: &mut Pages, step: &mut NextStep) {
        let mut at = 0;
        let mut looked = 0;
        while left > 0 && self.running.len() < self.most && at < self.waiting.len() && looked < LOOK_AHEAD {
            looked += 1;
            let candidate = &self.waiting[at];
            // at least one row is always computed: the one whose output is wanted next
            let usable = match self.shares {
                true => candidate.next_output.min(candidate.tokens.len() - 1),
                false => 0,
            };
            let hit = pages.lookup(&candidate.tokens, usable);
            if self.shares && self.worth_waiting(candidate, hit.tokens()) {
                at += 1;
                continue;
            }
            let prompt = candidate.tokens.len().div_ceil(PAGE_TOKENS);
            let fresh = prompt - hit.pages.len();
            // shared pages that nobody holds are about to stop being available too
            let revived = hit.pages.iter().filter(|&&p| pages.holders(p) == 0).count();
            let reserved: usize = self.running.iter().map(Sequence::expected_growth).sum();
            let growth = candidate.expected_growth().saturating_sub(prompt);
            if !self.running.is_empty() && pages.available() < fresh + revived + growth + reserved {
                return; // in order: a small newcomer must not starve a large one
            }
            let Some(mut sequence) = self.waiting.remove(at) else {
                return;
            };
            let (table, known, copy) = pages.begin(&sequence.tokens, &hit);
            sequence.table = table;
            (sequence.computed, sequence.recorded) = (known, known);
            sequence.from_cache += known;
            step.copies.extend(copy);
            let rows = (sequence.tokens.len() - known).min(left);
            self.running.push(sequence);
            let index = self.running.len() - 1;
            let before = self.preemptions;
            if self.give_pages(index, rows, pages) && self.preemptions == before {
                step.work.push(Work {
                    sequence: index,
                    request: self.running[index].request,
                    tokens: known..known + rows,
                });
                left -= rows;
            } else {
                return;
            }
        }
    }

    // Whether a running sequence is about to compute a beginning that this one shares and the cache does not hold yet.
    fn worth_waiting(&self, candidate: &Sequence, cached: usize) -> bool {
        let usable = candidate.next_output.min(candidate.tokens.len() - 1);
        self.running.iter().filter(|s| s.recorded < s.start).any(|s| {
            let shared = common_prefix(&s.tokens[..s.known], &candidate.tokens).min(usable);
            shared >= cached + WORTH_WAITING && s.recorded < shared
        })
    }
}
