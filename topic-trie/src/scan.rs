//! The resumable scan of a retained store by filter: bounded work per call, edits between the calls allowed.
//!
//! A cursor remembers a path of node ids, each with the place of the child to look at next. Ids and places stay while
//! nodes live, and births tell nodes apart that had the same id; so edits cannot lead a cursor astray.

use crate::node::{Child, Link, ROOT};
use crate::retained::RetainedStore;
use crate::rule::check_filter;
use crate::text::split;
use alloc::vec::Vec;

/// What a call of [`RetainedStore::scan`] leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Scan {
    /// The budget is spent; call again with the same filter and cursor.
    More,
    /// All matching topics were reported.
    Done,
}

/// How far a scan has come. Belongs to one store and one filter until [`Cursor::reset`].
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    state: State,
    /// Nodes born at this time or later came after the scan began.
    since: u64,
    path: Vec<Step>,
    /// The levels of the filter, cut anew in each call; kept for its memory.
    pattern: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Fresh,
    /// From node to child.
    Walk,
    /// Over all nodes in the order of their ids, for `#`: the next id.
    Sweep(u32),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    node: u32,
    /// Place of the next child; for a literal level 0 before it was looked up, 1 after.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Where the level stands in the filter, and its hash.
    Literal {
        start: u16,
        end: u16,
        hash: u32,
    },
    Any,
}

impl Cursor {
    /// The start of a scan.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Fresh, since: 0, path: Vec::new(), pattern: Vec::new() }
    }

    /// Back to the start, with the buffers kept.
    pub fn reset(&mut self) {
        self.state = State::Fresh;
    }
}

impl<V> RetainedStore<V> {
    /// Calls `found` with the topic names that `filter` matches and their values, as far as `budget` goes.
    ///
    /// One unit of the budget is one node looked at, whether it is a hit or not, or one gap that a removal left; a budget
    /// of zero does nothing. A call also cuts the filter into levels, in time linear in its length. The order is the same
    /// for the same history and seed.
    ///
    /// The scan begins with the first call. The store may change between the calls: a topic that is there during the whole
    /// scan is reported exactly once, with the value that it has then; one that is added or removed meanwhile may be
    /// reported, but never twice. An invalid filter matches nothing. With a cursor of another store, or another filter than
    /// before, the answer means nothing.
    pub fn scan(&self, filter: &str, cursor: &mut Cursor, budget: usize, mut found: impl FnMut(&str, &V)) -> Scan {
        if check_filter(filter).is_err() {
            cursor.state = State::Done;
        }
        if let State::Fresh = cursor.state {
            cursor.since = self.births;
            cursor.path.clear();
            cursor.path.push(Step { node: ROOT, next: 0 });
            // A sweep looks at vacant places too, so it takes a store that is not mostly vacant.
            let sweeps = filter == "#" && self.nodes.len() >= self.nodes.count_places() / 2;
            cursor.state = if sweeps { State::Sweep(0) } else { State::Walk };
        }
        let scan = match &mut cursor.state {
            State::Sweep(next) => self.sweep(next, cursor.since, budget, &mut found),
            State::Walk => self.walk(filter, cursor, budget, &mut found),
            _ => Scan::Done,
        };
        if scan == Scan::Done {
            cursor.state = State::Done;
        }
        scan
    }

    fn sweep(&self, next: &mut u32, since: u64, budget: usize, found: &mut impl FnMut(&str, &V)) -> Scan {
        for node in self.nodes.places_from(*next).take(budget) {
            *next += 1;
            if node.birth() < since
                && let Some(value) = self.value(node)
            {
                let topic = self.texts.get(node.span);
                // [MQTT-4.7.2-1]
                if !topic.starts_with('$') {
                    found(topic, value);
                }
            }
        }
        if (*next as usize) < self.nodes.count_places() { Scan::More } else { Scan::Done }
    }

    fn walk(&self, filter: &str, cursor: &mut Cursor, mut budget: usize, found: &mut impl FnMut(&str, &V)) -> Scan {
        let open = self.compile(filter, &mut cursor.pattern);
        let Cursor { path, pattern, since, .. } = cursor;
        // Where a node went away, all below it went away too: the last one that is left is good, and so is all above it.
        while path.last().is_some_and(|step| self.nodes.get(step.node).is_none_or(|node| node.birth() >= *since)) {
            path.pop();
        }
        while let Some(depth) = path.len().checked_sub(1) {
            let Step { node: parent, next } = path[depth];
            let levels = depth + 1;
            let single;
            let (children, wild) = match pattern.get(depth) {
                Some(&Pattern::Literal { start, end, hash }) => {
                    let level = filter.get(usize::from(start)..usize::from(end)).unwrap_or_default();
                    single = self.child(parent, level, hash).map(Child::lonely);
                    (single.as_slice(), false)
                }
                _ => match self.nodes[parent].link() {
                    Link::Value(_) => (&[][..], true),
                    Link::Child(child) => {
                        single = Some(Child::lonely(child));
                        (single.as_slice(), true)
                    }
                    Link::Family(family) => (&self.families[family].places[..], true),
                },
            };
            let mut below = None;
            let mut seen = next;
            for child in children.get(next as usize..).unwrap_or_default() {
                if budget == 0 {
                    path[depth].next = seen;
                    return Scan::More;
                }
                budget -= 1;
                seen += 1;
                let Some(node) = child.node().map(|id| &self.nodes[id]).filter(|node| node.birth() < *since) else {
                    continue;
                };
                // [MQTT-4.7.2-1] wildcards of the first level do not reach topics that begin with `$`.
                if depth == 0 && wild && self.texts.get(node.span).starts_with('$') {
                    continue;
                }
                if levels >= pattern.len()
                    && let Some(value) = self.value(node)
                {
                    found(self.texts.get(node.span), value);
                }
                if (open || levels < pattern.len()) && !matches!(node.link(), Link::Value(_)) {
                    below = child.node();
                    break;
                }
            }
            match below {
                Some(node) => {
                    path[depth].next = seen;
                    path.push(Step { node, next: 0 });
                }
                None => _ = path.pop(),
            }
        }
        Scan::Done
    }

    /// Cuts a filter into levels; `#` is not one of them, but the answer: whether what is below matches too.
    fn compile(&self, filter: &str, pattern: &mut Vec<Pattern>) -> bool {
        pattern.clear();
        let mut start = 0;
        for level in split(filter) {
            let end = start + level.len() as u16;
            match level {
                "#" => return true,
                "+" => pattern.push(Pattern::Any),
                _ => pattern.push(Pattern::Literal { start, end, hash: self.hasher.bytes(level.as_bytes()) }),
            }
            start = end.wrapping_add(1);
        }
        false
    }
}
