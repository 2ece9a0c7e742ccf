//! Python's `re` on an engine with a step limit: `findall` and `sub` with CPython's rules for empty matches.
//!
//! Patterns come from task files and run over model output, so every search has a bounded number of backtracking steps
//! and every call a deadline; beyond either the call is an error, never a different answer.

mod translate;

use std::ops::Range;
use std::time::{Duration, Instant};

use fancy_regex::{Regex, RegexBuilder};

use crate::error::Fault;

/// Backtracking steps of one search: far above what a sound pattern needs on a few thousand characters.
const STEPS: usize = 1_000_000;
/// Memory of one compiled automaton, bytes.
const AUTOMATON_BYTES: usize = 8 << 20;
/// All searches of one `findall` or `sub` together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest pattern, bytes.
const MAX_PATTERN: usize = 16 << 10;
/// Longest text `sub` may write, bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// A compiled Python pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
    /// The same pattern, refusing a match that ends where the search starts; made only where it can matter.
    advancing: Option<Regex>,
    groups: usize,
}

/// One match: the whole range first, then each group's.
type Spans = Vec<Option<Range<usize>>>;

/// One element of the list `re.findall` returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The pattern has at most one group: that group's text, or the whole match.
    Text(String),
    /// Several groups: the text of each, `""` for one that took no part.
    Groups(Vec<String>),
}

impl Pattern {
    /// `re.compile(source)`.
    pub fn new(source: &str) -> Result<Self, Fault> {
        let fault = |message: String| Fault::Pattern {
            pattern: source.chars().take(200).collect(),
            message,
        };
        if source.len() > MAX_PATTERN {
            return Err(fault(format!("longer than {MAX_PATTERN} bytes")));
        }
        let translated = translate::translate(source).map_err(fault)?;
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .backtrack_limit(STEPS)
                .delegate_size_limit(AUTOMATON_BYTES)
                .delegate_dfa_size_limit(AUTOMATON_BYTES)
                .build()
                .map_err(|error| fault(error.to_string()))
        };
        let regex = build(&translated)?;
        let empty = !matches!(regex.is_match(""), Ok(false)) || translated.contains("(?");
        let advancing = match empty {
            true => Some(build(&format!("(?:{translated})(?!\\G)"))?),
            false => None,
        };
        let groups = regex.captures_len() - 1;
        Ok(Self {
            source: source.to_owned(),
            regex,
            advancing,
            groups,
        })
    }

    /// A pattern that matches `literals` as they stand, the first that fits winning.
    pub fn any_of(literals: &[String], group_after: Option<&str>) -> Result<Self, Fault> {
        let joined = literals
            .iter()
            .map(|l| translate::escape(l))
            .collect::<Vec<_>>()
            .join("|");
        match group_after {
            Some(prefix) => Self::new(&format!("{prefix}({joined})")),
            None => Self::new(&joined),
        }
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    fn limit(&self) -> Fault {
        Fault::PatternLimit {
            pattern: self.source.chars().take(200).collect(),
        }
    }

    /// Calls `visit` with every match from left to right, as CPython's scanner finds them: a search may match nothing
    /// where the last match ended, unless that match was itself empty.
    fn scan(&self, text: &str, mut visit: impl FnMut(Spans) -> Result<bool, Fault>) -> Result<(), Fault> {
        let started = Instant::now();
        let mut at = 0;
        let mut advance = false;
        while at <= text.len() {
            let regex = match (&self.advancing, advance) {
                (Some(advancing), true) => advancing,
                _ => &self.regex,
            };
            let captures = regex.captures_from_pos(text, at).map_err(|_| self.limit())?;
            let Some(captures) = captures else {
                return Ok(());
            };
            let spans: Spans = (0..=self.groups).map(|i| captures.get(i).map(|m| m.range())).collect();
            let Some(Some(whole)) = spans.first().cloned() else {
                return Ok(());
            };
            advance = whole.is_empty();
            at = whole.end;
            if !visit(spans)? {
                return Ok(());
            }
            if advance && self.advancing.is_none() {
                // Cannot happen: a pattern that may be empty has its advancing twin.
                at += text[at..].chars().next().map_or(1, char::len_utf8);
            }
            if started.elapsed() > DEADLINE {
                return Err(self.limit());
            }
        }
        Ok(())
    }

    /// `re.findall(pattern, text)`.
    pub fn findall(&self, text: &str) -> Result<Vec<Found>, Fault> {
        let mut all = Vec::new();
        let read = |span: &Option<Range<usize>>| span.clone().map_or("", |r| &text[r]).to_owned();
        self.scan(text, |spans| {
            all.push(match self.groups {
                0 => Found::Text(read(&spans[0])),
                1 => Found::Text(read(&spans[1])),
                _ => Found::Groups(spans[1..].iter().map(read).collect()),
            });
            Ok(true)
        })?;
        Ok(all)
    }

    /// `re.sub(pattern, replacement, text, count)`; a count of 0 means all.
    pub fn sub(&self, replacement: &str, text: &str, count: usize) -> Result<String, Fault> {
        let parts = self.template(replacement)?;
        let mut out = String::new();
        let (mut copied, mut done) = (0, 0);
        self.scan(text, |spans| {
            let whole = spans[0].clone().unwrap_or(0..0);
            out.push_str(&text[copied..whole.start]);
            copied = whole.end;
            for part in &parts {
                match part {
                    Part::Text(t) => out.push_str(t),
                    Part::Group(g) => out.push_str(spans[*g].clone().map_or("", |r| &text[r])),
                }
            }
            if out.len() > MAX_OUTPUT {
                return Err(self.limit());
            }
            done += 1;
            Ok(count == 0 || done < count)
        })?;
        out.push_str(&text[copied..]);
        Ok(out)
    }

    /// The replacement's literal parts and group references.
    fn template(&self, replacement: &str) -> Result<Vec<Part>, Fault> {
        let fault = |message: &str| Fault::Pattern {
            pattern: replacement.chars().take(200).collect(),
            message: message.to_owned(),
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = replacement.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '\\' {
                literal.push(c);
                continue;
            }
            let group = match chars.next() {
                None => return Err(fault("ends in a backslash")),
                Some('g') => {
                    let name: String = chars.by_ref().skip(1).take_while(|c| *c != '>').collect();
                    match name.parse::<usize>() {
                        Ok(n) => Some(n),
                        Err(_) => Some(
                            self.regex
                                .capture_names()
                                .position(|known| known == Some(name.as_str()))
                                .ok_or_else(|| fault("names a group that does not exist"))?,
                        ),
                    }
                }
                Some('0') => {
                    literal.push('\0');
                    None
                }
                Some(d) if d.is_ascii_digit() => {
                    let mut n = d as usize - '0' as usize;
                    if let Some(second) = chars.peek().and_then(|c| c.to_digit(10)) {
                        chars.next();
                        n = n * 10 + second as usize;
                    }
                    Some(n)
                }
                Some(letter) => {
                    match letter {
                        'n' => literal.push('\n'),
                        't' => literal.push('\t'),
                        'r' => literal.push('\r'),
                        'a' => literal.push('\u{7}'),
                        'b' => literal.push('\u{8}'),
                        'f' => literal.push('\u{c}'),
                        'v' => literal.push('\u{b}'),
                        '\\' => literal.push('\\'),
                        c if c.is_ascii_alphabetic() => return Err(fault("has an unknown escape")),
                        c => literal.extend(['\\', c]),
                    }
                    None
                }
            };
            if let Some(group) = group {
                if group > self.groups {
                    return Err(fault("names a group that does not exist"));
                }
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Group(group));
            }
        }
        parts.push(Part::Text(literal));
        Ok(parts)
    }
}

enum Part {
    Text(String),
    Group(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pattern: &str, text: &str) -> Vec<String> {
        Pattern::new(pattern)
            .unwrap()
            .findall(text)
            .unwrap()
            .into_iter()
            .map(|found| match found {
                Found::Text(t) => t,
                Found::Groups(g) => g.join("/"),
            })
            .collect()
    }

    // Every expectation below was printed by CPython 3.11.
    #[test]
    fn findall_finds_what_cpython_finds() {
        assert_eq!(texts("a*", "ab"), ["a", "", ""]);
        assert_eq!(texts("|a", "aab"), ["", "a", "", "a", "", ""]);
        assert_eq!(texts("(a)|(b)", "ab"), ["a/", "/b"]);
        assert_eq!(texts(r"x$", "x\n"), ["x"]);
        assert_eq!(texts(r"x\Z", "x\n"), [""; 0]);
        assert_eq!(texts(r"(?m)^\w$", "a\nb\n"), ["a", "b"]);
        assert_eq!(texts(r"\s", "a\u{1c}b\u{a0}"), ["\u{1c}", "\u{a0}"]);
        assert_eq!(texts(r"[^\S\n]+", " \u{1d}\n\t"), [" \u{1d}", "\t"]);
        assert_eq!(texts(r"\w+", "नमस्ते x"), ["नमस", "त", "x"]);
        assert_eq!(texts(r"\bन", "नमनि"), ["न"]);
        assert_eq!(texts(r"\B", ""), [""; 0]);
        assert_eq!(texts(r"\B", "नि"), [""]);
        assert_eq!(texts(r"[[a]", "[a]"), ["[", "a"]);
        assert_eq!(texts(r"[a&&b]", "a&b"), ["a", "&", "b"]);
        assert_eq!(texts(r"[]a]+", "]a["), ["]a"]);
        assert_eq!(texts(r"a{,2}b", "aab"), ["aab"]);
        assert_eq!(texts(r"a{x}", "a{x}"), ["a{x}"]);
        assert_eq!(
            texts(r"(?<=정답은)\s*[(]?(A|B|C|D)[)]?.*(?=입니다.)", "정답은 (B)입니다."),
            ["B"]
        );
        assert_eq!(texts(r"(?P<q>['\x22]).*?(?P=q)", "'a' \"b\""), ["'", "\""]);
        assert_eq!(texts(r"(?i)ANSWER:\s*(\d+)", "answer: 12"), ["12"]);
        assert_eq!(texts(r"(?x) a b # c", "ab"), ["ab"]);
        assert_eq!(
            texts(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "7 or $1,200."),
            ["/7", "$1,200./"]
        );
        assert_eq!(texts(r"^(.*?)(?=\n|$)", "one\ntwo"), ["one"]);
        assert_eq!(texts(r"(?s).*#### ", "a\n#### b"), ["a\n#### "]);
        assert_eq!(texts(r"\.$", "1.\n"), ["."]);
        assert_eq!(texts(r"(a)(?(1)b|c)", "ab"), ["a"]);
        assert_eq!(texts(r"\101\x41\u0041", "AAA"), ["AAA"]);
    }

    #[test]
    fn sub_replaces_as_cpython_does() {
        let sub = |p: &str, r: &str, t: &str| Pattern::new(p).unwrap().sub(r, t, 0).unwrap();
        assert_eq!(sub("x*", "-", "abxd"), "-a-b--d-");
        assert_eq!(sub(r"(\w)(\d)", r"\2\g<1>", "a1 b2"), "1a 2b");
        assert_eq!(sub(r"\$", "", "$5"), "5");
        assert_eq!(sub(r"\.$", "", "18.\n"), "18\n");
        assert_eq!(Pattern::new("a").unwrap().sub("b", "aaa", 2).unwrap(), "bba");
        assert!(Pattern::new("a").unwrap().sub(r"\1", "a", 0).is_err());
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["(", "[", "a)", "*a", r"\q", "(?P<x", "a{2,1}", "(?a)x", "\\"] {
            let error = Pattern::new(bad).unwrap_err();
            assert_eq!(error.code(), "task-pattern", "{bad}");
        }
        assert!(Pattern::new(&"(".repeat(5000)).is_err());
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).is_err());
        assert!(Pattern::new("((((a{1000}){1000}){1000}){1000})").is_err());
    }

    #[test]
    fn a_search_without_end_is_an_error() {
        let text = "a".repeat(40) + "b";
        for evil in [r"(?=(a+)+$)x?", r"^(a|a)*(?!b)$", r"(a*)*\1c"] {
            let started = Instant::now();
            let result = Pattern::new(evil).unwrap().findall(&text);
            assert!(started.elapsed() < DEADLINE * 2, "{evil}");
            if let Err(fault) = result {
                assert_eq!(fault.code(), "task-pattern-limit");
            }
        }
        let error = Pattern::new(r"^((x+)*)*\2y")
            .unwrap()
            .findall(&"x".repeat(40))
            .unwrap_err();
        assert_eq!(error.code(), "task-pattern-limit");
    }
}
