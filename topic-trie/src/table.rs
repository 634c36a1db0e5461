//! A hash table of `u32` ids: open addressing, slots ordered by hash.
//!
//! A slot is `hash << 32 | id`. The home of a hash grows with the hash, and slots that share a run are kept sorted; so the
//! whole table reads as one ascending sequence with gaps. A search ends at the first slot that is greater, a removal moves
//! the rest of its run back by one: there are no tombstones.
//!
//! Invariants: between the home of an entry and its slot there is no gap; the order depends on nothing but the entries.

use alloc::vec::Vec;

/// Greater than every slot in use, for no id is `u32::MAX`.
const EMPTY: u64 = u64::MAX;

/// Room for the overflow of the last run.
const SPARE: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The homes, and behind them the overflow of the last run.
    slots: Vec<u64>,
    homes: usize,
    len: usize,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), homes: 0, len: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// The id with this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = u64::from(hash) << 32;
        let mut at = self.home(wanted);
        loop {
            let slot = *self.slots.get(at)?;
            if slot >= wanted {
                if slot >> 32 != u64::from(hash) || slot == EMPTY {
                    return None;
                }
                if is_it(slot as u32) {
                    return Some(slot as u32);
                }
            }
            at += 1;
        }
    }

    pub(crate) fn insert(&mut self, hash: u32, id: u32) {
        if (self.len + 1) * 5 > self.homes * 4 {
            // Large tables grow by half: there the memory counts for more than the work.
            let more = if self.homes < 1 << 16 { self.homes } else { self.homes / 2 };
            self.rebuild((self.homes + more).max(16));
        }
        let mut slot = entry(hash, id);
        let mut at = self.home(slot);
        while self.slots.get(at).is_some_and(|&other| other < slot) {
            at += 1;
        }
        while slot != EMPTY {
            let Some(other) = self.slots.get_mut(at) else {
                self.push(slot);
                break;
            };
            core::mem::swap(other, &mut slot);
            at += 1;
        }
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, hash: u32, id: u32) {
        let slot = entry(hash, id);
        let mut at = self.home(slot);
        while self.slots.get(at).is_some_and(|&other| other < slot) {
            at += 1;
        }
        if self.slots.get(at) != Some(&slot) {
            return;
        }
        // Close the gap with the entries behind it that are not at home.
        while let Some(&next) = self.slots.get(at + 1) {
            if next == EMPTY || self.home(next) > at {
                break;
            }
            self.slots[at] = next;
            at += 1;
        }
        self.slots[at] = EMPTY;
        self.len -= 1;
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill(EMPTY);
        self.len = 0;
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        if self.len == 0 {
            *self = Self::new();
        } else {
            self.rebuild((self.len * 5).div_ceil(4).max(16));
            self.slots.shrink_to_fit();
        }
    }

    #[inline]
    fn home(&self, slot: u64) -> usize {
        (((slot >> 32) * self.homes as u64) >> 32) as usize
    }

    fn push(&mut self, slot: u64) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(SPARE);
        }
        self.slots.push(slot);
    }

    /// Spreads the entries over `homes`, in one pass, for they are in order already.
    fn rebuild(&mut self, homes: usize) {
        let mut slots = Vec::with_capacity(homes + SPARE);
        slots.resize(homes, EMPTY);
        let old = core::mem::replace(&mut self.slots, slots);
        self.homes = homes;
        let mut next = 0;
        for slot in old.into_iter().filter(|&slot| slot != EMPTY) {
            let at = self.home(slot).max(next);
            match self.slots.get_mut(at) {
                Some(free) => *free = slot,
                None => self.push(slot),
            }
            next = at + 1;
        }
    }
}

fn entry(hash: u32, id: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_at_most_four_fifths_full() {
        let mut table = Table::new();
        assert_eq!(table.bytes(), 0);
        let mut expected = 16;
        for id in 0..120_000u32 {
            if (id + 1) as usize * 5 > expected * 4 {
                // From 2^16 on the growth is by half.
                expected += if expected < 65_536 { expected } else { expected / 2 };
            }
            table.insert(id.wrapping_mul(0x9e37_79b9), id);
            assert_eq!(table.homes, expected, "{id}");
            assert_eq!(
                table.bytes(),
                (expected + SPARE) * size_of::<u64>(),
                "spread evenly they need no more to spare"
            );
        }
        assert_eq!(expected, 221_184);
        table.shrink_to_fit();
        assert_eq!(table.homes, 150_000);
        assert!((0..120_000u32).all(|id| table.find(id.wrapping_mul(0x9e37_79b9), |found| found == id) == Some(id)));
    }

    #[test]
    fn what_was_removed_fits_again() {
        let mut table = Table::new();
        for id in 0..16 {
            table.insert(id << 28, id);
        }
        table.shrink_to_fit();
        assert_eq!(table.homes, 20);
        table.remove(3 << 28, 3);
        table.insert(3 << 28, 3);
        assert_eq!(table.homes, 20);
    }

    #[test]
    fn the_last_run_overflows_by_sixteen_at_a_time() {
        let mut table = Table::new();
        for id in 0..20 {
            table.insert(u32::MAX, id);
        }
        // The last of 32 homes, the sixteen spare places, and sixteen more.
        assert_eq!(table.bytes(), (32 + 2 * SPARE) * size_of::<u64>());
        assert!((0..20).all(|id| table.find(u32::MAX, |found| found == id) == Some(id)));
        assert_eq!(table.find(u32::MAX, |id| id == 20), None);
    }

    #[test]
    fn only_entries_with_the_hash_are_looked_at() {
        let mut table = Table::new();
        for hash in [7, 8, u32::MAX] {
            for id in 0..3 {
                table.insert(hash, id + hash % 8 * 10);
            }
        }
        for (hash, ids) in [(7, 70..73), (8, 0..3), (u32::MAX, 70..73), (6, 0..0), (9, 0..0)] {
            let mut asked = Vec::new();
            let look = |id| {
                asked.push(id);
                false
            };
            assert_eq!(table.find(hash, look), None);
            assert!(asked.iter().copied().eq(ids), "{hash}: {asked:?}");
        }
    }
}
