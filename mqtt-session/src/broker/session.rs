//! Session state (section 4.1): what outlives the connection of a client.
//!
//! Invariants: a session has at most one connection; Packet Identifiers of messages on their way are distinct; a durable
//! session reads its QoS 1 and 2 subscriptions from logs, any other gets messages pushed.
use super::ids::PacketIds;
use super::log::{Bound, Cursor, Unread};
use super::{Message, MessageId, Position};
use crate::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mqtt_proto::{ClientId, PacketId, QoS, SubscriptionOptions, TopicFilter, Will};
use topic_trie as trie;

/// One client's state.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: ClientId,
    /// The Client Identifier again, as messages and events carry it.
    pub(super) name: Arc<str>,
    /// The name that it is bound to.
    pub(super) identity: Option<String>,
    /// The connection's slot.
    pub(super) connection: Option<u32>,
    /// Session Expiry Interval in seconds; `u32::MAX` never expires.
    pub(super) expiry: u32,
    /// When it expires, while disconnected.
    pub(super) expires_at: Option<Instant>,
    /// Whether it outlives its connection, so that its QoS 1 and 2 subscriptions have logs.
    pub(super) durable: bool,
    /// Whether the store knows of it: durable ones, and those whose Will must be published whatever happens.
    pub(super) stored: bool,
    /// Keys and cursors are boxed since most sessions have one or two, and a map makes room for eleven at once.
    pub(super) subscriptions: BTreeMap<Box<TopicFilter>, Subscription>,
    /// Those of them whose messages are pushed, in a session that reads logs, too.
    pub(super) direct: BTreeSet<TopicFilter>,
    /// Where it stands in each log, by the log's key.
    pub(super) cursors: BTreeMap<u32, Box<Cursor>>,
    /// Logs that may have something to read, by the [bound](Unread::bound) of what comes next there.
    pub(super) lagging: BTreeSet<(Bound, u32)>,
    /// Shared groups with entries that no member could take when they were last served, ascending: they are served again
    /// when this session can take something.
    pub(super) backlogs: Vec<u32>,
    /// Messages that were pushed and have not left, oldest first.
    pub(super) pending: VecDeque<Pending>,
    pub(super) pending_bytes: u64,
    /// Subscriptions whose retained messages have not all been sent.
    pub(super) scans: BTreeMap<TopicFilter, Scan>,
    /// QoS 1 and 2 messages on their way, oldest first [MQTT-4.6.0-1].
    pub(super) inflight: VecDeque<Inflight>,
    /// What was on its way when the last broker stopped, and has still to be found.
    pub(super) gaps: Option<Box<Gaps>>,
    pub(super) ids: PacketIds,
    /// Packet Identifiers of the client's QoS 2 messages that are not released [MQTT-4.3.3-10].
    pub(super) incoming: BTreeSet<PacketId>,
    pub(super) will: Option<Arc<Will>>,
    /// When the Will fires, while it is delayed.
    pub(super) will_at: Option<Instant>,
    /// Whether it stands in the broker's list of sessions to serve.
    pub(super) ready: bool,
    /// The last message that was collected for it, and where: finds a second match at once.
    pub(super) mark: (u64, u32),
}

/// Places of one message, each with its log's key.
pub(super) type Places = Vec<(u32, Position)>;

/// What the last broker had read of the session's logs when it stopped, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Entries that are done with, by log.
    pub(super) settled: BTreeSet<(u32, Position)>,
    /// Entries whose messages are on their way at QoS 2.
    pub(super) held: BTreeSet<(u32, Position)>,
    /// Entries that had been read, whose messages' numbers have still to be found.
    pub(super) marks: Vec<(u32, Position)>,
    /// Logs in which nothing of it is left to be found.
    pub(super) done: BTreeSet<u32>,
    /// The last message that had been read: whatever came before in any log had been, too.
    pub(super) last: MessageId,
    /// Messages that had been sent and were not acknowledged, with their places.
    pub(super) found: BTreeMap<MessageId, (Arc<Message>, Places)>,
}

/// One subscription of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) options: SubscriptionOptions,
    /// Subscription Identifier; 0 without one.
    pub(super) identifier: u32,
    pub(super) home: Home,
}

/// Where a subscription's messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Pushed.
    Direct,
    /// Read from this log.
    Log(u32),
    /// Given by this shared group.
    Group(u32),
}

/// A message that was pushed and has not left.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) message: Arc<Message>,
    pub(super) head: Head,
}

/// What is special about one delivery of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Identifiers,
    pub(super) origin: Origin,
}

/// Subscription Identifiers of one delivery; most have none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Identifiers {
    #[default]
    None,
    One([u32; 1]),
    Many(Vec<u32>),
}

impl Identifiers {
    /// Adds an identifier; 0 stands for none.
    pub(super) fn push(&mut self, identifier: u32) {
        if identifier == 0 {
            return;
        }
        match self {
            Self::None => *self = Self::One([identifier]),
            Self::One([first]) => *self = Self::Many([*first, identifier].into()),
            Self::Many(all) => all.push(identifier),
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Many(all) => all,
        }
    }
}

/// Who is told when a message was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody.
    #[default]
    Pushed,
    /// These places of logs.
    Logs(Places),
    /// This place of a shared group's log.
    Group(u32, Position),
}

/// A QoS 1 or 2 message on its way to the client.
#[derive(Clone, Debug)]
pub(super) struct Inflight {
    pub(super) id: PacketId,
    pub(super) message: Arc<Message>,
    pub(super) message_id: MessageId,
    pub(super) head: Head,
    pub(super) stage: Stage,
    /// Whether it takes from the window of the current connection.
    pub(super) counted: bool,
}

/// How far a message is (section 4.3):
///
/// ```text
/// QoS 1:  Published --PUBACK--> (done)
/// QoS 2:  Published --PUBREC--> Released --PUBCOMP--> (done)
///                   --PUBREC with an error--> (done)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBLISH was sent; PUBACK or PUBREC is awaited [MQTT-4.3.2-3], [MQTT-4.3.3-3].
    Published,
    /// PUBREL was sent; PUBCOMP is awaited [MQTT-4.3.3-5], whether or not the message has expired [MQTT-4.3.3-13].
    Released,
}

/// A scan of retained messages for a new subscription.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) cursor: trie::Cursor,
    /// Found, and waiting for credit.
    pub(super) found: VecDeque<Arc<Message>>,
    pub(super) done: bool,
}

impl Session {
    pub(super) fn new(client_id: ClientId, identity: Option<String>) -> Self {
        let name = Arc::from(&*client_id);
        Self {
            client_id,
            name,
            identity,
            connection: None,
            expiry: 0,
            expires_at: None,
            durable: false,
            stored: false,
            subscriptions: BTreeMap::new(),
            direct: BTreeSet::new(),
            cursors: BTreeMap::new(),
            lagging: BTreeSet::new(),
            backlogs: Vec::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            scans: BTreeMap::new(),
            inflight: VecDeque::new(),
            gaps: None,
            ids: PacketIds::default(),
            incoming: BTreeSet::new(),
            will: None,
            will_at: None,
            ready: false,
            mark: (0, 0),
        }
    }

    /// Notes a subscription where there is none with this filter, or replaces it.
    pub(super) fn put_subscription(&mut self, filter: &TopicFilter, subscription: Subscription) {
        if self.durable && subscription.home == Home::Direct {
            self.direct.insert(filter.clone());
        }
        self.subscriptions.insert(Box::new(filter.clone()), subscription);
    }

    /// Queues a pushed message behind the others.
    pub(super) fn push_pending(&mut self, pending: Pending) {
        self.pending_bytes += pending.message.cost();
        self.pending.push_back(pending);
    }

    /// Takes the oldest pushed message.
    pub(super) fn pop_pending(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.pending_bytes -= pending.message.cost();
        Some(pending)
    }

    /// Remembers that a log may have something to read, if all before was read. O(log n) in the number of such logs.
    pub(super) fn lag(&mut self, log: u32, next: Unread) {
        if let Some(cursor) = self.cursors.get_mut(&log)
            && cursor.unread == Unread::Nothing
        {
            cursor.unread = next;
            self.lagging.extend(next.bound().map(|bound| (bound, log)));
        }
    }

    /// The index of the message on its way under `id`; acknowledgments mostly come in order, so it is found in front.
    pub(super) fn inflight_index(&self, id: PacketId) -> Option<usize> {
        self.inflight.iter().position(|inflight| inflight.id == id)
    }

    /// A free Packet Identifier [MQTT-2.2.1-3].
    pub(super) fn allocate_id(&mut self) -> Option<PacketId> {
        self.ids.allocate(self.inflight.iter().map(|inflight| inflight.id))
    }
}
