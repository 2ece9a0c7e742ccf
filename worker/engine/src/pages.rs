//! The pages of the key/value cache: who holds them, what they contain, which may be shared, which goes when room is needed.
//!
//! A page's content is a function of the tokens in it and of all tokens before them. That history is a [`Chain`]: an identity
//! minted when a page becomes full, for (chain before it, its tokens). Looking up a prompt walks from [`Chain::ROOT`] and compares the
//! tokens of every page on the way, so a hit is never a matter of a hash's luck. A page that agrees only in its first tokens
//! is copied and the copy continued: no page is ever written while another sequence can read it.

use std::collections::{BTreeMap, HashMap};

pub use crate::batch::Page;
use crate::numerics::PAGE_TOKENS;

/// The identity of a sequence of full pages' tokens. Two pages with the same chain hold the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain(u64);

impl Chain {
    /// before the first token
    pub const ROOT: Chain = Chain(0);
}

#[derive(Debug, Default)]
struct Slot {
    holders: u32,
    before: Option<Chain>,
    tokens: Vec<u32>,
    full: Option<Chain>,
    released_at: u64,
}

/// What the cache knows of a prompt's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// full pages, to be shared as they are
    pub pages: Vec<Page>,
    /// the chain after them
    pub chain: Chain,
    /// a page whose first tokens also agree, and how many: to be copied
    pub tail: Option<(Page, usize)>,
}

impl Hit {
    /// Tokens that need not be computed.
    pub fn tokens(&self) -> usize {
        self.pages.len() * PAGE_TOKENS + self.tail.map_or(0, |(_, n)| n)
    }
}

/// The pages one sequence holds, and how far their content is known.
#[derive(Clone, Debug)]
pub struct Table {
    /// in order of position
    pub pages: Vec<Page>,
    chain: Chain,
    full: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            pages: Vec::new(),
            chain: Chain::ROOT,
            full: 0,
        }
    }
}

/// All pages of one executor.
#[derive(Debug)]
pub struct Pages {
    slots: Vec<Slot>,
    free: Vec<Page>,
    // pages nobody holds but whose content may be wanted again, by time of release: the first is evicted first
    idle: BTreeMap<u64, Page>,
    children: HashMap<Chain, Vec<Page>>,
    clock: u64,
    minted: u64,
}

impl Pages {
    /// `count` empty pages.
    pub fn new(count: usize) -> Pages {
        let count = count.min(Page::MAX as usize);
        Pages {
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count as Page).rev().collect(),
            idle: BTreeMap::new(),
            children: HashMap::new(),
            clock: 0,
            minted: 0,
        }
    }

    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// How many could be taken now, cached ones included.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// How many sequences hold a page.
    pub fn holders(&self, page: Page) -> u32 {
        self.slots[page as usize].holders
    }

    /// The longest known beginning of `tokens`, at most `limit` tokens long.
    pub fn lookup(&self, tokens: &[u32], limit: usize) -> Hit {
        let tokens = &tokens[..limit.min(tokens.len())];
        let mut hit = Hit {
            pages: Vec::new(),
            chain: Chain::ROOT,
            tail: None,
        };
        loop {
            let rest = &tokens[hit.pages.len() * PAGE_TOKENS..];
            let mut next = None;
            for &page in self.children.get(&hit.chain).into_iter().flatten() {
                let slot = &self.slots[page as usize];
                let same = common_prefix(&slot.tokens, rest);
                if same == PAGE_TOKENS && slot.full.is_some() {
                    next = slot.full.map(|chain| (page, chain));
                    break;
                }
                if same > hit.tail.map_or(0, |(_, n)| n) {
                    hit.tail = Some((page, same));
                }
            }
            let Some((page, chain)) = next else { return hit };
            hit.pages.push(page);
            hit.chain = chain;
            hit.tail = None;
        }
    }

    /// Begins a sequence from what a lookup found: holds its full pages, and gives the copy to be made of its tail.
    /// The tail is left out when no page can be had for the copy. Returns the table, the tokens it already holds, and the copy.
    pub fn begin(&mut self, tokens: &[u32], hit: &Hit) -> (Table, usize, Option<(Page, Page)>) {
        for &page in &hit.pages {
            self.hold(page);
        }
        let mut table = Table {
            pages: hit.pages.clone(),
            chain: hit.chain,
            full: hit.pages.len(),
        };
        let mut known = hit.pages.len() * PAGE_TOKENS;
        let Some((source, same)) = hit.tail else {
            return (table, known, None);
        };
        self.hold(source); // so that taking a page cannot evict it
        let taken = self.take();
        self.release(&[source]);
        let Some(target) = taken else {
            return (table, known, None);
        };
        table.pages.push(target);
        known += same;
        self.record(&mut table, &tokens[..known]);
        (table, known, Some((source, target)))
    }

    /// Takes an empty page, evicting the page released longest ago if none is free.
    pub fn take(&mut self) -> Option<Page> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                self.forget(page);
                page
            }
        };
        self.slots[page as usize].holders = 1;
        Some(page)
    }

    /// Notes that the cache now holds the sequence's first tokens, exactly `computed`, in the table's pages.
    pub fn record(&mut self, table: &mut Table, computed: &[u32]) {
        for (at, tokens) in computed.chunks(PAGE_TOKENS).enumerate().skip(table.full) {
            let page = table.pages[at];
            let slot = &mut self.slots[page as usize];
            if slot.before.is_none() {
                slot.before = Some(table.chain);
                self.children.entry(table.chain).or_default().push(page);
            }
            slot.tokens.clear();
            slot.tokens.extend_from_slice(tokens);
            if tokens.len() == PAGE_TOKENS {
                let chain = self.chain_of(table.chain, page);
                self.slots[page as usize].full = Some(chain);
                table.chain = chain;
                table.full = at + 1;
            }
        }
    }

    /// Lets go of a sequence's pages. Their content stays findable until the room is needed; later pages go first.
    pub fn release(&mut self, pages: &[Page]) {
        for &page in pages.iter().rev() {
            let slot = &mut self.slots[page as usize];
            slot.holders -= 1;
            if slot.holders > 0 {
                continue;
            }
            if slot.before.is_some() {
                self.clock += 1;
                slot.released_at = self.clock;
                self.idle.insert(self.clock, page);
            } else {
                self.free.push(page);
            }
        }
    }

    fn hold(&mut self, page: Page) {
        let slot = &mut self.slots[page as usize];
        if slot.holders == 0 {
            self.idle.remove(&slot.released_at);
        }
        slot.holders += 1;
    }

    // Equal content gets an equal chain, so that sequences which computed the same page side by side stay findable as one.
    fn chain_of(&mut self, before: Chain, page: Page) -> Chain {
        let tokens = &self.slots[page as usize].tokens;
        let twin = self.children.get(&before).into_iter().flatten().find_map(|&other| {
            let slot = &self.slots[other as usize];
            if other != page && slot.tokens == *tokens {
                slot.full
            } else {
                None
            }
        });
        twin.unwrap_or_else(|| {
            self.minted += 1;
            Chain(self.minted)
        })
    }

    fn forget(&mut self, page: Page) {
        let slot = &mut self.slots[page as usize];
        let before = slot.before.take();
        slot.tokens.clear();
        slot.full = None;
        if let Some(before) = before
            && let Some(pages) = self.children.get_mut(&before)
        {
            pages.retain(|&p| p != page);
            if pages.is_empty() {
                self.children.remove(&before);
            }
        }
    }

    /// Panics unless every page is exactly one of free, idle, held, and `held` names the holders. For tests.
    #[doc(hidden)]
    pub fn assert_consistent(&self, held: &[&[Page]]) {
        let mut holders = vec![0u32; self.slots.len()];
        held.iter()
            .flat_map(|pages| pages.iter())
            .for_each(|&p| holders[p as usize] += 1);
        for (p, slot) in self.slots.iter().enumerate() {
            assert_eq!(slot.holders, holders[p], "holders of page {p}");
            let free = self.free.iter().filter(|&&f| f as usize == p).count();
            let idle = self.idle.values().filter(|&&f| f as usize == p).count();
            assert_eq!(
                free + idle,
                usize::from(slot.holders == 0),
                "page {p} must be free, idle or held"
            );
            let listed = self.children.values().flatten().filter(|&&c| c as usize == p).count();
            assert_eq!(listed, usize::from(slot.before.is_some()), "page {p} in the index");
            assert!(slot.full.is_none() || slot.tokens.len() == PAGE_TOKENS);
        }
    }
}

/// Length of the common beginning.
pub fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
