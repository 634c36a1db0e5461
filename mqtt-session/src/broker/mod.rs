//! The broker machine: one [`Broker`] is one shard (sections 3 and 4 of the standard, the Server's part).
//!
//! Calling contract: inputs are `handle_*`, outputs come from [`Broker::poll_output`]. After every input, poll until `None`; write each
//! connection that was named [`Output::Writable`] once; arm one timer for [`Broker::poll_timeout`]. Any order of calls is safe; calls that name
//! what is gone are no-ops.
//!
//! Invariants: a session belongs to one shard; no queue is unbounded; an acknowledgment never precedes its store watermark.
mod config;
mod connect;
mod connection;
mod contents;
mod deliver;
mod grant;
mod greeting;
mod ids;
mod io;
mod lifetime;
mod loads;
mod log;
mod memory;
mod message;
mod publish;
mod reading;
mod records;
mod restore;
mod retained;
mod route;
mod session;
mod settle;
mod shared;
mod slab;
mod stats;
mod store;
mod subscribe;
mod sys;
mod timers;

pub use config::{
    Authentication, Config, ConnectionLimits, EventMask, Features, Redirect, SessionLimits, SharedStrategy,
};
pub use contents::Contents;
pub use grant::{Access, Grant, Verdict};
pub use greeting::{Greeting, Refusal};
pub use io::{
    Action, AuthOutcome, AuthStage, Authenticate, Completion, ConnId, Decision, DisconnectReason, DropReason, Event,
    LocalId, Output, Peer, Request, RequestId,
};
pub use memory::MemoryStore;
pub use message::Message;
pub use records::{Record, RecordKey};
pub use stats::Stats;
pub use store::{
    LoadRequest, Loaded, LogEntry, LogHead, MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq,
};

use crate::{Instant, Rng, TxQueue, UnixTime};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::BytesMut;
use connection::{Connection, Phase};
use loads::{Largest, Loads};
use log::Log;
use mqtt_proto::{ClientId, Connect, ReasonCode, SharedPublish, SubscriptionOptions, TopicFilter};
use retained::Retained;
use route::{Outgoing, Subscriber, Terms};
use session::{Head, Session};
use shared::Group;
use slab::Slab;
use store::Store;
use timers::{Timer, Timers};
use topic_trie::{Scan, Scratch, Seed, SubscriptionTrie};

/// A broker shard.
#[derive(Debug)]
pub struct Broker {
    config: Arc<Config>,
    rng: Rng,
    /// The time of the current input.
    now: Instant,
    started: Instant,
    started_wall: UnixTime,
    shutting_down: bool,
    connections: Slab<Box<Connection>>,
    sessions: Slab<Session>,
    by_client_id: BTreeMap<ClientId, u32>,
    /// What everybody may do where nobody is authenticated.
    everything: Arc<Grant>,
    subscriptions: SubscriptionTrie<Subscriber, Terms>,
    logs: Slab<Log>,
    log_by_filter: BTreeMap<TopicFilter, u32>,
    /// Logs by what they have in memory.
    largest: Largest,
    /// What was loaded of logs.
    loads: Loads,
    groups: Slab<Group>,
    group_by_filter: BTreeMap<TopicFilter, u32>,
    /// Subscriptions made from inside.
    locals: Slab<TopicFilter>,
    retained: Retained,
    timers: Timers,
    store: Store,
    outputs: VecDeque<Output>,
    /// Connections behind open requests.
    auth_requests: BTreeMap<RequestId, ConnId>,
    /// The last request and message that were numbered.
    requests: u64,
    messages: u64,
    /// Connections whose PUBLISH waits for room in memory.
    roomless: Vec<ConnId>,
    /// Sessions and groups to serve at the end of this input.
    ready: Vec<u32>,
    ready_groups: Vec<u32>,
    /// Sessions whose retained scans go on in the next turn.
    deferred: Vec<u32>,
    /// Bytes of messages on their way to clients, those that wait for sockets included.
    under_way_bytes: u64,
    stats: Stats,
    sys: sys::Sys,
    /// Buffers of `route`, kept for their memory.
    hits: Vec<(Subscriber, Terms)>,
    receivers: Vec<(u32, Head)>,
    scratch: Scratch,
    /// What [`Broker::transmit`] shows for connections that are gone.
    nothing: TxQueue,
}

impl Broker {
    /// An empty broker. `seed` decides everything that looks random: assigned client identifiers and the hashing of topics.
    /// `wall` is the wall-clock time at `now`.
    pub fn new(config: Arc<Config>, seed: [u8; 32], now: Instant, wall: UnixTime) -> Self {
        let mut rng = Rng::new(seed);
        let mut trie_seed = || Seed([rng.next_u64(), rng.next_u64()]);
        let (subscriptions, retained) = (SubscriptionTrie::new(trie_seed()), Retained::new(trie_seed()));
        let mut broker = Self {
            config,
            rng,
            now,
            started: now,
            started_wall: wall,
            shutting_down: false,
            connections: Slab::default(),
            sessions: Slab::default(),
            by_client_id: BTreeMap::new(),
            everything: Arc::new(Grant::everything()),
            subscriptions,
            logs: Slab::default(),
            log_by_filter: BTreeMap::new(),
            largest: Largest::default(),
            loads: Loads::default(),
            groups: Slab::default(),
            group_by_filter: BTreeMap::new(),
            locals: Slab::default(),
            retained,
            timers: Timers::default(),
            store: Store::default(),
            outputs: VecDeque::new(),
            auth_requests: BTreeMap::new(),
            requests: 0,
            messages: 0,
            roomless: Vec::new(),
            ready: Vec::new(),
            ready_groups: Vec::new(),
            deferred: Vec::new(),
            under_way_bytes: 0,
            stats: Stats::default(),
            sys: sys::Sys::default(),
            hits: Vec::new(),
            receivers: Vec::new(),
            scratch: Scratch::default(),
            nothing: TxQueue::new(),
        };
        if !broker.config.sys_interval.is_zero() {
            broker.publish_sys();
        }
        broker
    }

    /// A connection whose CONNECT was read by [`Greeting`]. Its outputs follow, CONNACK among them.
    pub fn handle_open(&mut self, now: Instant, peer: Peer, connect: Connect) -> ConnId {
        self.now = now;
        self.stats.packets_received += 1;
        self.stats.bytes_received += connect.encoded_len().unwrap_or(0) as u64;
        let slot = self.connections.insert(Connection::open(peer, connect, now));
        self.connect(slot);
        self.serve();
        self.conn_id(slot)
    }

    /// Bytes from a connection. Whole packets are taken from the front of `input`; the rest stays for the next call. Takes
    /// nothing while [`Broker::wants_read`] is false.
    pub fn handle_input(&mut self, now: Instant, conn: ConnId, input: &mut BytesMut) {
        self.now = now;
        if self.connection(conn).is_none() {
            return input.clear();
        }
        self.read(conn.slot, input);
        self.serve();
    }

    /// The connection is gone, whoever closed it; the last call about it.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId) {
        self.now = now;
        if self.connection(conn).is_none() {
            return;
        }
        self.detach(conn.slot, DisconnectReason::Lost); // no-op if the broker parted them already
        self.forget_requests(conn.slot);
        if let Some(gone) = self.connections.remove(conn.slot) {
            self.under_way_bytes -= gone.tx_counted as u64;
            if let Some(at) = gone.timer {
                self.timers.disarm(at, Timer::Connection(conn));
            }
        }
        self.store.gated.remove(&conn.slot);
        self.serve();
    }

    /// The answer to a request.
    pub fn handle_completion(&mut self, now: Instant, completion: Completion) {
        self.now = now;
        match completion {
            Completion::Authenticated { id, outcome } => self.handle_authenticated(id, outcome),
            Completion::Authorized { id, decision, cache_for } => self.handle_authorized(id, decision, cache_for),
            Completion::Stored { upto } => {
                let failing = self.store.is_failing();
                self.store.kept(upto);
                self.open_gates();
                self.seek_room();
                if failing {
                    self.publish_store_state();
                }
            }
            Completion::StoreFailed { seq } => {
                self.stats.store_failures_total += 1;
                self.fail_gates(seq);
                self.seek_room();
                self.publish_store_state();
            }
            Completion::Loaded(loaded) => self.loaded(loaded),
            Completion::LoadFailed { filter, from } => self.load_failed(&filter, from),
        }
        self.serve();
    }

    /// Serves every deadline up to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        for slot in core::mem::take(&mut self.deferred) {
            self.wake(slot);
        }
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Connection(conn) => self.connection_timeout(conn),
                Timer::SessionExpiry(session) => self.session_expired(session),
                Timer::Will(session) => self.fire_will(session),
                Timer::Retained => self.expire_retained(),
                Timer::Load(log, from) => self.load_again(log, from),
                Timer::Sys => self.publish_sys(),
            }
        }
        self.serve();
    }

    /// Refuses new connections with Server unavailable (0x88) from now on, and ends every connection with Server
    /// shutting down (0x8B).
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        self.shutting_down = true;
        let slots: Vec<u32> = self.connections.keys().collect();
        for slot in slots {
            self.close(slot, DisconnectReason::Server(ReasonCode::ServerShuttingDown, "the server is shutting down"));
        }
        self.serve();
    }

    /// Ends the connection of a client with this Reason Code (an operator's kick), or with the nearest that a DISCONNECT can
    /// have. `false`: it has none.
    pub fn handle_kick(&mut self, now: Instant, client_id: &ClientId, reason: ReasonCode) -> bool {
        self.now = now;
        let session = self.by_client_id.get(client_id).and_then(|session| self.sessions.get(*session));
        let Some(slot) = session.and_then(|session| session.connection) else { return false };
        self.close(slot, DisconnectReason::Server(reason, "closed by the operator"));
        self.serve();
        true
    }

    /// The bytes that wait for a connection's socket; empty for one that is gone.
    pub fn transmit(&self, conn: ConnId) -> &TxQueue {
        match self.connections.get(conn.slot) {
            Some(found) if self.connections.generation(conn.slot) == conn.generation => &found.tx,
            _ => &self.nothing,
        }
    }

    /// The socket took the first `bytes` of [`Broker::transmit`].
    pub fn transmitted(&mut self, now: Instant, conn: ConnId, bytes: usize) {
        self.now = now;
        let blocked = !self.takes_input(conn.slot);
        let Some(found) = self.connection(conn) else { return };
        let bytes = bytes.min(found.tx.len());
        found.tx.consume(bytes);
        let written = found.tx_counted.saturating_sub(found.tx.len());
        found.tx_counted -= written;
        if found.tx.is_empty() {
            found.told_writable = false;
        }
        let session = found.session.filter(|_| found.tx.len() < deliver::PULL_UP_TO);
        self.under_way_bytes -= written as u64;
        self.stats.bytes_sent += bytes as u64;
        if let Some(session) = session {
            self.wake(session);
            self.serve();
        }
        if blocked {
            self.tell_readable(conn.slot);
        }
    }

    /// The next thing to do. Every `handle_*`, `transmitted`, `publish` and `subscribe` can make more.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(batch) = self.store.take_batch(self.now, self.wall(), MessageId(self.messages)) {
            return Some(Output::Request(Request::Store(batch)));
        }
        self.outputs.pop_front()
    }

    /// When [`Broker::handle_timeout`] is to be called. Every call on the broker can change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.deferred.is_empty() { self.timers.first() } else { Some(self.now) }
    }

    /// Whether the connection's input is welcome. While it is not, leave the bytes in the socket; [`Output::Readable`] says
    /// when it is again.
    #[must_use]
    pub fn wants_read(&self, conn: ConnId) -> bool {
        match self.connections.get(conn.slot) {
            Some(found) if self.connections.generation(conn.slot) == conn.generation => {
                !matches!(found.phase, Phase::Closing) && self.takes_input(conn.slot)
            }
            _ => false,
        }
    }

    /// Publishes a message from inside, without authorization. A retained message beyond the limit is passed on, not kept.
    pub fn publish(&mut self, now: Instant, message: Message) {
        self.now = now;
        let Message { topic, payload, qos, retain, properties, expires_at, publisher } = message;
        let shared = SharedPublish { topic, payload, properties: properties.forwardable() };
        let id = self.next_message();
        let mut outgoing = Outgoing::new(shared, qos, retain, expires_at, publisher, id);
        let _quota = self.retain(&mut outgoing);
        self.route(&mut outgoing);
        if self.config.events.published {
            let message = outgoing.keep();
            self.emit(|mask| mask.published, || Event::Published { client_id: None, message });
        }
        self.serve();
    }

    /// Subscribes from inside; messages come as [`Output::Message`], the retained ones first unless `options` says
    /// otherwise. `$share` filters are refused with `None`.
    ///
    /// O(retained topics that the filter has to look at), all in this call, each match an output: whoever asks from inside
    /// for a million retained messages gets them at once. Ask for none ([`RetainHandling::DoNotSend`](mqtt_proto::RetainHandling::DoNotSend)) where that is too much.
    pub fn subscribe(&mut self, now: Instant, filter: &TopicFilter, options: SubscriptionOptions) -> Option<LocalId> {
        self.now = now;
        if filter.is_shared() {
            return None;
        }
        let slot = self.locals.insert(filter.compact());
        let added = self.subscriptions.insert(filter, Subscriber::Local(slot), Terms { options, identifier: 0 });
        debug_assert!(added.is_ok(), "a TopicFilter is a valid filter");
        let subscription = self.local_id(slot);
        if options.retain_handling != mqtt_proto::RetainHandling::DoNotSend {
            let outputs = &mut self.outputs;
            let mut cursor = topic_trie::Cursor::new();
            let scan = self.retained.topics.scan(filter, &mut cursor, usize::MAX, |_, message| {
                if !message.is_expired(now) {
                    outputs.push_back(Output::Message { subscription, message: message.clone(), retained: true });
                }
            });
            debug_assert_eq!(scan, Scan::Done, "no budget, no rest");
        }
        Some(subscription)
    }

    /// Ends a subscription made from inside; `false` if there is none.
    pub fn unsubscribe(&mut self, subscription: LocalId) -> bool {
        if self.local_id(subscription.slot) != subscription {
            return false;
        }
        let Some(filter) = self.locals.remove(subscription.slot) else { return false };
        self.subscriptions.remove(&filter, Subscriber::Local(subscription.slot)).is_some()
    }

    /// Counters and levels. O(1).
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len() as u64,
            retained: self.retained.topics.len() as u64,
            memory_bytes: self.stats.memory_bytes + self.loads.bytes() + self.under_way_bytes,
            ..self.stats
        }
    }

    fn local_id(&self, slot: u32) -> LocalId {
        LocalId { slot, generation: self.locals.generation(slot) }
    }

    /// Tells what `$SYS/{id}/memory` says from its next round on: bytes of memory that the process holds. The machine cannot
    /// know; an adapter that can tells it about as often as `sys_interval`.
    pub fn set_process_memory(&mut self, bytes: u64) {
        self.sys.process_memory = Some(bytes);
    }

    fn conn_id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.connections.generation(slot) }
    }

    /// The connection that an identifier names, if it is still there.
    fn connection(&mut self, conn: ConnId) -> Option<&mut Connection> {
        if self.connections.generation(conn.slot) != conn.generation {
            return None;
        }
        self.connections.get_mut(conn.slot).map(Box::as_mut)
    }

    /// The session of a connection.
    fn session_of(&self, slot: u32) -> Option<&Session> {
        self.sessions.get(self.connections.get(slot)?.session?)
    }

    /// The session of a connection.
    fn session_of_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.sessions.get_mut(self.connections.get(slot)?.session?)
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn next_message(&mut self) -> MessageId {
        self.messages += 1;
        MessageId(self.messages)
    }

    /// The wall-clock time of the current input.
    fn wall(&self) -> UnixTime {
        self.started_wall + self.now.saturating_since(self.started)
    }

    /// Reports an event where it is wanted, and tells `$SYS`.
    fn emit(&mut self, wanted: impl Fn(&EventMask) -> bool, event: impl FnOnce() -> Event) {
        let reported = wanted(&self.config.events);
        let told = wanted(&sys::TOLD) && !self.config.sys_interval.is_zero();
        if !reported && !told {
            return;
        }
        let event = event();
        if told {
            self.publish_sys_event(&event);
        }
        if reported {
            self.outputs.push_back(Output::Event(event));
        }
    }
}
