//! The subscribers of one filter: one inline, a few in a vector, many with an index.

use crate::hash::SeededHash;
use crate::slab::grow;
use crate::table::Table;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// Beyond this many a linear search costs more than an index.
const FEW: usize = 16;

#[derive(Clone, Debug)]
pub(crate) enum Set<K, V> {
    One((K, V)),
    /// An empty vector stands in a vacant place.
    Few(Vec<(K, V)>),
    Many(Box<Many<K, V>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Many<K, V> {
    pairs: Vec<(K, V)>,
    index: Table,
}

impl<K, V> Default for Set<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Copy + Eq + Hash, V> Set<K, V> {
    #[inline]
    pub(crate) fn pairs(&self) -> &[(K, V)] {
        match self {
            Self::One(pair) => core::slice::from_ref(pair),
            Self::Few(pairs) => pairs,
            Self::Many(many) => &many.pairs,
        }
    }

    fn pairs_mut(&mut self) -> &mut [(K, V)] {
        match self {
            Self::One(pair) => core::slice::from_mut(pair),
            Self::Few(pairs) => pairs,
            Self::Many(many) => &mut many.pairs,
        }
    }

    fn position(&self, key: K, hasher: &SeededHash) -> Option<usize> {
        match self {
            Self::Many(many) => {
                let is_it = |at: u32| many.pairs[at as usize].0 == key;
                many.index.find(hash_key(key, hasher), is_it).map(|at| at as usize)
            }
            _ => self.pairs().iter().position(|pair| pair.0 == key),
        }
    }

    pub(crate) fn get(&self, key: K, hasher: &SeededHash) -> Option<&V> {
        self.position(key, hasher).map(|at| &self.pairs()[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: K, hasher: &SeededHash) -> Option<&mut V> {
        self.position(key, hasher).map(|at| &mut self.pairs_mut()[at].1)
    }

    /// Adds or replaces; the replaced value comes back.
    pub(crate) fn insert(&mut self, key: K, value: V, hasher: &SeededHash) -> Option<V> {
        if self.is_vacant() {
            *self = Self::One((key, value));
            return None;
        }
        if let Some(old) = self.get_mut(key, hasher) {
            return Some(core::mem::replace(old, value));
        }
        *self = match core::mem::take(self) {
            Self::One(first) => {
                let mut pairs = Vec::with_capacity(4);
                pairs.push(first);
                pairs.push((key, value));
                Self::Few(pairs)
            }
            Self::Few(mut pairs) if pairs.len() < FEW => {
                grow(&mut pairs);
                pairs.push((key, value));
                Self::Few(pairs)
            }
            Self::Few(pairs) => {
                let mut many = Box::new(Many { pairs, index: Table::new() });
                for (at, pair) in (0..).zip(&many.pairs) {
                    many.index.insert(hash_key(pair.0, hasher), at);
                }
                many.push(key, value, hasher);
                Self::Many(many)
            }
            Self::Many(mut many) => {
                many.push(key, value, hasher);
                Self::Many(many)
            }
        };
        None
    }

    /// Takes one subscriber out; the last one takes its place in the order.
    pub(crate) fn remove(&mut self, key: K, hasher: &SeededHash) -> Option<V> {
        let at = self.position(key, hasher)?;
        let (rest, value) = match core::mem::take(self) {
            Self::One((_, value)) => (Self::default(), value),
            Self::Few(mut pairs) => {
                let (_, value) = pairs.swap_remove(at);
                let last = if pairs.len() == 1 { pairs.pop() } else { None };
                (last.map_or(Self::Few(pairs), Self::One), value)
            }
            Self::Many(mut many) => {
                let value = many.swap_remove(at, hasher);
                // Half of what made it many, so that one subscriber who comes and goes does not rebuild the index.
                let rest = if many.pairs.len() > FEW / 2 { Self::Many(many) } else { Self::Few(many.pairs) };
                (rest, value)
            }
        };
        *self = rest;
        Some(value)
    }

    pub(crate) fn is_vacant(&self) -> bool {
        matches!(self, Self::Few(pairs) if pairs.is_empty())
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        match self {
            Self::One(_) => {}
            Self::Few(pairs) => pairs.shrink_to_fit(),
            Self::Many(many) => {
                many.pairs.shrink_to_fit();
                many.index.shrink_to_fit();
            }
        }
    }

    /// Bytes held on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(pairs) => pairs.capacity() * size_of::<(K, V)>(),
            Self::Many(many) => {
                size_of::<Many<K, V>>() + many.pairs.capacity() * size_of::<(K, V)>() + many.index.bytes()
            }
        }
    }
}

impl<K: Copy + Eq + Hash, V> Many<K, V> {
    fn push(&mut self, key: K, value: V, hasher: &SeededHash) {
        self.index.insert(hash_key(key, hasher), self.pairs.len() as u32);
        grow(&mut self.pairs);
        self.pairs.push((key, value));
    }

    fn swap_remove(&mut self, at: usize, hasher: &SeededHash) -> V {
        let last = self.pairs.len() - 1;
        self.index.remove(hash_key(self.pairs[at].0, hasher), at as u32);
        if at != last {
            let moved = hash_key(self.pairs[last].0, hasher);
            self.index.remove(moved, last as u32);
            self.index.insert(moved, at as u32);
        }
        self.pairs.swap_remove(at).1
    }
}

fn hash_key<K: Hash>(key: K, hasher: &SeededHash) -> u32 {
    let mut state = KeyHasher { hasher, state: 0 };
    key.hash(&mut state);
    hasher.finish(state.finish())
}

struct KeyHasher<'a> {
    hasher: &'a SeededHash,
    state: u64,
}

impl KeyHasher<'_> {
    fn word(&mut self, word: u64) {
        self.state = self.hasher.word(self.state.rotate_left(23) ^ word);
    }
}

impl Hasher for KeyHasher<'_> {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.word(word);
        }
    }

    fn write_u8(&mut self, i: u8) {
        self.word(u64::from(i));
    }

    fn write_u16(&mut self, i: u16) {
        self.word(u64::from(i));
    }

    fn write_u32(&mut self, i: u32) {
        self.word(u64::from(i));
    }

    fn write_u64(&mut self, i: u64) {
        self.word(i);
    }

    fn write_usize(&mut self, i: usize) {
        self.word(i as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Seed;
    use alloc::collections::BTreeSet;
    use alloc::format;

    #[test]
    fn an_index_comes_with_the_seventeenth_and_goes_with_the_eighth() {
        let hasher = SeededHash::new(Seed([5, 6]));
        let mut set = Set::default();
        let kind = |set: &Set<u32, ()>| match set {
            Set::One(_) => 1,
            Set::Few(_) => 2,
            Set::Many(_) => 3,
        };
        for key in 0..40 {
            set.insert(key, (), &hasher);
            let expected = [(0, 1), (1, 2), (16, 3)].iter().rev().find(|(from, _)| key >= *from).map(|(_, kind)| *kind);
            assert_eq!(Some(kind(&set)), expected, "{key}");
        }
        for left in (0..40).rev() {
            set.remove(left, &hasher);
            let expected = if left > 8 {
                3
            } else if left == 1 {
                1
            } else {
                2
            };
            assert_eq!(kind(&set), expected, "{left} left");
        }
        assert!(set.is_vacant());
    }

    /// Keys of every shape: few of ten thousand share a hash.
    #[test]
    fn keys_spread() {
        fn distinct<K: Hash>(keys: impl Iterator<Item = K>) -> usize {
            let mut least = usize::MAX;
            let keys: Vec<K> = keys.collect();
            for seed in [[0, 0], [1, 3], [u64::MAX, 8]] {
                let hasher = SeededHash::new(Seed(seed));
                least = least.min(keys.iter().map(|key| hash_key(key, &hasher)).collect::<BTreeSet<u32>>().len());
            }
            least
        }
        assert_eq!(distinct(0..=u8::MAX), 256);
        assert!(distinct(0..10_000u16) > 9_990);
        assert!(distinct(0..10_000u32) > 9_990);
        assert!(distinct((0..10_000u64).map(|key| key << 40)) > 9_990);
        assert!(distinct(0..10_000usize) > 9_990);
        assert!(distinct((0..10_000u32).map(|key| (key / 100, key % 100))) > 9_990);
        assert!(distinct((0..10_000u32).map(|key| (key % 100, key / 100))) > 9_990);
        assert!(distinct((0..10_000).map(|key| format!("{key}"))) > 9_990);
        assert!(distinct((0..10_000u32).map(|key| (key.to_be_bytes(), 'x'))) > 9_990);
    }
}
