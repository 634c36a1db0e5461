//! Packet Identifiers of the messages on their way to one client (section 2.2.1).
//!
//! Invariant: an identifier in use is never given out again [MQTT-2.2.1-3], [MQTT-2.2.1-4].
use alloc::vec;
use mqtt_proto::PacketId;

/// Gives out Packet Identifiers in ascending order, skipping those in use.
#[derive(Clone, Debug)]
pub(super) struct PacketIds {
    next: PacketId,
    /// How many identifiers from `next` on are known to be free.
    free: u16,
}

impl Default for PacketIds {
    fn default() -> Self {
        Self { next: PacketId::MIN, free: 0 }
    }
}

impl PacketIds {
    /// The next free identifier; `None` if all 65,535 are in use. O(1) while a run of free ones lasts, then O(in use + 65,536 / 64).
    pub(super) fn allocate(&mut self, in_use: impl Iterator<Item = PacketId>) -> Option<PacketId> {
        if self.free == 0 {
            self.find_run(in_use)?;
        }
        let id = self.next;
        self.next = id.next();
        self.free -= 1;
        Some(id)
    }

    /// Moves `next` to the nearest free identifier and counts how many follow it.
    fn find_run(&mut self, in_use: impl Iterator<Item = PacketId>) -> Option<()> {
        let mut used = vec![0_u64; 1024];
        for id in in_use {
            used[usize::from(id.get() / 64)] |= 1 << (id.get() % 64);
        }
        let is_used = |id: PacketId| used[usize::from(id.get() / 64)] & 1 << (id.get() % 64) != 0;
        let start = self.next;
        while is_used(self.next) {
            self.next = self.next.next();
            if self.next == start {
                return None;
            }
        }
        let mut id = self.next;
        while self.free < u16::MAX && !is_used(id) {
            let whole_word = id.get().is_multiple_of(64) && used[usize::from(id.get() / 64)] == 0;
            if whole_word && self.free <= u16::MAX - 64 {
                self.free += 64;
                id = PacketId::new(id.get().wrapping_add(64)).unwrap_or(PacketId::MIN); // around, past 0
            } else {
                self.free += 1;
                id = id.next();
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    #[test]
    fn identifiers_in_use_are_skipped_after_a_wrap() {
        // [MQTT-2.2.1-3], [MQTT-2.2.1-4], [3.1.1: MQTT-2.3.1-4]
        let mut ids = PacketIds::default();
        let held = [id(1), id(2), id(7)];
        assert_eq!(ids.allocate(core::iter::empty()), Some(id(1)));
        for expected in 2..=u16::MAX {
            // The first round was found free before anything was held.
            assert_eq!(ids.allocate(held.iter().copied()), Some(id(expected)));
        }
        let round: Vec<u16> = (0..5).map(|_| ids.allocate(held.iter().copied()).unwrap().get()).collect();
        assert_eq!(round, [3, 4, 5, 6, 8]);
    }

    #[test]
    fn a_run_ends_before_the_next_in_use() {
        // [MQTT-2.2.1-3]: whatever word of the table it stands in, and around the end
        let held = [63, 64, 700, 1024, 65_471, u16::MAX];
        let free: Vec<u16> = (1..=u16::MAX).filter(|value| !held.contains(value)).collect();
        let mut ids = PacketIds::default();
        for expected in free.iter().chain(&free) {
            assert_eq!(ids.allocate(held.iter().copied().map(id)), Some(id(*expected)));
        }
    }

    #[test]
    fn none_is_left_when_all_are_in_use() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.allocate((1..=u16::MAX).map(id)), None);
        assert_eq!(ids.allocate((1..=u16::MAX).filter(|v| *v != 500).map(id)), Some(id(500)));
    }
}
