//! The formula's tokens, each with its bytes in the source.

use std::ops::Range;

use super::{FormulaError, Op};
use crate::problem::Text;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    Number(f64),
    /// A measure, or a function when a parenthesis follows.
    Name(String),
    Operator(Op),
    Open,
    Close,
    Comma,
}

pub(crate) type Tokens = Vec<(Token, Range<usize>)>;

/// Cuts `source`, whose length the caller has bounded.
pub(crate) fn lex(source: &str) -> Result<Tokens, FormulaError> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let (token, end) = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'(' => (Token::Open, at + 1),
            b')' => (Token::Close, at + 1),
            b',' => (Token::Comma, at + 1),
            b'+' => (Token::Operator(Op::Add), at + 1),
            b'-' => (Token::Operator(Op::Subtract), at + 1),
            b'*' if next == Some(b'*') => return Err(stray(source, at, "**")),
            b'*' => (Token::Operator(Op::Multiply), at + 1),
            b'/' => (Token::Operator(Op::Divide), at + 1),
            b'^' => (Token::Operator(Op::Power), at + 1),
            b'<' if next == Some(b'=') => (Token::Operator(Op::LessEqual), at + 2),
            b'<' => (Token::Operator(Op::Less), at + 1),
            b'>' if next == Some(b'=') => (Token::Operator(Op::GreaterEqual), at + 2),
            b'>' => (Token::Operator(Op::Greater), at + 1),
            b'=' if next == Some(b'=') => (Token::Operator(Op::Equal), at + 2),
            b'!' if next == Some(b'=') => (Token::Operator(Op::NotEqual), at + 2),
            b'0'..=b'9' => number(source, at)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let end = name_end(bytes, at);
                (Token::Name(source[at..end].to_owned()), end)
            }
            _ => {
                let end = source[at..].chars().next().map_or(at, |c| at + c.len_utf8());
                return Err(stray(source, at, &source[at..end]));
            }
        };
        tokens.push((token, at..end));
        at = end;
    }
    Ok(tokens)
}

/// `123`, `0.5`, `1e-3`: digits first, an exponent only when digits follow it.
fn number(source: &str, start: usize) -> Result<(Token, usize), FormulaError> {
    let bytes = source.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = digits(start);
    if bytes.get(end) == Some(&b'.') && is_digit(end + 1) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if is_digit(end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    let glued = bytes
        .get(end)
        .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    match source[start..end].parse::<f64>() {
        Ok(value) if value.is_finite() && !glued => Ok((Token::Number(value), end)),
        _ => {
            let end = if glued { end + 1 } else { end };
            Err(FormulaError {
                at: start,
                len: end - start,
                code: "formula-number",
                message: Text::new(
                    format!("`{}` is not a number a formula can use", &source[start..end]),
                    format!("`{}`은(는) 수식에 쓸 수 있는 수가 아닙니다", &source[start..end]),
                ),
                fix: Box::new(Text::new(
                    "Write decimal numbers such as 0.5, 12 or 1e-3, below 1.8e308.",
                    "0.5, 12, 1e-3처럼 십진수로, 1.8e308보다 작게 쓰십시오.",
                )),
            })
        }
    }
}

/// End of the name that starts at `start`. Hyphens belong to a part after the first dot, between two of its characters.
fn name_end(bytes: &[u8], start: usize) -> usize {
    let is_word = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut at = start;
    let mut dotted = false;
    loop {
        if is_word(at) {
            at += 1;
        } else if bytes.get(at) == Some(&b'.') && is_word(at + 1) {
            dotted = true;
            at += 2;
        } else if dotted && bytes.get(at) == Some(&b'-') && is_word(at + 1) {
            at += 2;
        } else {
            return at;
        }
    }
}

/// `what`, which stands at `at`, is no token. What people do type in formulas gets a word of help.
fn stray(source: &str, at: usize, what: &str) -> FormulaError {
    let instead = match what {
        "**" => "^",
        "×" | "·" | "∙" | "⋅" => "*",
        "÷" => "/",
        "−" | "–" | "—" => "-",
        "≤" => "<=",
        "≥" => ">=",
        "≠" => "!=",
        "=" => "==",
        "，" | "、" => ",",
        "（" | "[" | "{" => "(",
        "）" | "]" | "}" => ")",
        "%" => "/ 100",
        "&" => "min(a, b)",
        "|" => "max(a, b)",
        _ => "",
    };
    let fix = if instead.is_empty() {
        Text::new(
            "Use numbers, names of measures, + - * / ^, comparisons, parentheses and functions.",
            "수, 측정값 이름, + - * / ^, 비교, 괄호, 함수만 쓸 수 있습니다.",
        )
    } else {
        Text::new(
            format!("Write `{instead}` instead."),
            format!("`{instead}`(으)로 쓰십시오."),
        )
    };
    debug_assert!(source[at..].starts_with(what));
    FormulaError {
        at,
        len: what.len(),
        code: "formula-character",
        message: Text::new(
            format!("{what:?} means nothing in a formula"),
            format!("수식에 쓸 수 없는 문자입니다: {what:?}"),
        ),
        fix: Box::new(fix),
    }
}
