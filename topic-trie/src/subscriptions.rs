//! The subscription structure: exact filters in one table, filters with wildcards in a tree of levels (section 4.7).
//!
//! Invariants: no search recurses, none visits a node twice, and none allocates once its buffers are warm.

use crate::exact::Exact;
use crate::hash::{Seed, SeededHash};
use crate::memory::MemoryUse;
use crate::rule::{FilterError, check_filter};
use crate::set::Set;
use crate::slab::{NONE, Slab};
use crate::text::split;
use crate::tree::{End, ROOT, Tree};
use alloc::vec::Vec;
use core::hash::Hash;

/// Finds the subscribers whose topic filters match a topic name.
///
/// `K` names a subscriber (an id: small and cheap to copy), `V` is what is kept per filter and subscriber. A filter
/// without wildcards is found with one hash of the whole topic name; filters with wildcards form a tree that is searched
/// level by level. `$share/…` has no meaning here: hand in the filter that follows the share name.
///
/// # Cost
///
/// A match takes time linear in the length of the topic name, in the number of nodes that agree with it so far (each is
/// looked at once) and in the number of hits. It does not depend on how many other filters there are. A `+` doubles the
/// paths at most, so filters that put `+` and text at the same levels in all combinations can have a topic of `n` levels
/// visit `2^n` nodes, but never more than there are.
///
/// Inserting and removing take time linear in the length of the filter, amortised. A filter with wildcards needs one node
/// of 32 bytes for each level that no other filter shares: a filter of 65,535 bytes can have 65,536 levels, so a server
/// does well to limit levels before it calls.
///
/// # Example
///
/// ```
/// use topic_trie::{Scratch, Seed, SubscriptionTrie};
///
/// let mut trie = SubscriptionTrie::new(Seed([17, 4]));
/// trie.insert("sport/+/player1", 1, "options")?;
/// trie.insert("sport/#", 2, "options")?;
///
/// let mut scratch = Scratch::new();
/// let mut found = Vec::new();
/// trie.matches("sport/tennis/player1", &mut scratch, |key, _| found.push(key));
/// found.sort_unstable();
/// assert_eq!(found, [1, 2]);
/// # Ok::<(), topic_trie::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SubscriptionTrie<K, V> {
    hasher: SeededHash,
    exact: Exact<K, V>,
    tree: Tree,
    /// Subscribers of the filters in the tree.
    sets: Slab<Set<K, V>>,
    len: usize,
    generation: u64,
}

/// Buffers of a search, to be used again: once they have grown to the size of the work nothing is allocated.
///
/// They hold nothing between searches and may serve any number of structures.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    frontier: Vec<u32>,
    next: Vec<u32>,
}

impl Scratch {
    /// Empty buffers.
    #[must_use]
    pub const fn new() -> Self {
        Self { frontier: Vec::new(), next: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> (usize, usize) {
        (self.frontier.capacity(), self.next.capacity())
    }
}

/// Where the subscribers of a filter are kept.
#[derive(Clone, Copy)]
enum Place {
    Exact { id: u32, hash: u32 },
    Tree { end: End, set: u32 },
}

impl<K: Copy + Eq + Hash, V> SubscriptionTrie<K, V> {
    /// An empty structure; allocates nothing but the root.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self::with_hasher(SeededHash::new(seed))
    }

    pub(crate) fn with_hasher(hasher: SeededHash) -> Self {
        Self { hasher, exact: Exact::new(), tree: Tree::new(), sets: Slab::new(), len: 0, generation: 0 }
    }

    /// Subscribes `key` to `filter`. A subscription that was there is replaced, and its value comes back.
    ///
    /// # Errors
    /// Refuses what is not a topic filter by section 4.7; then nothing has changed.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Result<Option<V>, FilterError> {
        let has_wildcard = check_filter(filter)?;
        if !(self.exact.has_room(filter.len()) && self.tree.has_room(filter.len())) {
            return Err(FilterError::Full);
        }
        let set = if has_wildcard {
            let end = self.tree.make(filter, &self.hasher);
            let set = self.tree.set_mut(end);
            if *set == NONE {
                *set = self.sets.insert(Set::default());
            }
            &mut self.sets[*set]
        } else {
            let hash = self.hasher.bytes(filter.as_bytes());
            let id = self.exact.make(filter, hash);
            self.exact.set_mut(id)
        };
        let old = set.insert(key, value, &self.hasher);
        self.len += usize::from(old.is_none());
        self.generation += 1;
        Ok(old)
    }

    /// Ends the subscription of `key` to `filter`, and frees what it alone needed. `None` if there is none.
    pub fn remove(&mut self, filter: &str, key: K) -> Option<V> {
        let place = self.place(filter)?;
        let (set, hasher) = self.set_mut(place);
        let value = set.remove(key, hasher)?;
        if set.is_vacant() {
            match place {
                Place::Exact { id, hash } => self.exact.remove(id, hash),
                Place::Tree { end, set } => {
                    self.sets.remove(set);
                    *self.tree.set_mut(end) = NONE;
                    self.tree.prune(end, &self.hasher);
                }
            }
        }
        self.len -= 1;
        self.generation += 1;
        Some(value)
    }

    /// The value of the subscription of `key` to `filter`.
    #[must_use]
    pub fn get(&self, filter: &str, key: K) -> Option<&V> {
        self.set(self.place(filter)?).get(key, &self.hasher)
    }

    /// The value of a subscription, to be changed. Counts as a change for [`generation`](Self::generation).
    pub fn get_mut(&mut self, filter: &str, key: K) -> Option<&mut V> {
        let place = self.place(filter)?;
        self.generation += 1;
        let (set, hasher) = self.set_mut(place);
        set.get_mut(key, hasher)
    }

    /// The subscribers of exactly this filter, in the order in which they came; where one is removed, the last one takes
    /// its place.
    pub fn subscribers(&self, filter: &str) -> impl ExactSizeIterator<Item = (K, &V)> {
        let pairs = self.place(filter).map_or(&[][..], |place| self.set(place).pairs());
        pairs.iter().map(|(key, value)| (*key, value))
    }

    /// Calls `found` for each subscription whose filter matches the topic name `topic`: once per filter and subscriber, so
    /// a subscriber with several matching filters is reported several times.
    ///
    /// The order is the same for the same history and seed. Expects a valid topic name ([`valid_topic`](crate::valid_topic));
    /// for anything else the answer means nothing.
    pub fn matches<'a>(&'a self, topic: &str, scratch: &mut Scratch, mut found: impl FnMut(K, &'a V)) {
        if let Some(id) = self.exact.find(topic, self.hasher.bytes(topic.as_bytes())) {
            report(self.exact.set(id), &mut found);
        }
        if !self.tree.is_empty() {
            self.search(topic, scratch, found);
        }
    }

    /// Calls `each` for every subscription: filters without wildcards first, and otherwise in no order worth relying on,
    /// yet the same for the same history.
    pub fn for_each<'a>(&'a self, mut each: impl FnMut(&str, K, &'a V)) {
        for (filter, set) in self.exact.iter() {
            report(set, &mut |key, value| each(filter, key, value));
        }
        self.tree.for_each(|filter, set| report(&self.sets[set], &mut |key, value| each(filter, key, value)));
    }

    /// Number of subscriptions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of distinct filters.
    pub fn filters(&self) -> usize {
        self.exact.len() + self.sets.len()
    }

    /// A number that changes with every change of what could match: a cache of results is good as long as it stays.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is held. Takes time linear in the number of filters.
    pub fn memory(&self) -> MemoryUse {
        let (exact_sets, exact_texts) = self.exact.bytes();
        let (nodes, level_texts) = self.tree.bytes();
        let values = exact_sets + self.sets.bytes() + self.sets.places().map(Set::heap_bytes).sum::<usize>();
        let texts = exact_texts + level_texts;
        MemoryUse { bytes: values + nodes + texts, values, nodes, texts, node_count: self.tree.len() }
    }

    /// Gives back memory that removed subscriptions left behind. Takes time linear in the number of filters.
    pub fn shrink_to_fit(&mut self) {
        self.exact.shrink_to_fit();
        self.tree.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.sets.places_mut().for_each(Set::shrink_to_fit);
    }

    /// Reports the filters with wildcards that match. All nodes of one level are expanded before the next level, so that
    /// the processor can look up several of them at once.
    fn search<'a>(&'a self, topic: &str, scratch: &mut Scratch, mut found: impl FnMut(K, &'a V)) {
        let Scratch { frontier, next } = scratch;
        let tree = &self.tree;
        if frontier.is_empty() {
            frontier.push(ROOT);
        }
        frontier[0] = ROOT;
        let mut count = 1;
        let mut levels = split(topic);
        if topic.starts_with('$') {
            // [MQTT-4.7.2-1] wildcards of the first level do not reach topics that begin with `$`.
            let symbol = levels.next().map_or(NONE, |level| tree.symbol(level, &self.hasher));
            let Some(child) = tree.child(ROOT, tree.node(ROOT), symbol, &self.hasher) else { return };
            frontier[0] = child;
        }
        for level in levels {
            let symbol = tree.symbol(level, &self.hasher);
            // Of each node two children may match.
            if next.len() < 2 * count {
                next.resize(2 * count, NONE);
            }
            let mut filled = 0;
            for &id in &frontier[..count] {
                let node = tree.node(id);
                if node.hash != NONE {
                    report(&self.sets[node.hash], &mut found);
                }
                if node.plus != NONE {
                    next[filled] = node.plus;
                    filled += 1;
                }
                if let Some(child) = tree.child(id, node, symbol, &self.hasher) {
                    next[filled] = child;
                    filled += 1;
                }
            }
            if filled == 0 {
                return;
            }
            count = filled;
            core::mem::swap(frontier, next);
        }
        for &id in &frontier[..count] {
            let node = tree.node(id);
            if node.ends != NONE {
                report(&self.sets[node.ends], &mut found);
            }
            if node.hash != NONE {
                report(&self.sets[node.hash], &mut found);
            }
        }
    }

    fn place(&self, filter: &str) -> Option<Place> {
        if check_filter(filter).ok()? {
            let end = self.tree.find(filter, &self.hasher)?;
            let set = self.tree.set(end);
            return (set != NONE).then_some(Place::Tree { end, set });
        }
        let hash = self.hasher.bytes(filter.as_bytes());
        self.exact.find(filter, hash).map(|id| Place::Exact { id, hash })
    }

    fn set(&self, place: Place) -> &Set<K, V> {
        match place {
            Place::Exact { id, .. } => self.exact.set(id),
            Place::Tree { set, .. } => &self.sets[set],
        }
    }

    fn set_mut(&mut self, place: Place) -> (&mut Set<K, V>, &SeededHash) {
        let set = match place {
            Place::Exact { id, .. } => self.exact.set_mut(id),
            Place::Tree { set, .. } => &mut self.sets[set],
        };
        (set, &self.hasher)
    }
}

#[inline]
fn report<'a, K: Copy + Eq + Hash, V>(set: &'a Set<K, V>, found: &mut impl FnMut(K, &'a V)) {
    for (key, value) in set.pairs() {
        found(*key, value);
    }
}
