//! `[grading]`: what is run on a submission.

use super::notes::Notes;
use super::read::Section;
use super::{MAX_FILE_BYTES, check, fault::Fault, values};
use crate::rules::{Grading, Profile, Revealed, SamplePrompt, Sealed, Workload};

/// Longest wall time: a week.
const MAX_WALL_SECONDS: u64 = 7 * 24 * 3600;
/// Most bytes of a sample prompt, and most tokens generated from it: shown on a page, and computed for every submission.
const PROMPT_BYTES: usize = 8 * 1024;
const PROMPT_TOKENS: u64 = 4096;
/// Most bytes of the base's continuation: 4096 tokens have less than sixteen bytes each on average.
const ANSWER_BYTES: usize = 64 * 1024;
/// Largest budget of an answer: the longest context of the models there are.
const MAX_GEN_TOKS: u64 = 131_072;
/// Most sequences of the time track: beyond, more of them cost no less each.
const MAX_SEQUENCES: u64 = 256;
/// Rounds of the time track. A median of fewer than five follows a single disturbed run.
const ROUNDS: std::ops::RangeInclusive<u64> = 5..=99;

pub(super) fn read(notes: &Notes<'_>, mut section: Section<'_, '_>) -> Grading {
    let profiles = check::one_of("unknown-profile", Profile::NAMES);
    let mut grading = Grading {
        harness: section.string("harness", check::line(64)).value,
        profile: section
            .string_or("profile", "plain", profiles)
            .value
            .parse::<Profile>()
            .unwrap_or_default(),
        tasks_dir: section.string("tasks_dir", check::folder).value,
        tasks: values(section.strings("tasks", 1..=64, check::identifier)),
        limit: section
            .integer_maybe("limit", 1..=1_000_000)
            .and_then(|n| u32::try_from(n).ok()),
        wall_seconds: section.integer("wall_seconds", 1..=MAX_WALL_SECONDS),
        // What lm-evaluation-harness seeds few-shot sampling with. The canonical form is JSON: 2^53 is exact there.
        seed: section.integer_maybe("seed", 0..=MAX_FILE_BYTES).unwrap_or(1234),
        enable_thinking: section.flag_or("enable_thinking", false),
        max_gen_toks: section
            .integer_maybe("max_gen_toks", 1..=MAX_GEN_TOKS)
            .and_then(|n| u32::try_from(n).ok()),
        time: section.table_maybe("time").map(time),
        sealed: section.table_maybe("sealed").map(sealed),
        samples: Vec::new(),
    };
    for mut sample in section.tables("samples", 0..=16) {
        let kind = sample.string("kind", check::slug);
        if grading.samples.iter().any(|earlier| earlier.kind == kind.value) && !kind.value.is_empty() {
            notes.add(kind.span.clone(), &kind.key, Fault::repeated(&kind.value));
        }
        grading.samples.push(SamplePrompt {
            kind: kind.value,
            prompt: sample.string("prompt", check::prompt(PROMPT_BYTES)).value,
            max_tokens: u32::try_from(sample.integer("max_tokens", 1..=PROMPT_TOKENS)).unwrap_or(1),
            base: sample
                .string_maybe("base", check::prompt(ANSWER_BYTES))
                .map(|text| text.value),
        });
        sample.close();
    }
    section.close();
    grading
}

/// Every key has a default: a prompt of half a thousand tokens and a short answer, alone on the device.
fn time(mut section: Section<'_, '_>) -> Workload {
    let mut number = |key, range, usual: u32| {
        let given = section.integer_maybe(key, range);
        given.and_then(|n| u32::try_from(n).ok()).unwrap_or(usual)
    };
    let workload = Workload {
        prompt_tokens: number("prompt_tokens", 1..=MAX_GEN_TOKS, 512),
        generated_tokens: number("generated_tokens", 1..=MAX_GEN_TOKS, 128),
        sequences: number("sequences", 1..=MAX_SEQUENCES, 1),
        rounds: number("rounds", ROUNDS, 5),
    };
    section.close();
    workload
}

fn sealed(mut section: Section<'_, '_>) -> Sealed {
    let after = check::one_of("unknown-reveal", &["all", "sealed"]);
    let sealed = Sealed {
        share: section.number("share", check::share),
        digest: section.string("digest", check::sha256).value,
        after: match section.string_or("after", "all", after).value.as_str() {
            "sealed" => Revealed::Sealed,
            _ => Revealed::All,
        },
    };
    section.close();
    sealed
}
