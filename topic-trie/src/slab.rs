//! A growing array of items with stable `u32` ids; freed ids are used again, the last freed first.

use alloc::vec::Vec;

/// No id: no item has it.
pub(crate) const NONE: u32 = u32::MAX;

/// `T::default()` stands in a vacant place.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Whether another `count` items fit; two ids are left to mean something else.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.items.len() + count < NONE as usize - 1
    }

    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.items[id as usize] = item;
            return id;
        }
        grow(&mut self.items);
        self.items.push(item);
        (self.items.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, id: u32) -> T {
        let item = core::mem::take(&mut self.items[id as usize]);
        self.free.push(id);
        item
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.items.get(id as usize)
    }

    /// Number of places, the vacant ones included.
    pub(crate) fn count_places(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn places_from(&self, first: u32) -> impl Iterator<Item = &T> {
        self.items.get(first as usize..).unwrap_or_default().iter()
    }

    /// Every place in the order of ids, the vacant ones too.
    pub(crate) fn places(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub(crate) fn places_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.free.clear();
    }

    /// Gives back what lies behind the last item in use.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.free.sort_unstable();
        while self.free.last().is_some_and(|&id| id as usize + 1 == self.items.len()) {
            self.free.pop();
            self.items.pop();
        }
        self.free.reverse();
        self.free.shrink_to_fit();
        self.items.shrink_to_fit();
    }

    /// Bytes held, without what the items hold on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.items[id as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }
}

/// Makes room for one more item.
#[inline]
pub(crate) fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(grow_by(items.len()));
    }
}

/// By how much to enlarge what holds `len`: an eighth, for doubling would leave a third of the memory unused on average.
pub(crate) fn grow_by(len: usize) -> usize {
    (len / 8).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_are_left() {
        let mut slab = Slab::new();
        assert!(slab.has_room(NONE as usize - 2));
        assert!(!slab.has_room(NONE as usize - 1));
        slab.insert(1);
        assert!(slab.has_room(NONE as usize - 3));
        assert!(!slab.has_room(NONE as usize - 2));
    }

    #[test]
    fn a_full_vector_grows_by_an_eighth() {
        let mut items = Vec::new();
        for (len, capacity) in [(0, 4), (1, 4), (3, 4), (4, 8), (32, 36), (36, 40), (40, 45), (800, 900)] {
            items.resize(len, 0);
            items.shrink_to_fit();
            if len % 4 != 0 {
                items.reserve_exact(4 - len);
            }
            grow(&mut items);
            assert_eq!(items.capacity(), capacity, "{len}");
        }
    }
}
