//! Which modules a tool left alone: each has its own way of naming them.

use assay_contest::Problem;

use crate::problem::quoted;
use crate::quant::matching::{Budget, MAX_ENTRIES, Patterns};
use crate::verify::invalid;

/// transformers' `modules_to_not_convert` and its like: an entry means the modules whose name it matches from the start as a
/// regular expression, and those that end with it.
pub(super) struct Skip<'a> {
    plain: Vec<&'a str>,
    patterns: Patterns,
}

impl<'a> Skip<'a> {
    /// The list as written; without one, the head is left alone.
    pub fn new(list: Option<Vec<&'a str>>) -> Result<Skip<'a>, Box<Problem>> {
        let list = list.unwrap_or_else(|| vec!["lm_head"]);
        if list.len() > MAX_ENTRIES {
            return Err(Box::new(invalid(&format!(
                "more than {MAX_ENTRIES} modules are left out"
            ))));
        }
        // names are by far the most, and need no machine of their own
        let is_name = |entry: &str| {
            entry
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        };
        let (plain, regexes): (Vec<&str>, Vec<&str>) = list.into_iter().partition(|entry| is_name(entry));
        let marked: Vec<String> = regexes.iter().map(|p| format!("re:{p}")).collect();
        let patterns = Patterns::new(marked.iter().map(String::as_str), &mut Budget::default())
            .map_err(|why| Box::new(invalid(&format!("modules that are left out: {why}"))))?;
        Ok(Skip {
            plain: plain.into_iter().chain(regexes).collect(),
            patterns,
        })
    }

    pub fn skips(&self, name: &str) -> Result<bool, Box<Problem>> {
        if self
            .plain
            .iter()
            .any(|entry| starts(entry, name) || name.ends_with(entry))
        {
            return Ok(true);
        }
        self.patterns
            .matches(name, "")
            .map(|found| found.is_some())
            .map_err(|why| Box::new(invalid(&format!("modules that are left out: {why}"))))
    }
}

/// A name as a regular expression: a dot is any character.
fn starts(entry: &str, name: &str) -> bool {
    entry.len() <= name.len() && entry.bytes().zip(name.bytes()).all(|(e, n)| e == n || e == b'.')
}

/// One regular expression against a name, anchored at its start as Python's `re.match` is.
pub(super) fn regex(pattern: &str, budget: &mut Budget) -> Result<Patterns, Box<Problem>> {
    Patterns::new([format!("re:{pattern}").as_str()], budget)
        .map_err(|why| Box::new(invalid(&format!("\"{}\": {why}", quoted(pattern)))))
}

/// Whether it matches.
pub(super) fn matches(pattern: &Patterns, name: &str) -> Result<bool, Box<Problem>> {
    pattern
        .matches(name, "")
        .map(|found| found.is_some())
        .map_err(|why| Box::new(invalid(&why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformers_semantics() {
        let skips = |list: &[&'static str], name: &str| Skip::new(Some(list.to_vec())).unwrap().skips(name).unwrap();
        let q = "model.layers.1.self_attn.q_proj";
        assert!(skips(&["lm_head"], "lm_head"));
        assert!(skips(&["model.layers.1"], q)); // a prefix
        assert!(skips(&["q_proj"], q)); // a suffix
        assert!(skips(&[r"model\.layers\.\d+\.self_attn"], q));
        assert!(skips(&[".*self_attn"], q));
        assert!(!skips(&["self_attn", "k_proj", "layers.1"], q));
        assert!(Skip::new(None).unwrap().skips("lm_head").unwrap());
        assert!(!Skip::new(None).unwrap().skips(q).unwrap());
        assert!(Skip::new(Some(vec!["("])).is_err());
        assert!(!skips(&["model.layers.1"], "short"));
    }
}
