//! The nodes of the retained store's tree, and what hangs on them.

use crate::slab::{NONE, grow};
use crate::text::Span;
use alloc::vec::Vec;

pub(crate) const ROOT: u32 = 0;

/// Families with more places than this are found through a table.
pub(crate) const FEW: usize = 16;

/// No id, in a link: ids have two bits less there.
pub(crate) const NO_ID: u32 = u32::MAX >> 2;

/// The last moment that a node can be born at; at a million new topics a second it comes after nine years.
const LAST_BIRTH: u64 = (1 << 48) - 1;

/// A level of topic names; 16 bytes, for there is one per topic at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    link: u32,
    /// The topic name if there is a value, or else the level alone, lest deep names take quadratic room.
    pub(crate) span: Span,
    birth: [u16; 3],
}

/// What hangs on a node.
#[derive(Clone, Copy)]
pub(crate) enum Link {
    /// A value and no child.
    Value(u32),
    /// One child and no value.
    Child(u32),
    /// All else.
    Family(u32),
}

/// The children of a node, each at a place of its own as long as it lives: a scan remembers places.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// The value of the node itself.
    pub(crate) value: u32,
    pub(crate) places: Vec<Child>,
    /// The first of the gaps, which form a list.
    gap: u32,
    pub(crate) live: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    /// `NONE` in a gap.
    pub(crate) node: u32,
    /// Hash of the child's level; in a gap the next gap.
    pub(crate) hash: u32,
}

impl Node {
    pub(crate) fn new(span: Span, link: Link, birth: u64) -> Self {
        let birth = birth.min(LAST_BIRTH);
        let birth = [birth as u16, (birth >> 16) as u16, (birth >> 32) as u16];
        Self { link: link.pack(), span, birth }
    }

    pub(crate) fn root() -> Self {
        Self::new(Span::default(), Link::Family(0), 0)
    }

    /// Tells a node from one that had its id before, and from those that came after a scan began.
    #[inline]
    pub(crate) fn birth(&self) -> u64 {
        u64::from(self.birth[0]) | u64::from(self.birth[1]) << 16 | u64::from(self.birth[2]) << 32
    }

    #[inline]
    pub(crate) fn link(&self) -> Link {
        let id = self.link >> 2;
        match self.link & 3 {
            0 => Link::Value(id),
            1 => Link::Child(id),
            _ => Link::Family(id),
        }
    }

    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = link.pack();
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.link == Link::Value(NO_ID).pack()
    }
}

/// What stands in a vacant place: born too late for any scan.
impl Default for Node {
    fn default() -> Self {
        Self::new(Span::default(), Link::Value(NO_ID), LAST_BIRTH)
    }
}

impl Link {
    #[inline]
    fn pack(self) -> u32 {
        match self {
            Self::Value(id) => id << 2,
            Self::Child(id) => id << 2 | 1,
            Self::Family(id) => id << 2 | 2,
        }
    }
}

impl Default for Family {
    fn default() -> Self {
        Self { value: NONE, places: Vec::new(), gap: NONE, live: 0 }
    }
}

impl Child {
    /// A child that is the only one to look at.
    pub(crate) fn lonely(node: u32) -> Self {
        Self { node, hash: 0 }
    }

    #[inline]
    pub(crate) fn node(self) -> Option<u32> {
        (self.node != NONE).then_some(self.node)
    }
}

impl Family {
    pub(crate) fn add(&mut self, child: Child) -> u32 {
        self.live += 1;
        if let Some(gap) = self.places.get_mut(self.gap as usize) {
            let place = core::mem::replace(&mut self.gap, gap.hash);
            *gap = child;
            return place;
        }
        grow(&mut self.places);
        self.places.push(child);
        (self.places.len() - 1) as u32
    }

    /// Leaves a gap.
    pub(crate) fn remove(&mut self, place: u32) -> Child {
        self.live -= 1;
        let gap = Child { node: NONE, hash: core::mem::replace(&mut self.gap, place) };
        core::mem::replace(&mut self.places[place as usize], gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_are_told_apart_for_nine_years() {
        let birth = |birth| Node::new(Span::default(), Link::Value(0), birth).birth();
        for bit in 0..48 {
            assert_eq!(birth(1 << bit), 1 << bit);
            assert_eq!(birth((1 << bit) - 1), (1 << bit) - 1);
        }
        for late in [1 << 48, u64::MAX] {
            assert_eq!(birth(late), (1 << 48) - 1);
        }
        assert_eq!(Node::default().birth(), (1 << 48) - 1);
    }

    #[test]
    fn a_link_keeps_its_kind_and_any_id_but_none() {
        for id in [0, 1, 2, 3, NO_ID - 1, NO_ID] {
            let back = |link| Node::new(Span::default(), link, 0).link();
            assert!(matches!(back(Link::Value(id)), Link::Value(same) if same == id));
            assert!(matches!(back(Link::Child(id)), Link::Child(same) if same == id));
            assert!(matches!(back(Link::Family(id)), Link::Family(same) if same == id));
        }
        assert_eq!(NO_ID, (1 << 30) - 1);
        assert!(Node::default().is_vacant());
        assert!(!Node::root().is_vacant());
    }
}
