//! Why two answers differ: where they part, and how far apart the reference finds them there.

use std::ops::ControlFlow;

use assay_engine::Engine;
use assay_tasks::Response;

use super::compare::top;
use super::tasks::Answer;
use crate::evaluate::{Prepared, Voice};

/// What was found.
pub struct Reason {
    pub what: String,
    pub margin: Option<f64>,
}

/// Whether both said the same: the same text, or the same choice ahead.
pub fn same_answer(ours: &[Response], theirs: &[Answer]) -> bool {
    match (ours, theirs) {
        ([Response::Text(ours)], [Answer::Text(theirs)]) => ours == theirs,
        _ => {
            let (ours, theirs) = (values(ours), recorded(theirs));
            !ours.is_empty() && best(&ours) == best(&theirs)
        }
    }
}

fn values(ours: &[Response]) -> Vec<f64> {
    let value = |response: &Response| match response {
        Response::Loglikelihood { value, .. } => Some(*value),
        Response::Text(_) => None,
    };
    ours.iter().filter_map(value).collect()
}

fn recorded(theirs: &[Answer]) -> Vec<f64> {
    let value = |answer: &Answer| match answer {
        Answer::Choice(value, _) => Some(*value),
        Answer::Text(_) => None,
    };
    theirs.iter().filter_map(value).collect()
}

/// Index of the largest; the first among equals.
fn best(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

/// Two generated texts: the first token where ours leaves theirs, and its lead over the likeliest other token there.
pub fn texts(
    voice: &Voice,
    oracle: &mut Engine,
    prepared: &[&Prepared],
    ours: &str,
    theirs: &str,
) -> anyhow::Result<Reason> {
    let [Prepared::Generate { prompt, .. }] = prepared else {
        return Ok(Reason {
            what: "not one request".into(),
            margin: None,
        });
    };
    // The tokenizer finds the tokens of our text again: a greedy answer may have been cut differently, which would only
    // move the place looked at, never hide a difference.
    let ids = voice.codec.encode_bare(ours);
    let shared = (0..=ids.len())
        .take_while(|&n| theirs.starts_with(&voice.codec.decode(&ids[..n])))
        .last()
        .unwrap_or(0);
    let mut context = prompt.clone();
    context.extend_from_slice(&ids[..shared]);
    let rows = oracle.logits(&context)?;
    let row = &rows[rows.len() - rows.len() / context.len()..];
    let first = top(row);
    let mut others = row.to_vec();
    others[first] = f32::NEG_INFINITY;
    let second = top(&others);
    // What ours went on with, where that is known and is not the likeliest.
    let ours_next = ids
        .get(shared)
        .map(|&id| id as usize)
        .filter(|&id| id != first && id < row.len());
    let margin = f64::from(row[first]) - f64::from(row[ours_next.unwrap_or(second)]);
    let name = |id: usize| voice.codec.show(&[id as u32]);
    let (theirs, ours) = (
        glimpse(theirs, &voice.codec.decode(&ids[..shared])),
        glimpse(ours, &voice.codec.decode(&ids[..shared])),
    );
    let what = format!(
        "\"{theirs}\" there, \"{ours}\" here; after {shared} tokens \"{}\" and \"{}\" are the likeliest",
        name(first),
        name(second)
    );
    Ok(Reason {
        what,
        margin: Some(margin),
    })
}

/// The place where a text leaves what both share, with a little around it.
fn glimpse(text: &str, shared: &str) -> String {
    let before: Vec<char> = shared.chars().rev().take(16).collect();
    let after: String = text.strip_prefix(shared).unwrap_or(text).chars().take(12).collect();
    format!("…{}{after}…", before.into_iter().rev().collect::<String>())
}

/// Choices: how far apart the reference finds the choice that is ahead here and the one that is ahead there.
pub fn choices(
    voice: &Voice,
    oracle: &mut Engine,
    prepared: &[&Prepared],
    ours: &[Response],
    theirs: &[Answer],
) -> anyhow::Result<Reason> {
    let prepared: Vec<Prepared> = prepared.iter().map(|prepared| (*prepared).clone()).collect();
    let found = values(&voice.ask(oracle, &prepared, &mut |_, _| ControlFlow::Continue(()))?);
    let (ours, theirs) = (values(ours), recorded(theirs));
    if found.len() != ours.len() || ours.len() != theirs.len() || ours.len() < 2 {
        return Ok(Reason {
            what: "other numbers of choices".into(),
            margin: None,
        });
    }
    let (here, there) = (best(&ours), best(&theirs));
    if here == there {
        // The sums agree on the winner; a metric divided by length does not. The two closest choices are named.
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|a, b| found[*b].total_cmp(&found[*a]));
        let margin = found[order[0]] - found[order[1]];
        return Ok(Reason {
            what: format!("choice {here} is ahead in both"),
            margin: Some(margin),
        });
    }
    let margin = (found[here] - found[there]).abs();
    Ok(Reason {
        what: format!("choice {there} is ahead there, {here} here"),
        margin: Some(margin),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_same_when_the_same_choice_is_ahead() {
        let ours = |values: &[f64]| -> Vec<Response> {
            values
                .iter()
                .map(|value| Response::Loglikelihood {
                    value: *value,
                    greedy: false,
                })
                .collect()
        };
        let theirs = [Answer::Choice(-1.0, true), Answer::Choice(-2.0, false)];
        assert!(same_answer(&ours(&[-1.1, -1.9]), &theirs));
        assert!(!same_answer(&ours(&[-1.9, -1.1]), &theirs));
        assert!(same_answer(&[Response::Text("a".into())], &[Answer::Text("a".into())]));
        assert!(!same_answer(&[Response::Text("a".into())], &[Answer::Text("b".into())]));
    }
}
