//! A table with stable small keys, for connections, sessions, logs and groups.
//!
//! Invariant: a slot is used again only after its value was removed; its generation then differs.
use alloc::vec::Vec;

/// A table of values at small keys.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and returns its key. O(1).
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(key) = self.free.pop() {
            let slot = &mut self.slots[key as usize];
            slot.generation = slot.generation.wrapping_add(1);
            slot.value = Some(value);
            return key;
        }
        self.slots.push(Slot { generation: 0, value: Some(value) });
        u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 values fit into memory")
    }

    /// Takes the value at `key` out.
    pub(super) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.slots.get_mut(key as usize)?.value.take()?;
        self.free.push(key);
        Some(value)
    }

    /// The value at `key`.
    pub(super) fn get(&self, key: u32) -> Option<&T> {
        self.slots.get(key as usize)?.value.as_ref()
    }

    /// The value at `key`.
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.slots.get_mut(key as usize)?.value.as_mut()
    }

    /// The generation of the value at `key`.
    pub(super) fn generation(&self, key: u32) -> u32 {
        self.slots.get(key as usize).map_or(0, |slot| slot.generation)
    }

    /// Number of values. O(1).
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The keys in use, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some()).map(|(key, _)| key as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_under_a_new_generation() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!((slab.get(a), slab.len()), (Some(&'a'), 2));
        let before = slab.generation(a);
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((slab.remove(a), slab.get(a), slab.len()), (None, None, 1));
        let c = slab.insert('c');
        assert_eq!(c, a);
        assert_ne!(slab.generation(c), before);
        assert!(slab.keys().eq([a, b]));
    }
}
