//! PyYAML does not mind how far the later lines of a quoted text or a flow collection are indented; YAML 1.2 does.
//!
//! Leading blanks mean nothing in either, so a document the parser refuses for them is read again with those lines
//! pushed to the right. Nothing else is changed, and lines keep their numbers.

use saphyr_parser::ScanError;

/// Further right than any block structure worth reading.
const BLANKS: &str =
    "                                                                                                    ";

/// `source` with the lines that `error` complains of pushed right; nothing where the error is another.
pub fn repair(source: &str, error: &ScanError) -> Option<String> {
    let start = error.marker().index();
    let at = source.char_indices().map(|(at, _)| at).nth(start)?;
    match error.info() {
        "invalid indentation in quoted scalar" => quoted(source, at),
        "invalid indentation" | "invalid indentation in flow construct" => {
            let line = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
            // Pushed right already, and still refused.
            if source[line..].starts_with(BLANKS) {
                return None;
            }
            Some([&source[..line], BLANKS, &source[line..]].concat())
        }
        _ => None,
    }
}

/// Pushes every later line of the quoted text that starts at `at`.
fn quoted(source: &str, at: usize) -> Option<String> {
    let quote = source[at..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut out = source[..=at].to_owned();
    let mut rest = source[at + 1..].chars().peekable();
    let mut pushed = false;
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            // An escaped line end is a line end all the same.
            '\\' if quote == '"' && rest.peek() != Some(&'\n') => out.extend(rest.next()),
            c if c == quote => {
                if quote == '\'' && rest.peek() == Some(&'\'') {
                    out.extend(rest.next());
                    continue;
                }
                out.extend(rest);
                return pushed.then_some(out);
            }
            '\n' => {
                let line: String = rest.clone().take_while(|c| *c != '\n').collect();
                if !line.trim().is_empty() && !line.starts_with(BLANKS) {
                    out.push_str(BLANKS);
                    pushed = true;
                }
            }
            _ => {}
        }
    }
    None
}
