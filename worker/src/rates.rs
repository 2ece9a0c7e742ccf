//! How often answers go wrong as texts, whatever they are worth: cut off, without an answer, caught in a loop.

use assay_engine::{Answer, Finish};

/// Longest piece whose repetition counts as a loop, tokens: a paragraph of a model that goes round in circles.
const LONGEST_PERIOD: usize = 256;
/// A piece has to stand at the end at least so often,
const LEAST_REPEATS: usize = 3;
/// and the repeats have to be at least so long together, tokens: "1000000" and a row of dashes are no loop.
const LEAST_LOOP: usize = 24;

/// Shares of a generating task's answers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// Of requests: the budget of tokens ended them.
    pub truncated: f64,
    /// Of documents: none of the task's filters found an answer.
    pub no_answer: f64,
    /// Of requests: their tokens end in a loop, see [`ends_in_a_loop`].
    pub repetition: f64,
}

impl Rates {
    /// Names in measures and values.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("truncated", self.truncated),
            ("no_answer", self.no_answer),
            ("repetition", self.repetition),
        ]
    }

    /// The rates over one task's outputs. `unanswered` of its `docs` documents have no answer.
    pub fn of(answers: &[Answer], unanswered: usize, docs: usize) -> Rates {
        let (mut requests, mut truncated, mut looping) = (0usize, 0usize, 0usize);
        for answer in answers {
            if let Answer::Generated { tokens, finish } = answer {
                requests += 1;
                truncated += usize::from(*finish == Finish::Length);
                let text = if *finish == Finish::Eos {
                    &tokens[..tokens.len().saturating_sub(1)]
                } else {
                    tokens
                };
                looping += usize::from(ends_in_a_loop(text));
            }
        }
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        Rates {
            truncated: share(truncated, requests),
            no_answer: share(unanswered, docs),
            repetition: share(looping, requests),
        }
    }
}

/// Whether the last tokens are one piece of at most 256 tokens over and over: at least three times, and at least 24 tokens.
pub fn ends_in_a_loop(tokens: &[u32]) -> bool {
    (1..=LONGEST_PERIOD).any(|period| {
        let looped = (LEAST_REPEATS * period).max(LEAST_LOOP);
        let Some(start) = tokens.len().checked_sub(looped) else {
            return false;
        };
        let tail = &tokens[start..];
        tail[period..] == tail[..looped - period]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_at_the_end_are_seen_whatever_came_before() {
        let mut tokens: Vec<u32> = (0..100).collect();
        assert!(!ends_in_a_loop(&tokens));
        (0..3).for_each(|_| tokens.extend(200..240));
        assert!(ends_in_a_loop(&tokens));
        tokens.push(7);
        assert!(!ends_in_a_loop(&tokens), "it came out of the loop");
        assert!(ends_in_a_loop(&[5; 24]));
        assert!(!ends_in_a_loop(&[5; 23]));
        assert!(!ends_in_a_loop(&(0..40).chain(0..40).collect::<Vec<_>>()), "said twice");
        assert!(!ends_in_a_loop(&[]));
    }

    #[test]
    fn an_end_of_sequence_is_no_part_of_the_loop() {
        let generated = |tokens: Vec<u32>, finish| Answer::Generated { tokens, finish };
        let mut ended = vec![5; 30];
        ended.push(1);
        let answers = [
            generated(vec![5; 30], Finish::Length),
            generated(ended, Finish::Eos),
            generated(vec![1, 2, 3], Finish::Stop),
            generated(vec![1], Finish::Eos),
        ];
        let rates = Rates::of(&answers, 1, 2);
        assert_eq!((rates.truncated, rates.no_answer, rates.repetition), (0.25, 0.5, 0.5));
    }
}
