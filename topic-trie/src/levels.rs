//! Interned topic levels: each distinct text is kept once, counted by the nodes that use it.

use crate::hash::SeededHash;
use crate::slab::Slab;
use crate::table::Table;
use alloc::boxed::Box;

#[derive(Clone, Debug, Default)]
struct Level {
    text: Box<str>,
    uses: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Levels {
    table: Table,
    levels: Slab<Level>,
    text_bytes: usize,
}

impl Levels {
    pub(crate) const fn new() -> Self {
        Self { table: Table::new(), levels: Slab::new(), text_bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    #[inline]
    pub(crate) fn text(&self, symbol: u32) -> &str {
        &self.levels[symbol].text
    }

    #[inline]
    pub(crate) fn find(&self, text: &str, hash: u32) -> Option<u32> {
        self.table.find(hash, |symbol| *self.levels[symbol].text == *text)
    }

    /// The symbol of `text`, with one more user.
    pub(crate) fn acquire(&mut self, text: &str, hash: u32) -> u32 {
        if let Some(symbol) = self.find(text, hash) {
            self.levels[symbol].uses += 1;
            return symbol;
        }
        let symbol = self.levels.insert(Level { text: text.into(), uses: 1 });
        self.table.insert(hash, symbol);
        self.text_bytes += text.len();
        symbol
    }

    /// One user less; the last one takes the text along.
    pub(crate) fn release(&mut self, symbol: u32, hasher: &SeededHash) {
        let level = &mut self.levels[symbol];
        level.uses -= 1;
        if level.uses == 0 {
            let level = self.levels.remove(symbol);
            self.table.remove(hasher.bytes(level.text.as_bytes()), symbol);
            self.text_bytes -= level.text.len();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.levels.clear();
        self.text_bytes = 0;
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.table.shrink_to_fit();
        self.levels.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.levels.bytes() + self.text_bytes
    }
}
