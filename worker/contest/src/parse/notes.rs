//! What was found wrong while reading, and where things stand in the file.

use std::cell::RefCell;
use std::ops::Range;

use super::fault::Fault;
use crate::mistake::{ContestErrors, MAX_MISTAKES, Mistake};

/// The source, and the mistakes found in it so far.
pub(super) struct Notes<'s> {
    source: &'s str,
    found: RefCell<Vec<(Range<usize>, Mistake)>>,
}

impl<'s> Notes<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self {
            source,
            found: RefCell::default(),
        }
    }

    /// Notes that `fault` was found at `span`, which belongs to `key`.
    pub(super) fn add(&self, span: Range<usize>, key: &str, fault: Fault) {
        let (line, column) = position(self.source, span.start);
        let mistake = Mistake {
            line,
            column,
            key: key.to_owned(),
            code: fault.code,
            message: fault.message,
            fix: fault.fix,
        };
        let mut found = self.found.borrow_mut();
        // Twice what is reported, so that sorting by place rarely loses the first ones.
        if found.len() < 2 * MAX_MISTAKES {
            found.push((span, mistake));
        }
    }

    /// Whether nothing was wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All that was wrong, in the order of the file.
    pub(super) fn into_errors(self) -> ContestErrors {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(span, _)| span.start);
        found.truncate(MAX_MISTAKES);
        ContestErrors {
            mistakes: found.into_iter().map(|(_, mistake)| mistake).collect(),
        }
    }

    /// Where byte `at` of the decoded string stands in the file: exact when the string has no escapes, else its start.
    pub(super) fn inside(&self, string: &Item<String>, at: usize, len: usize) -> Range<usize> {
        let raw = self.source.get(string.span.clone()).unwrap_or_default();
        for quote in ["\"\"\"", "'''", "\"", "'"] {
            let Some(body) = raw.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) else {
                continue;
            };
            // A newline right after the opening quotes of a long string is not part of it.
            let trimmed = if quote.len() == 3 {
                body.strip_prefix("\r\n").or(body.strip_prefix('\n')).unwrap_or(body)
            } else {
                body
            };
            if trimmed == string.value {
                let start = string.span.start + quote.len() + (body.len() - trimmed.len());
                return start + at..start + at + len;
            }
        }
        string.span.clone()
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
    (line, column)
}

/// A value with its place.
#[derive(Clone, Default)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
    /// The key, for messages.
    pub(super) key: String,
}

impl<T> Item<T> {
    pub(super) fn new(value: T, span: Range<usize>, key: String) -> Self {
        Self { value, span, key }
    }
}
