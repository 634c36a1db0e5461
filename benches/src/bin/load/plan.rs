//! What one measurement does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Who publishes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Each publisher to a subscriber of its own.
    Pairs(usize),
    /// All publishers to one subscriber.
    FanIn(usize),
    /// One publisher to all subscribers.
    FanOut(usize),
    /// Publishers to the members of one shared subscription.
    Shared(usize, usize),
}

impl Scenario {
    pub(crate) fn publishers(self) -> usize {
        match self {
            Self::Pairs(count) | Self::FanIn(count) | Self::Shared(count, _) => count,
            Self::FanOut(_) => 1,
        }
    }

    pub(crate) fn subscribers(self) -> usize {
        match self {
            Self::Pairs(count) | Self::FanOut(count) | Self::Shared(_, count) => count,
            Self::FanIn(_) => 1,
        }
    }

    /// How many subscribers get each message.
    pub(crate) fn copies(self) -> u32 {
        match self {
            Self::FanOut(count) => count as u32,
            _ => 1,
        }
    }

    /// The filter of a subscriber.
    pub(crate) fn filter(self, subscriber: usize) -> String {
        match self {
            Self::Pairs(_) => topic(subscriber),
            Self::FanOut(_) => topic(0),
            Self::FanIn(_) => "load/+".to_owned(),
            Self::Shared(..) => "$share/load/load/+".to_owned(),
        }
    }

    /// Whether a subscriber gets all messages of its publishers, and so in order.
    pub(crate) fn ordered(self) -> bool {
        !matches!(self, Self::Shared(..))
    }
}

/// The topic of a publisher.
pub(crate) fn topic(publisher: usize) -> String {
    format!("load/{publisher}")
}

impl FromStr for Scenario {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let count = |text: &str| text.parse().ok().filter(|count| (1..=60_000).contains(count)).ok_or(());
        if let Some((left, right)) = text.split_once('x') {
            return if left == right { Ok(Self::Pairs(count(left)?)) } else { Err(()) };
        }
        match text.split_once('-').ok_or(())? {
            (publishers, members) if members.starts_with('$') => {
                Ok(Self::Shared(count(publishers)?, count(&members[1..])?))
            }
            (publishers, "1") => Ok(Self::FanIn(count(publishers)?)),
            ("1", subscribers) => Ok(Self::FanOut(count(subscribers)?)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs(count) => write!(f, "{count}x{count}"),
            Self::FanIn(count) => write!(f, "{count}-1"),
            Self::FanOut(count) => write!(f, "1-{count}"),
            Self::Shared(publishers, members) => write!(f, "{publishers}-${members}"),
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) qos: u8,
    pub(crate) size: usize,
    pub(crate) window: u64,
    /// The protocol level: 4 or 5.
    pub(crate) protocol: u8,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

impl Plan {
    pub(crate) fn new(
        scenario: Scenario,
        qos: u8,
        size: usize,
        window: u64,
        protocol: u8,
        warm_up: f64,
        seconds: f64,
    ) -> Result<Self, String> {
        let checks = [
            (qos <= 2, "--qos is 0, 1 or 2"),
            ((16..=1 << 24).contains(&size), "--size is 16 to 16777216"),
            // Packet ids are the sequence numbers modulo 65535: all that are on their way must differ.
            ((1..=30_000).contains(&window), "--window is 1 to 30000"),
            (protocol == 4 || protocol == 5, "--protocol is 4 or 5"),
            ((0.0..1e6).contains(&warm_up) && (0.001..1e6).contains(&seconds), "--warm-up and --seconds are times"),
        ];
        if let Some((_, message)) = checks.iter().find(|(holds, _)| !holds) {
            return Err((*message).to_owned());
        }
        let (warm_up, length) = (Duration::from_secs_f64(warm_up), Duration::from_secs_f64(seconds));
        Ok(Self { scenario, qos, size, window, protocol, warm_up, length })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, QoS {}, {} B, window {}", self.scenario, self.qos, self.size, self.window)
    }
}
