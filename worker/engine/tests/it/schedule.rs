//! The scheduler against a memory that notices every token computed from the wrong history.

use std::collections::{BTreeMap, VecDeque};

use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::pages::Pages;
use assay_engine::schedule::{Schedule, Sequence, Work};
use proptest::prelude::*;

use crate::pages::Memory;
use crate::support::Random;

struct Job {
    prompt: Vec<u32>,
    /// tokens it may generate
    grow: usize,
    /// tokens after which it ends, which nobody knows before
    ends: usize,
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
            let grow = r.below(90);
            let ends = if r.below(2) == 0 { grow } else { r.below(grow + 1) };
            Job { prompt, grow, ends }
        })
        .collect()
}

/// Runs the jobs to the end, each step decided on while `ahead` others are under way; returns (steps, preemptions).
fn play(seed: u64, count: usize, page_count: usize, budget: usize, ahead: usize) -> (usize, u64) {
    let mut r = Random(seed);
    let jobs = jobs(&mut r, count);
    let most = |j: &Job| j.prompt.len() + j.grow;
    let room = jobs.iter().map(|j| most(j).div_ceil(PAGE_TOKENS)).max().unwrap_or(1);
    let mut pages = Pages::new(page_count.max(room));
    let mut memory = Memory::new(pages.count());
    let mut schedule = Schedule::new(budget);
    // what each sequence will have come to, which the schedule learns token by token
    let whole: Vec<Vec<u32>> = jobs
        .iter()
        .map(|j| {
            let mut tokens = j.prompt.clone();
            (0..j.grow).for_each(|_| tokens.push(next_token(&tokens)));
            tokens
        })
        .collect();
    for (i, j) in jobs.iter().enumerate() {
        // half the jobs want outputs from the middle of the prompt on, as scoring does
        let next_output = if i % 2 == 0 {
            j.prompt.len() - 1
        } else {
            j.prompt.len() / 2
        };
        schedule.add(Sequence::new(i, j.prompt.clone(), next_output, most(j)));
    }
    let most_of = |request: usize| most(&jobs[request]);
    let end = |j: &Job| j.prompt.len() + j.ends;
    let mut outputs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let (mut steps, mut under_way) = (0, VecDeque::new());
    loop {
        let step = schedule.next(&mut pages);
        if step.work.is_empty() && under_way.is_empty() {
            break;
        }
        steps += 1;
        assert!(steps < 200_000, "no progress");
        let most = if step.work.is_empty() { 0 } else { ahead };
        step.copies.iter().for_each(|&(from, to)| memory.copy(from, to));
        let rows: usize = step.work.iter().map(|w| w.tokens.len()).sum();
        assert!(rows <= budget.max(1));
        let mut decoding = true;
        for w in &step.work {
            let s = &schedule.running()[w.sequence];
            assert_eq!(w.tokens.start, s.computed);
            assert!(!w.tokens.is_empty() && w.tokens.end <= s.tokens.len());
            assert_eq!(s.tokens[..s.known], whole[s.request][..s.known], "what is known is so");
            memory.assert_holds(s.pages(), &whole[s.request][..s.computed]);
            w.tokens.clone().for_each(|at| {
                assert_eq!(
                    pages.holders(s.pages()[at / PAGE_TOKENS]),
                    1,
                    "a shared page is never written"
                );
                memory.compute(s.pages(), &whole[s.request], at);
            });
            decoding &= s.tokens.len() - s.computed == 1;
        }
        assert!(
            step.work.is_empty() || decoding || rows == budget || schedule.unfinished() < 70,
            "a prompt leaves no budget unused"
        );
        for w in &step.work {
            let s = &schedule.running()[w.sequence];
            // a place for the next token, unless this was the last
            let next = w.tokens.end == s.tokens.len() && s.tokens.len() < most_of(s.request);
            schedule.begun(w, next.then_some(7));
        }
        under_way.push_back(step.work);
        while under_way.len() > most {
            let work: Vec<Work> = under_way.pop_front().unwrap();
            let mut done = Vec::new();
            for w in &work {
                schedule.computed(w, &mut pages);
                let Some(s) = schedule.sequence_mut(w) else {
                    assert!(
                        w.tokens.start == end(&jobs[w.request]),
                        "only a row that follows the end may be for nothing"
                    );
                    continue;
                };
                for row in w.tokens.clone().filter(|&row| row >= s.next_output) {
                    outputs.entry(s.request).or_default().push(row);
                }
                s.next_output = s.next_output.max(w.tokens.end);
                if w.tokens.end == end(&jobs[w.request]) {
                    done.push(w.request);
                } else if w.tokens.end == s.known {
                    s.learn(whole[s.request][s.known]);
                }
            }
            schedule.finish(&done, &mut pages);
        }
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
        let expected: Vec<usize> = (first..end(j)).collect();
        assert_eq!(outputs.get(&i), Some(&expected), "every output once, in order");
    }
    (steps, schedule.preemptions())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_sequence_ends_and_every_output_comes_once(
        seed in any::<u64>(), count in 1usize..30, pages in 1usize..40, budget in 1usize..200, ahead in 0usize..2,
    ) {
        play(seed, count, pages, budget, ahead);
    }
}

#[test]
fn little_room_preempts_and_much_room_does_not() {
    for ahead in [0, 1] {
        let (_, tight) = play(1, 25, 6, 64, ahead);
        let (steps, roomy) = play(1, 25, 300, 64, ahead);
        assert!(tight > 0);
        assert_eq!(roomy, 0);
        assert!(steps < 200, "{steps} steps");
    }
}

// A step from beginning to end; the first request generates.
fn run(schedule: &mut Schedule, work: &[Work], pages: &mut Pages) {
    for w in work {
        schedule.begun(w, (w.request == 0).then_some(0));
    }
    for w in work {
        schedule.computed(w, pages);
        if w.request == 0 {
            schedule.sequence_mut(w).unwrap().learn(9);
        }
    }
}

#[test]
fn sequences_that_generate_go_first() {
    let mut pages = Pages::new(100);
    let mut schedule = Schedule::new(10);
    schedule.add(Sequence::new(0, vec![1; 3], 2, 50));
    let step = schedule.next(&mut pages);
    assert_eq!(step.work.len(), 1);
    run(&mut schedule, &step.work, &mut pages);
    schedule.add(Sequence::new(1, vec![2; 100], 99, 100));
    for _ in 0..5 {
        let step = schedule.next(&mut pages);
        assert_eq!(step.work[0].tokens.len(), 1, "one row for the one that generates");
        assert_eq!(step.work[1].tokens.len(), 9, "the rest for the prompt");
        run(&mut schedule, &step.work, &mut pages);
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
    let started: Vec<usize> = step.work.iter().map(|w| w.request).collect();
    assert_eq!(started, [0, 3]);
    step.work.iter().for_each(|w| schedule.begun(w, None));
    assert!(
        schedule.next(&mut pages).work.is_empty(),
        "what is on its way to the cache is waited for"
    );
    step.work.iter().for_each(|w| schedule.computed(w, &mut pages));
    let step = schedule.next(&mut pages);
    let late: Vec<_> = step.work.iter().filter(|w| w.request != 0 && w.request != 3).collect();
    assert!(
        late.len() == 2 && late.iter().all(|w| w.tokens == (128..133)),
        "{late:?}"
    );
}
