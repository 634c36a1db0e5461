//! The retained store: topic names to values, found by name, or by filter through a resumable scan (section 4.7).
//!
//! Invariants: a node lives exactly as long as a value lies in it or below it; while it lives, its id and its place among
//! the children of its parent do not change; a node's birth is greater than that of every node made before.

use crate::hash::{Seed, SeededHash};
use crate::levels::Levels;
use crate::memory::MemoryUse;
use crate::rule::{MAX_BYTES, TopicError, check_topic};
use crate::slab::{NONE, Slab, grow};
use crate::table::Table;
use alloc::vec::Vec;

pub(crate) const ROOT: u32 = 0;

/// Keeps one value per topic name: the retained messages of a broker.
#[derive(Clone, Debug)]
pub struct RetainedStore<V> {
    pub(crate) hasher: SeededHash,
    pub(crate) levels: Levels,
    pub(crate) nodes: Slab<Node>,
    /// All nodes but the root, by the hash of their path.
    table: Table,
    pub(crate) children: Slab<Children>,
    pub(crate) values: Slab<Option<V>>,
    pub(crate) births: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Tells a node from one that had its id before, and from those that came after a scan began.
    pub(crate) birth: u64,
    pub(crate) parent: u32,
    pub(crate) symbol: u32,
    /// Hash of the path, made of the parent's hash and the level's.
    pub(crate) hash: u32,
    /// Index among the children of the parent.
    pub(crate) place: u32,
    pub(crate) children: u32,
    pub(crate) value: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self { birth: u64::MAX, parent: NONE, symbol: NONE, hash: 0, place: 0, children: NONE, value: NONE }
    }
}

/// The children of a node, each at a place of its own as long as it lives: a scan remembers places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    /// Ids, and `NONE` where a child went away.
    pub(crate) places: Vec<u32>,
    gaps: Vec<u32>,
}

impl<V> RetainedStore<V> {
    /// An empty store; allocates nothing but the root.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self::with_hasher(SeededHash::new(seed))
    }

    pub(crate) fn with_hasher(hasher: SeededHash) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node { birth: 0, ..Node::default() });
        Self {
            hasher,
            levels: Levels::new(),
            nodes,
            table: Table::new(),
            children: Slab::new(),
            values: Slab::new(),
            births: 1,
        }
    }

    /// Sets the value of `topic`; the value that it had comes back.
    pub fn insert(&mut self, topic: &str, value: V) -> Result<Option<V>, TopicError> {
        check_topic(topic)?;
        if self.nodes.len() > u32::MAX as usize - MAX_BYTES - 3 {
            return Err(TopicError::Full);
        }
        let id = self.find(topic).unwrap_or_else(|| self.make(topic));
        let place = self.nodes[id].value;
        if place != NONE {
            return Ok(self.values[place].replace(value));
        }
        self.nodes[id].value = self.values.insert(Some(value));
        Ok(None)
    }

    /// Clears the value of `topic`, and frees what it alone needed.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let id = self.find(topic)?;
        let place = core::mem::replace(&mut self.nodes[id].value, NONE);
        if place == NONE {
            return None;
        }
        let value = self.values.remove(place);
        self.prune(id);
        value
    }

    /// The value of `topic`.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        let place = self.nodes[self.find(topic)?].value;
        if place == NONE { None } else { self.values[place].as_ref() }
    }

    /// The value of `topic`, to be changed.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let place = self.nodes[self.find(topic)?].value;
        if place == NONE { None } else { self.values[place].as_mut() }
    }

    /// Clears all values; the memory is kept for new ones.
    pub fn clear(&mut self) {
        self.levels.clear();
        self.nodes.clear();
        self.nodes.insert(Node { birth: 0, ..Node::default() });
        self.table.clear();
        self.children.clear();
        self.values.clear();
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is held. Takes time linear in the number of topics.
    pub fn memory(&self) -> MemoryUse {
        let values = self.values.bytes();
        let lists = self.children.places().map(|(_, children)| children.bytes()).sum::<usize>();
        let nodes = self.nodes.bytes() + self.table.bytes() + self.children.bytes() + lists;
        let texts = self.levels.bytes();
        MemoryUse {
            bytes: values + nodes + texts,
            values,
            nodes,
            texts,
            node_count: self.nodes.len(),
            level_count: self.levels.len(),
        }
    }

    /// Gives back memory that cleared values left behind.
    pub fn shrink_to_fit(&mut self) {
        self.levels.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.table.shrink_to_fit();
        self.values.shrink_to_fit();
        self.children.shrink_to_fit();
        for children in self.children.places_mut() {
            children.places.shrink_to_fit();
            children.gaps.shrink_to_fit();
        }
    }

    /// The node of a topic name, by one look into the table; its path is compared from the end.
    fn find(&self, topic: &str) -> Option<u32> {
        let mut hash = 0;
        for level in topic.split('/') {
            hash = self.hasher.pair(hash, self.hasher.bytes(level.as_bytes()));
        }
        self.table.find(hash, |id| {
            let mut at = id;
            for level in topic.rsplit('/') {
                if at == ROOT || self.levels.text(self.nodes[at].symbol) != level {
                    return false;
                }
                at = self.nodes[at].parent;
            }
            at == ROOT
        })
    }

    /// The child of `id` with this level; `level_hash` is the hash of its text.
    pub(crate) fn child(&self, id: u32, symbol: u32, level_hash: u32) -> Option<u32> {
        self.table.find(self.hasher.pair(self.nodes[id].hash, level_hash), |child| {
            let child = &self.nodes[child];
            child.parent == id && child.symbol == symbol
        })
    }

    fn make(&mut self, topic: &str) -> u32 {
        let mut id = ROOT;
        for level in topic.split('/') {
            let level_hash = self.hasher.bytes(level.as_bytes());
            let symbol = self.levels.find(level, level_hash).unwrap_or(NONE);
            id = self.child(id, symbol, level_hash).unwrap_or_else(|| self.add_child(id, level, level_hash));
        }
        id
    }

    fn add_child(&mut self, parent: u32, level: &str, level_hash: u32) -> u32 {
        let symbol = self.levels.acquire(level, level_hash);
        if self.nodes[parent].children == NONE {
            self.nodes[parent].children = self.children.insert(Children::default());
        }
        let hash = self.hasher.pair(self.nodes[parent].hash, level_hash);
        let node = Node { birth: self.births, parent, symbol, hash, ..Node::default() };
        self.births += 1;
        let id = self.nodes.insert(node);
        self.nodes[id].place = self.children[self.nodes[parent].children].add(id);
        self.table.insert(hash, id);
        id
    }

    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id].value == NONE && self.nodes[id].children == NONE {
            let Node { parent, symbol, hash, place, .. } = self.nodes.remove(id);
            self.table.remove(hash, id);
            self.levels.release(symbol, &self.hasher);
            let list = self.nodes[parent].children;
            if self.children[list].remove(place) {
                self.children.remove(list);
                self.nodes[parent].children = NONE;
            }
            id = parent;
        }
    }
}

impl Children {
    fn add(&mut self, id: u32) -> u32 {
        if let Some(place) = self.gaps.pop() {
            self.places[place as usize] = id;
            return place;
        }
        grow(&mut self.places);
        self.places.push(id);
        (self.places.len() - 1) as u32
    }

    /// Whether no child is left.
    fn remove(&mut self, place: u32) -> bool {
        self.places[place as usize] = NONE;
        self.gaps.push(place);
        self.gaps.len() == self.places.len()
    }

    fn bytes(&self) -> usize {
        (self.places.capacity() + self.gaps.capacity()) * size_of::<u32>()
    }
}
