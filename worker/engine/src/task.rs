//! One request on its way to its answer: which rows it wants outputs of, and what it makes of them.

use std::time::Duration;

use crate::batch::{Picked, Want};
use crate::request::{Answer, EngineError, Finish, Request, Span, Stats, Stop};
use crate::schedule::Sequence;

/// What a request is after.
pub(crate) enum Goal {
    /// token after token
    Generate {
        /// tokens of the prompt
        prompt: usize,
        max_tokens: usize,
        eos: Vec<u32>,
        stop: Stop,
    },
    /// the probability of given tokens
    Score {
        /// tokens of the context
        context: usize,
        continuation: Vec<u32>,
        logprobs: Vec<f64>,
        greedy: bool,
    },
    /// everything the model says
    Logits {
        /// (rows so far, vocab)
        rows: Vec<f32>,
    },
}

/// A request, the sequence it needs computed, and its answer once there.
pub(crate) struct Task {
    pub goal: Goal,
    /// taken by the schedule; `None` from the start if nothing has to be computed
    pub sequence: Option<Sequence>,
    pub answer: Option<Answer>,
    pub span: Span,
    /// whether `span.began` is known
    pub begun: bool,
}

impl Task {
    /// `check(tokens, most)` judges token ids and the length that the sequence may reach.
    pub fn new(
        request: usize,
        asked: Request,
        check: impl Fn(&[u32], usize) -> Result<(), EngineError>,
    ) -> Result<Task, EngineError> {
        match asked {
            Request::Generate {
                prompt,
                max_tokens,
                eos,
                stop,
            } => {
                // the last generated token is never fed back, so it needs no room
                let most = prompt.len().saturating_add(max_tokens.saturating_sub(1));
                check(&prompt, most)?;
                let goal = Goal::Generate {
                    prompt: prompt.len(),
                    max_tokens,
                    eos,
                    stop,
                };
                let first = prompt.len() - 1;
                let mut task = Task::started(goal, Sequence::new(request, prompt, first, most));
                if max_tokens == 0 {
                    task.sequence = None;
                    task.answer = Some(Answer::Generated {
                        tokens: Vec::new(),
                        finish: Finish::Length,
                    });
                }
                Ok(task)
            }
            Request::Score { context, continuation } => {
                check(&context, context.len())?;
                let first = context.len() - 1;
                let mut tokens = context;
                tokens.extend_from_slice(&continuation);
                let needed = (tokens.len() - 1).max(first + 1);
                check(&tokens, needed)?;
                tokens.truncate(needed); // nothing is asked about what follows the last token
                let empty = continuation.is_empty();
                let goal = Goal::Score {
                    context: first + 1,
                    continuation,
                    logprobs: Vec::new(),
                    greedy: true,
                };
                let mut task = Task::started(goal, Sequence::new(request, tokens, first, needed));
                if empty {
                    task.sequence = None;
                    task.answer = Some(Answer::Scored {
                        logprobs: Vec::new(),
                        greedy: true,
                    });
                }
                Ok(task)
            }
        }
    }

    /// All logits of a prompt.
    pub fn logits(prompt: &[u32]) -> Task {
        let goal = Goal::Logits { rows: Vec::new() };
        Task::started(goal, Sequence::new(0, prompt.to_vec(), 0, prompt.len()))
    }

    fn started(goal: Goal, sequence: Sequence) -> Task {
        Task {
            goal,
            sequence: Some(sequence),
            answer: None,
            span: Span::default(),
            begun: false,
        }
    }

    /// Notes that rows of it are in a step made `now` after the start of the run.
    pub fn begin(&mut self, now: Duration) {
        if !self.begun {
            self.begun = true;
            self.span.began = now;
        }
    }

    /// What is wanted of the row of token `row`, when the sequence's last token is `last`.
    pub fn want(&self, row: usize, last: usize) -> Option<Want> {
        match &self.goal {
            Goal::Generate { .. } => (row == last).then_some(Want::Greedy),
            Goal::Score {
                context, continuation, ..
            } => continuation.get(row + 1 - *context).copied().map(Want::Score),
            Goal::Logits { .. } => Some(Want::Logits),
        }
    }

    /// Whether a token is computed after the one that the row of token `row` gives, unless that one ends the generation.
    pub fn goes_on(&self, row: usize) -> bool {
        match &self.goal {
            Goal::Generate { prompt, max_tokens, .. } => row + 2 - *prompt < *max_tokens,
            Goal::Score { .. } | Goal::Logits { .. } => false,
        }
    }

    /// Takes the output of the row of token `row`; `logits` only where they were wanted. True once nothing more is wanted.
    pub fn take(
        &mut self,
        sequence: &mut Sequence,
        row: usize,
        picked: &Picked,
        logits: &[f32],
        stats: &mut Stats,
    ) -> bool {
        sequence.next_output = row + 1;
        match &mut self.goal {
            Goal::Generate {
                prompt,
                max_tokens,
                eos,
                stop,
            } => {
                stats.generated_tokens += 1;
                sequence.learn(picked.argmax);
                let generated = &sequence.tokens[*prompt..sequence.known];
                let finish = if eos.contains(&picked.argmax) {
                    Finish::Eos
                } else if stop(generated) {
                    Finish::Stop
                } else if generated.len() >= *max_tokens {
                    Finish::Length
                } else {
                    return false;
                };
                self.answer = Some(Answer::Generated {
                    tokens: generated.to_vec(),
                    finish,
                });
                true
            }
            Goal::Score {
                context,
                continuation,
                logprobs,
                greedy,
            } => {
                stats.scored_tokens += 1;
                logprobs.push(picked.logprob);
                *greedy &= continuation.get(row + 1 - *context) == Some(&picked.argmax);
                if logprobs.len() < continuation.len() {
                    return false;
                }
                self.answer = Some(Answer::Scored {
                    logprobs: std::mem::take(logprobs),
                    greedy: *greedy,
                });
                true
            }
            Goal::Logits { rows } => {
                rows.extend_from_slice(logits);
                row + 1 == sequence.known
            }
        }
    }
}
