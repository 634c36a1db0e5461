//! The embedder's side of a running broker.
//!
//! Invariant: every queue towards the embedder is bounded; one that is full costs it messages, which are counted, and
//! never slows the broker.
use super::commands::Command;
use super::shard::Clock;
use super::{CertificateError, Endpoint, LoadedCertificates, Stopped};
use futures_core::Stream;
use mqtt_pipes::Port;
use mqtt_session::broker::{Event, LocalId, Message, Stats};
use mqtt_session::proto::{ClientId, ReasonCode, SubscriptionOptions, TopicFilter};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages that wait for an embedder's [`Subscription`], and events that wait for its [`Events`].
const LOCAL_QUEUE: usize = 4096;

/// A running broker. Clones talk to the same one; when the last is dropped, the broker stops at once, without the
/// courtesy of [`BrokerHandle::drain`].
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    pub(super) shards: Arc<[ShardHandle]>,
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) endpoints: Arc<[Endpoint]>,
    pub(super) ports: Arc<[Arc<Port>]>,
    pub(super) clock: Clock,
}

/// One shard, as the others and the embedder see it.
#[derive(Clone, Debug)]
pub(super) struct ShardHandle {
    pub(super) mailbox: mpsc::Sender<Command>,
    /// Becomes `true` when the shard ends in good order; closed without it after a panic.
    pub(super) ended: watch::Receiver<bool>,
}

impl BrokerHandle {
    /// The addresses that it listens on, with the ports that the system chose for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Everything that it listens on, as URLs with the addresses that it really has.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Reads certificates, keys and the authorities of clients again, of every port with TLS. Connections that are there stay;
    /// those to come are served with the new ones, or with the old ones where something is wrong with the new. It reads files,
    /// so call it where a moment's wait does no harm.
    pub fn reload_certificates(&self) -> Vec<Reloaded> {
        let reload = |port: &Arc<Port>| Some(Reloaded { endpoint: port.endpoint().clone(), result: port.reload()? });
        self.ports.iter().filter_map(reload).collect()
    }

    /// The broker's clock, for [`Message::expires_at`].
    pub fn now(&self) -> mqtt_session::Instant {
        self.clock.now()
    }

    /// Publishes a message, without authorization. Waits while the broker is busy (1024 commands may be on their
    /// way). Cancel-safe: dropped before it is ready, it has published nothing.
    pub async fn publish(&self, message: Message) -> Result<(), Stopped> {
        self.send(Command::Publish(message)).await
    }

    /// Subscribes to a filter; its messages come from the [`Subscription`], retained ones first. `None` for `$share`
    /// filters, which are for clients.
    pub async fn subscribe(
        &self,
        filter: TopicFilter,
        options: SubscriptionOptions,
    ) -> Result<Option<Subscription>, Stopped> {
        let (messages, queue) = mpsc::channel(LOCAL_QUEUE);
        let id = self.ask(|reply| Command::Subscribe { filter, options, messages, reply }).await?;
        let mailbox = self.shards[0].mailbox.downgrade();
        Ok(id.map(|id| Subscription { id, queue, mailbox }))
    }

    /// What happens in the broker from now on: the kinds of events that [`Config::events`](super::Config) asks for.
    pub async fn events(&self) -> Result<Events, Stopped> {
        let (events, queue) = mpsc::channel(LOCAL_QUEUE);
        for shard in &*self.shards {
            shard.mailbox.send(Command::Events(events.clone())).await.map_err(|_| Stopped)?;
        }
        Ok(Events { queue })
    }

    /// Counters and levels, summed over all shards.
    pub async fn stats(&self) -> Result<Stats, Stopped> {
        let mut sum = Stats::default();
        for shard in &*self.shards {
            let (reply, answer) = oneshot::channel();
            shard.mailbox.send(Command::Stats(reply)).await.map_err(|_| Stopped)?;
            add(&mut sum, &answer.await.map_err(|_| Stopped)?);
        }
        Ok(sum)
    }

    /// Ends the connection of a client with this Reason Code (0x98, Administrative action, say); `false` if it has
    /// none.
    pub async fn disconnect(&self, client_id: &ClientId, reason: ReasonCode) -> Result<bool, Stopped> {
        for shard in &*self.shards {
            let (reply, answer) = oneshot::channel();
            let client_id = client_id.clone();
            shard.mailbox.send(Command::Kick { client_id, reason, reply }).await.map_err(|_| Stopped)?;
            if answer.await.map_err(|_| Stopped)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stops in good order: accepts no more connections, tells every client that the server shuts down (0x8B for
    /// 5.0), writes what waits for the sockets, and stops when all connections are closed, after `deadline` at the
    /// latest. `Err`: a shard had stopped by a panic. Cancel-safe: once begun, the broker stops all the same.
    pub async fn drain(&self, deadline: Duration) -> Result<(), Stopped> {
        let by = self.clock.now() + deadline;
        for shard in &*self.shards {
            let _ = shard.mailbox.send(Command::Drain { by }).await; // an error: it has stopped already
        }
        self.stopped().await
    }

    /// Waits until the broker has stopped; `Err` if a panic stopped it. Cancel-safe.
    pub async fn stopped(&self) -> Result<(), Stopped> {
        for shard in &*self.shards {
            let mut ended = shard.ended.clone();
            ended.wait_for(|ended| *ended).await.map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// Sends to the shard that serves the embedder.
    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.shards[0].mailbox.send(command).await.map_err(|_| Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// What became of the certificates of one port.
#[derive(Debug)]
pub struct Reloaded {
    /// The port, as it was configured.
    pub endpoint: Endpoint,
    /// What is in use now, or why the old ones still are.
    pub result: Result<LoadedCertificates, CertificateError>,
}

/// A message for a [`Subscription`].
#[derive(Clone, Debug)]
pub struct LocalMessage {
    /// The message.
    pub message: Arc<Message>,
    /// Whether it is a retained message, sent because of the subscription.
    pub retained: bool,
    /// Messages that the queue of 4096 could not take before this one.
    pub missed: u64,
}

/// The messages of a subscription made from inside, a stream. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    id: LocalId,
    queue: mpsc::Receiver<LocalMessage>,
    mailbox: mpsc::WeakSender<Command>,
}

impl Subscription {
    /// The next message; `None` when the broker has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<LocalMessage> {
        self.queue.recv().await
    }
}

impl Stream for Subscription {
    type Item = LocalMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LocalMessage>> {
        self.queue.poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            // With a full mailbox the shard notices at the next message that nobody listens.
            let _ = mailbox.try_send(Command::Unsubscribe(self.id));
        }
    }
}

/// What happens in a broker, a stream. A reader that lags by more than 4096 events misses the newest.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` when the broker has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll_recv(cx)
    }
}

/// Adds one shard's counters to those of the others.
fn add(sum: &mut Stats, shard: &Stats) {
    // Written out without `..`, so that a new counter cannot be forgotten.
    let Stats {
        connections,
        connections_maximum,
        connections_total,
        refused_total,
        protocol_errors_total,
        sessions,
        sessions_expired_total,
        subscriptions,
        retained,
        queued,
        queued_bytes,
        spilled,
        spilled_bytes,
        memory_bytes,
        loads_total,
        loads_failed_total,
        store_failures_total,
        inflight,
        publish_received,
        publish_sent,
        packets_received,
        packets_sent,
        bytes_received,
        bytes_sent,
        publish_denied_total,
        publish_refused_total,
        dropped_slow_receiver,
        dropped_queue_full,
        dropped_expired,
        dropped_too_large,
        dropped_no_member,
        trimmed_log_full,
    } = sum;
    for (total, part) in [
        (connections, shard.connections),
        (connections_maximum, shard.connections_maximum),
        (connections_total, shard.connections_total),
        (refused_total, shard.refused_total),
        (protocol_errors_total, shard.protocol_errors_total),
        (sessions, shard.sessions),
        (sessions_expired_total, shard.sessions_expired_total),
        (subscriptions, shard.subscriptions),
        (retained, shard.retained),
        (queued, shard.queued),
        (queued_bytes, shard.queued_bytes),
        (spilled, shard.spilled),
        (spilled_bytes, shard.spilled_bytes),
        (memory_bytes, shard.memory_bytes),
        (loads_total, shard.loads_total),
        (loads_failed_total, shard.loads_failed_total),
        (store_failures_total, shard.store_failures_total),
        (inflight, shard.inflight),
        (publish_received, shard.publish_received),
        (publish_sent, shard.publish_sent),
        (packets_received, shard.packets_received),
        (packets_sent, shard.packets_sent),
        (bytes_received, shard.bytes_received),
        (bytes_sent, shard.bytes_sent),
        (publish_denied_total, shard.publish_denied_total),
        (publish_refused_total, shard.publish_refused_total),
        (dropped_slow_receiver, shard.dropped_slow_receiver),
        (dropped_queue_full, shard.dropped_queue_full),
        (dropped_expired, shard.dropped_expired),
        (dropped_too_large, shard.dropped_too_large),
        (dropped_no_member, shard.dropped_no_member),
        (trimmed_log_full, shard.trimmed_log_full),
    ] {
        *total += part;
    }
}
