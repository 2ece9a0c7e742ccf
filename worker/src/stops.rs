//! Stop strings: where a generation ends, as text.
//!
//! The rule is lm-evaluation-harness's: the answer is the decoded generation cut at the earliest occurrence of any stop
//! string, the stop itself left out. A stop may begin in one token and end in another, and a character may be spread
//! over several tokens, so everything is decided on decoded text, never on tokens. Only what was generated counts, not
//! the prompt's end. Generation may end early, but only when no further token could move the cut: an answer does not
//! depend on when that is noticed. (The harness cuts at one stop string after the other; where two of them overlap
//! in a text, its `hf` model's answer depends on what else is in the batch.)
//!
//! Special tokens are no part of an answer's text. A stop that spells one therefore cuts nothing; generation ends
//! where it was generated, as with the harness at batch size 1.

use std::sync::Arc;

use crate::tokenizer::Codec;

/// Byte offset of the earliest occurrence of any of `stops` in `text`. Empty stops count for nothing.
pub fn earliest(text: &str, stops: &[String]) -> Option<usize> {
    stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min()
}

/// `text` up to its earliest stop.
pub fn cut<'a>(text: &'a str, stops: &[String]) -> &'a str {
    earliest(text, stops).map_or(text, |at| &text[..at])
}

/// Whether the cut of `text` is final: no continuation of `text` could be cut earlier.
///
/// With the stops `bc` and `abcd`, `abc` is cut at 1 for now, but `abcd` would be cut at 0.
pub fn is_settled(text: &str, stops: &[String]) -> bool {
    let Some(at) = earliest(text, stops) else { return false };
    let longest = stops.iter().map(String::len).max().unwrap_or(0);
    let open = |from: usize| {
        stops
            .iter()
            .any(|stop| stop.len() > text.len() - from && stop.starts_with(&text[from..]))
    };
    let near = text[..at].char_indices().rev();
    !near
        .take_while(|(from, _)| text.len() - from < longest)
        .any(|(from, _)| open(from))
}

/// `text` without an incomplete last character: a generation that ran out of tokens may end in the middle of one.
pub fn whole_characters(text: &str) -> &str {
    text.trim_end_matches(char::REPLACEMENT_CHARACTER)
}

/// Watches one generation for its stop strings, token by token.
pub struct Detector {
    codec: Arc<Codec>,
    stops: Arc<[String]>,
    /// Those that spell a special token.
    spelled: Vec<String>,
    text: Tail,
    /// The text with special tokens written out.
    shown: Tail,
}

impl Detector {
    /// `eos` ends a generation by itself: a stop that spells it needs no watching.
    pub fn new(codec: Arc<Codec>, stops: Arc<[String]>, eos: &str) -> Detector {
        let spelled = stops.iter().filter(|stop| *stop != eos && codec.spells_special(stop));
        Detector {
            spelled: spelled.cloned().collect(),
            text: Tail::new(false, &stops),
            shown: Tail::new(true, &stops),
            codec,
            stops,
        }
    }

    /// Whether generation may end after `generated`, all tokens generated so far.
    pub fn is_over(&mut self, generated: &[u32]) -> bool {
        // The tail finds a stop, the whole text decides: that is needed once, not for every token.
        if self.text.holds(&self.codec, generated, &self.stops)
            && is_settled(&self.codec.decode(generated), &self.stops)
        {
            return true;
        }
        !self.spelled.is_empty()
            && self.shown.holds(&self.codec, generated, &self.spelled)
            && earliest(&self.codec.show(generated), &self.spelled).is_some()
    }
}

/// Tokens decoded again with each new one: enough for any character, few enough to cost nothing.
const WINDOW: usize = 16;
/// Tokens after which the window moves on even if it has to break a character: only nonsense is as long.
const MOST: usize = 64;

/// The end of a growing text. Each token costs the decoding of a window, whatever the length of the text.
struct Tail {
    /// Whether special tokens are written out.
    special: bool,
    /// Bytes to remember: what a stop still to be completed could have begun in.
    keep: usize,
    /// The end of the text before the window.
    before: String,
    /// The window begins at this token.
    from: usize,
}

impl Tail {
    fn new(special: bool, stops: &[String]) -> Tail {
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Tail {
            special,
            keep: longest,
            before: String::new(),
            from: 0,
        }
    }

    fn decode(&self, codec: &Codec, ids: &[u32]) -> String {
        if self.special {
            codec.show(ids)
        } else {
            codec.decode(ids)
        }
    }

    /// Whether one of `stops` is seen at the end of the text of `generated`.
    fn holds(&mut self, codec: &Codec, generated: &[u32], stops: &[String]) -> bool {
        if self.keep == 0 {
            return false;
        }
        let window = generated.get(self.from..).unwrap_or_default();
        let text = self.decode(codec, window);
        let held = self.before.len();
        self.before.push_str(&text);
        let found = earliest(&self.before, stops).is_some();
        self.before.truncate(held);
        if !found && window.len() >= WINDOW {
            self.advance(codec, window, &text);
        }
        found
    }

    /// Moves the window to where its text falls into two, at a token that begins a character.
    fn advance(&mut self, codec: &Codec, window: &[u32], text: &str) {
        let half = window.len() / 2;
        for at in (1..=half).rev() {
            let first = self.decode(codec, &window[..at]);
            let falls = |rest: &str| self.decode(codec, &window[at..]) == rest;
            if text.strip_prefix(first.as_str()).is_some_and(falls) || window.len() >= MOST {
                self.from += at;
                self.before.push_str(&first);
                let mut from = self.before.len().saturating_sub(self.keep);
                while !self.before.is_char_boundary(from) {
                    from -= 1;
                }
                self.before.drain(..from);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
