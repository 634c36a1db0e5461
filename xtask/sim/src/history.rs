//! What the well-behaved clients asked for and saw: facts alone, judged by `check`.
use mqtt_session::Instant;
use mqtt_session::client::Token;
use mqtt_session::proto::QoS;
use std::collections::{BTreeMap, BTreeSet};

/// Names a message: who published it, and his how-manieth it is.
pub(crate) type Name = (usize, u32);

/// A message that a user published.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) at: Instant,
    /// Forgotten when its client is killed before its store has the message: then the number may come to name another.
    pub(crate) token: Option<Token>,
    /// Its token was settled: accepted, or not.
    pub(crate) settled: Option<bool>,
    /// Its client's store has it: it survives its client.
    pub(crate) kept: bool,
    /// It may expire on its way.
    pub(crate) expires: bool,
    /// Too large for clients that take small packets alone.
    pub(crate) large: bool,
    /// It is retained and empty: it clears the retained message of its topic.
    pub(crate) clears: bool,
    /// A probe of the end, when nothing is in the way any more.
    pub(crate) probe: bool,
}

/// A message that a client was handed.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) name: Name,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

/// One time that a filter was wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    /// The least QoS that it ever had: it can be changed while it lives.
    pub(crate) least: QoS,
    /// And the greatest.
    pub(crate) most: QoS,
    pub(crate) asked: Instant,
    /// Of the last SUBSCRIBE for it.
    pub(crate) token: Token,
    /// That was answered.
    pub(crate) answered: bool,
    pub(crate) granted: Option<Instant>,
    pub(crate) ended: Option<(Instant, Token)>,
    pub(crate) gone: Option<Instant>,
}

impl Wish {
    /// The shared group, if the filter has one, and the filter proper.
    pub(crate) fn parts(&self) -> (Option<&str>, &str) {
        match self.filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
            Some((group, filter)) => (Some(group), filter),
            None => (None, &self.filter),
        }
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        matches(self.parts().1, topic)
    }
}

/// The rule of section 4.7 in its plainest form; the simulation's topics do not begin with `$`.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(want), Some(level)) if want == "+" || want == level => {}
            _ => return false,
        }
    }
}

/// One client's part.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    pub(crate) broker: usize,
    pub(crate) durable: bool,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) got: Vec<Got>,
    pub(crate) sent: Vec<Sent>,
    /// Wills of others that it saw, by client: how many, and how many of these for the first time.
    pub(crate) wills: BTreeMap<usize, (u32, u32)>,
    /// The server did not have the session that it should have had.
    pub(crate) sessions_lost: u32,
    pub(crate) connections: u32,
    /// Connections that ended without DISCONNECT.
    pub(crate) lost_connections: u32,
    /// When the broker saw connections end without a good-bye.
    pub(crate) losses: Vec<Instant>,
    /// When the broker crashed under a connection of a session that lasts, with a Will that is not delayed.
    pub(crate) sure_losses: Vec<Instant>,
    /// What the machine calls violations of the protocol by the broker.
    pub(crate) protocol_errors: Vec<String>,
    pub(crate) has_will: bool,
    /// Connections that the broker saw end without a good-bye, and that it did not end for a newer one.
    pub(crate) missed_goodbyes: u32,
    /// Messages that came for the first time after their time was over.
    pub(crate) expired: Vec<String>,
    /// What the broker did against the rules for sessions that end.
    pub(crate) misjudged: Vec<String>,
    /// When the broker made it a new session.
    pub(crate) renewed: Vec<Instant>,
    /// Speaks 5.0.
    pub(crate) v5: bool,
    /// Takes small packets alone.
    pub(crate) small: bool,
    /// The retained messages that a newcomer found at the end, by topic (kept at the newcomer alone).
    pub(crate) retained: BTreeMap<String, Name>,
}

/// Everybody's parts.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) clients: Vec<Diary>,
    pub(crate) crashes: u32,
    /// Batches that disks refused.
    pub(crate) store_failures: u32,
    /// Clients for which the brokers say that messages of QoS 0 were lost, for they did not read them.
    pub(crate) slow: BTreeSet<String>,
    /// Messages that the brokers say full queues lost, by client or shared subscription.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Those of them that were lost when the faults had ended.
    pub(crate) dropped_late: BTreeMap<String, u64>,
}
