//! `targets` and `ignore`: which modules an entry means.
//!
//! `re:P` is Python's `re.match`: anchored at the start only. Anything else is a module's full name or a class name.

use fancy_regex::{Regex, RegexBuilder};

use crate::problem::quoted;

/// Longest pattern, bytes.
const MAX_PATTERN: usize = 512;
/// Most entries of a list: older tools list every module they skip.
pub(crate) const MAX_ENTRIES: usize = 10_000;
/// Most `re:` entries in all lists together.
const MAX_REGEXES: usize = 64;
/// Backtracking steps a match may take. Module names have under 100 characters; honest patterns take a few dozen.
const BACKTRACKS: usize = 2_000;

/// How specifically an entry matches; smaller wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Specificity {
    Name,
    Regex,
    Class,
}

/// One entry.
#[derive(Debug)]
enum Entry {
    /// module name or class name
    Literal(String),
    Regex(Regex),
}

/// A list of entries.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    entries: Vec<Entry>,
}

/// Counts the regexes of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    regexes: usize,
}

impl Patterns {
    /// Compiles a list; the error says which entry and why.
    pub fn new<'a>(list: impl IntoIterator<Item = &'a str>, budget: &mut Budget) -> Result<Patterns, String> {
        let mut entries = Vec::new();
        for source in list {
            if entries.len() == MAX_ENTRIES {
                return Err(format!("more than {MAX_ENTRIES} entries"));
            }
            if source.len() > MAX_PATTERN {
                return Err(format!(
                    "\"{}\" is longer than {MAX_PATTERN} characters",
                    quoted(source)
                ));
            }
            entries.push(match source.strip_prefix("re:") {
                None => Entry::Literal(source.to_owned()),
                Some(pattern) => {
                    budget.regexes += 1;
                    if budget.regexes > MAX_REGEXES {
                        return Err(format!("more than {MAX_REGEXES} patterns (re:…)"));
                    }
                    Entry::Regex(compile(pattern).map_err(|why| format!("\"{}\": {why}", quoted(source)))?)
                }
            });
        }
        Ok(Patterns { entries })
    }

    /// The most specific way in which an entry matches; the error names a pattern that takes too long.
    pub fn matches(&self, name: &str, class: &str) -> Result<Option<Specificity>, String> {
        let mut best = None;
        for entry in &self.entries {
            let found = match entry {
                Entry::Literal(text) if text == name => Some(Specificity::Name),
                Entry::Literal(text) if is_class(text, class) => Some(Specificity::Class),
                Entry::Literal(_) => None,
                Entry::Regex(regex) => {
                    let hit = regex
                        .is_match(name)
                        .map_err(|_| format!("\"{}\" takes too long to match", quoted(regex.as_str())))?;
                    hit.then_some(Specificity::Regex)
                }
            };
            best = match (best, found) {
                (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
                (a, b) => a.or(b),
            };
            if best == Some(Specificity::Name) {
                break;
            }
        }
        Ok(best)
    }
}

/// The class itself, torch's base class of all, or vLLM's pseudo name.
fn is_class(text: &str, class: &str) -> bool {
    text == class || text == "Module" || (text == "LinearBase" && class == "Linear")
}

fn compile(pattern: &str) -> Result<Regex, String> {
    // by itself first: "a)|(?:b" must not close the anchor's group
    fancy_regex::Expr::parse_tree(pattern).map_err(|e| quoted(&e.to_string()))?;
    RegexBuilder::new(&format!(r"\A(?:{pattern})"))
        .backtrack_limit(BACKTRACKS)
        .delegate_size_limit(1 << 20)
        .delegate_dfa_size_limit(1 << 20)
        .build()
        .map_err(|e| quoted(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(entries: &[&str], name: &str) -> Option<Specificity> {
        let list = Patterns::new(entries.iter().copied(), &mut Budget::default()).unwrap();
        list.matches(name, "Linear").unwrap()
    }

    #[test]
    fn python_semantics() {
        let q = "model.layers.1.self_attn.q_proj";
        assert_eq!(hit(&["Linear"], q), Some(Specificity::Class));
        assert_eq!(hit(&["LinearBase"], q), Some(Specificity::Class));
        assert_eq!(hit(&["Linear", "re:.*q_proj", q], q), Some(Specificity::Name));
        assert_eq!(
            hit(&["re:.*q_proj"], "model.layers.1.self_attn.q_proj_x"),
            Some(Specificity::Regex)
        );
        assert_eq!(
            hit(&["re:model.layers.1"], "model.layers.10.mlp.up_proj"),
            Some(Specificity::Regex)
        );
        assert_eq!(hit(&["re:layers.1"], q), None); // anchored at the start
        assert_eq!(hit(&["q_proj", "linear", "Embedding"], q), None);
        assert_eq!(hit(&[r"re:^(?!.*(k|v)_proj).*_proj$"], q), Some(Specificity::Regex)); // look-ahead
        assert_eq!(
            hit(
                &[r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"],
                "model.layers.3.mlp.up_proj"
            ),
            Some(Specificity::Regex)
        );
        assert_eq!(hit(&["re:a|b"], "xb"), None); // the anchor covers both branches
    }

    #[test]
    fn hostile_patterns_are_errors() {
        let refused = |entries: &[&str]| Patterns::new(entries.iter().copied(), &mut Budget::default()).is_err();
        assert!(refused(&["re:("]));
        assert!(refused(&["re:a)|(?:b"]));
        assert!(refused(&[&format!("re:{}", "a".repeat(600))]));
        assert!(refused(&[r"re:((\w{1000}){1000}){1000}"]));
        assert!(refused(&vec!["re:a"; 65]));
        let slow = Patterns::new([r"re:(?=x?)((\w|\.)+)+\1z"], &mut Budget::default()).unwrap();
        assert!(slow.matches(&"a.".repeat(40), "Linear").is_err());
    }
}
