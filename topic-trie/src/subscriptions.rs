//! The subscription structure: exact filters in one table, filters with wildcards in a tree of levels (section 4.7).
//!
//! Invariants: a node lives exactly as long as a filter ends in it or below it; a level is interned exactly as long as a
//! node carries it; no search recurses, and none visits a node twice.

use crate::hash::{Seed, SeededHash};
use crate::levels::Levels;
use crate::memory::MemoryUse;
use crate::rule::{FilterError, check_filter};
use crate::set::Set;
use crate::slab::{NONE, Slab};
use crate::table::Table;
use crate::text::{Span, Texts, split};
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hash;

/// The symbol of a `+`: no level text has it.
const PLUS: u32 = u32::MAX - 1;
const ROOT: u32 = 0;

/// Finds the subscribers whose topic filters match a topic name.
///
/// `K` names a subscriber (small and cheap to copy: an id), `V` is what is kept per filter and subscriber. A filter without
/// wildcards is found with one hash of the whole topic name; filters with wildcards form a tree that is searched level by
/// level. `$share/…` has no meaning here: hand in the filter that follows the share name.
#[derive(Clone, Debug)]
pub struct SubscriptionTrie<K, V> {
    hasher: SeededHash,
    exact_table: Table,
    exact: Slab<Exact<K, V>>,
    exact_texts: Texts,
    levels: Levels,
    nodes: Slab<Node>,
    /// Children of the nodes that have two or more literal ones, by parent and symbol.
    edges: Table,
    sets: Slab<Set<K, V>>,
    len: usize,
    generation: u64,
}

#[derive(Clone, Debug)]
struct Exact<K, V> {
    span: Span,
    set: Set<K, V>,
}

impl<K, V> Default for Exact<K, V> {
    fn default() -> Self {
        Self { span: Span::default(), set: Set::default() }
    }
}

/// One level of a filter with wildcards; half a cache line.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    symbol: u32,
    /// The child for `+`.
    plus: u32,
    /// Number of children for literal levels.
    literals: u32,
    /// Ids of all literal children, xored: with one child left it is that child.
    child: u32,
    /// Symbols of all literal children, xored.
    child_symbol: u32,
    /// Subscribers of the filter that ends here.
    ends: u32,
    /// Subscribers of the filter that goes on with `#`.
    hash: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self::new(NONE, NONE)
    }
}

impl Node {
    const fn new(parent: u32, symbol: u32) -> Self {
        Self { parent, symbol, plus: NONE, literals: 0, child: 0, child_symbol: 0, ends: NONE, hash: NONE }
    }

    fn is_bare(&self) -> bool {
        self.literals == 0 && self.plus == NONE && self.ends == NONE && self.hash == NONE
    }
}

/// Buffers of a search, to be used again: once they have grown to the size of the work nothing is allocated.
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
}

/// Where the subscribers of a filter are kept.
#[derive(Clone, Copy)]
enum Place {
    /// An id, and the hash of the filter.
    Exact(u32, u32),
    /// A node, and whether the filter goes on with `#`.
    Node(u32, bool),
}

impl<K: Copy + Eq + Hash, V> SubscriptionTrie<K, V> {
    /// An empty structure; allocates nothing but the root.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self::with_hasher(SeededHash::new(seed))
    }

    pub(crate) fn with_hasher(hasher: SeededHash) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::default());
        Self {
            hasher,
            exact_table: Table::new(),
            exact: Slab::new(),
            exact_texts: Texts::new(),
            levels: Levels::new(),
            nodes,
            edges: Table::new(),
            sets: Slab::new(),
            len: 0,
            generation: 0,
        }
    }

    /// Subscribes `key` to `filter`. A subscription that was there is replaced, and its value comes back.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Result<Option<V>, FilterError> {
        let wildcard = check_filter(filter)?;
        if !self.has_room(filter.len()) {
            return Err(FilterError::Full);
        }
        let set = if wildcard { self.wildcard_set(filter) } else { self.exact_set(filter) };
        let hasher = &self.hasher;
        let old = match set {
            Place::Exact(id, _) => self.exact[id].set.insert(key, value, hasher),
            Place::Node(node, hash) => {
                let node = self.nodes[node];
                self.sets[if hash { node.hash } else { node.ends }].insert(key, value, hasher)
            }
        };
        self.len += usize::from(old.is_none());
        self.generation += 1;
        Ok(old)
    }

    /// Ends the subscription of `key` to `filter`, and frees what it alone needed.
    pub fn remove(&mut self, filter: &str, key: K) -> Option<V> {
        let place = self.place(filter)?;
        let (set, hasher) = self.set_mut(place);
        let value = set.remove(key, hasher)?;
        if self.set(place).is_vacant() {
            match place {
                Place::Exact(id, hash) => self.remove_exact(id, hash),
                Place::Node(id, hash) => {
                    let node = &mut self.nodes[id];
                    let set = if hash { &mut node.hash } else { &mut node.ends };
                    self.sets.remove(core::mem::replace(set, NONE));
                    self.prune(id);
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

    /// The subscribers of exactly this filter, in the order in which they came (a removal moves the last one forward).
    pub fn subscribers(&self, filter: &str) -> impl ExactSizeIterator<Item = (K, &V)> {
        let pairs = self.place(filter).map_or(&[][..], |place| self.set(place).pairs());
        pairs.iter().map(|(key, value)| (*key, value))
    }

    /// Calls `found` for each subscription whose filter matches the topic name `topic`, once per filter and subscriber.
    ///
    /// The order is the same for the same history. Expects a valid topic name.
    pub fn matches<'a>(&'a self, topic: &str, scratch: &mut Scratch, mut found: impl FnMut(K, &'a V)) {
        if let Some(id) = self.find_exact(topic, self.hasher.bytes(topic.as_bytes())) {
            report(&self.exact[id].set, &mut found);
        }
        if !self.nodes[ROOT].is_bare() {
            self.search(topic, scratch, found);
        }
    }

    /// Reports the filters with wildcards that match.
    fn search<'a>(&'a self, topic: &str, scratch: &mut Scratch, mut found: impl FnMut(K, &'a V)) {
        let Scratch { frontier, next } = scratch;
        if frontier.is_empty() {
            frontier.push(ROOT);
        }
        frontier[0] = ROOT;
        let mut count = 1;
        let mut levels = split(topic);
        if topic.starts_with('$') {
            // [MQTT-4.7.2-1] wildcards of the first level do not reach topics that begin with `$`.
            let child = levels.next().and_then(|level| self.child(ROOT, &self.nodes[ROOT], self.symbol(level)));
            let Some(child) = child else { return };
            frontier[0] = child;
        }
        for level in levels {
            let symbol = self.symbol(level);
            // Two children of each node may match.
            if next.len() < 2 * count {
                next.resize(2 * count, NONE);
            }
            let mut filled = 0;
            for &id in &frontier[..count] {
                let node = &self.nodes[id];
                if node.hash != NONE {
                    report(&self.sets[node.hash], &mut found);
                }
                if node.plus != NONE {
                    next[filled] = node.plus;
                    filled += 1;
                }
                if let Some(child) = self.child(id, node, symbol) {
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
            let node = &self.nodes[id];
            if node.ends != NONE {
                report(&self.sets[node.ends], &mut found);
            }
            if node.hash != NONE {
                report(&self.sets[node.hash], &mut found);
            }
        }
    }

    /// Calls `each` for every subscription: filters without wildcards first, otherwise in no order worth relying on, yet
    /// the same for the same history.
    pub fn for_each<'a>(&'a self, mut each: impl FnMut(&str, K, &'a V)) {
        for (_, exact) in self.exact.places() {
            report(&exact.set, &mut |key, value| each(self.exact_texts.get(exact.span), key, value));
        }
        let mut symbols = Vec::new();
        let mut text = String::new();
        for (id, node) in self.nodes.places().filter(|(_, node)| node.ends != NONE || node.hash != NONE) {
            self.spell(id, &mut symbols, &mut text);
            if node.ends != NONE {
                report(&self.sets[node.ends], &mut |key, value| each(&text, key, value));
            }
            if node.hash != NONE {
                text.push_str(if id == ROOT { "#" } else { "/#" });
                report(&self.sets[node.hash], &mut |key, value| each(&text, key, value));
            }
        }
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
        let pairs = self.exact.places().map(|(_, exact)| &exact.set).chain(self.sets.places().map(|(_, set)| set));
        let values = pairs.map(Set::heap_bytes).sum::<usize>() + self.exact.bytes() + self.sets.bytes();
        let nodes = self.nodes.bytes() + self.edges.bytes();
        let texts = self.exact_texts.bytes() + self.exact_table.bytes() + self.levels.bytes();
        MemoryUse {
            bytes: values + nodes + texts,
            values,
            nodes,
            texts,
            node_count: self.nodes.len(),
            level_count: self.levels.len(),
        }
    }

    /// Gives back memory that removed subscriptions left behind; takes time linear in the number of filters.
    pub fn shrink_to_fit(&mut self) {
        self.exact_table.shrink_to_fit();
        self.exact.shrink_to_fit();
        self.pack_exact();
        self.exact_texts.shrink_to_fit();
        self.levels.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.exact.places_mut().for_each(|exact| exact.set.shrink_to_fit());
        self.sets.places_mut().for_each(Set::shrink_to_fit);
    }

    /// Whether a filter of so many bytes fits, whatever it needs.
    fn has_room(&self, bytes: usize) -> bool {
        self.exact.len().max(self.nodes.len()) + bytes + 1 < PLUS as usize
            && self.exact_texts.has_room(bytes)
            && self.levels.has_room(bytes)
    }

    #[inline]
    fn find_exact(&self, text: &str, hash: u32) -> Option<u32> {
        self.exact_table.find(hash, |id| self.exact_texts.is(self.exact[id].span, text))
    }

    fn exact_set(&mut self, filter: &str) -> Place {
        let hash = self.hasher.bytes(filter.as_bytes());
        let id = self.find_exact(filter, hash).unwrap_or_else(|| {
            let id = self.exact.insert(Exact { span: self.exact_texts.insert(filter), set: Set::default() });
            self.exact_table.insert(hash, id);
            id
        });
        Place::Exact(id, hash)
    }

    fn remove_exact(&mut self, id: u32, hash: u32) {
        self.exact_table.remove(hash, id);
        let exact = self.exact.remove(id);
        if self.exact_texts.remove(exact.span) {
            self.pack_exact();
        }
    }

    fn pack_exact(&mut self) {
        let used = self.exact.places_mut().filter(|exact| !exact.set.is_vacant());
        self.exact_texts.pack(used.map(|exact| &mut exact.span));
    }

    /// The place of a filter with wildcards; makes the nodes and the set that it lacks.
    fn wildcard_set(&mut self, filter: &str) -> Place {
        let mut id = ROOT;
        let mut hash = false;
        for level in split(filter) {
            match level {
                "#" => hash = true,
                "+" => {
                    if self.nodes[id].plus == NONE {
                        self.nodes[id].plus = self.nodes.insert(Node::new(id, PLUS));
                    }
                    id = self.nodes[id].plus;
                }
                _ => {
                    let hash = self.hasher.bytes(level.as_bytes());
                    let symbol = self.levels.find(level, hash).unwrap_or_else(|| self.levels.insert(level, hash));
                    id = self.child(id, &self.nodes[id], symbol).unwrap_or_else(|| self.add_child(id, symbol));
                }
            }
        }
        let node = &mut self.nodes[id];
        let set = if hash { &mut node.hash } else { &mut node.ends };
        if *set == NONE {
            *set = self.sets.insert(Set::default());
        }
        Place::Node(id, hash)
    }

    fn place(&self, filter: &str) -> Option<Place> {
        if !check_filter(filter).ok()? {
            let hash = self.hasher.bytes(filter.as_bytes());
            return self.find_exact(filter, hash).map(|id| Place::Exact(id, hash));
        }
        let mut id = ROOT;
        let mut hash = false;
        for level in split(filter) {
            let node = &self.nodes[id];
            match level {
                "#" => hash = true,
                "+" if node.plus == NONE => return None,
                "+" => id = node.plus,
                _ => id = self.child(id, node, self.symbol(level))?,
            }
        }
        let node = &self.nodes[id];
        let set = if hash { node.hash } else { node.ends };
        (set != NONE).then_some(Place::Node(id, hash))
    }

    fn set(&self, place: Place) -> &Set<K, V> {
        match place {
            Place::Exact(id, _) => &self.exact[id].set,
            Place::Node(id, true) => &self.sets[self.nodes[id].hash],
            Place::Node(id, false) => &self.sets[self.nodes[id].ends],
        }
    }

    fn set_mut(&mut self, place: Place) -> (&mut Set<K, V>, &SeededHash) {
        let set = match place {
            Place::Exact(id, _) => &mut self.exact[id].set,
            Place::Node(id, true) => &mut self.sets[self.nodes[id].hash],
            Place::Node(id, false) => &mut self.sets[self.nodes[id].ends],
        };
        (set, &self.hasher)
    }

    /// The symbol of a level, `NONE` if no filter has it.
    #[inline]
    fn symbol(&self, level: &str) -> u32 {
        self.levels.find(level, self.hasher.bytes(level.as_bytes())).unwrap_or(NONE)
    }

    /// The child of `id` for a literal level. `NONE` is the symbol of a level that no filter has.
    #[inline]
    fn child(&self, id: u32, node: &Node, symbol: u32) -> Option<u32> {
        if node.child_symbol == symbol && node.literals == 1 {
            return Some(node.child);
        }
        if node.literals < 2 || symbol == NONE {
            return None;
        }
        self.edges.find(self.hasher.pair(id, symbol), |child| {
            let child = &self.nodes[child];
            child.parent == id && child.symbol == symbol
        })
    }

    fn add_child(&mut self, id: u32, symbol: u32) -> u32 {
        self.levels.hold(symbol);
        let child = self.nodes.insert(Node::new(id, symbol));
        let node = &mut self.nodes[id];
        if node.literals == 1 {
            self.edges.insert(self.hasher.pair(id, node.child_symbol), node.child);
        }
        if node.literals >= 1 {
            self.edges.insert(self.hasher.pair(id, symbol), child);
        }
        node.literals += 1;
        node.child ^= child;
        node.child_symbol ^= symbol;
        child
    }

    /// Frees `id` and the nodes above it as far as nothing needs them.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id].is_bare() {
            let Node { parent, symbol, .. } = self.nodes.remove(id);
            let node = &mut self.nodes[parent];
            if symbol == PLUS {
                node.plus = NONE;
            } else {
                node.literals -= 1;
                node.child ^= id;
                node.child_symbol ^= symbol;
                if node.literals >= 1 {
                    self.edges.remove(self.hasher.pair(parent, symbol), id);
                }
                if node.literals == 1 {
                    self.edges.remove(self.hasher.pair(parent, node.child_symbol), node.child);
                }
                self.levels.release(symbol, &self.hasher);
            }
            id = parent;
        }
    }

    /// Writes the filter that ends in the node `id`.
    fn spell(&self, id: u32, symbols: &mut Vec<u32>, text: &mut String) {
        symbols.clear();
        let mut at = id;
        while at != ROOT {
            symbols.push(self.nodes[at].symbol);
            at = self.nodes[at].parent;
        }
        text.clear();
        for (index, &symbol) in symbols.iter().rev().enumerate() {
            if index > 0 {
                text.push('/');
            }
            text.push_str(if symbol == PLUS { "+" } else { self.levels.text(symbol) });
        }
    }
}

#[inline]
fn report<'a, K: Copy + Eq + Hash, V>(set: &'a Set<K, V>, found: &mut impl FnMut(K, &'a V)) {
    for (key, value) in set.pairs() {
        found(*key, value);
    }
}
