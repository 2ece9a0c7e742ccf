//! Text to token ids and back, with the contest's pinned tokenizer.

use tokenizers::Tokenizer;

/// A tokenizer file that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the tokenizer could not be read: {0}")]
pub struct CodecError(String);

/// Encodes and decodes as transformers does for lm-evaluation-harness's `hf` model.
pub struct Codec {
    tokenizer: Tokenizer,
    /// The text of the prefix token (BOS, else EOS): a prompt that begins with it gets no further special tokens.
    prefix: Option<String>,
    /// Special tokens: not part of an answer's text.
    special: Vec<(u32, String)>,
}

impl Codec {
    /// Reads a `tokenizer.json`. `prefix` is the id of BOS, or of EOS where there is no BOS.
    ///
    /// Truncation and padding settings in the file are dropped: they are leftovers of calibration, and a prompt must
    /// never be shortened behind our back.
    pub fn from_bytes(json: &[u8], prefix: Option<u32>) -> Result<Codec, CodecError> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| CodecError(error.to_string()))?;
        tokenizer
            .with_truncation(None)
            .map_err(|error| CodecError(error.to_string()))?;
        tokenizer.with_padding(None);
        let prefix = prefix
            .and_then(|id| tokenizer.decode(&[id], false).ok())
            .filter(|text| !text.is_empty());
        let added = tokenizer.get_added_tokens_decoder();
        let special = added
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty());
        let special = special.map(|(id, token)| (id, token.content)).collect();
        Ok(Codec {
            tokenizer,
            prefix,
            special,
        })
    }

    /// Token ids of `text`, with the special tokens the tokenizer itself adds, unless `text` already begins with the prefix.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let bare = self
            .prefix
            .as_ref()
            .is_some_and(|prefix| text.starts_with(prefix.as_str()));
        self.encode_with(text, !bare)
    }

    /// Token ids of `text` alone.
    pub fn encode_bare(&self, text: &str) -> Vec<u32> {
        self.encode_with(text, false)
    }

    fn encode_with(&self, text: &str, special: bool) -> Vec<u32> {
        match self.tokenizer.encode_fast(text, special) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // A tokenizer without an unknown token gives up on text it has no token for: nothing is left to feed.
            Err(_) => Vec::new(),
        }
    }

    /// Text of `ids` without special tokens, as `decode(skip_special_tokens=True)`. Broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }

    /// The id of the special token written `text`.
    pub fn special(&self, text: &str) -> Option<u32> {
        self.special.iter().find(|(_, token)| token == text).map(|(id, _)| *id)
    }

    /// Whether the spelling of a special token is part of `text`: then no answer's text can hold it.
    pub fn spells_special(&self, text: &str) -> bool {
        self.special.iter().any(|(_, token)| text.contains(token.as_str()))
    }

    /// Text of `ids` with special tokens written out.
    pub fn show(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap_or_default()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The tokenizer of the fixtures.
    pub fn fixture() -> Codec {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/checkpoints");
        Codec::from_bytes(&std::fs::read(format!("{root}/base/tokenizer.json")).unwrap(), Some(1)).unwrap()
    }

    #[test]
    fn calibration_leftovers_do_not_shorten_a_prompt() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/checkpoints");
        let json = std::fs::read(format!("{root}/w4a16-gptq/tokenizer.json")).unwrap();
        assert!(
            String::from_utf8_lossy(&json).contains("\"max_length\": 256"),
            "the fixture truncates at 256"
        );
        let codec = Codec::from_bytes(&json, Some(1)).unwrap();
        let text = "Question: one and one?\nAnswer: 2\n\n".repeat(100);
        let ids = codec.encode(&text);
        assert!(ids.len() > 256);
        assert_eq!(ids, fixture().encode(&text));
        assert_eq!(codec.decode(&ids), text);
    }

    #[test]
    fn special_tokens_are_left_out_of_answers() {
        let codec = fixture();
        let ids = codec.encode("[|user|]\n안녕 42[|endofturn|]\n");
        assert_eq!(codec.decode(&ids), "\n안녕 42\n");
        assert_eq!(codec.show(&ids), "[|user|]\n안녕 42[|endofturn|]\n");
    }

    #[test]
    fn half_a_character_is_shown_as_such_and_completed_later() {
        let codec = fixture();
        let ids = codec.encode("뷁");
        assert!(ids.len() > 1, "a rare syllable takes several byte tokens");
        assert!(codec.decode(&ids[..1]).contains('\u{fffd}'));
        assert_eq!(codec.decode(&ids), "뷁");
    }
}
