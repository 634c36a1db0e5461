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
const LOW_SEVEN: u64 = LOW_BITS * 0x7f;

/// The high bit of each byte of `word` that equals `byte`.
#[inline]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ (LOW_BITS * u64::from(byte));
    !(((zeroed & LOW_SEVEN) + LOW_SEVEN) | zeroed | LOW_SEVEN)
}

/// Index of the first byte from `from` on that `wanted` marks in a word with its high bit. Eight bytes a step.
#[inline]
fn find(bytes: &[u8], mut from: usize, wanted: impl Fn(u64) -> u64) -> Option<usize> {
    let mut found = 0;
    let mut rest = bytes.get(from..)?;
    while let Some((chunk, more)) = rest.split_first_chunk() {
        found = wanted(u64::from_le_bytes(*chunk));
        if found != 0 {
            break;
        }
        from += 8;
        rest = more;
    }
    if found == 0 && from < bytes.len() {
        let empty = 64 - 8 * (bytes.len() - from);
        let word = match bytes.last_chunk() {
            Some(chunk) => u64::from_le_bytes(*chunk) >> empty,
            None => bytes[from..].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        found = wanted(word) & (u64::MAX >> empty);
    }
    (found != 0).then(|| from + (found.trailing_zeros() / 8) as usize)
}

/// Index of the first U+0000, `+` or `#` from `from` on.
#[inline]
pub(crate) fn find_special(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |word| {
        // Most words have no byte below `,` and are done with.
        let low = word.wrapping_sub(LOW_BITS * u64::from(b',')) & !word & (LOW_BITS << 7);
        if low == 0 { 0 } else { bytes_equal(word, 0) | bytes_equal(word, b'+') | bytes_equal(word, b'#') }
    })
}

/// The levels of a name or filter.
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
        let at = find(text.as_bytes(), 0, |word| bytes_equal(word, b'/')).unwrap_or(text.len());
        self.rest = text.get(at + 1..);
        Some(&text[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_gigabytes_fit() {
        let mut texts = Texts::new();
        assert!(texts.has_room(u32::MAX as usize));
        assert!(!texts.has_room(u32::MAX as usize + 1));
        let _ = texts.insert("abc");
        assert!(!texts.has_room(u32::MAX as usize - 2));
    }

    #[test]
    fn an_arena_grows_when_a_text_does_not_fit() {
        let mut texts = Texts::new();
        for (text, bytes) in [("abcd", 8), ("efgh", 8), ("ijklmnopq", 21)] {
            let _ = texts.insert(text);
            assert_eq!(texts.bytes(), bytes, "{text}");
        }
        texts.shrink_to_fit();
        assert_eq!(texts.bytes(), 17);
    }

    /// Not for little, and not for less than a third.
    #[test]
    fn garbage_is_packed_when_it_weighs() {
        let filled = |live: usize| {
            let mut texts = Texts::new();
            let keep = texts.insert(&"x".repeat(live));
            let spans = [1024, 1, 1].map(|len| texts.insert(&"y".repeat(len)));
            (texts, keep, spans)
        };
        let (mut texts, _, [long, one, _]) = filled(10);
        assert!(!texts.remove(long), "1024 of 1036");
        assert!(texts.remove(one), "1025 of 1036");

        let (mut texts, mut keep, [long, one, two]) = filled(2050);
        assert!(!texts.remove(long), "1024 of 3076");
        assert!(!texts.remove(one), "1025 of 3076 is a third");
        assert!(texts.remove(two), "1026 of 3076");
        texts.pack(core::iter::once(&mut keep));
        assert_eq!(texts.get(keep), "x".repeat(2050));
        assert_eq!(texts.bytes(), 2050 + 2050 / 8);
    }

    #[test]
    fn spans_reach_over_the_whole_arena() {
        for start in [0, 1, 0xffff, 0x1_0000, 0x1_8001, 0xffff_0000] {
            let span = Span::new(start, 0xffff);
            assert_eq!((span.start(), span.end()), (start, start + 0xffff));
        }
    }
}
