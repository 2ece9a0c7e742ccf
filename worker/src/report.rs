//! What a person reads on the terminal: the inspection of a checkpoint and the results of a grade.

use std::fmt::Write;

use assay_checkpoint::{Inspection, Lineage, Memory, Relation};
use assay_contest::wire::{Report, TaskReport};
use assay_contest::{Certificate, Problem};

use crate::locale::Locale;

/// The verdict, why, the weight by group, and how to save bytes. `base_bytes`: the base's weight, where it is known.
pub fn inspection(found: &Inspection, base_bytes: Option<u64>, locale: Locale) -> String {
    let mut out = String::new();
    let verdict = if found.accepted() {
        locale.say("accepted", "통과")
    } else {
        locale.say("rejected", "거부")
    };
    line(&mut out, locale.say("Verdict", "판정"), verdict);
    let scheme = if found.scheme.is_empty() {
        String::new()
    } else {
        format!(", {}", found.scheme)
    };
    line(
        &mut out,
        locale.say("Format", "형식"),
        &format!("{}{scheme}", found.format),
    );
    let of_base = match base_bytes {
        Some(base) if base > 0 => {
            let percent = 100.0 * found.bytes.total as f64 / base as f64;
            match locale {
                Locale::En => format!(" ({percent:.1}% of the base)"),
                Locale::Ko => format!(" (기준 모델의 {percent:.1}%)"),
            }
        }
        _ => String::new(),
    };
    let unit = locale.say("bytes", "바이트");
    line(
        &mut out,
        locale.say("Weight", "용량"),
        &format!("{} {unit}{of_base}", grouped(found.bytes.total)),
    );
    let rows: Vec<Vec<String>> = found
        .bytes
        .groups
        .iter()
        .map(|group| {
            let share = 100.0 * group.bytes as f64 / found.bytes.total.max(1) as f64;
            vec![
                group_name(&group.name, locale),
                grouped(group.bytes),
                format!("{share:.1}%"),
            ]
        })
        .collect();
    out.push_str(&columns(
        &rows,
        &[Side::Left, Side::Right, Side::Right],
        "             ",
    ));
    if let Some(parameters) = found.parameters.filter(|_| found.bytes.total > 0) {
        let (all, linear) = (parameters.bits(found.bytes.total), parameters.linear_bits());
        let bits = match locale {
            Locale::En => format!("{all:.2} bits each ({linear:.3} in the layers' matrices)"),
            Locale::Ko => format!("하나당 {all:.2}비트 (층의 행렬은 {linear:.3}비트)"),
        };
        let count = grouped(parameters.total);
        line(
            &mut out,
            locale.say("Parameters", "파라미터"),
            &format!("{count}, {bits}"),
        );
    }
    if let Some(needed) = &found.memory {
        memory(&mut out, needed, locale);
    }
    if let Some(found) = &found.lineage {
        lineage(&mut out, found, locale);
    }
    problems(&mut out, locale.say("Problems", "문제점"), &found.problems, locale);
    problems(&mut out, locale.say("Findings", "참고 사항"), &found.findings, locale);
    if !found.hints.is_empty() {
        let _ = writeln!(
            out,
            "\n{}",
            locale.say("Bytes that could be saved", "줄일 수 있는 용량")
        );
        for hint in &found.hints {
            let _ = writeln!(
                out,
                "  {:>15}  {}  [{}]",
                grouped(hint.saves),
                plain(locale.text(&hint.message)),
                hint.code
            );
        }
    }
    out
}

/// What it takes to run, and which devices can.
fn memory(out: &mut String, needed: &Memory, locale: Locale) {
    let (weights, kv, total) = (grouped(needed.weights), grouped(needed.kv), grouped(needed.total));
    let context = grouped(needed.context);
    let text = match locale {
        Locale::En => {
            format!(
                "about {total} bytes for {context} tokens: {weights} of weights, {kv} of KV cache, the rest to work in"
            )
        }
        Locale::Ko => {
            format!("토큰 {context}개에 약 {total}바이트: 가중치 {weights}, KV 캐시 {kv}, 나머지는 작업 공간")
        }
    };
    line(out, locale.say("Memory", "메모리"), &text);
    let rows: Vec<Vec<String>> = needed
        .devices
        .iter()
        .map(|device| {
            let answer = match (device.fits, locale) {
                (true, Locale::En) => format!("fits, up to {} tokens", grouped(device.longest_context)),
                (true, Locale::Ko) => format!("가능, 최대 {}토큰", grouped(device.longest_context)),
                (false, _) => locale.say("does not fit", "불가능").to_owned(),
            };
            let price = device.usd_per_hour.map_or(String::new(), |usd| match locale {
                Locale::En => format!("${usd:.2} an hour"),
                Locale::Ko => format!("시간당 ${usd:.2}"),
            });
            vec![plain(locale.text(&device.name)), answer, price]
        })
        .collect();
    out.push_str(&columns(&rows, &[Side::Left, Side::Left, Side::Left], "             "));
}

/// How many matrices are what to the base's; those that are not made from it layer by layer, with their error in units of the band.
fn lineage(out: &mut String, found: &Lineage, locale: Locale) {
    let mut counts = std::collections::BTreeMap::new();
    for (_, cell) in found.cells() {
        *counts.entry(cell.relation).or_insert(0usize) += 1;
    }
    let told: Vec<String> = counts
        .iter()
        .map(|(relation, n)| format!("{n} {}", relation_name(*relation, locale)))
        .collect();
    line(out, locale.say("Lineage", "계보"), &told.join(", "));
    for row in found
        .rows
        .iter()
        .filter(|row| row.cells.iter().any(|cell| cell.relation.is_against()))
    {
        let cells = row
            .cells
            .iter()
            .zip(&found.columns)
            .filter(|(cell, _)| cell.relation.is_against());
        let cells: Vec<String> = cells
            .map(|(cell, column)| match cell.value() {
                Some(value) => format!(
                    "{} {} ({value:.2})",
                    plain(column),
                    relation_name(cell.relation, locale)
                ),
                None => format!("{} {}", plain(column), relation_name(cell.relation, locale)),
            })
            .collect();
        let _ = writeln!(
            out,
            "  {} {:>3}  {}",
            locale.say("layer", "층"),
            row.layer,
            cells.join(", ")
        );
    }
}

fn relation_name(relation: Relation, locale: Locale) -> &'static str {
    let (en, ko) = match relation {
        Relation::Same => ("same", "동일"),
        Relation::Rounded => ("rounded", "반올림"),
        Relation::Compensated => ("compensated", "오차 보정"),
        Relation::Tuned => ("tuned scales", "스케일 조정"),
        Relation::Folded => ("folded", "행·열 스케일"),
        Relation::Rescaled => ("rescaled", "스케일 변경"),
        Relation::Pruned => ("pruned", "가지치기"),
        Relation::Changed => ("changed", "변경"),
        Relation::Replaced => ("replaced", "교체"),
        Relation::Resized => ("resized", "크기 변경"),
        Relation::Unplaced => ("of no layer", "소속 층 없음"),
    };
    locale.say(en, ko)
}

/// What a person calls a group of the weight.
fn group_name(name: &str, locale: Locale) -> String {
    let (en, ko) = match name {
        "embedding" => ("embedding", "임베딩"),
        "head" => ("output head", "출력층"),
        "attention" => ("attention", "어텐션"),
        "mlp" => ("MLP", "MLP"),
        "norms" => ("norms", "정규화 층"),
        "scales" => ("scales", "스케일"),
        "zero_points" => ("zero points", "영점"),
        "indices" => ("indices", "인덱스"),
        "shapes" => ("shapes", "형상"),
        "header" => ("headers", "헤더"),
        "other" => ("other", "기타"),
        unknown => return plain(unknown),
    };
    locale.say(en, ko).to_string()
}

/// Problems one below the other: code and place, what is the matter, what to do.
pub fn problems(out: &mut String, title: &str, list: &[Problem], locale: Locale) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for problem in list {
        let _ = writeln!(out, "  {} [{}]", plain(&problem.place), plain(&problem.code));
        let _ = writeln!(out, "    {}", plain(locale.text(&problem.message)));
        let fix = plain(locale.text(&problem.fix));
        if !fix.is_empty() {
            let _ = writeln!(out, "    {}: {fix}", locale.say("Fix", "해결 방법"));
        }
    }
}

/// The table of results, as lm-evaluation-harness prints it, and what the run took.
pub fn results(report: &Report, locale: Locale) -> String {
    let mut out = String::new();
    line(&mut out, locale.say("Device", "장치"), &plain(&report.device));
    line(&mut out, locale.say("Engine", "엔진"), &report.engine);
    line(&mut out, locale.say("Profile", "프로파일"), report.profile.name());
    out.push('\n');
    let mut rows = vec![
        [
            ("Task", "과제"),
            ("Filter", "필터"),
            ("Metric", "지표"),
            ("n", "n"),
            ("Value", "값"),
            ("Stderr", "표준오차"),
        ]
        .map(|(en, ko)| locale.say(en, ko).to_string())
        .to_vec(),
    ];
    report.tasks.iter().for_each(|task| rows.extend(result_rows(task, "")));
    report
        .groups
        .iter()
        .for_each(|group| rows.extend(result_rows(group, "* ")));
    let sides = [Side::Left, Side::Left, Side::Left, Side::Right, Side::Right, Side::Left];
    out.push_str(&columns(&rows, &sides, ""));
    if !report.groups.is_empty() {
        let _ = writeln!(out, "{}", locale.say("* group of tasks", "* 과제 묶음"));
    }
    out.push('\n');
    out.push_str(&rates(report, locale));
    for (label, text) in facts(report, locale) {
        line(&mut out, label, &text);
    }
    out
}

/// What the run took, label and value.
fn facts<'a>(report: &Report, locale: Locale) -> Vec<(&'a str, String)> {
    let get = |name: &str| report.measures.get(name).copied();
    let seconds = |value: f64| format!("{value:.1} s");
    let mebibytes = |value: f64| format!("{} MiB", grouped((value / (1 << 20) as f64) as u64));
    let tokens = |value: f64| format!("{} {}", grouped(value as u64), locale.say("tokens", "토큰"));
    let item = |part: &str| get(&format!("item_seconds_{part}"));
    let items = match (item("mean"), item("p50"), item("p90"), item("p99")) {
        (Some(mean), Some(p50), Some(p90), Some(p99)) => Some(format!(
            "{mean:.3} s ({} {p50:.3}, p90 {p90:.3}, p99 {p99:.3})",
            locale.say("median", "중앙값")
        )),
        _ => None,
    };
    let rounds = report.time_track.as_ref().map_or(0, |track| track.rounds.len());
    let against = match (
        get("time_ratio"),
        get("time_ratio_low").zip(get("time_ratio_high")),
        get("time_track_seconds").zip(get("time_track_base_seconds")),
    ) {
        (Some(ratio), Some((low, high)), Some((own, base))) => Some(match locale {
            Locale::En => {
                format!("{ratio:.4} ({low:.4} – {high:.4} in {rounds} rounds; {own:.4} s, the base {base:.4} s)")
            }
            Locale::Ko => format!("{ratio:.4} ({rounds}회 중 {low:.4} – {high:.4}, {own:.4} s, 기준 모델 {base:.4} s)"),
        }),
        _ => None,
    };
    let facts = [
        ("To the base", "기준 대비 시간", against),
        ("Loading", "적재 시간", get("load_seconds").map(seconds)),
        ("In all", "전체 시간", get("wall_seconds").map(seconds)),
        ("Generated", "생성량", get("generated_tokens").map(tokens)),
        (
            "Speed",
            "속도",
            get("tokens_per_second").map(|value| format!("{value:.1} tokens/s")),
        ),
        ("Per item", "문항당 시간", items),
        ("Memory", "최대 메모리", get("peak_memory").map(mebibytes)),
        ("On device", "장치 메모리", get("peak_device_memory").map(mebibytes)),
        (
            "Energy",
            "에너지",
            get("energy_joules").map(|joules| format!("{joules:.1} J")),
        ),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(en, ko, text)| Some((locale.say(en, ko), text?)));
    facts.collect()
}

/// How often answers went wrong as texts, task by task; nothing where no task generates.
fn rates(report: &Report, locale: Locale) -> String {
    let heads = [
        ("Task", "과제"),
        ("Cut off", "잘림"),
        ("No answer", "답 없음"),
        ("Repeating", "반복"),
    ];
    let mut rows = vec![heads.map(|(en, ko)| locale.say(en, ko).to_string()).to_vec()];
    for task in &report.tasks {
        let rate = |name| report.measures.get(&format!("rate.{name}.{}", task.task));
        let rates: Option<Vec<&f64>> = ["truncated", "no_answer", "repetition"].map(rate).into_iter().collect();
        if let Some(rates) = rates {
            let mut row = vec![plain(&task.alias)];
            row.extend(rates.into_iter().map(|rate| format!("{:.1}%", 100.0 * rate)));
            rows.push(row);
        }
    }
    match rows.len() {
        1 => String::new(),
        _ => columns(&rows, &[Side::Left, Side::Right, Side::Right, Side::Right], "") + "\n",
    }
}

/// The certificate: what a team compares with its own.
pub fn certificate(report: &Report, locale: Locale) -> String {
    let Some(certificate) = &report.certificate else {
        return String::new();
    };
    let mut out = format!("\n{} {}\n", locale.say("Certificate", "인증서"), certificate.digest);
    let none = locale.say("none", "없음");
    for (name, value) in parts(certificate) {
        line(&mut out, &format!("  {name}"), value.unwrap_or(none));
    }
    out
}

/// What a certificate is about, by name; none where there is nothing of it.
pub fn parts(certificate: &Certificate) -> Vec<(&'static str, Option<&str>)> {
    let parts = [
        ("checkpoint", certificate.checkpoint.as_str()),
        ("contest", &certificate.contest),
        ("tasks", &certificate.tasks),
        ("profile", &certificate.profile),
        ("engine", &certificate.engine),
        ("shaders", certificate.shaders.as_deref().unwrap_or_default()),
        ("device", &certificate.device),
        ("precision", &certificate.precision),
        ("outputs", &certificate.outputs),
    ];
    let parts = parts
        .into_iter()
        .map(|(name, value)| (name, Some(value).filter(|value| !value.is_empty())));
    parts.collect()
}

fn result_rows(task: &TaskReport, mark: &str) -> Vec<Vec<String>> {
    let rows = task.measures.iter().map(|(name, value)| {
        let (metric, filter) = name.split_once(',').unwrap_or((name, "none"));
        let stderr = task
            .stderr
            .get(name)
            .map_or("N/A".to_string(), |stderr| format!("{stderr:.4}"));
        vec![
            format!("{mark}{}", plain(&task.alias)),
            plain(filter),
            plain(metric),
            task.n.to_string(),
            format!("{value:.4}"),
            format!("± {stderr}"),
        ]
    });
    rows.collect()
}

/// Generated samples, prompt and answer.
pub fn samples(report: &Report, locale: Locale) -> String {
    let mut out = String::new();
    for sample in &report.samples {
        let _ = writeln!(out, "\n{} [{}]", locale.say("Sample", "생성 예시"), plain(&sample.kind));
        let said = [
            ("> ", Some(&sample.prompt)),
            ("  ", Some(&sample.text)),
            ("= ", sample.base.as_ref()),
        ];
        for (mark, text) in said.into_iter().filter_map(|(mark, text)| Some((mark, text?))) {
            text.lines().for_each(|part| {
                let _ = writeln!(out, "{mark}{}", plain(part));
            });
        }
    }
    if report.samples.iter().any(|sample| sample.base.is_some()) {
        let _ = writeln!(out, "\n{}", locale.say("= what the base says", "= 기준 모델의 답"));
    }
    out
}

/// `label    value`
pub fn line(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(
        out,
        "{label}{} {value}",
        " ".repeat(12usize.saturating_sub(width(label)))
    );
}

#[derive(Clone, Copy)]
pub enum Side {
    Left,
    Right,
}

/// Rows with their columns aligned.
pub fn columns(rows: &[Vec<String>], sides: &[Side], indent: &str) -> String {
    let mut out = String::new();
    let widths: Vec<usize> = (0..sides.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(sides.iter().zip(&widths))
            .map(|(cell, (side, wide))| {
                let pad = " ".repeat(wide - width(cell));
                match side {
                    Side::Left => format!("{cell}{pad}"),
                    Side::Right => format!("{pad}{cell}"),
                }
            })
            .collect();
        let _ = writeln!(out, "{indent}{}", cells.join("  ").trim_end());
    }
    out
}

/// Columns a terminal gives `text`: Korean, Chinese and Japanese characters take two.
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x20000..=0x3fffd)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// `text` without control characters: names of uploaded files must not steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_contest::Text;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(419_430_400), "419,430,400");
    }

    #[test]
    fn columns_line_up_with_wide_characters() {
        let rows = vec![
            vec!["과제".to_string(), "1".into()],
            vec!["mini_gsm".to_string(), "22".into()],
        ];
        assert_eq!(
            columns(&rows, &[Side::Left, Side::Right], ""),
            "과제       1\nmini_gsm  22\n"
        );
    }

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        let problem = Problem::new("no-such", "a\x1b[2Jb", Text::new("m", "말"), Text::new("f", "수"));
        let mut out = String::new();
        problems(&mut out, "Problems", &[problem], Locale::Ko);
        assert!(!out.contains('\x1b'));
        assert!(out.contains("말") && out.contains("해결 방법: 수"));
    }
}
