//! What `multi_choice_regex` tries when its pattern finds nothing.

use serde_json::Value;

use super::Extract;
use crate::error::Fault;
use crate::pattern::Pattern;
use crate::python;

pub(super) fn is_punctuation(c: char) -> bool {
    use unicode_general_category::GeneralCategory as G;
    matches!(
        unicode_general_category::get_general_category(c),
        G::ConnectorPunctuation
            | G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation
    )
}

/// What `multi_choice_regex` falls back to: the choices' texts, then their letters.
pub(super) struct Choices {
    texts: Pattern,
    letters: Pattern,
    by_text: Vec<(String, String)>,
}

impl Choices {
    pub(super) fn new(
        doc: &Value,
        normalise: &dyn Fn(&str) -> Result<String, Fault>,
        extract: &Extract,
    ) -> Result<Self, Fault> {
        let missing = || Fault::NotSupported {
            what: format!(
                "multi_choice_regex ({}) without a list of texts in \"choices\"",
                extract.pattern.source()
            ),
        };
        let choices = doc.get("choices").and_then(Value::as_array).ok_or_else(missing)?;
        let mut by_text = Vec::new();
        let mut letters = Vec::new();
        for (i, choice) in choices.iter().enumerate() {
            let text = normalise(python::strip(choice.as_str().ok_or_else(missing)?))?;
            let letter = u32::try_from(i)
                .ok()
                .and_then(|i| char::from_u32('A' as u32 + i))
                .ok_or_else(missing)?;
            by_text.push((text, format!("({letter})")));
            letters.push(letter.to_string());
        }
        // Longest first, so that a choice cannot hide a longer one that starts with it.
        let mut sorted: Vec<String> = by_text.iter().map(|(text, _)| text.clone()).collect();
        sorted.sort_by_key(|text| std::cmp::Reverse(escaped_len(text)));
        Ok(Self {
            texts: Pattern::any_of(&sorted, None)?,
            letters: Pattern::any_of(&letters, Some(r":[\s]*"))?,
            by_text,
        })
    }

    pub(super) fn read(
        &self,
        text: &str,
        extract: &Extract,
        normalise: &dyn Fn(&str) -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let usable = |found: Option<String>| found.filter(|f| !f.is_empty());
        if let Some(found) = usable(extract.first(text)?) {
            return Ok(found);
        }
        if let Some(found) = usable(extract.find(&self.texts, &normalise(text)?)?) {
            // Of equal texts the last letter counts, as in a dict.
            let letter = self.by_text.iter().rev().find(|(text, _)| *text == found);
            return Ok(letter.map_or(found, |(_, letter)| letter.clone()));
        }
        if let Some(found) = usable(extract.find(&self.letters, text)?) {
            return Ok(format!("({found})"));
        }
        Ok(extract.fallback.clone())
    }
}

/// `len(re.escape(text))`.
fn escaped_len(text: &str) -> usize {
    let special = |c: char| "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c);
    text.chars().map(|c| if special(c) { 2 } else { 1 }).sum()
}
