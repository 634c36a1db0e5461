//! Filters with wildcards: a tree of levels.
//!
//! Invariants: a node lives exactly as long as a filter ends in it or below it; a level is interned exactly as long as a
//! node carries it; the edges are those of the nodes with two or more literal children.

use crate::hash::SeededHash;
use crate::levels::Levels;
use crate::slab::{NONE, Slab};
use crate::table::Table;
use crate::text::split;
use alloc::string::String;
use alloc::vec::Vec;

pub(crate) const ROOT: u32 = 0;

/// The symbol of a `+`: no level text has it.
const PLUS: u32 = u32::MAX - 1;

#[derive(Clone, Debug)]
pub(crate) struct Tree {
    levels: Levels,
    nodes: Slab<Node>,
    /// Literal children by parent and symbol.
    edges: Table,
}

/// One level of a filter; half a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    parent: u32,
    symbol: u32,
    /// The child for `+`.
    pub(crate) plus: u32,
    /// Number of children for literal levels.
    literals: u32,
    /// Ids of all literal children, xored: where there is but one, it is that one.
    child: u32,
    /// Symbols of all literal children, xored.
    child_symbol: u32,
    /// Subscribers of the filter that ends here.
    pub(crate) ends: u32,
    /// Subscribers of the filter that goes on with `#`.
    pub(crate) hash: u32,
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

/// Where a filter with wildcards ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    node: u32,
    /// Whether `#` follows.
    hash: bool,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::default());
        Self { levels: Levels::new(), nodes, edges: Table::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes[ROOT].is_bare()
    }

    /// Number of nodes, the root included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a filter of so many bytes fits, whatever nodes it needs.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.nodes.has_room(bytes + 1) && self.levels.has_room(bytes)
    }

    #[inline]
    pub(crate) fn node(&self, id: u32) -> &Node {
        &self.nodes[id]
    }

    /// The symbol of a level, `NONE` if no filter has it.
    #[inline]
    pub(crate) fn symbol(&self, level: &str, hasher: &SeededHash) -> u32 {
        self.levels.find(level, hasher.bytes(level.as_bytes())).unwrap_or(NONE)
    }

    /// The child of `id`, which is `node`, for a literal level.
    #[inline]
    pub(crate) fn child(&self, id: u32, node: &Node, symbol: u32, hasher: &SeededHash) -> Option<u32> {
        if node.child_symbol == symbol && node.literals == 1 {
            return Some(node.child);
        }
        if node.literals < 2 || symbol == NONE {
            return None;
        }
        self.edges.find(hasher.pair(id, symbol), |child| {
            let child = &self.nodes[child];
            child.parent == id && child.symbol == symbol
        })
    }

    /// The end of a filter, with the nodes made that it lacks.
    pub(crate) fn make(&mut self, filter: &str, hasher: &SeededHash) -> End {
        let mut id = ROOT;
        for level in split(filter) {
            id = match level {
                "#" => return End { node: id, hash: true },
                "+" if self.nodes[id].plus != NONE => self.nodes[id].plus,
                "+" => {
                    let child = self.nodes.insert(Node::new(id, PLUS));
                    self.nodes[id].plus = child;
                    child
                }
                _ => {
                    let hash = hasher.bytes(level.as_bytes());
                    let symbol = self.levels.find(level, hash).unwrap_or_else(|| self.levels.insert(level, hash));
                    let child = self.child(id, &self.nodes[id], symbol, hasher);
                    child.unwrap_or_else(|| self.add_child(id, symbol, hasher))
                }
            };
        }
        End { node: id, hash: false }
    }

    /// The end of a filter, if there are nodes for it.
    pub(crate) fn find(&self, filter: &str, hasher: &SeededHash) -> Option<End> {
        let mut id = ROOT;
        for level in split(filter) {
            let node = &self.nodes[id];
            id = match level {
                "#" => return Some(End { node: id, hash: true }),
                "+" => (node.plus != NONE).then_some(node.plus)?,
                _ => self.child(id, node, self.symbol(level, hasher), hasher)?,
            };
        }
        Some(End { node: id, hash: false })
    }

    /// The set that stands at an end, or `NONE`.
    pub(crate) fn set(&self, end: End) -> u32 {
        let node = &self.nodes[end.node];
        if end.hash { node.hash } else { node.ends }
    }

    pub(crate) fn set_mut(&mut self, end: End) -> &mut u32 {
        let node = &mut self.nodes[end.node];
        if end.hash { &mut node.hash } else { &mut node.ends }
    }

    /// Frees the node of an end and the nodes above it as far as nothing needs them.
    pub(crate) fn prune(&mut self, end: End, hasher: &SeededHash) {
        let mut id = end.node;
        while id != ROOT && self.nodes[id].is_bare() {
            let Node { parent, symbol, .. } = self.nodes.remove(id);
            if symbol == PLUS {
                self.nodes[parent].plus = NONE;
            } else {
                self.remove_child(parent, id, symbol, hasher);
            }
            id = parent;
        }
    }

    /// Calls `each` with every filter and the set at its end.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&str, u32)) {
        let mut symbols = Vec::new();
        let mut text = String::new();
        for (id, node) in (0..).zip(self.nodes.places()) {
            if node.ends == NONE && node.hash == NONE {
                continue;
            }
            self.spell(id, &mut symbols, &mut text);
            if node.ends != NONE {
                each(&text, node.ends);
            }
            if node.hash != NONE {
                text.push_str(if id == ROOT { "#" } else { "/#" });
                each(&text, node.hash);
            }
        }
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.levels.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.edges.shrink_to_fit();
    }

    /// Bytes of nodes and edges, and bytes of the texts of levels.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.nodes.bytes() + self.edges.bytes(), self.levels.bytes())
    }

    fn add_child(&mut self, id: u32, symbol: u32, hasher: &SeededHash) -> u32 {
        self.levels.hold(symbol);
        let child = self.nodes.insert(Node::new(id, symbol));
        let node = &mut self.nodes[id];
        if node.literals == 1 {
            self.edges.insert(hasher.pair(id, node.child_symbol), node.child);
        }
        if node.literals >= 1 {
            self.edges.insert(hasher.pair(id, symbol), child);
        }
        node.literals += 1;
        node.child ^= child;
        node.child_symbol ^= symbol;
        child
    }

    fn remove_child(&mut self, id: u32, child: u32, symbol: u32, hasher: &SeededHash) {
        let node = &mut self.nodes[id];
        node.literals -= 1;
        node.child ^= child;
        node.child_symbol ^= symbol;
        if node.literals >= 1 {
            self.edges.remove(hasher.pair(id, symbol), child);
        }
        if node.literals == 1 {
            self.edges.remove(hasher.pair(id, node.child_symbol), node.child);
        }
        self.levels.release(symbol, hasher);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter of as many slashes has one node more, and the root is there already.
    #[test]
    fn a_filter_needs_at_most_a_node_for_each_byte_and_one() {
        let tree = Tree::new();
        let ids = NONE as usize - 2;
        assert!(tree.has_room(ids - 2));
        assert!(!tree.has_room(ids - 1));
    }
}
