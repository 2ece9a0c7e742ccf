//! What the model wrote to a prompt of the contest, beside what the base wrote.

/// One sample generation.
#[derive(Clone, Debug, Default)]
pub struct SampleView {
    /// The prompt's kind, as the contest names it.
    pub kind: String,
    /// The prompt.
    pub prompt: String,
    /// What the model wrote.
    pub text: String,
    /// What the base model wrote, where the contest says so.
    pub base: Option<String>,
}

/// How two texts go together: alike up to a point, then each its own way. Greedy decoding parts for good at the first
/// token that differs, so more than this one point is not worth marking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting<'a> {
    /// What both begin with.
    pub same: &'a str,
    /// The submission's rest.
    pub own: &'a str,
    /// The base's rest.
    pub base: &'a str,
}

impl SampleView {
    /// The two texts, where there are two. Parted between words where there is one, so that no word is torn in two.
    pub fn parting(&self) -> Option<Parting<'_>> {
        let (own, base) = (self.text.as_str(), self.base.as_deref()?);
        let alike = own.chars().zip(base.chars()).take_while(|(a, b)| a == b);
        let mut at: usize = alike.map(|(a, _)| a.len_utf8()).sum();
        if at < own.len().max(base.len()) {
            let torn = |text: &str| {
                text.get(at..)
                    .and_then(|rest| rest.chars().next())
                    .is_some_and(char::is_alphanumeric)
            };
            if torn(own) || torn(base) {
                at = own.get(..at)?.trim_end_matches(char::is_alphanumeric).len();
            }
        }
        Some(Parting {
            same: own.get(..at)?,
            own: own.get(at..)?,
            base: base.get(at..)?,
        })
    }

    /// Whether both wrote the same.
    pub fn same(&self) -> bool {
        self.base.as_deref() == Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parting(own: &str, base: &str) -> (String, String, String) {
        let sample = SampleView {
            text: own.into(),
            base: Some(base.into()),
            ..SampleView::default()
        };
        let Parting { same, own, base } = sample.parting().unwrap();
        (same.into(), own.into(), base.into())
    }

    #[test]
    fn texts_part_before_the_word_that_differs() {
        let of = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parting("4 * 6 = 24", "4 * 6 = 25 or"), of("4 * 6 = ", "24", "25 or"));
        assert_eq!(parting("same", "same"), of("same", "", ""));
        assert_eq!(parting("same.", "same. And more"), of("same.", "", " And more"));
        assert_eq!(parting("cat", "catalogue"), of("", "cat", "catalogue"));
        assert_eq!(parting("사과 셋", "사과 넷"), of("사과 ", "셋", "넷"));
        assert_eq!(parting("", "x"), of("", "", "x"));
        assert!(SampleView::default().parting().is_none());
    }
}
