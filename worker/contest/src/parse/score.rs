//! `[score]`: how measures become a score and a rank.

use super::notes::{Item, Notes};
use super::read::Section;
use super::{check, fault::Fault, values};
use crate::formula::Formula;
use crate::measure::{Kind, Name, TIME_TRACK};
use crate::rank::MAX_DECIMALS;
use crate::rules::{Base, CONFIDENCE, Floor, Grading, Judge, Order, RESAMPLES, Score};

/// Fewest resamples that may lie beyond either end of an interval: its ends are no steadier than those few.
const LEAST_IN_TAIL: f64 = 10.0;

pub(super) fn read(notes: &Notes<'_>, mut section: Section<'_, '_>, base: &Base, grading: &Grading) -> Score {
    let orders = check::one_of("unknown-order", &["descending", "ascending"]);
    let formula = section.string("formula", check::prompt(crate::formula::MAX_BYTES));
    check_formula(notes, &formula, base, grading);
    // What nobody measures would leave every submission without a score, or a column of the board empty.
    let measured = |item: &Item<String>| {
        if is_untimed(&item.value, grading) {
            notes.add(item.span.clone(), &item.key, Fault::time_without_workload(&item.value));
        }
    };
    let show = section.strings("show", 0..=32, check::measure);
    show.iter().for_each(measured);
    let mut score = Score {
        formula: formula.value,
        floors: Vec::new(),
        order: match section.string_or("order", "descending", orders).value.as_str() {
            "ascending" => Order::Ascending,
            _ => Order::Descending,
        },
        show: values(show),
        // Four: neighbours of a board of hundreds differ in the fourth decimal.
        decimals: section
            .integer_maybe("decimals", 0..=u64::from(MAX_DECIMALS))
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(4),
        confidence: CONFIDENCE,
        resamples: RESAMPLES,
    };
    resampling(notes, &mut section, &mut score);
    let judges = &check::one_of("unknown-judge", &["value", "lower-bound"]);
    for mut floor in section.tables("floors", 0..=32) {
        let measure = floor.string("measure", check::measure);
        if score.floors.iter().any(|earlier| earlier.measure == measure.value) && !measure.value.is_empty() {
            notes.add(measure.span.clone(), &measure.key, Fault::repeated(&measure.value));
        }
        measured(&measure);
        let at_least = floor.number("at_least", check::any_number);
        let judge = floor.string_or("judge", "value", judges);
        let by_interval = judge.value == "lower-bound";
        let kind = Name::parse(&measure.value).map(|name| name.kind);
        if by_interval && kind.is_some_and(|kind| !matches!(kind, Kind::Accuracy { .. })) {
            notes.add(
                judge.span.clone(),
                &judge.key,
                Fault::floor_without_interval(&measure.value),
            );
        }
        score.floors.push(Floor {
            measure: measure.value,
            at_least,
            judge: if by_interval { Judge::LowerBound } else { Judge::Value },
        });
        floor.close();
    }
    section.close();
    score
}

/// How sure rank bands are, and how often documents are drawn for them.
fn resampling(notes: &Notes<'_>, section: &mut Section<'_, '_>, score: &mut Score) {
    let confidence = section.number_or("confidence", CONFIDENCE, check::confidence);
    // A draw costs a team 8 bytes of memory: 96 MB for 600 teams at most.
    let resamples = section
        .integer_maybe("resamples", 100..=20_000)
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(RESAMPLES);
    let least = LEAST_IN_TAIL * 2.0 / (1.0 - confidence.value);
    // The confidence asks for more than the usual 2000, or the resamples are too few: said where the confidence stands.
    if f64::from(resamples) < least.floor() {
        notes.add(
            confidence.span,
            &confidence.key,
            Fault::too_few_resamples(resamples, least.floor()),
        );
    }
    score.confidence = confidence.value;
    score.resamples = resamples;
}

/// Whether `name` is of the time track, and there is none.
fn is_untimed(name: &str, grading: &Grading) -> bool {
    grading.time.is_none() && TIME_TRACK.contains(&name)
}

/// The formula has to parse, name measures there are, and need nothing of the base that the rules do not tell.
fn check_formula(notes: &Notes<'_>, source: &Item<String>, base: &Base, grading: &Grading) {
    if source.value.is_empty() {
        // Missing, empty or of another type: that has been noted.
        return;
    }
    let note = |at: usize, len: usize, fault: Fault| notes.add(notes.inside(source, at, len), &source.key, fault);
    let formula = match Formula::parse(&source.value) {
        Ok(formula) => formula,
        Err(error) => {
            note(error.at, error.len, Fault::formula(error));
            return;
        }
    };
    let mut of_submission = false;
    for (name, span) in formula.places() {
        match Name::parse(name) {
            None => {
                note(span.start, span.len(), Fault::unknown_measure(name));
                // It was meant to be one: do not also call the formula constant.
                of_submission = true;
            }
            Some(parsed) if parsed.of_base => {
                let own = name.strip_prefix("base.").unwrap_or(name);
                if own != "bytes" && !base.measures.contains_key(own) {
                    note(span.start, span.len(), Fault::base_measure_missing(name));
                }
            }
            Some(_) => {
                if is_untimed(name, grading) {
                    note(span.start, span.len(), Fault::time_without_workload(name));
                }
                of_submission = true;
            }
        }
    }
    if !of_submission {
        note(0, source.value.len(), Fault::constant_formula());
    }
}
