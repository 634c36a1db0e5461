//! Interned topic levels: each distinct text is kept once, counted by the nodes that use it.

use crate::hash::SeededHash;
use crate::slab::Slab;
use crate::table::Table;
use crate::text::{Span, Texts};

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    span: Span,
    uses: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Levels {
    table: Table,
    entries: Slab<Level>,
    texts: Texts,
}

impl Levels {
    pub(crate) const fn new() -> Self {
        Self { table: Table::new(), entries: Slab::new(), texts: Texts::new() }
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.texts.has_room(bytes)
    }

    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.texts.get(self.entries[symbol].span)
    }

    /// The symbol of a text; `hash` is that of its bytes.
    #[inline]
    pub(crate) fn find(&self, text: &str, hash: u32) -> Option<u32> {
        self.table.find(hash, |symbol| self.texts.is(self.entries[symbol].span, text))
    }

    /// The symbol of a text that has none yet.
    pub(crate) fn insert(&mut self, text: &str, hash: u32) -> u32 {
        let symbol = self.entries.insert(Level { span: self.texts.insert(text), uses: 0 });
        self.table.insert(hash, symbol);
        symbol
    }

    /// One user more.
    pub(crate) fn hold(&mut self, symbol: u32) {
        self.entries[symbol].uses += 1;
    }

    /// One user less; the last one takes the text along.
    pub(crate) fn release(&mut self, symbol: u32, hasher: &SeededHash) {
        let level = &mut self.entries[symbol];
        level.uses -= 1;
        if level.uses > 0 {
            return;
        }
        let span = self.entries.remove(symbol).span;
        self.table.remove(hasher.bytes(self.texts.bytes_of(span)), symbol);
        if self.texts.remove(span) {
            self.pack();
        }
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.table.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.pack();
        self.texts.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.entries.bytes() + self.texts.bytes()
    }

    fn pack(&mut self) {
        self.texts.pack(self.entries.places_mut().filter(|level| level.uses > 0).map(|level| &mut level.span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_gigabytes_fit() {
        let levels = Levels::new();
        assert!(levels.has_room(u32::MAX as usize));
        assert!(!levels.has_room(u32::MAX as usize + 1));
    }
}
