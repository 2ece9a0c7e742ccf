//! Answers that are thought about first.
//!
//! With `enable_thinking` the chat template opens a thought, and the answer begins after the last `</think>`, without
//! leading whitespace, as with lm-evaluation-harness's `think_end_token`. Where the model never ends its thought, all of it
//! is the answer. What follows is the `vllm` model's way in 0.4.13: stop strings mean the answer, not the thought, so
//! they only cut the answer, and a generation ends with the end of the turn or of its budget. (The `hf` model cuts
//! alike, but lets a stop string inside the thought end the generation of a batch of one.) Version 0.4.9 cut at the
//! stop strings first.

use assay_contest::Profile;
use assay_tasks::python;

use crate::stops;
use crate::tokenizer::Codec;

/// Where a thought ends.
pub const END: &str = "</think>";

/// How thoughts are told from answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Thinking {
    /// There are none.
    #[default]
    Off,
    /// `</think>` is a special token, which a text leaves out: the answer is the text after this id.
    Token {
        id: u32,
        /// Stop strings are looked for in the thought too.
        stops_first: bool,
    },
    /// `</think>` is text.
    Text {
        /// Stop strings are looked for in the thought too.
        stops_first: bool,
    },
}

impl Thinking {
    /// As the harness has it for a profile and tokenizer.
    pub fn of(enabled: bool, profile: Profile, codec: &Codec) -> Thinking {
        let stops_first = profile == Profile::ChatSingle049;
        match codec.special(END) {
            _ if !enabled => Thinking::Off,
            Some(id) => Thinking::Token { id, stops_first },
            None => Thinking::Text { stops_first },
        }
    }

    /// Whether a stop string may end a generation.
    pub fn is_watched(self) -> bool {
        match self {
            Thinking::Off => true,
            Thinking::Token { stops_first, .. } | Thinking::Text { stops_first } => stops_first,
        }
    }

    /// The answer in a generation.
    pub fn answer(self, codec: &Codec, tokens: &[u32], stops: &[String]) -> String {
        match self {
            Thinking::Off => stops::cut(&codec.decode(tokens), stops).to_owned(),
            // The thought goes first here in every version.
            Thinking::Token { id, .. } => {
                let from = tokens.iter().rposition(|token| *token == id).map_or(0, |at| at + 1);
                let text = codec.decode(&tokens[from..]);
                stops::cut(python::lstrip(&text), stops).to_owned()
            }
            Thinking::Text { stops_first } => {
                let text = codec.decode(tokens);
                let text = if stops_first { stops::cut(&text, stops) } else { &text };
                let answer = text.rsplit(END).next().unwrap_or(text);
                stops::cut(python::lstrip(answer), stops).to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops() -> Vec<String> {
        vec!["\n\n".to_owned(), "Question:".to_owned()]
    }

    /// Expectations are those of `postprocess_generated_text` of 0.4.13 and of 0.4.9.2, and of `hf`'s code before it
    /// for a think_end_token given as an id.
    #[test]
    fn the_answer_follows_the_last_thought() {
        let codec = crate::tokenizer::tests::fixture();
        let cases = [
            ("one.\n\ntwo</think>\n\n#### 3\n\nQuestion: x", "#### 3", "one."),
            ("a</think>b</think> c\n\nd", "c", "c"),
            ("never\n\nends", "never", "never"),
            ("a</think>", "", ""),
            ("plain Question:", "plain ", "plain "),
        ];
        for (text, answer, stopped_first) in cases {
            let ids = codec.encode(text);
            let of = |thinking: Thinking| thinking.answer(&codec, &ids, &stops());
            let id = codec.special(END).unwrap();
            assert_eq!(of(Thinking::Token { id, stops_first: false }), answer, "{text}");
            assert_eq!(of(Thinking::Token { id, stops_first: true }), answer, "{text}");
            // The fixtures' token is special, so its spelling is made of others here.
            let letters: Vec<u32> = text.chars().flat_map(|c| codec.encode(&c.to_string())).collect();
            let of = |stops_first| Thinking::Text { stops_first }.answer(&codec, &letters, &stops());
            assert_eq!(of(false), answer, "{text}");
            assert_eq!(of(true), stopped_first, "{text}");
        }
    }

    #[test]
    fn stops_are_for_answers() {
        let codec = crate::tokenizer::tests::fixture();
        let of = |enabled, profile| Thinking::of(enabled, profile, &codec);
        assert_eq!(of(false, Profile::Chat), Thinking::Off);
        assert!(of(false, Profile::Chat).is_watched());
        assert!(!of(true, Profile::Chat).is_watched());
        assert!(of(true, Profile::ChatSingle049).is_watched());
        assert_eq!(
            of(true, Profile::Chat),
            Thinking::Token {
                id: 9,
                stops_first: false
            }
        );
    }
}
