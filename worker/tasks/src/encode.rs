//! From texts to tokens, the way the harness cuts a context from its continuation.

use crate::python::rstrip;

/// A pair that cannot be scored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// There is no context to score the continuation after.
    #[error("the context is empty and there is no token to stand for it")]
    NoContext,
    /// A token spans the place where context and continuation meet, and nothing is left of the continuation.
    #[error("the continuation has no token of its own")]
    NoContinuation,
}

/// Tokens of `context` and of `continuation`. Whitespace at the context's end moves to the continuation; both are
/// encoded as one text, which is cut at the length of the context alone. The model reads the context's own tokens and
/// then the tail, even where the whole text does not start with them.
pub fn encode_pair(
    context: &str,
    continuation: &str,
    encode: &dyn Fn(&str) -> Vec<u32>,
) -> Result<(Vec<u32>, Vec<u32>), EncodeError> {
    let kept = rstrip(context);
    let moved = &context[kept.len()..];
    let before = encode(kept);
    if before.is_empty() {
        return Err(EncodeError::NoContext);
    }
    let whole = encode(&format!("{kept}{moved}{continuation}"));
    let after = whole.get(before.len()..).unwrap_or_default().to_vec();
    if after.is_empty() {
        return Err(EncodeError::NoContinuation);
    }
    Ok((before, after))
}

/// As [`encode_pair`], with `prefix` (the begin-of-text token, else the end-of-text one) standing for an empty context.
pub fn encode_pair_after(
    prefix: u32,
    context: &str,
    continuation: &str,
    encode: &dyn Fn(&str) -> Vec<u32>,
) -> Result<(Vec<u32>, Vec<u32>), EncodeError> {
    if !context.is_empty() {
        return encode_pair(context, continuation, encode);
    }
    let mut after = encode(continuation);
    if after.first() == Some(&prefix) {
        after.remove(0);
    }
    if after.is_empty() {
        return Err(EncodeError::NoContinuation);
    }
    Ok((vec![prefix], after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and single spaces are tokens; "ab" is one token even across a join.
    fn encode(text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let size = if rest.starts_with("ab") { 2 } else { c.len_utf8() };
            tokens.push(rest[..size].bytes().fold(0, |n, b| n * 256 + u32::from(b)));
            rest = &rest[size..];
        }
        tokens
    }

    #[test]
    fn whitespace_moves_to_the_continuation() {
        let (before, after) = encode_pair("Q:\u{a0} ", "x", &encode).unwrap();
        assert_eq!((before, after), (encode("Q:"), encode("\u{a0} x")));
    }

    #[test]
    fn the_tail_is_cut_by_length() {
        let (before, after) = encode_pair("xa", "bc", &encode).unwrap();
        assert_eq!((before, after), (encode("xa"), encode("c")));
        assert_eq!(encode_pair("xa", "b", &encode), Err(EncodeError::NoContinuation));
        assert_eq!(encode_pair("  ", "b", &encode), Err(EncodeError::NoContext));
    }

    #[test]
    fn a_prefix_stands_for_no_context() {
        assert_eq!(encode_pair_after(7, "", "x", &encode), Ok((vec![7], encode("x"))));
        assert_eq!(
            encode_pair_after(encode("x")[0], "", "xy", &encode),
            Ok((encode("x"), encode("y")))
        );
        assert_eq!(encode_pair_after(7, "", "", &encode), Err(EncodeError::NoContinuation));
    }
}
