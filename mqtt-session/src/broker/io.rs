//! What goes into and comes out of a broker besides bytes.
//!
//! Invariant: an outside decision is a value that comes back as a [`Completion`]; the machine never waits inside a call.
use super::{Grant, LoadRequest, Loaded, Message, Position, StoreBatch, StoreSeq};
use alloc::string::String;
use alloc::sync::Arc;
use bytes::Bytes;
use core::time::Duration;
use mqtt_proto::{ClientId, QoS, ReasonCode, TopicFilter, TopicName, Utf8String, Version};

/// Names one connection of one broker; never used again after the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnId {
    /// A small number that is unique among the connections that are open now; an adapter may index with it.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Names one request until its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// Names a subscription made from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What the adapter knows about the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address, as the adapter prints it.
    pub address: String,
    /// The identity that the transport proved (a client certificate, say).
    pub identity: Option<String>,
}

/// Something for the adapter to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// [`Broker::transmit`](super::Broker::transmit) of this connection has bytes to write. Reported once until all of them were written.
    Writable(ConnId),
    /// [`Broker::wants_read`](super::Broker::wants_read) of this connection became true again: hand in what is buffered, then read on.
    Readable(ConnId),
    /// Write what [`Broker::transmit`](super::Broker::transmit) still holds (bounded in time), then close the connection and call
    /// [`Broker::handle_closed`](super::Broker::handle_closed).
    Close(ConnId),
    /// Something to decide or to keep.
    Request(Request),
    /// A message for a subscription made from inside.
    Message {
        /// Which subscription.
        subscription: LocalId,
        /// The message.
        message: Arc<Message>,
        /// Whether it is a retained message sent because of the subscription.
        retained: bool,
    },
    /// Something that happened.
    Event(Event),
}

/// Something that the world outside decides or keeps.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// Who is this? Answer with [`Completion::Authenticated`].
    Authenticate(Authenticate),
    /// May this client do that? Asked only where the [`Grant`] says so. Answer with [`Completion::Authorized`].
    Authorize {
        /// Names the request.
        id: RequestId,
        /// Who asks.
        client_id: ClientId,
        /// The name that authentication established.
        identity: Option<String>,
        /// What it wants to do.
        action: Action,
    },
    /// Keep these changes. Answer with [`Completion::Stored`] or [`Completion::StoreFailed`].
    Store(StoreBatch),
    /// Read this part of a log. Answer with [`Completion::Loaded`] or [`Completion::LoadFailed`], in any order and at any time:
    /// whoever reads the log waits. Only a broker that was [restored](super::Broker::restore) asks.
    Load(LoadRequest),
}

/// One step of an authentication (sections 3.1.4 and 4.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// Names the request.
    pub id: RequestId,
    /// The connection.
    pub connection: ConnId,
    /// Which step.
    pub stage: AuthStage,
    /// Where it comes from.
    pub peer: Arc<Peer>,
    /// Protocol version.
    pub version: Version,
    /// Client Identifier, assigned ones included.
    pub client_id: ClientId,
    /// User Name of CONNECT.
    pub username: Option<Utf8String>,
    /// Password of CONNECT; in the first step alone.
    pub password: Option<Bytes>,
    /// Authentication Method, if the client chose enhanced authentication.
    pub method: Option<String>,
    /// Authentication Data of this step.
    pub data: Option<Bytes>,
}

/// Which step of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStage {
    /// CONNECT.
    Connect,
    /// AUTH with Continue authentication.
    Continue,
    /// AUTH with Re-authenticate on a connection that is in use.
    ReAuthenticate,
}

/// What a client wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish this message.
    Publish {
        /// Topic Name.
        topic: TopicName,
        /// Payload.
        payload: Bytes,
        /// QoS.
        qos: QoS,
        /// RETAIN flag.
        retain: bool,
    },
    /// Subscribe this filter.
    Subscribe {
        /// Topic Filter.
        filter: TopicFilter,
        /// Requested QoS.
        qos: QoS,
    },
}

/// The answer to a [`Request`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Completion {
    /// To [`Request::Authenticate`].
    Authenticated {
        /// The request.
        id: RequestId,
        /// The answer.
        outcome: AuthOutcome,
    },
    /// To [`Request::Authorize`].
    Authorized {
        /// The request.
        id: RequestId,
        /// The answer.
        decision: Decision,
        /// For how long the same question of this connection may be answered alike without asking; zero: ask each time.
        cache_for: Duration,
    },
    /// All batches up to this one are kept.
    Stored {
        /// The last batch that is kept.
        upto: StoreSeq,
    },
    /// This batch is not kept: what waited for it is refused, never acknowledged. The broker goes on, and does not ask for
    /// these changes again: a store that goes on, too, should try them once more ahead of the next batch.
    StoreFailed {
        /// The batch.
        seq: StoreSeq,
    },
    /// To [`Request::Load`].
    Loaded(Loaded),
    /// To [`Request::Load`]: it could not be read now. The broker asks again after a while.
    LoadFailed {
        /// Of the request.
        filter: TopicFilter,
        /// Of the request.
        from: Position,
    },
}

/// The result of one step of an authentication.
#[derive(Debug)]
pub enum AuthOutcome {
    /// It is who it says, and may do this.
    Accept {
        /// The name that sessions are bound to.
        identity: Option<String>,
        /// What the client may do.
        grant: Arc<Grant>,
        /// Authentication Data for the success packet.
        data: Option<Bytes>,
    },
    /// Send this and ask the client to go on (AUTH 0x18).
    Continue {
        /// Authentication Data.
        data: Option<Bytes>,
    },
    /// No.
    Refuse {
        /// Why: Bad User Name or Password, Not authorized, Banned, Server busy, Bad authentication method … A code that the
        /// packet cannot have becomes the nearest that it can, and never Success.
        reason: ReasonCode,
        /// For people; sent to 5.0 clients with CONNACK if it fits.
        reason_string: Option<String>,
    },
}

/// The answer to one [`Action`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No: Not authorized (0x87).
    Deny,
    /// Acknowledge, and do nothing; for a Will: forget it. No for a subscription.
    Ignore,
    /// Publish, with this payload instead. No for a subscription.
    Replace(Bytes),
}

/// Something that happened, for logs, hooks and embedders.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client is connected.
    Connected {
        /// The connection.
        connection: ConnId,
        /// Client Identifier.
        client_id: ClientId,
        /// Its address.
        peer: Arc<Peer>,
        /// The name that authentication established.
        identity: Option<String>,
        /// Protocol version.
        version: Version,
        /// Clean Start.
        clean_start: bool,
        /// Whether it resumed a session.
        session_present: bool,
        /// Keep Alive in force, in seconds.
        keep_alive: u16,
    },
    /// A CONNECT was refused.
    Refused {
        /// Client Identifier.
        client_id: ClientId,
        /// Its address.
        peer: Arc<Peer>,
        /// Why.
        reason: ReasonCode,
    },
    /// A client is no longer connected.
    Disconnected {
        /// Client Identifier.
        client_id: ClientId,
        /// Its address.
        peer: Arc<Peer>,
        /// Why.
        reason: DisconnectReason,
    },
    /// A subscription was made or changed.
    Subscribed {
        /// Client Identifier.
        client_id: ClientId,
        /// Topic Filter.
        filter: TopicFilter,
        /// Granted QoS.
        qos: QoS,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// Client Identifier.
        client_id: ClientId,
        /// Topic Filter.
        filter: TopicFilter,
    },
    /// A message was accepted.
    Published {
        /// Client Identifier; `None` from inside.
        client_id: Option<Arc<str>>,
        /// The message.
        message: Arc<Message>,
    },
    /// A message reached a client.
    Delivered {
        /// Client Identifier.
        client_id: ClientId,
        /// The message.
        message: Arc<Message>,
    },
    /// The store could not give a part of a log. Whoever reads it waits; reported whatever the mask says.
    LoadFailed {
        /// Names the log.
        filter: TopicFilter,
        /// How many times in a row.
        failures: u32,
        /// After which time it is asked again.
        pause: Duration,
    },
    /// Messages did not reach a client.
    Dropped {
        /// Client Identifier, shared subscription, or filter of a log.
        receiver: Arc<str>,
        /// How many.
        count: u64,
        /// Why.
        reason: DropReason,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client sent DISCONNECT with this Reason Code.
    Client(ReasonCode),
    /// The connection was lost without DISCONNECT.
    Lost,
    /// The server closed it with this Reason Code; the text says more, with the statement that was broken if one was.
    Server(ReasonCode, &'static str),
}

/// Why a message did not reach a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The socket does not keep up: QoS 0 beyond `max_transmit_bytes`.
    SlowReceiver,
    /// A queue was full: the oldest gave way.
    QueueFull,
    /// The log of a durable filter or of a shared subscription was full: the oldest entries gave way. The receiver is the
    /// filter; each session that had not read them reports its own loss as `QueueFull` when it reads again.
    LogFull,
    /// Message Expiry Interval passed.
    Expired,
    /// Larger than the client's Maximum Packet Size [MQTT-3.1.2-24].
    TooLarge,
    /// No member of the shared subscription could take a QoS 0 message.
    NoMember,
}
