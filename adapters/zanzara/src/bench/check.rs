//! Whether what arrives is what was published: nothing lost, nothing twice, nothing out of order.
//!
//! Invariant: a message counts as new once for each subscriber that is owed it, so that what was lost is what was owed less what
//! was new.
use std::collections::HashMap;
use std::ops::Range;

/// Gaps that are remembered for one stream; a message that comes late into an older one counts as a duplicate.
const MAX_GAPS: usize = 4096;

/// What the arrival of a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The one that was due.
    Next,
    /// A later one; those between are missing so far.
    Skipped(Range<u64>),
    /// One of those that were missing: the order is broken.
    Late,
    /// It was here before.
    Duplicate,
}

/// Streams of consecutive numbers, each as one subscriber hears one publisher.
pub(super) struct Order {
    /// The next number of each stream.
    next: Vec<u64>,
    /// What is missing, for the few streams that miss something.
    gaps: HashMap<usize, Vec<Range<u64>>>,
}

impl Order {
    pub(super) fn new(streams: usize) -> Self {
        Self { next: vec![0; streams], gaps: HashMap::new() }
    }

    /// Constant time in order; with gaps, the logarithm of their number.
    #[inline]
    pub(super) fn arrive(&mut self, stream: usize, sequence: u64) -> Arrival {
        let next = &mut self.next[stream];
        if sequence == *next {
            *next += 1;
            return Arrival::Next;
        }
        self.out_of_turn(stream, sequence)
    }

    #[cold]
    fn out_of_turn(&mut self, stream: usize, sequence: u64) -> Arrival {
        let next = &mut self.next[stream];
        if sequence > *next {
            let skipped = *next..sequence;
            *next = sequence + 1;
            let gaps = self.gaps.entry(stream).or_default();
            if gaps.len() == MAX_GAPS {
                gaps.remove(0);
            }
            gaps.push(skipped.clone());
            return Arrival::Skipped(skipped);
        }
        self.fill(stream, sequence)
    }

    fn fill(&mut self, stream: usize, sequence: u64) -> Arrival {
        let Some(gaps) = self.gaps.get_mut(&stream) else { return Arrival::Duplicate };
        let index = gaps.partition_point(|gap| gap.end <= sequence);
        match gaps.get(index).cloned() {
            Some(gap) if gap.contains(&sequence) => {
                let parts = [gap.start..sequence, sequence + 1..gap.end];
                gaps.splice(index..=index, parts.into_iter().filter(|part| !part.is_empty()));
                Arrival::Late
            }
            _ => Arrival::Duplicate,
        }
    }
}

/// What the arrival of a message means for one of several receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    New,
    /// It was there, or nothing was owed.
    Again,
    /// Nobody waited for it any longer; it stays lost.
    TooLate,
}

/// The messages of one publisher that are on their way to the subscribers of one thread.
pub(super) struct Window {
    /// Every subscriber has all messages below this one, or will never get it.
    arrived: u64,
    /// The first message of which nothing is known yet.
    known: u64,
    /// What a message begins with in `missing`.
    owed: u32,
    /// The publisher waits no longer for what is below.
    floor: u64,
    /// By sequence number modulo the length: how many subscribers miss it, or which.
    missing: Vec<u32>,
}

impl Window {
    /// For at most `size` messages on their way.
    pub(super) fn new(size: u64, owed: u32) -> Self {
        Self { arrived: 0, known: 0, owed, floor: 0, missing: vec![0; (size as usize + 1).next_power_of_two()] }
    }

    /// Where the window begins.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// One more subscriber has the message, or will never get it.
    #[inline]
    pub(super) fn count(&mut self, sequence: u64) {
        if self.owed == 1 && sequence == self.arrived && sequence == self.known {
            // The only subscriber has everything before: nothing needs to be remembered.
            self.arrived += 1;
            self.known += 1;
            return;
        }
        if let Some(missing) = self.slot(sequence) {
            *missing = missing.saturating_sub(1);
            self.advance();
        }
    }

    /// The receiver with this number, below 32, has the message.
    pub(super) fn mark(&mut self, sequence: u64, receiver: u32) -> Mark {
        let bit = 1 << receiver;
        if sequence < self.floor {
            return Mark::TooLate;
        }
        match self.slot(sequence) {
            Some(missing) if *missing & bit > 0 => *missing &= !bit,
            _ => return Mark::Again,
        }
        self.advance();
        Mark::New
    }

    /// Waits no longer for messages below this one.
    pub(super) fn give_up(&mut self, floor: u64) {
        self.floor = floor;
        self.arrived = self.arrived.max(floor);
        self.known = self.known.max(floor);
        self.advance();
    }

    /// What a message still misses; `None` if it is behind the window.
    #[inline]
    fn slot(&mut self, sequence: u64) -> Option<&mut u32> {
        if sequence < self.arrived {
            return None;
        }
        if sequence >= self.known {
            self.learn(sequence);
        }
        let mask = self.missing.len() - 1;
        Some(&mut self.missing[sequence as usize & mask])
    }

    /// Makes room for all messages up to this one.
    fn learn(&mut self, sequence: u64) {
        let length = self.missing.len() as u64;
        let mask = self.missing.len() - 1;
        if sequence - self.arrived >= length {
            // Its publisher waits no longer for the oldest.
            self.arrived = sequence + 1 - length;
            self.known = self.known.max(self.arrived);
        }
        while self.known <= sequence {
            self.missing[self.known as usize & mask] = self.owed;
            self.known += 1;
        }
    }

    #[inline]
    fn advance(&mut self) {
        let mask = self.missing.len() - 1;
        while self.arrived < self.known && self.missing[self.arrived as usize & mask] == 0 {
            self.arrived += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(arrivals: &[u64]) -> Vec<Arrival> {
        let mut order = Order::new(2);
        let found = arrivals.iter().map(|sequence| order.arrive(1, *sequence)).collect();
        assert_eq!(order.arrive(0, 0), Arrival::Next, "streams do not touch each other");
        found
    }

    #[test]
    fn planted_faults_are_caught_and_told_apart() {
        use Arrival::*;
        assert_eq!(classes(&[0, 1, 2]), [Next, Next, Next]);
        assert_eq!(classes(&[0, 2, 3]), [Next, Skipped(1..2), Next], "a loss");
        assert_eq!(classes(&[0, 1, 1, 0, 2]), [Next, Next, Duplicate, Duplicate, Next], "duplicates");
        assert_eq!(classes(&[1, 0, 0, 2]), [Skipped(0..1), Late, Duplicate, Next], "a reorder, and then a duplicate");
        assert_eq!(
            classes(&[9, 5, 3, 0, 8, 5, 4, 10]),
            [Skipped(0..9), Late, Late, Late, Late, Duplicate, Late, Next],
            "a gap is filled piece by piece"
        );
    }

    #[test]
    fn what_is_new_is_what_a_naive_set_says() {
        let mut order = Order::new(1);
        let mut seen = std::collections::HashSet::new();
        let (mut state, mut base) = (1_u64, 0);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sequence = base + (state >> 33) % 100;
            base += state >> 63;
            let arrival = order.arrive(0, sequence);
            assert_eq!(arrival != Arrival::Duplicate, seen.insert(sequence), "{sequence}: {arrival:?}");
        }
    }

    #[test]
    fn a_window_moves_when_every_subscriber_has_the_oldest() {
        let mut window = Window::new(3, 2);
        for (sequence, arrived) in [(0, 0), (1, 0), (0, 1), (1, 2), (2, 2), (2, 3)] {
            window.count(sequence);
            assert_eq!(window.arrived(), arrived);
        }
        window.count(2); // nobody misses it
        assert_eq!(window.arrived(), 3);
        // The publisher gave up on 3 to 9: room is made, and what comes of them counts no more.
        window.count(10);
        window.count(10);
        assert_eq!(window.arrived(), 7);
        window.count(5);
        assert_eq!(window.arrived(), 7);
    }

    #[test]
    fn a_receiver_is_marked_once() {
        let mut window = Window::new(3, 0b11);
        assert_eq!(window.mark(1, 0), Mark::New);
        assert_eq!(window.mark(1, 0), Mark::Again, "a duplicate is no second receiver");
        assert_eq!(window.mark(1, 2), Mark::Again, "nor is somebody to whom nothing is owed");
        assert_eq!(window.mark(1, 1), Mark::New);
        assert_eq!(window.arrived(), 0);
        assert_eq!([window.mark(0, 0), window.mark(0, 1)], [Mark::New; 2]);
        assert_eq!(window.arrived(), 2);
        assert_eq!(window.mark(0, 0), Mark::Again, "behind the window");
        // 2 is lost; its publisher goes on.
        assert_eq!([window.mark(3, 0), window.mark(3, 1)], [Mark::New; 2]);
        assert_eq!(window.arrived(), 2);
        window.give_up(4);
        assert_eq!((window.arrived(), window.mark(2, 0)), (4, Mark::TooLate));
        assert_eq!([window.mark(4, 0), window.mark(4, 1)], [Mark::New; 2]);
        assert_eq!(window.arrived(), 5);
    }
}
