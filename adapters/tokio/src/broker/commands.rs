//! What reaches a shard from other threads, through its mailbox.
//!
//! Invariant: the mailbox is bounded; whoever sends waits for room.
use super::handle::LocalMessage;
use bytes::BytesMut;
use mqtt_session::broker::{Completion, Event, LocalId, Message, Stats};
use mqtt_session::proto::{ClientId, Connect, ReasonCode, SubscriptionOptions, TopicFilter};
use std::net::{SocketAddr, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for a shard.
pub(super) const MAILBOX: usize = 1024;

/// One command.
#[derive(Debug)]
pub(super) enum Command {
    /// A connection that another shard accepted; its client identifier belongs here.
    Adopt(Box<Adopted>),
    /// The answer to a request.
    Complete(Completion),
    /// Publish from inside.
    Publish(Message),
    /// Subscribe from inside.
    Subscribe {
        filter: TopicFilter,
        options: SubscriptionOptions,
        messages: mpsc::Sender<LocalMessage>,
        reply: oneshot::Sender<Option<LocalId>>,
    },
    /// End a subscription made from inside.
    Unsubscribe(LocalId),
    /// Report events there.
    Events(mpsc::Sender<Event>),
    /// Count.
    Stats(oneshot::Sender<Stats>),
    /// End the connection of a client.
    Kick { client_id: ClientId, reason: ReasonCode, reply: oneshot::Sender<bool> },
    /// Accept no more, end what is there, and stop by then at the latest.
    Drain { by: mqtt_session::Instant },
}

/// A connection on its way to its shard.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) connect: Connect,
    /// What came behind CONNECT.
    pub(super) rest: BytesMut,
}
