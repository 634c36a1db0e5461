//! The retained store: topic names to values, found by name, or by filter through a resumable scan (section 4.7).
//!
//! A topic is found with one hash of its whole name. For filters there is a tree of levels besides.
//!
//! Invariants: a node lives exactly as long as a value lies in it or below it; while it lives, its id and its place among
//! the children of its parent do not change; its birth is later than that of every node made before.

use crate::hash::{Seed, SeededHash};
use crate::memory::MemoryUse;
use crate::node::{Child, FEW, Family, Link, NO_ID, Node, ROOT};
use crate::rule::{TopicError, check_topic};
use crate::slab::{NONE, Slab};
use crate::table::Table;
use crate::text::{Span, Texts, split};

/// Keeps one value per topic name: the retained messages of a broker.
///
/// # Cost
///
/// [`get`](Self::get), and setting a value that is there, take one hash and one comparison of the name. A new topic and its
/// removal take time linear in the length of the name, amortised. A scan looks at the nodes that agree with the filter so
/// far, each once; a level of text is looked up, not searched.
///
/// A topic takes one node of 16 bytes beside its name, and one more for each level above that no other topic shares.
///
/// # Example
///
/// ```
/// use topic_trie::{Cursor, RetainedStore, Scan, Seed};
///
/// let mut store = RetainedStore::new(Seed([17, 4]));
/// store.insert("lamp/1/state", "on")?;
/// store.insert("lamp/2/state", "off")?;
/// store.insert("lamp/2/power", "0 W")?;
/// assert_eq!(store.get("lamp/2/state"), Some(&"off"));
///
/// let mut cursor = Cursor::new();
/// let mut found = 0;
/// let scan = store.scan("lamp/+/state", &mut cursor, 1000, |_topic, _value| found += 1);
/// assert_eq!((found, scan), (2, Scan::Done));
/// # Ok::<(), topic_trie::TopicError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetainedStore<V> {
    pub(crate) hasher: SeededHash,
    pub(crate) texts: Texts,
    pub(crate) nodes: Slab<Node>,
    /// Nodes with a value, by the hash of the topic name.
    topics: Table,
    /// Children of nodes with many of them, by parent and level.
    edges: Table,
    pub(crate) families: Slab<Family>,
    values: Slab<Option<V>>,
    pub(crate) births: u64,
}

impl<V> RetainedStore<V> {
    /// An empty store; allocates nothing but the root.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self::with_hasher(SeededHash::new(seed))
    }

    pub(crate) fn with_hasher(hasher: SeededHash) -> Self {
        let mut store = Self {
            hasher,
            texts: Texts::new(),
            nodes: Slab::new(),
            topics: Table::new(),
            edges: Table::new(),
            families: Slab::new(),
            values: Slab::new(),
            births: 1,
        };
        store.plant();
        store
    }

    /// Sets the value of `topic`; the value that it had comes back.
    ///
    /// # Errors
    /// Refuses what is not a topic name by section 4.7; then nothing has changed.
    pub fn insert(&mut self, topic: &str, value: V) -> Result<Option<V>, TopicError> {
        check_topic(topic)?;
        let hash = self.hasher.bytes(topic.as_bytes());
        if let Some(id) = self.find(topic, hash) {
            let place = self.value_of(id);
            return Ok(self.values[place].replace(value));
        }
        if self.nodes.len() + topic.len() + 1 > NO_ID as usize || !self.texts.has_room(2 * topic.len()) {
            return Err(TopicError::Full);
        }
        let value = self.values.insert(Some(value));
        let id = self.make(topic, value);
        self.topics.insert(hash, id);
        Ok(None)
    }

    /// Clears the value of `topic`, and frees what it alone needed. `None` if there was none.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let hash = self.hasher.bytes(topic.as_bytes());
        let id = self.find(topic, hash)?;
        self.topics.remove(hash, id);
        let value = self.values.remove(self.value_of(id));
        match self.nodes[id].link() {
            Link::Family(family) => {
                self.families[family].value = NONE;
                if self.texts.narrow(&mut self.nodes[id].span, last_level(topic).len()) {
                    self.pack();
                }
            }
            _ => self.unlink(topic),
        }
        value
    }

    /// The value of `topic`.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        let id = self.find(topic, self.hasher.bytes(topic.as_bytes()))?;
        self.values[self.value_of(id)].as_ref()
    }

    /// The value of `topic`, to be changed.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let id = self.find(topic, self.hasher.bytes(topic.as_bytes()))?;
        let place = self.value_of(id);
        self.values[place].as_mut()
    }

    /// Clears all values; the memory is kept for new ones. A scan that is under way has nothing left to report.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.nodes.clear();
        self.topics.clear();
        self.edges.clear();
        self.families.clear();
        self.values.clear();
        self.plant();
    }

    /// Calls `each` with every topic name and its value, in no order worth relying on, yet the same for the same history.
    pub fn for_each(&self, mut each: impl FnMut(&str, &V)) {
        for node in self.nodes.places() {
            if let Some(value) = self.value(node) {
                each(self.texts.get(node.span), value);
            }
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is held. Takes time linear in the number of nodes.
    pub fn memory(&self) -> MemoryUse {
        let values = self.values.bytes();
        let places = self.families.places().map(|family| family.places.capacity()).sum::<usize>();
        let lists = self.families.bytes() + places * size_of::<Child>();
        let nodes = self.nodes.bytes() + self.edges.bytes() + lists;
        let texts = self.texts.bytes() + self.topics.bytes();
        MemoryUse { bytes: values + nodes + texts, values, nodes, texts, node_count: self.nodes.len() }
    }

    /// Gives back memory that cleared values left behind. Takes time linear in the number of nodes; scans that are under
    /// way may go on.
    pub fn shrink_to_fit(&mut self) {
        self.pack();
        self.texts.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.topics.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.families.shrink_to_fit();
        self.values.shrink_to_fit();
        self.families.places_mut().for_each(|family| family.places.shrink_to_fit());
    }

    /// The child of `id` with this level, whose hash is `hash`.
    #[inline]
    pub(crate) fn child(&self, id: u32, level: &str, hash: u32) -> Option<u32> {
        match self.nodes[id].link() {
            Link::Value(_) => None,
            Link::Child(child) => self.is_level(child, level).then_some(child),
            Link::Family(family) => {
                let family = &self.families[family];
                self.place(id, family, level, hash).map(|place| family.places[place as usize].node)
            }
        }
    }

    /// The place of a child in the family of `parent`.
    #[inline]
    fn place(&self, parent: u32, family: &Family, level: &str, hash: u32) -> Option<u32> {
        let is_it = |child: &Child| child.hash == hash && child.node != NONE && self.is_level(child.node, level);
        if family.places.len() > FEW {
            // Another family may have the same hash, but not this child.
            let is_it = |place: u32| family.places.get(place as usize).is_some_and(is_it);
            self.edges.find(self.hasher.pair(parent, hash), is_it)
        } else {
            family.places.iter().position(is_it).map(|place| place as u32)
        }
    }

    /// The value that lies in a node.
    #[inline]
    pub(crate) fn value(&self, node: &Node) -> Option<&V> {
        let place = match node.link() {
            Link::Value(place) => place,
            Link::Child(_) => return None,
            Link::Family(family) => self.families[family].value,
        };
        self.values.get(place)?.as_ref()
    }

    fn plant(&mut self) {
        self.families.insert(Family::default());
        self.nodes.insert(Node::root());
    }

    #[inline]
    fn find(&self, topic: &str, hash: u32) -> Option<u32> {
        self.topics.find(hash, |id| self.texts.is(self.nodes[id].span, topic))
    }

    /// Where the value of a node lies that has one.
    fn value_of(&self, id: u32) -> u32 {
        match self.nodes[id].link() {
            Link::Value(place) => place,
            Link::Child(_) => NONE,
            Link::Family(family) => self.families[family].value,
        }
    }

    /// Whether the last level of a node's text is `level`; it is all of the text, or follows a `/`.
    #[inline]
    fn is_level(&self, id: u32, level: &str) -> bool {
        let text = self.texts.bytes_of(self.nodes[id].span);
        match text.strip_suffix(level.as_bytes()) {
            Some(before) => before.last().is_none_or(|&byte| byte == b'/'),
            None => false,
        }
    }

    /// Makes the node of `topic` with the nodes above it that are missing, and gives it its value.
    fn make(&mut self, topic: &str, value: u32) -> u32 {
        let mut id = ROOT;
        let mut levels = split(topic);
        // Below a new node there is nothing to be found.
        let mut fresh = false;
        while let Some(level) = levels.next() {
            let hash = self.hasher.bytes(level.as_bytes());
            let child = if fresh { None } else { self.child(id, level, hash) };
            fresh = child.is_none();
            id = match child {
                Some(child) => child,
                None if levels.is_done() => {
                    let span = self.texts.insert(topic);
                    return self.add_child(id, hash, span, Link::Value(value));
                }
                None => {
                    let span = self.texts.insert(level);
                    self.add_child(id, hash, span, Link::Child(NO_ID))
                }
            };
        }
        // The node is there already, as the parent of others.
        let family = self.family(id);
        self.families[family].value = value;
        let name = self.texts.insert(topic);
        let level = core::mem::replace(&mut self.nodes[id].span, name);
        self.drop_text(level);
        id
    }

    fn add_child(&mut self, parent: u32, hash: u32, span: Span, link: Link) -> u32 {
        let node = Node::new(span, link, self.births);
        self.births += 1;
        let id = self.nodes.insert(node);
        if let Link::Child(child) = self.nodes[parent].link()
            && child == NO_ID
        {
            self.nodes[parent].set_link(Link::Child(id));
            return id;
        }
        let family = self.family(parent);
        let family = &mut self.families[family];
        let before = family.places.len();
        let place = family.add(Child { node: id, hash });
        if before == FEW && family.places.len() > FEW {
            // There was no gap, so all places are taken.
            for (place, child) in (0..).zip(&family.places) {
                self.edges.insert(self.hasher.pair(parent, child.hash), place);
            }
        } else if family.places.len() > FEW {
            self.edges.insert(self.hasher.pair(parent, hash), place);
        }
        id
    }

    /// The family of a node, founded if it had none.
    fn family(&mut self, id: u32) -> u32 {
        let mut family = Family::default();
        match self.nodes[id].link() {
            Link::Family(family) => return family,
            Link::Value(value) => family.value = value,
            Link::Child(node) => {
                let level = last_level(self.texts.get(self.nodes[node].span));
                family.add(Child { node, hash: self.hasher.bytes(level.as_bytes()) });
            }
        }
        let family = self.families.insert(family);
        self.nodes[id].set_link(Link::Family(family));
        family
    }

    /// Frees the node of `topic`, which has neither value nor children, and the nodes above it that nothing else needs.
    fn unlink(&mut self, topic: &str) {
        let mut id = ROOT;
        // The last node on the way that stays, and the level that it loses.
        let mut stays = (ROOT, topic, 0);
        for level in split(topic) {
            let hash = self.hasher.bytes(level.as_bytes());
            if self.stands_without_child(id) {
                stays = (id, level, hash);
            }
            let Some(child) = self.child(id, level, hash) else { return };
            id = child;
        }
        let (parent, level, hash) = stays;
        let Link::Family(family) = self.nodes[parent].link() else { return };
        let Some(place) = self.place(parent, &self.families[family], level, hash) else { return };
        let mut id = self.leave(parent, family, place);
        self.dissolve(parent, family);
        loop {
            let link = self.nodes[id].link();
            let below = match link {
                Link::Value(_) => None,
                Link::Child(child) => Some(child),
                Link::Family(family) => {
                    let last = self.families[family].places.iter().position(|child| child.node != NONE);
                    let last = last.map(|place| self.leave(id, family, place as u32));
                    self.families.remove(family);
                    last
                }
            };
            let span = self.nodes.remove(id).span;
            self.drop_text(span);
            match below {
                Some(child) => id = child,
                None => return,
            }
        }
    }

    /// Whether a node has a reason to be besides one child.
    fn stands_without_child(&self, id: u32) -> bool {
        match self.nodes[id].link() {
            Link::Family(family) => {
                let family = &self.families[family];
                id == ROOT || family.live > 1 || family.value != NONE
            }
            _ => false,
        }
    }

    /// Takes a child out of its family.
    fn leave(&mut self, parent: u32, family: u32, place: u32) -> u32 {
        let family = &mut self.families[family];
        let child = family.remove(place);
        if family.places.len() > FEW {
            self.edges.remove(self.hasher.pair(parent, child.hash), place);
        }
        child.node
    }

    /// Ends a family without children.
    fn dissolve(&mut self, id: u32, family: u32) {
        let Family { live, value, .. } = self.families[family];
        if live > 0 {
            return;
        }
        if id == ROOT {
            self.families[family] = Family::default();
        } else {
            self.families.remove(family);
            self.nodes[id].set_link(Link::Value(value));
        }
    }

    fn drop_text(&mut self, span: Span) {
        if self.texts.remove(span) {
            self.pack();
        }
    }

    fn pack(&mut self) {
        self.texts.pack(self.nodes.places_mut().filter(|node| !node.is_vacant()).map(|node| &mut node.span));
    }
}

fn last_level(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}
