//! "Did you mean …?"

/// The candidate a person most likely meant by `word`: at most a third of its letters wrong. Linear memory; words are
/// short names, longer ones than 64 bytes are not compared.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance with neighbouring letters swapped counting once, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut cost = (last[j] + usize::from(a[i] != b[j]))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_near_and_other_words_are_not() {
        assert_eq!(nearest("formlua", ["formula", "floors", "order"]), Some("formula"));
        assert_eq!(nearest("bytse", ["bytes", "base"]), Some("bytes"));
        assert_eq!(nearest("quantum", ["formula", "floors", "order"]), None);
        assert_eq!(nearest(&"x".repeat(65), ["x"]), None);
    }
}
