//! Pages against a model that remembers what every slot really holds.

use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::pages::{Page, Pages, Table, common_prefix};
use proptest::prelude::*;

use crate::support::Random;

/// What an executor's cache would hold: for each slot the whole history its key and value were computed from.
pub struct Memory {
    slots: Vec<Vec<Option<Vec<u32>>>>,
}

impl Memory {
    pub fn new(pages: usize) -> Memory {
        Memory {
            slots: vec![vec![None; PAGE_TOKENS]; pages],
        }
    }

    pub fn copy(&mut self, from: Page, to: Page) {
        self.slots[to as usize] = self.slots[from as usize].clone();
    }

    /// Computes token `at`, which must find every earlier one in place.
    pub fn compute(&mut self, pages: &[Page], tokens: &[u32], at: usize) {
        self.slots[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS] = Some(tokens[..=at].to_vec());
    }

    pub fn assert_holds(&self, pages: &[Page], tokens: &[u32]) {
        for at in 0..tokens.len() {
            let slot = &self.slots[pages[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS];
            assert_eq!(slot.as_deref(), Some(&tokens[..=at]), "position {at}");
        }
    }
}

struct Held {
    tokens: Vec<u32>,
    table: Table,
    computed: usize,
}

/// Prompts from a small tree, so that beginnings repeat and end inside pages.
fn prompt(r: &mut Random) -> Vec<u32> {
    let mut tokens = Vec::new();
    for _ in 0..1 + r.below(4) {
        let branch = r.below(3) as u32;
        tokens.extend((0..[5, 64, 90][r.below(3)]).map(|i| branch * 1000 + i));
    }
    tokens
}

fn play(seed: u64, count: usize) {
    let mut r = Random(seed);
    let mut pages = Pages::new(count);
    let mut memory = Memory::new(count);
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..150 {
        match r.below(4) {
            0 => {
                let tokens = prompt(&mut r);
                let hit = pages.lookup(&tokens, tokens.len() - 1);
                assert!(hit.tokens() < tokens.len(), "one token is left to compute");
                if pages.available() < tokens.len().div_ceil(PAGE_TOKENS) + 1 {
                    continue;
                }
                let (table, computed, copy) = pages.begin(&tokens, &hit);
                if let Some((from, to)) = copy {
                    memory.copy(from, to);
                }
                memory.assert_holds(&table.pages, &tokens[..computed]);
                held.push(Held {
                    tokens,
                    table,
                    computed,
                });
            }
            1 | 2 if !held.is_empty() => {
                let at = r.below(held.len());
                let h = &mut held[at];
                let end = (h.computed + 1 + r.below(100)).min(h.tokens.len());
                while h.table.pages.len() < end.div_ceil(PAGE_TOKENS) {
                    let Some(page) = pages.take() else { break };
                    h.table.pages.push(page);
                }
                let end = end.min(h.table.pages.len() * PAGE_TOKENS);
                for at in h.computed..end {
                    assert_eq!(
                        pages.holders(h.table.pages[at / PAGE_TOKENS]),
                        1,
                        "a shared page is never written"
                    );
                    memory.compute(&h.table.pages, &h.tokens, at);
                }
                h.computed = end;
                pages.record(&mut h.table, &h.tokens[..end]);
            }
            3 if !held.is_empty() => {
                let h = held.swap_remove(r.below(held.len()));
                pages.release(&h.table.pages);
            }
            _ => {}
        }
        held.iter()
            .for_each(|h| memory.assert_holds(&h.table.pages, &h.tokens[..h.computed]));
        pages.assert_consistent(&held.iter().map(|h| h.table.pages.as_slice()).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_page_holds_what_its_sequences_think(seed in any::<u64>(), count in 1usize..24) {
        play(seed, count);
    }
}

/// Computes a whole sequence and lets go of it.
fn fill(pages: &mut Pages, tokens: &[u32]) -> Vec<Page> {
    let mut table = Table::default();
    table.pages = (0..tokens.len().div_ceil(PAGE_TOKENS))
        .map(|_| pages.take().unwrap())
        .collect();
    pages.record(&mut table, tokens);
    pages.release(&table.pages);
    table.pages
}

#[test]
fn a_lookup_finds_full_pages_and_the_longest_tail() {
    let mut pages = Pages::new(10);
    let long: Vec<u32> = (0..200).collect();
    let first = fill(&mut pages, &long);
    let mut fork = long[..150].to_vec();
    fork[140] = 7777;
    let second = fill(&mut pages, &fork);
    let hit = pages.lookup(&fork, fork.len());
    assert_eq!(hit.pages, first[..2], "the twin's pages were not needed");
    assert_eq!(hit.tail, Some((second[2], 22)));
    let hit = pages.lookup(&long, 128);
    assert_eq!((hit.pages.len(), hit.tail), (2, None));
    // a limit inside a full page turns it into a tail
    let hit = pages.lookup(&long, 127);
    assert_eq!(
        (hit.pages.len(), hit.tail.map(|t| t.1), hit.tokens()),
        (1, Some(63), 127)
    );
    assert_eq!(pages.lookup(&[5, 6], 2).tokens(), 0);
}

#[test]
fn equal_tokens_after_different_beginnings_are_not_confused() {
    let mut pages = Pages::new(10);
    let same: Vec<u32> = (500..564).collect();
    let a = [vec![1; 64], same.clone()].concat();
    let b = [vec![2; 64], same].concat();
    let at_a = fill(&mut pages, &a);
    assert_eq!(pages.lookup(&b, 128).tokens(), 0);
    let at_b = fill(&mut pages, &b);
    assert_eq!(pages.lookup(&a, 128).pages, at_a);
    assert_eq!(pages.lookup(&b, 128).pages, at_b);
}

#[test]
fn the_page_released_longest_ago_goes_first_and_ends_before_beginnings() {
    let mut pages = Pages::new(4);
    let old: Vec<u32> = (0..128).collect();
    let new: Vec<u32> = (1000..1128).collect();
    fill(&mut pages, &old);
    fill(&mut pages, &new);
    pages.take().unwrap();
    assert_eq!(
        (pages.lookup(&old, 128).tokens(), pages.lookup(&new, 128).tokens()),
        (64, 128)
    );
    pages.take().unwrap();
    assert_eq!(
        (pages.lookup(&old, 128).tokens(), pages.lookup(&new, 128).tokens()),
        (0, 128)
    );
    pages.take().unwrap();
    pages.take().unwrap();
    assert_eq!(pages.take(), None);
    assert_eq!(pages.available(), 0);
}

#[test]
fn a_tail_is_left_out_when_there_is_no_room_to_copy_it() {
    let mut pages = Pages::new(2);
    let tokens: Vec<u32> = (0..100).collect();
    fill(&mut pages, &tokens);
    let hit = pages.lookup(&tokens, 99);
    assert_eq!(hit.tokens(), 99);
    let (table, computed, copy) = pages.begin(&tokens, &hit);
    assert_eq!((computed, copy), (64, None));
    pages.assert_consistent(&[&table.pages]);
}

#[test]
fn common_prefixes_end_where_they_end() {
    assert_eq!(common_prefix(&[1, 2, 3], &[1, 2, 4]), 2);
    assert_eq!(common_prefix(&[1, 2], &[1, 2, 4]), 2);
    assert_eq!(common_prefix(&[], &[1]), 0);
}
