//! Stop strings: where a generation ends, as text.
//!
//! The rule is lm-evaluation-harness's: the answer is the decoded generation cut at the earliest occurrence of any stop
//! string, the stop itself left out. A stop may begin in one token and end in another, and a character may be spread
//! over several tokens, so everything is decided on decoded text, never on tokens. Generation may end early, but only
//! when no further token could move the cut.

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
    let open = |from: usize| {
        stops
            .iter()
            .any(|stop| stop.len() > text.len() - from && stop.starts_with(&text[from..]))
    };
    !text[..at].char_indices().any(|(from, _)| open(from))
}

/// `text` without an incomplete last character: a generation that ran out of tokens may end in the middle of one.
pub fn whole_characters(text: &str) -> &str {
    text.trim_end_matches(char::REPLACEMENT_CHARACTER)
}

/// Watches one generation for its stop strings, token by token.
pub struct Detector {
    codec: Arc<Codec>,
    stops: Arc<[String]>,
    /// Longest stop, in bytes.
    longest: usize,
    /// Tokens before this one can no longer be part of a stop that is still to be completed.
    from: usize,
    /// A stop was seen, but an earlier one may still be completed.
    pending: bool,
}

/// Tokens the window may grow by before it is moved on: decoding stays linear in the length of the answer.
const WINDOW_SLACK: usize = 64;

impl Detector {
    pub fn new(codec: Arc<Codec>, stops: Arc<[String]>) -> Detector {
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Detector {
            codec,
            stops,
            longest,
            from: 0,
            pending: false,
        }
    }

    /// Whether generation may end after `generated`, all tokens generated so far.
    pub fn is_over(&mut self, generated: &[u32]) -> bool {
        if self.longest == 0 {
            return false;
        }
        if !self.pending {
            let window = generated.get(self.from..).unwrap_or_default();
            self.pending = earliest(&self.codec.decode(window), &self.stops).is_some();
        }
        if self.pending {
            // The window may begin inside a character, so the whole text decides.
            let text = self.codec.decode(generated);
            self.pending = earliest(&text, &self.stops).is_some();
            if self.pending {
                return is_settled(&text, &self.stops);
            }
        }
        self.advance(generated);
        false
    }

    /// Moves the window so that it keeps at least the bytes a stop still to be completed could have begun in.
    fn advance(&mut self, generated: &[u32]) {
        // A byte of a broken character decodes to three bytes (U+FFFD), hence the factor.
        let keep = 3 * self.longest + 16;
        if generated.len() - self.from < WINDOW_SLACK + keep {
            return;
        }
        let from = generated.len() - keep;
        if self.codec.decode(&generated[from..]).len() >= keep {
            self.from = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(stops: &[&str]) -> Vec<String> {
        stops.iter().map(|stop| stop.to_string()).collect()
    }

    #[test]
    fn the_earliest_stop_cuts_whatever_their_order() {
        let stops = stops(&["</s>", "Question:", ""]);
        assert_eq!(cut("a Question: b </s>", &stops), "a ");
        assert_eq!(cut("</s>Question:", &stops), "");
        assert_eq!(cut("no stop here", &stops), "no stop here");
        assert_eq!(cut("", &stops), "");
    }

    #[test]
    fn a_longer_stop_that_began_earlier_is_waited_for() {
        let stops = stops(&["bc", "abcd"]);
        assert!(!is_settled("xab", &stops));
        assert!(!is_settled("xabc", &stops));
        assert!(is_settled("xabcd", &stops));
        assert!(is_settled("xabce", &stops));
        assert_eq!(cut("xabcd", &stops), "x");
    }

    #[test]
    fn korean_text_is_cut_between_characters() {
        let stops = stops(&["질문:"]);
        assert_eq!(cut("답은 3입니다.질문: 다음", &stops), "답은 3입니다.");
        assert!(is_settled("답질문:", &stops));
        assert!(!is_settled("답질문", &stops));
    }

    /// The slow and obvious way: decode everything after each token.
    fn ends_at(codec: &Codec, ids: &[u32], stops: &[String]) -> Option<usize> {
        (1..=ids.len()).find(|&n| is_settled(&codec.decode(&ids[..n]), stops))
    }

    #[test]
    fn the_window_finds_what_the_whole_text_holds() {
        let codec = Arc::new(crate::tokenizer::tests::fixture());
        let long = "사과 7개와 9개를 더하면 모두 몇 개입니까? 12 + 30 = 42 ".repeat(12);
        let cases: [(&[&str], String); 5] = [
            (&["Question:", "</s>"], format!("{long}#### 42\n\nQuestion: 연필")),
            (&["개입니까?\n"], format!("{long}몇 개입니까?\nAnswer:")),
            (&["\u{ac1c}"], "달걀 9개".to_string()),
            (&["는끝", "끝"], format!("{long}이제는끝입니다")),
            (&["never"], long.clone()),
        ];
        for (names, text) in cases {
            let stops: Arc<[String]> = stops(names).into();
            let ids = codec.encode(&text);
            let mut detector = Detector::new(codec.clone(), stops.clone());
            let found = (1..=ids.len()).find(|&n| detector.is_over(&ids[..n]));
            assert_eq!(found, ends_at(&codec, &ids, &stops), "{names:?}");
            let end = found.unwrap_or(ids.len());
            assert_eq!(cut(&codec.decode(&ids[..end]), &stops), cut(&text, &stops), "{names:?}");
        }
    }
}
