//! Filters without wildcards: one table over whole texts.

use crate::set::Set;
use crate::slab::Slab;
use crate::table::Table;
use crate::text::{Span, Texts};
use core::hash::Hash;

#[derive(Clone, Debug)]
pub(crate) struct Exact<K, V> {
    table: Table,
    filters: Slab<Filter<K, V>>,
    texts: Texts,
}

#[derive(Clone, Debug)]
struct Filter<K, V> {
    text: Span,
    set: Set<K, V>,
}

impl<K, V> Default for Filter<K, V> {
    fn default() -> Self {
        Self { text: Span::default(), set: Set::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Exact<K, V> {
    pub(crate) const fn new() -> Self {
        Self { table: Table::new(), filters: Slab::new(), texts: Texts::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.filters.has_room(1) && self.texts.has_room(bytes)
    }

    /// The id of a filter whose text has this hash.
    #[inline]
    pub(crate) fn find(&self, text: &str, hash: u32) -> Option<u32> {
        self.table.find(hash, |id| self.texts.is(self.filters[id].text, text))
    }

    /// As `find`; a filter that is new gets an empty set.
    pub(crate) fn make(&mut self, text: &str, hash: u32) -> u32 {
        self.find(text, hash).unwrap_or_else(|| {
            let id = self.filters.insert(Filter { text: self.texts.insert(text), set: Set::default() });
            self.table.insert(hash, id);
            id
        })
    }

    pub(crate) fn remove(&mut self, id: u32, hash: u32) {
        self.table.remove(hash, id);
        let filter = self.filters.remove(id);
        if self.texts.remove(filter.text) {
            self.pack();
        }
    }

    #[inline]
    pub(crate) fn set(&self, id: u32) -> &Set<K, V> {
        &self.filters[id].set
    }

    pub(crate) fn set_mut(&mut self, id: u32) -> &mut Set<K, V> {
        &mut self.filters[id].set
    }

    /// The filters with their subscribers, in the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Set<K, V>)> {
        let used = self.filters.places().filter(|filter| !filter.set.is_vacant());
        used.map(|filter| (self.texts.get(filter.text), &filter.set))
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.pack();
        self.texts.shrink_to_fit();
        self.table.shrink_to_fit();
        self.filters.shrink_to_fit();
        self.filters.places_mut().for_each(|filter| filter.set.shrink_to_fit());
    }

    /// Bytes of sets, and bytes of texts with the table that finds them.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let sets = self.filters.places().map(|filter| filter.set.heap_bytes()).sum::<usize>();
        (self.filters.bytes() + sets, self.texts.bytes() + self.table.bytes())
    }

    fn pack(&mut self) {
        let used = self.filters.places_mut().filter(|filter| !filter.set.is_vacant());
        self.texts.pack(used.map(|filter| &mut filter.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_gigabytes_fit() {
        let exact = Exact::<u32, ()>::new();
        assert!(exact.has_room(u32::MAX as usize));
        assert!(!exact.has_room(u32::MAX as usize + 1));
    }
}
