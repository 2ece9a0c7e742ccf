//! A comparison of two grades for people.

use std::fmt::Write;

use super::{Diff, Item, TaskDiff};
use crate::locale::Locale;
use crate::report::{Side, columns, plain};

/// Changed items shown of each measure, unless all are asked for.
const SHOWN: usize = 5;
/// Characters of an answer shown, unless all are asked for.
const WIDTH: usize = 90;

/// The comparison in words and tables. `all`: every changed item, whole.
pub fn tell(diff: &Diff, all: bool, locale: Locale) -> String {
    let mut out = String::new();
    if diff.equal {
        let text = locale.say("The two grades are the same.", "두 채점은 같습니다.");
        let _ = writeln!(out, "{text}");
        return out + &measures(diff, locale);
    }
    if diff.certificate.is_empty() {
        let text = locale.say(
            "The certificates are the same, the scores of items are not: a report was changed.",
            "인증서는 같지만 문항 점수가 다릅니다. 보고서가 변경되었습니다.",
        );
        let _ = writeln!(out, "{text}");
    } else {
        let _ = writeln!(out, "{}", locale.say("Certificates differ in", "인증서에서 다른 부분"));
        let none = locale.say("none", "없음").to_string();
        let shown = |value: &Option<String>| plain(value.as_ref().unwrap_or(&none)).chars().take(48).collect();
        let rows: Vec<Vec<String>> = (diff.certificate.iter())
            .map(|part| vec![part.name.to_string(), shown(&part.a), shown(&part.b)])
            .collect();
        out.push_str(&columns(&rows, &[Side::Left; 3], "  "));
    }
    out.push('\n');
    out.push_str(&tasks(diff, locale));
    for (names, en, ko) in [
        (&diff.only_a, "Only in A", "A에만 있음"),
        (&diff.only_b, "Only in B", "B에만 있음"),
    ] {
        if !names.is_empty() {
            let _ = writeln!(out, "{}: {}", locale.say(en, ko), plain(&names.join("; ")));
        }
    }
    for task in diff.tasks.iter().filter(|task| !task.changed.is_empty()) {
        out.push_str(&changed(task, all, locale));
    }
    out + &measures(diff, locale)
}

fn tasks(diff: &Diff, locale: Locale) -> String {
    let heads = [
        ("Task", "과제"),
        ("Metric,filter", "지표,필터"),
        ("n", "n"),
        ("Both", "둘 다"),
        ("Only A", "A만"),
        ("Only B", "B만"),
        ("Neither", "둘 다 아님"),
        ("A − B", "A − B"),
        ("95%", "95%"),
        ("p", "p"),
        ("Other answers", "다른 답"),
    ];
    let mut rows = vec![heads.map(|(en, ko)| locale.say(en, ko).to_string()).to_vec()];
    for task in &diff.tasks {
        let mut row = vec![plain(&task.task), plain(&task.key)];
        match &task.comparison {
            None => row.extend((0..8).map(|_| "-".to_string())),
            Some(found) => {
                row.push(found.n.to_string());
                match found.table {
                    Some(t) => row.extend([t.both, t.only_a, t.only_b, t.neither].map(|n| n.to_string())),
                    None => row.extend((0..4).map(|_| "-".to_string())),
                }
                row.push(format!("{:+.4}", found.difference));
                row.push(format!("[{:+.4}, {:+.4}]", found.interval.0, found.interval.1));
                row.push(format!("{:.4}", found.p()));
            }
        }
        row.push(task.other_answers.to_string());
        rows.push(row);
    }
    let mut sides = vec![Side::Left; 2];
    sides.resize(heads.len(), Side::Right);
    let mut out = columns(&rows, &sides, "");
    let unpaired: Vec<String> = (diff.tasks.iter().filter(|task| task.unpaired > 0))
        .map(|task| format!("{} {}: {}", plain(&task.task), plain(&task.key), task.unpaired))
        .collect();
    if !unpaired.is_empty() {
        let text = locale.say("Documents without a counterpart", "짝이 없는 문항");
        let _ = writeln!(out, "{text}: {}", unpaired.join("; "));
    }
    out
}

fn changed(task: &TaskDiff, all: bool, locale: Locale) -> String {
    let mut out = format!("\n{} {}\n", plain(&task.task), plain(&task.key));
    let shown = if all { task.changed.len() } else { SHOWN };
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| value.to_string());
    let text = |answer: &Option<String>| {
        let answer = answer.as_deref().unwrap_or_default().replace('\n', "⏎");
        let mut shown: String = plain(&answer)
            .chars()
            .take(if all { usize::MAX } else { WIDTH })
            .collect();
        if shown.len() < answer.len() {
            shown.push('…');
        }
        shown
    };
    for Item { doc, value, answer } in task.changed.iter().take(shown) {
        let label = locale.say("document", "문항");
        let _ = writeln!(out, "  {label} {doc}: {} → {}", number(value.a), number(value.b));
        let _ = writeln!(out, "    A {}", text(&answer.a));
        let _ = writeln!(out, "    B {}", text(&answer.b));
    }
    let hidden = task.changed.len().saturating_sub(shown);
    if hidden > 0 {
        let _ = match locale {
            Locale::En => writeln!(out, "  and {hidden} more: --all shows them"),
            Locale::Ko => writeln!(out, "  그 밖에 {hidden}개: --all로 모두 볼 수 있습니다"),
        };
    }
    out
}

/// Everything but the accuracies, which stand above.
fn measures(diff: &Diff, locale: Locale) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
    let mut rows = vec![vec![
        locale.say("Measure", "측정값").to_string(),
        "A".into(),
        "B".into(),
    ]];
    let others = diff.measures.iter().filter(|(name, _)| !name.starts_with("acc"));
    rows.extend(others.map(|(name, pair)| vec![plain(name), number(pair.a), number(pair.b)]));
    format!("\n{}", columns(&rows, &[Side::Left, Side::Right, Side::Right], ""))
}
