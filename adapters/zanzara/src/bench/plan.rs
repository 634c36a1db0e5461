//! Who publishes what to whom.
//!
//! Invariant: which messages a subscriber is owed follows from the plan alone.
use super::spread::Spread;
use super::wire::{self, Protocol, Stamp, Template};
use std::ops::Range;

/// Publishers and subscribers of one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each publisher to a subscriber of its own.
    Pairs(usize),
    /// All publishers to one subscriber.
    FanIn(usize),
    /// One publisher to all subscribers.
    FanOut(usize),
    /// Publishers to the members of one shared subscription.
    Shared { publishers: usize, members: usize, group: String },
    /// Publishers to topics that many subscriptions of a few clients wait for.
    Spread(Spread),
}

/// What a message misses before it has arrived anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// This many subscribers, each of which is owed every message of the publisher.
    Each(u32),
    /// Receivers by number, as bits.
    Receivers(u32),
}

impl Shape {
    pub(super) fn publishers(&self) -> usize {
        match self {
            Self::Pairs(count) | Self::FanIn(count) => *count,
            Self::FanOut(_) => 1,
            Self::Shared { publishers, .. } => *publishers,
            Self::Spread(spread) => spread.publishers,
        }
    }

    pub(super) fn subscribers(&self) -> usize {
        match self {
            Self::Pairs(count) | Self::FanOut(count) => *count,
            Self::FanIn(_) => 1,
            Self::Shared { members, .. } => *members,
            Self::Spread(spread) => spread.clients,
        }
    }

    /// How many subscribers get each message.
    pub(super) fn copies(&self) -> u64 {
        match self {
            Self::FanOut(count) => *count as u64,
            Self::Spread(spread) => u64::from(spread.copies()),
            _ => 1,
        }
    }

    /// The thread of a publisher. Pairs stay together.
    pub(super) fn publishers_of(&self, thread: usize, threads: usize) -> Range<usize> {
        share(self.publishers(), thread, threads)
    }

    /// The subscribers of a thread. Those of one shared subscription have to stay together.
    pub(super) fn subscribers_of(&self, thread: usize, threads: usize) -> Range<usize> {
        match self {
            Self::Pairs(_) | Self::FanOut(_) => share(self.subscribers(), thread, threads),
            _ if thread == 0 => 0..self.subscribers(),
            _ => 0..0,
        }
    }

    /// The publishers that the subscribers of a thread hear.
    pub(super) fn heard_by(&self, thread: usize, threads: usize) -> Range<usize> {
        match self {
            Self::Pairs(_) => self.publishers_of(thread, threads),
            _ if self.subscribers_of(thread, threads).is_empty() => 0..0,
            _ => 0..self.publishers(),
        }
    }

    /// What the subscribers of a thread are owed of each message that they hear.
    pub(super) fn owed(&self, thread: usize, threads: usize) -> Owed {
        match self {
            Self::Pairs(_) | Self::FanIn(_) => Owed::Each(1),
            Self::FanOut(_) => Owed::Each(self.subscribers_of(thread, threads).len() as u32),
            Self::Shared { .. } => Owed::Receivers(1),
            Self::Spread(spread) => Owed::Receivers((1 << spread.copies()) - 1),
        }
    }

    /// The number of the stream in which a subscriber hears a publisher, among those of its thread; `None` if it should not.
    pub(super) fn stream(&self, subscriber: usize, first: usize, publisher: usize) -> Option<usize> {
        match self {
            Self::Pairs(_) => (subscriber == publisher).then(|| subscriber - first),
            Self::FanIn(_) => Some(publisher),
            _ => Some(subscriber - first),
        }
    }

    /// Streams of a thread.
    pub(super) fn streams(&self, thread: usize, threads: usize) -> usize {
        match self {
            Self::FanIn(publishers) => *publishers,
            _ => self.subscribers_of(thread, threads).len(),
        }
    }

    /// The number of a subscriber among the receivers of a message to a topic; `None` if it should not have it.
    pub(super) fn receiver(&self, subscriber: usize, topic: u64) -> Option<u32> {
        match self {
            Self::Spread(spread) => spread.receiver(subscriber, topic),
            _ => Some(0),
        }
    }
}

/// A part of `count` things in a row.
fn share(count: usize, part: usize, parts: usize) -> Range<usize> {
    count * part / parts..count * (part + 1) / parts
}

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) qos: u8,
    /// Bytes of a payload.
    pub(super) size: usize,
    /// Messages on their way, for each publisher.
    pub(super) window: u64,
    /// Topics of each publisher.
    pub(super) topics: u64,
    /// Messages of each publisher, if they are counted.
    pub(super) count: Option<u64>,
    /// Messages a second of all publishers, if they are paced.
    pub(super) rate: Option<f64>,
    /// Whether to wait for due messages without sleep.
    pub(super) spin: bool,
    pub(super) threads: usize,
    /// Subscribers that never read.
    pub(super) frozen: usize,
    /// Whether the sessions of the subscribers last.
    pub(super) persistent: bool,
    pub(super) protocol: Protocol,
    /// The first level of all topics.
    pub(super) prefix: String,
    /// A number that other runs have not.
    pub(super) run: u32,
}

/// Scatters the topics of consecutive messages; a prime beyond any number of topics.
const STRIDE: u64 = 4_294_967_311;

impl Plan {
    /// The topics of a publisher, with `#` for digits.
    fn pattern(&self, publisher: usize) -> String {
        match &self.shape {
            Shape::Spread(spread) => spread.pattern(&self.prefix),
            _ if self.topics == 1 => format!("{}/{publisher}", self.prefix),
            _ => format!("{}/{publisher}/{}", self.prefix, wire::digits(self.topics)),
        }
    }

    /// The number of the topic of a message.
    pub(super) fn topic(&self, publisher: usize, sequence: u64) -> u64 {
        if self.topics == 1 {
            return 0;
        }
        sequence.wrapping_mul(STRIDE).wrapping_add(7919 * publisher as u64) % self.topics
    }

    /// The messages of a publisher.
    pub(super) fn template(&self, publisher: usize) -> Template {
        let stamp = Stamp { topic: self.pattern(publisher), run: self.run, publisher: publisher as u32 };
        Template::new(&stamp, self.size, self.qos, false, self.protocol)
    }

    /// The filter of a subscriber.
    pub(super) fn filter(&self, subscriber: usize) -> String {
        let prefix = &self.prefix;
        let tail = if self.topics == 1 { "" } else { "/+" };
        match &self.shape {
            Shape::Pairs(_) => format!("{prefix}/{subscriber}{tail}"),
            Shape::FanOut(_) => format!("{prefix}/0{tail}"),
            Shape::FanIn(_) => format!("{prefix}/+{tail}"),
            Shape::Shared { group, .. } => format!("$share/{group}/{prefix}/+{tail}"),
            Shape::Spread(_) => unreachable!("its clients are subscribed already"),
        }
    }

    /// Whether messages have to come in order: those to one topic do.
    pub(super) fn ordered(&self) -> bool {
        self.topics == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        let group = "g".to_owned();
        vec![
            Shape::Pairs(7),
            Shape::FanIn(7),
            Shape::FanOut(7),
            Shape::Shared { publishers: 7, members: 3, group },
            Shape::Spread(Spread { publishers: 2, clients: 13, subscriptions: 294, mixed: true }),
        ]
    }

    #[test]
    fn everybody_has_one_thread_and_is_owed_as_much_with_any_number_of_them() {
        for shape in shapes() {
            for threads in 1..5 {
                let all = |part: &dyn Fn(usize) -> Range<usize>| (0..threads).flat_map(part).collect::<Vec<usize>>();
                let publishers = all(&|thread| shape.publishers_of(thread, threads));
                assert_eq!(publishers, (0..shape.publishers()).collect::<Vec<usize>>());
                let subscribers = all(&|thread| shape.subscribers_of(thread, threads));
                assert_eq!(subscribers, (0..shape.subscribers()).collect::<Vec<usize>>());
                for publisher in publishers {
                    let owed: u32 = (0..threads)
                        .filter(|thread| shape.heard_by(*thread, threads).contains(&publisher))
                        .map(|thread| match shape.owed(thread, threads) {
                            Owed::Each(count) => count,
                            Owed::Receivers(bits) => bits.count_ones(),
                        })
                        .sum();
                    assert_eq!(u64::from(owed), shape.copies(), "{shape:?} {threads}");
                }
            }
        }
    }

    #[test]
    fn streams_are_numbered_without_holes() {
        for shape in &shapes()[..3] {
            for threads in 1..4 {
                for thread in 0..threads {
                    let own = shape.subscribers_of(thread, threads);
                    let mut found: Vec<usize> = own
                        .clone()
                        .flat_map(|subscriber| (0..shape.publishers()).map(move |publisher| (subscriber, publisher)))
                        .filter_map(|(subscriber, publisher)| shape.stream(subscriber, own.start, publisher))
                        .collect();
                    found.sort_unstable();
                    let wanted = if own.is_empty() { 0 } else { shape.streams(thread, threads) };
                    assert_eq!(found, (0..wanted).collect::<Vec<usize>>(), "{shape:?} {thread}/{threads}");
                }
            }
        }
    }
}
