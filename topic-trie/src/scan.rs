//! The resumable scan of a retained store by filter: bounded work per call, edits between the calls allowed.
//!
//! A cursor remembers a path of node ids, each with the place of the child to look at next. Ids and places stay while
//! nodes live, and births tell nodes apart that had the same id; so edits cannot lead a cursor astray.

use crate::retained::{Node, ROOT, RetainedStore};
use crate::rule::check_filter;
use crate::slab::NONE;
use alloc::string::String;
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
    path: Vec<Step>,
    /// The topic name of the last step.
    topic: String,
    /// The levels of the filter, looked up anew in each call.
    pattern: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Fresh,
    /// Nodes born at this time or later came after the scan began.
    Since(u64),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    node: u32,
    /// Index of the next child; for a literal level 0 before it was looked up, 1 after.
    next: u32,
    /// Length of the node's topic name.
    length: u32,
}

#[derive(Clone, Copy, Debug)]
enum Pattern {
    Literal { symbol: u32, hash: u32 },
    Plus,
    Hash,
}

impl Cursor {
    /// The start of a scan.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Fresh, path: Vec::new(), topic: String::new(), pattern: Vec::new() }
    }

    /// Back to the start, with the buffers kept.
    pub fn reset(&mut self) {
        self.state = State::Fresh;
    }
}

impl<V> RetainedStore<V> {
    /// Calls `found` with the topic names that `filter` matches and their values, as far as `budget` goes.
    ///
    /// One unit of the budget is one node looked at, whether it is a hit or not, or one gap that a removal left. The store
    /// may change between the calls: a topic that is there during the whole scan is reported exactly once; one that is
    /// added or removed meanwhile may be reported, but never twice. An invalid filter matches nothing.
    pub fn scan(&self, filter: &str, cursor: &mut Cursor, budget: usize, mut found: impl FnMut(&str, &V)) -> Scan {
        let since = match cursor.state {
            State::Done => return Scan::Done,
            State::Since(birth) => birth,
            State::Fresh => {
                cursor.path.clear();
                cursor.path.push(Step { node: ROOT, next: 0, length: 0 });
                cursor.topic.clear();
                self.births
            }
        };
        cursor.state = State::Since(since);
        if check_filter(filter).is_err() || !self.compile(filter, &mut cursor.pattern) {
            cursor.state = State::Done;
            return Scan::Done;
        }
        // Where a node went away, all below it went away too: the last one that is left is good, and so is all above it.
        while cursor.path.last().is_some_and(|step| self.nodes.get(step.node).is_none_or(|node| node.birth >= since)) {
            cursor.path.pop();
        }
        let scan = self.walk(cursor, since, budget, false, &mut found);
        if scan == Scan::Done {
            cursor.state = State::Done;
        }
        scan
    }

    /// Calls `each` with every topic name and its value, in no order worth relying on, yet the same for the same history.
    pub fn for_each(&self, mut each: impl FnMut(&str, &V)) {
        let mut cursor = Cursor::new();
        cursor.path.push(Step { node: ROOT, next: 0, length: 0 });
        cursor.pattern.push(Pattern::Hash);
        let _done = self.walk(&mut cursor, u64::MAX, usize::MAX, true, &mut each);
    }

    /// Goes on from where the cursor stands. `dollar`: whether wildcards of the first level reach `$` topics.
    fn walk(
        &self,
        cursor: &mut Cursor,
        since: u64,
        mut budget: usize,
        dollar: bool,
        found: &mut impl FnMut(&str, &V),
    ) -> Scan {
        let Cursor { path, topic, pattern, .. } = cursor;
        let open = matches!(pattern.last(), Some(Pattern::Hash));
        // Topics with fewer levels are not reported.
        let least = pattern.len() - usize::from(open);
        while let Some(depth) = path.len().checked_sub(1) {
            let step = &mut path[depth];
            let wanted = *pattern.get(depth).unwrap_or(&Pattern::Hash);
            let Some((child, node)) = self.next_child(step, wanted) else {
                path.pop();
                continue;
            };
            if budget == 0 {
                step.next -= 1;
                return Scan::More;
            }
            budget -= 1;
            let Some(node) = node.filter(|node| node.birth < since) else { continue };
            let text = self.levels.text(node.symbol);
            // [MQTT-4.7.2-1] wildcards of the first level do not reach topics that begin with `$`.
            if depth == 0 && !dollar && !matches!(wanted, Pattern::Literal { .. }) && text.starts_with('$') {
                continue;
            }
            topic.truncate(step.length as usize);
            if depth > 0 {
                topic.push('/');
            }
            topic.push_str(text);
            let levels = depth + 1;
            if levels >= least
                && node.value != NONE
                && let Some(value) = &self.values[node.value]
            {
                found(topic, value);
            }
            if node.children != NONE && (open || levels < least) {
                path.push(Step { node: child, next: 0, length: topic.len() as u32 });
            }
        }
        Scan::Done
    }

    /// The next child of a step, `None` in its place for a gap; counts the step on.
    fn next_child(&self, step: &mut Step, wanted: Pattern) -> Option<(u32, Option<&Node>)> {
        let child = match wanted {
            Pattern::Literal { symbol, hash } if step.next == 0 => self.child(step.node, symbol, hash)?,
            Pattern::Literal { .. } => return None,
            _ => {
                let list = self.nodes[step.node].children;
                if list == NONE {
                    return None;
                }
                *self.children[list].places.get(step.next as usize)?
            }
        };
        step.next += 1;
        Some((child, (child != NONE).then(|| &self.nodes[child])))
    }

    /// Looks the levels of a filter up; false if the store has no topic with such levels.
    fn compile(&self, filter: &str, pattern: &mut Vec<Pattern>) -> bool {
        pattern.clear();
        for level in filter.split('/') {
            pattern.push(match level {
                "#" => Pattern::Hash,
                "+" => Pattern::Plus,
                _ => {
                    let hash = self.hasher.bytes(level.as_bytes());
                    match self.levels.find(level, hash) {
                        Some(symbol) => Pattern::Literal { symbol, hash },
                        None => return false,
                    }
                }
            });
        }
        true
    }
}
