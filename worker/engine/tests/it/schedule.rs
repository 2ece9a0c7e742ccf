//! The scheduler against a memory that notices every token computed from the wrong history.

use std::collections::BTreeMap;

use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::pages::Pages;
use assay_engine::schedule::{Schedule, Sequence};
use proptest::prelude::*;

use crate::pages::Memory;
use crate::support::Random;

struct Job {
    prompt: Vec<u32>,
    grow: usize,
}

/// A token that depends on everything before it, as a model's would.
fn next_token(history: &[u32]) -> u32 {
    history.iter().fold(17u32, |h, t| h.wrapping_mul(31).wrapping_add(*t)) % 50
}

fn jobs(r: &mut Random, count: usize) -> Vec<Job> {
    let stem: Vec<u32> = (0..200).map(|_| r.below(50) as u32).collect();
    (0..count)
        .map(|_| {
            let mut prompt = stem[..r.below(stem.len())].to_vec();
            prompt.extend((0..1 + r.below(80)).map(|_| r.below(50) as u32));
            Job {
                prompt,
                grow: r.below(90),
            }
        })
        .collect()
}

/// Runs the jobs to the end; returns (steps, preemptions).
fn play(seed: u64, count: usize, page_count: usize, budget: usize) -> (usize, u64) {
    let mut r = Random(seed);
    let jobs = jobs(&mut r, count);
    let most = |j: &Job| j.prompt.len() + j.grow;
    let room = jobs.iter().map(|j| most(j).div_ceil(PAGE_TOKENS)).max().unwrap_or(1);
    let mut pages = Pages::new(page_count.max(room));
    let mut memory = Memory::new(pages.count());
    let mut schedule = Schedule::new(budget);
    for (i, j) in jobs.iter().enumerate() {
        // half the jobs want outputs from the middle of the prompt on, as scoring does
        let next_output = if i % 2 == 0 {
            j.prompt.len() - 1
        } else {
            j.prompt.len() / 2
        };
        schedule.add(Sequence::new(i, j.prompt.clone(), next_output, most(j)));
    }
    let mut outputs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut steps = 0;
    loop {
        let step = schedule.next(&mut pages);
        if step.work.is_empty() {
            break;
        }
        steps += 1;
        assert!(steps < 200_000, "no progress");
        step.copies.iter().for_each(|&(from, to)| memory.copy(from, to));
        let rows: usize = step.work.iter().map(|w| w.tokens.len()).sum();
        assert!(rows <= budget.max(1));
        let mut decoding = true;
        for w in &step.work {
            let s = &schedule.running()[w.sequence];
            assert_eq!(w.tokens.start, s.computed);
            assert!(!w.tokens.is_empty() && w.tokens.end <= s.tokens.len());
            memory.assert_holds(s.pages(), &s.tokens[..s.computed]);
            w.tokens.clone().for_each(|at| {
                assert_eq!(
                    pages.holders(s.pages()[at / PAGE_TOKENS]),
                    1,
                    "a shared page is never written"
                );
                memory.compute(s.pages(), &s.tokens, at);
            });
            decoding &= s.tokens.len() - s.computed == 1;
        }
        assert!(
            decoding || rows == budget || schedule.unfinished() < 70,
            "a prompt leaves no budget unused"
        );
        let mut done = Vec::new();
        for w in &step.work {
            schedule.computed(w, &mut pages);
            let s = schedule.sequence_mut(w.sequence);
            let job = &jobs[s.request];
            for row in w.tokens.clone().filter(|&row| row >= s.next_output) {
                outputs.entry(s.request).or_default().push(row);
            }
            s.next_output = s.next_output.max(w.tokens.end);
            if s.computed == s.tokens.len() {
                if s.tokens.len() == most(job) {
                    done.push(w.sequence);
                } else {
                    let token = next_token(&s.tokens);
                    s.tokens.push(token);
                }
            }
        }
        schedule.finish(&done, &mut pages);
        let held: Vec<_> = schedule.running().iter().map(Sequence::pages).collect();
        pages.assert_consistent(&held);
    }
    assert_eq!(schedule.unfinished(), 0);
    for (i, j) in jobs.iter().enumerate() {
        let first = if i % 2 == 0 {
            j.prompt.len() - 1
        } else {
            j.prompt.len() / 2
        };
        let expected: Vec<usize> = (first..most(j)).collect();
        assert_eq!(outputs.get(&i), Some(&expected), "every output once, in order");
    }
    (steps, schedule.preemptions())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_sequence_ends_and_every_output_comes_once(
        seed in any::<u64>(), count in 1usize..30, pages in 1usize..40, budget in 1usize..200,
    ) {
        play(seed, count, pages, budget);
    }
}

#[test]
fn little_room_preempts_and_much_room_does_not() {
    let (_, tight) = play(1, 25, 6, 64);
    let (steps, roomy) = play(1, 25, 300, 64);
    assert!(tight > 0);
    assert_eq!(roomy, 0);
    assert!(steps < 200, "{steps} steps");
}

#[test]
fn sequences_that_generate_go_first() {
    let mut pages = Pages::new(100);
    let mut schedule = Schedule::new(10);
    schedule.add(Sequence::new(0, vec![1; 3], 2, 50));
    let step = schedule.next(&mut pages);
    assert_eq!(step.work.len(), 1);
    schedule.computed(&step.work[0], &mut pages);
    schedule.sequence_mut(0).tokens.push(9);
    schedule.add(Sequence::new(1, vec![2; 100], 99, 100));
    for _ in 0..5 {
        let step = schedule.next(&mut pages);
        assert_eq!(step.work[0].tokens.len(), 1, "one row for the one that generates");
        assert_eq!(step.work[1].tokens.len(), 9, "the rest for the prompt");
        step.work.iter().for_each(|w| schedule.computed(w, &mut pages));
        schedule.sequence_mut(0).tokens.push(9);
    }
}

#[test]
fn a_prompt_waits_for_the_beginning_it_shares() {
    let mut pages = Pages::new(100);
    let mut schedule = Schedule::new(1000);
    let stem = vec![3u32; 128];
    for i in 0..3u32 {
        let tokens = [stem.clone(), vec![10 + i; 5]].concat();
        schedule.add(Sequence::new(i as usize, tokens, 132, 140));
    }
    schedule.add(Sequence::new(3, vec![4; 20], 19, 20)); // shares nothing
    let step = schedule.next(&mut pages);
    let started: Vec<usize> = step
        .work
        .iter()
        .map(|w| schedule.running()[w.sequence].request)
        .collect();
    assert_eq!(started, [0, 3]);
    step.work.iter().for_each(|w| schedule.computed(w, &mut pages));
    let step = schedule.next(&mut pages);
    let late: Vec<_> = step
        .work
        .iter()
        .filter(|w| schedule.running()[w.sequence].request != 0 && schedule.running()[w.sequence].request != 3)
        .collect();
    assert!(
        late.len() == 2 && late.iter().all(|w| w.tokens == (128..133)),
        "{late:?}"
    );
}
