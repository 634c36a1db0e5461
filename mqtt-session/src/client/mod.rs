//! The client machine: one [`Client`] is one Session of MQTT 3.1, 3.1.1 or 5.0 (sections 3 and 4 of the standard, the Client's part).
//!
//! # Calling contract
//! Inputs are `handle_*` and the calls that say what the user wants; outputs come from [`Client::poll_output`] and
//! [`Client::poll_message`]. After every input, poll both until `None`, write what [`Client::transmit`] shows and report it with
//! [`Client::transmitted`], and arm one timer for [`Client::poll_timeout`]. Any order of calls is safe; calls that come too late are no-ops.
//!
//! Bytes that [`Client::handle_input`] leaves in the buffer are an incomplete packet, or are not wanted yet: when [`Client::wants_read`] is
//! false, stop reading from the transport until [`Output::Readable`], then call `handle_input` again even if nothing was added.
//!
//! With a store ([`Client::with_store`]) each [`Output::Store`] goes to it, and its answers to [`Client::handle_completion`]; then a process that is killed
//! goes on where it was. Without one, nothing waits.
//!
//! The client owns *desired* state. What was asked for while there is no connection is remembered, reduced to what still matters, and
//! reconciled with the Server after each reconnect.
//!
//! # Invariants
//! - One table gives out the packet identifiers of all packet kinds; none is reused while in flight [MQTT-2.2.1-3].
//! - A message is sent again on a new connection with a present session only, never otherwise [MQTT-4.4.0-1].
//! - Acknowledgments leave in the order in which the messages came [MQTT-4.6.0-2], [MQTT-4.6.0-3].
//! - Each token is settled once. No queue is unbounded, as long as outputs are polled.
//! - The Network Connection that the machine asks for carries bytes in order and without loss [MQTT-4.2-1]; that is the adapter's part.
mod alias;
mod auth;
mod backoff;
mod config;
mod connect;
mod connection;
mod error;
mod flights;
mod incoming;
mod io;
mod keep_alive;
mod memory;
mod outgoing;
mod session;
mod store;
mod subscriptions;

pub use alias::AliasPolicy;
pub use backoff::Backoff;
pub use config::{ClientConfig, ConfigError, QueueConfig, QueuePolicy, SessionLoss};
pub use error::{DisconnectReason, Failure, ProtocolError, PublishError, StateError, SubscribeError};
pub use io::{AckToken, AuthStep, Connected, Event, Message, Outcome, Output, Received, ServerLimits, Stats, Token};
pub use memory::MemoryStore;
pub use session::{InflightState, QueuedMessage, SessionState, SubscriptionState};
pub use store::{Completion, Record, RecordKey, StoreBatch, StoreOp, StoreSeq};
pub use subscriptions::SubscribeOptions;

use crate::{Instant, Rng, TxQueue};
use alias::OutgoingAliases;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use backoff::Retry;
use bytes::Bytes;
use connection::Phase;
use flights::Flights;
use incoming::Inbox;
use keep_alive::KeepAlive;
use mqtt_proto::{ClientId, Decoder, EncodeError, Packet, Utf8String};
use outgoing::Outbox;
use store::{Store, Waiting};
use subscriptions::Subscriptions;

/// An MQTT client without IO. See the [module](self) for how to drive it.
///
/// ```
/// use mqtt_session::Instant;
/// use mqtt_session::client::{Client, ClientConfig, Message, Output};
/// use mqtt_session::proto::{QoS, TopicName};
///
/// let now = Instant::ZERO;
/// let mut client = Client::new(ClientConfig::default(), [7; 32], now)?;
/// client.publish(now, Message::new(TopicName::try_from("mqtt/demo")?, "hello world!", QoS::AtLeastOnce))?; // queued
/// client.connect(now);
/// assert!(matches!(client.poll_output(), Some(Output::Event(_)))); // an attempt begins
/// assert!(matches!(client.poll_output(), Some(Output::Connect { server: 0 })));
/// client.handle_connected(now); // the transport is up
/// assert!(matches!(client.poll_output(), Some(Output::Writable))); // CONNECT
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    rng: Rng,
    /// The Client Identifier in force.
    id: ClientId,
    username: Option<Utf8String>,
    password: Option<Bytes>,
    auth_data: Option<Bytes>,
    phase: Phase,
    retry: Retry,
    /// Whether CONNACK ever accepted a connection: later ones of 5.0 do not start clean.
    connected_before: bool,
    /// A CONNACK may have been lost that said that the session was gone: the next one speaks of a session that may be new.
    doubtful: bool,
    /// Whether an AUTH of ours is due, or an answer to it.
    auth: auth::Exchange,
    decoder: Decoder,
    limits: ServerLimits,
    keep_alive: KeepAlive,
    tx: TxQueue,
    /// Whether [`Output::Writable`] was reported for what `tx` holds.
    writable_reported: bool,
    /// Acknowledgments in `tx` since it was last empty.
    unwritten_acks: usize,
    outputs: VecDeque<Output>,
    flights: Flights,
    outbox: Outbox,
    aliases: OutgoingAliases,
    inbox: Inbox,
    /// Bytes that the last `handle_input` left.
    input_left: usize,
    /// Whether `wants_read` was false when it was last looked at.
    paused: bool,
    subscriptions: Subscriptions,
    /// What must survive the process; `None` if nothing must.
    store: Option<Box<Store>>,
    next_token: u64,
    stats: Stats,
}

impl Client {
    /// A client that is not connected. `seed` decides jitter and, before 5.0, a Client Identifier that the configuration leaves out.
    pub fn new(config: impl Into<Arc<ClientConfig>>, seed: [u8; 32], now: Instant) -> Result<Self, ConfigError> {
        let config = config.into();
        config.check()?;
        let mut rng = Rng::new(seed);
        let id = connect::first_client_id(&config, &mut rng);
        Ok(Self {
            rng,
            id,
            username: config.username.clone(),
            password: config.password.clone(),
            auth_data: config.auth_data.clone(),
            phase: Phase::Idle,
            retry: Retry::new(config.servers),
            connected_before: false,
            doubtful: false,
            auth: auth::Exchange::default(),
            decoder: Decoder::client(config.version, config.maximum_packet_size),
            limits: ServerLimits::before_connack(&config),
            keep_alive: KeepAlive::new(0, config.ping_timeout, now),
            tx: TxQueue::new(),
            writable_reported: false,
            unwritten_acks: 0,
            outputs: VecDeque::new(),
            flights: Flights::new(),
            outbox: Outbox::default(),
            aliases: OutgoingAliases::default(),
            inbox: Inbox::default(),
            input_left: 0,
            paused: false,
            subscriptions: Subscriptions::default(),
            store: None,
            next_token: 0,
            stats: Stats::default(),
            config,
        })
    }

    /// The next thing for the adapter to do. Every input may change the answer.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(count) = self.inbox.take_dropped() {
            return Some(Output::Event(Event::Dropped { count }));
        }
        if let Some(store) = &mut self.store
            && let Some(batch) = store.take_batch()
        {
            return Some(Output::Store(batch));
        }
        if !self.tx.is_empty() && !self.writable_reported {
            self.writable_reported = true;
            return Some(Output::Writable);
        }
        None
    }

    /// The bytes to write, oldest first.
    pub fn transmit(&self) -> &TxQueue {
        &self.tx
    }

    /// The transport took the first `bytes` bytes of [`Client::transmit`].
    pub fn transmitted(&mut self, now: Instant, bytes: usize) {
        self.tx.consume(bytes);
        if self.tx.is_empty() {
            self.writable_reported = false;
            self.unwritten_acks = 0;
        }
        self.pump(now);
    }

    /// Whether there is nothing left to send or to wait for: no message queued or in flight, no request unanswered, no byte to
    /// write, no change that the store has not kept.
    pub fn is_drained(&self) -> bool {
        let writing = matches!(self.phase, Phase::Handshake { .. } | Phase::Online) && !self.tx.is_empty();
        self.outbox.is_empty()
            && self.flights.is_empty()
            && self.subscriptions.is_settled()
            && !writing
            && self.is_kept()
    }

    /// The Client Identifier in force; empty while a 5.0 Server has still to assign one.
    pub fn client_id(&self) -> &ClientId {
        &self.id
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Messages that are not settled: queued, or in flight.
    pub fn unfinished(&self) -> usize {
        let inflight = self.flights.iter().filter(|(_, flight)| flight.is_message()).count();
        self.outbox.size().0 + inflight
    }

    /// Messages and their bytes that wait to be sent; those in flight are not counted.
    pub fn queued(&self) -> (usize, usize) {
        self.outbox.size()
    }

    /// Replaces user name and password for the connections to come: for tokens that expire.
    pub fn set_credentials(&mut self, username: Option<Utf8String>, password: Option<Bytes>) {
        self.username = username;
        self.password = password;
    }

    /// Replaces the Authentication Data of CONNECT for the connections to come.
    pub fn set_auth_data(&mut self, data: Option<Bytes>) {
        self.auth_data = data;
    }

    /// Sends what now may be sent: requests first, then messages.
    fn pump(&mut self, now: Instant) {
        if self.phase == Phase::Online {
            self.pump_requests(now);
            self.pump_messages(now);
        }
        self.look_at_reading(now);
    }

    /// Encodes a packet. One that a limit forbids is the caller's to judge.
    fn send(&mut self, now: Instant, packet: &Packet) -> Result<(), EncodeError> {
        let length = packet.encoded_len(self.config.version)?;
        // [MQTT-3.2.2-15], and so [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2], [MQTT-3.14.2-3], [MQTT-3.15.2-2]
        if length > self.limits.maximum_packet_size as usize {
            return Err(EncodeError::TooLarge);
        }
        packet.encode(self.config.version, self.tx.run())?;
        self.stats.packets_sent += 1;
        self.keep_alive.sent(now);
        Ok(())
    }

    fn new_token(&mut self) -> Token {
        self.next_token += 1;
        if self.store.is_some() {
            self.reserve();
        }
        Token(self.next_token)
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Settles a message that is not sent any more.
    #[cold]
    fn settle_failed(&mut self, now: Instant, token: Token, failure: Failure) {
        self.when_kept(now, Waiting::Failed(token, failure));
    }

    fn settle(&mut self, token: Token, result: Result<Outcome, Failure>) {
        self.event(Event::Settled { token, result });
    }
}
