//! Bilingual problems with a stable code, and a collector that keeps a broken file from producing ten thousand of them.

use assay_contest::{Problem, Text};

/// How many problems of one code are listed one by one; the rest are counted in one closing line.
const LISTED_PER_CODE: usize = 6;

/// A sentence in both languages.
pub(crate) fn text(en: impl Into<String>, ko: impl Into<String>) -> Text {
    Text {
        en: en.into(),
        ko: ko.into(),
    }
}

/// A problem or finding: what is wrong (English, Korean) and what to do (English, Korean).
pub(crate) fn problem(
    code: &str,
    place: impl Into<String>,
    message: (impl Into<String>, impl Into<String>),
    fix: (impl Into<String>, impl Into<String>),
) -> Problem {
    Problem {
        code: code.to_owned(),
        place: place.into(),
        message: text(message.0, message.1),
        fix: text(fix.0, fix.1),
    }
}

/// Shortens a hostile string for a message: at most 80 characters, control characters escaped.
pub(crate) fn quoted(raw: &str) -> String {
    let mut out = String::new();
    for (count, c) in raw.chars().enumerate() {
        if count == 80 {
            out.push('…');
            break;
        }
        match c {
            // Invisible or direction-changing characters would let a name lie about itself in the report.
            c if c.is_control()
                || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}') =>
            {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Collects problems in the order found.
#[derive(Default, Debug)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    counts: std::collections::BTreeMap<String, usize>,
}

impl Problems {
    /// Adds one, or only counts it once its code has been listed often enough.
    pub(crate) fn push(&mut self, problem: Problem) {
        let count = self.counts.entry(problem.code.clone()).or_default();
        *count += 1;
        if *count <= LISTED_PER_CODE {
            self.list.push(problem);
        }
    }

    /// Adds all of them.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems.into_iter().for_each(|p| self.push(p));
    }

    /// Adds another collection, with what it only counted.
    pub(crate) fn join(&mut self, other: Problems) {
        let mut counted = other.counts;
        for problem in other.list {
            if let Some(count) = counted.get_mut(&problem.code) {
                *count -= 1;
            }
            self.push(problem);
        }
        for (code, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
            *self.counts.entry(code).or_default() += count;
        }
    }

    /// True when nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The list; a code that occurred more often than is listed closes with a count.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        for (code, count) in self.counts {
            let Some(last) = self.list.iter().rposition(|p| p.code == code) else {
                continue;
            };
            if count > LISTED_PER_CODE {
                let more = count - LISTED_PER_CODE;
                // Not the fix of the last one listed: that names a place of its own.
                let fix = text(
                    "Mend them as the ones above; the next check lists what is left.",
                    "위와 같은 방법으로 고치세요. 다시 확인하면 남은 것이 표시됩니다.",
                );
                let message = text(
                    format!("and {more} more of the same kind"),
                    format!("같은 종류가 {more}개 더 있습니다"),
                );
                self.list.insert(
                    last + 1,
                    Problem {
                        code,
                        place: "…".to_owned(),
                        message,
                        fix,
                    },
                );
            }
        }
        self.list
    }
}
