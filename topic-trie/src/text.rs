//! Texts: the arena in which names and levels are kept, and the cutting of a name into levels.
//!
//! Invariants: a span is good until its text is removed; garbage is at most a third of an arena.

use crate::slab::grow_by;
use alloc::string::String;

/// Where a text lies in its arena; six bytes, for there is one per node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: [u16; 2],
    len: u16,
}

impl Span {
    fn new(start: usize, len: usize) -> Self {
        Self { start: [start as u16, (start >> 16) as u16], len: len as u16 }
    }

    #[inline]
    fn start(self) -> usize {
        usize::from(self.start[0]) | usize::from(self.start[1]) << 16
    }

    #[inline]
    fn end(self) -> usize {
        self.start() + usize::from(self.len)
    }
}

/// Texts of at most 65,535 bytes one behind the other, four gigabytes in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    all: String,
    garbage: usize,
}

impl Texts {
    pub(crate) const fn new() -> Self {
        Self { all: String::new(), garbage: 0 }
    }

    /// Whether another `bytes` fit.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        u32::try_from(self.all.len() + bytes).is_ok()
    }

    pub(crate) fn insert(&mut self, text: &str) -> Span {
        let start = self.all.len();
        if self.all.capacity() - start < text.len() {
            self.all.reserve_exact(text.len() + grow_by(start));
        }
        self.all.push_str(text);
        Span::new(start, text.len())
    }

    /// Gives a text up. When `true` comes back the arena wants to be packed.
    #[must_use]
    pub(crate) fn remove(&mut self, span: Span) -> bool {
        self.garbage += usize::from(span.len);
        self.garbage > 1024 && self.garbage > self.all.len() / 3
    }

    /// Keeps of a text only the last `len` bytes. Answers as `remove` does.
    #[must_use]
    pub(crate) fn narrow(&mut self, span: &mut Span, len: usize) -> bool {
        let Span { len: before, .. } = *span;
        *span = Span::new(span.end() - len, len);
        self.remove(Span { len: before - len as u16, ..*span })
    }

    /// Moves the texts of `spans`, which must be all that are in use, together.
    pub(crate) fn pack<'a>(&mut self, spans: impl Iterator<Item = &'a mut Span>) {
        let live = self.all.len() - self.garbage;
        let mut packed = String::new();
        packed.reserve_exact(live + grow_by(live));
        for span in spans {
            let start = packed.len();
            packed.push_str(self.get(*span));
            *span = Span::new(start, usize::from(span.len));
        }
        *self = Self { all: packed, garbage: 0 };
    }

    #[inline]
    pub(crate) fn get(&self, span: Span) -> &str {
        &self.all[span.start()..span.end()]
    }

    #[inline]
    pub(crate) fn bytes_of(&self, span: Span) -> &[u8] {
        &self.all.as_bytes()[span.start()..span.end()]
    }

    #[inline]
    pub(crate) fn is(&self, span: Span, text: &str) -> bool {
        self.bytes_of(span) == text.as_bytes()
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.garbage = 0;
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.all.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.all.capacity()
    }
}

const LOW_BITS: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// The high bit of each byte of `word` that equals `byte`. Above the first such byte other bits may be set too.
#[inline]
pub(crate) fn find_in_word(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ LOW_BITS * u64::from(byte);
    zeroed.wrapping_sub(LOW_BITS) & !zeroed & HIGH_BITS
}

/// The levels of a name or filter, eight bytes a step.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
}

pub(crate) fn split(text: &str) -> Split<'_> {
    Split { rest: Some(text) }
}

impl Split<'_> {
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_none()
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let at = find_slash(text.as_bytes());
        self.rest = text.get(at + 1..);
        Some(&text[..at])
    }
}

/// Index of the first `/`, or the length.
#[inline]
fn find_slash(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = find_in_word(u64::from_le_bytes(*chunk), b'/');
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| byte == b'/').map_or(bytes.len(), |index| at + index)
}
