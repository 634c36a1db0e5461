//! What reaches a shard from other threads, through its mailbox.
//!
//! Invariant: the mailbox is bounded; whoever sends waits for room.
use super::handle::LocalMessage;
use super::shard::Shard;
use crate::stream::Detached;
use bytes::BytesMut;
use mqtt_pipes::ServerPipe;
use mqtt_session::Instant;
use mqtt_session::broker::{Completion, Event, LocalId, Message, Peer, Stats};
use mqtt_session::proto::{ClientId, Connect, ReasonCode, SubscriptionOptions, TopicFilter};
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for a shard.
pub(super) const MAILBOX: usize = 1024;
/// Commands that are served in one turn.
const COMMANDS_PER_TURN: usize = 256;

/// One command.
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
    Drain { by: Instant },
}

/// A connection on its way to its shard.
pub(super) struct Adopted {
    pub(super) stream: Detached,
    pub(super) pipe: Option<Box<ServerPipe>>,
    pub(super) peer: Peer,
    pub(super) connect: Connect,
    /// What came behind CONNECT.
    pub(super) rest: BytesMut,
}

impl Shard {
    /// Serves commands; `true`: more of them may wait.
    pub(super) fn serve_mailbox(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            match self.inbox.poll_recv(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(command)) => self.execute(command, now),
                Poll::Ready(None) => {
                    // Nobody holds a handle any more.
                    if self.drain_by.is_none() {
                        self.drain(now, now);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn execute(&mut self, command: Command, now: Instant) {
        match command {
            Command::Adopt(adopted) => self.adopt(*adopted, now),
            Command::Complete(completion) => self.machine.handle_completion(now, completion),
            Command::Publish(message) => self.machine.publish(now, message),
            Command::Subscribe { filter, options, messages, reply } => {
                let id = self.machine.subscribe(now, &filter, options);
                if let Some(id) = id {
                    self.locals.insert(id, messages);
                }
                if reply.send(id).is_err() {
                    // The caller gave up waiting, and nobody else knows the subscription.
                    self.unsubscribe(id);
                }
            }
            Command::Unsubscribe(id) => self.unsubscribe(Some(id)),
            Command::Events(events) => self.reporter.subscribe(events),
            // The answers to callers who gave up waiting are nobody's loss.
            Command::Stats(reply) => {
                let _ = reply.send(self.machine.stats());
            }
            Command::Kick { client_id, reason, reply } => {
                let _ = reply.send(self.machine.handle_kick(now, &client_id, reason));
            }
            Command::Drain { by } => self.drain(now, by),
        }
    }
}
