//! An MQTT 3.1, 3.1.1 and 5.0 client on tokio: connect, subscribe, a stream of messages, publish, end.
//!
//! ```no_run
//! use mqtt_tokio::client::{Client, QoS};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("mqtt://127.0.0.1:1883").await?;
//! let mut messages = client.subscribe("mqtt/+", QoS::AtLeastOnce).await?;
//! client.publish("mqtt/demo", "hello world!", QoS::AtLeastOnce).await?;
//! if let Some(message) = messages.recv().await {
//!     println!("{}: {:?}", &*message.topic, message.payload);
//! }
//! client.end().await?;
//! # Ok(()) }
//! ```
//!
//! A background task owns the socket: there is no loop to poll. It reconnects by itself, subscribes again what the server lost, and keeps messages
//! while there is no connection. [`mqtt_session::client`] decides all of that; this module moves bytes, waits and wakes.
//!
//! # Cancel safety
//! Every future here may be dropped at any await, for example in `select!`, without losing or doubling anything:
//! - before a request is accepted, dropping the future means that it never happened;
//! - once it is accepted, it goes its way whether or not somebody waits for the outcome: a message is published exactly as it would have been, a
//!   subscription stays.
//!
//! [`Client::try_publish`] makes the border visible: it returns when the message is accepted, and what it returns waits for the outcome.
//!
//! # Without a connection
//! What is published or subscribed meanwhile waits, and so do the futures of it, until there is a connection again or the client ends. A timeout
//! around them (`tokio::time::timeout`) stops the waiting and not the request. [`Client::events`] tells what the client is doing about it; after
//! [`Event::Disconnected`] without a next attempt it waits for [`Client::reconnect`].
//!
//! # After a kill
//! With [`Builder::store`] the session is kept outside of the process: in a folder (`mqtt-store-fjall`), or in memory ([`InMemory`]) for clients that
//! come and go in one process. [`Delivery::kept`] says when a message is safe, and a QoS 2 message is not received twice. What exactly is promised
//! stands at [`with_store`](mqtt_session::client::Client::with_store). Note that by default a message counts as received when it enters a stream; one
//! that must be dealt with, whatever happens, needs [`Builder::manual_acks`].
//!
//! # Slow readers
//! Streams are bounded ([`Builder::capacity`]), and [`Lagging`] says what a full one means. By default the client stops reading from the socket, so
//! that TCP slows the server down, and nothing is lost. A task that publishes and awaits the acknowledgment instead of taking its
//! messages is never stuck: while an acknowledgment is awaited, reading goes on within a limit
//! ([`wants_read`](mqtt_session::client::Client::wants_read)).
//!
//! # Invariants
//! No protocol decision is taken here; no queue is unbounded; no lock is held across an await.
mod builder;
mod delivery;
mod driver;
mod error;
mod link;
mod messages;
mod shared;
mod store;

pub use builder::Builder;
pub use delivery::Delivery;
pub use error::{CallError, ConnectError, EndError, PublishError, SubscribeError};
pub use messages::{Events, Lagging, Messages, Subscription};
pub use mqtt_pipes::tls::{LoadError, Pem};
pub use mqtt_pipes::{Address, AddressError, AddressErrorKind, Scheme, SetupError};
pub use mqtt_session::client::{
    AckToken, AliasPolicy, Backoff, ClientConfig, Completion, Connected, DisconnectReason, Event, Failure, MemoryStore,
    Message, Outcome, QueueConfig, QueuePolicy, Received, ServerLimits, SessionLoss, SessionState, Stats, StoreBatch,
    SubscribeOptions,
};
pub use mqtt_session::proto::{
    Properties, Property, QoS, ReasonCode, RetainHandling, SubscriptionOptions, TopicFilter, TopicName, Version, Will,
};
pub use store::{InMemory, Store, StoreDone};

use bytes::Bytes;
use mqtt_session::client as machine;
use mqtt_session::proto::{Disconnect, TextError, Utf8String};
use shared::{Handle, Inner, State};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long [`Client::end`] waits for what is on its way.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A handle to a client; clones are further handles to the same. When the last one is dropped, the client disconnects at once;
/// [`Client::end`] lets it finish first.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// Connects with the default options: MQTT 5.0, a new session, reconnecting for ever once it was connected.
    /// See [`Builder::connect`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Options for a client of this server: `mqtt://user:password@host:port`, where all but the host may be left out.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// Publishes, and waits until the server has acknowledged the message (QoS 1 and 2) or it was handed to the socket (QoS 0). While the queue is
    /// full, waits for room first.
    ///
    /// Cancel-safe: see the [module](self#cancel-safety).
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Result<Outcome, PublishError> {
        self.publish_message(message(topic, payload, qos)?).await
    }

    /// [`Client::publish`] for a message with a RETAIN flag or properties.
    pub async fn publish_message(&self, message: Message) -> Result<Outcome, PublishError> {
        loop {
            // Listening before trying: room that comes in between is not missed.
            let room = self.handle.0.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_publish_message(message.clone()) {
                Err(PublishError::Rejected(machine::PublishError::QueueFull)) => room.await,
                Err(error) => return Err(error),
                Ok(delivery) => return delivery.await,
            }
        }
    }

    /// Publishes without waiting. What it returns is a future of the outcome, and may be dropped.
    ///
    /// # Errors
    /// [`machine::PublishError::QueueFull`] when there is no room: nothing was accepted.
    pub fn try_publish(&self, topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Result<Delivery, PublishError> {
        self.try_publish_message(message(topic, payload, qos)?)
    }

    /// [`Client::try_publish`] for a message with a RETAIN flag or properties.
    pub fn try_publish_message(&self, message: Message) -> Result<Delivery, PublishError> {
        self.handle.0.call(|inner, now| {
            if inner.ending.is_some() {
                return Err(PublishError::Ended);
            }
            let durable = message.qos > QoS::AtMostOnce;
            let token = inner.machine.publish(now, message).map_err(PublishError::Rejected)?;
            let kept = match &mut inner.keepers {
                Some(keepers) if durable => {
                    let (sender, receiver) = oneshot::channel();
                    keepers.insert(token, sender);
                    Some(receiver)
                }
                _ => None,
            };
            Ok(Delivery::new(wait_for(inner, token), kept))
        })
    }

    /// Subscribes, and resolves to the stream of the messages once the server has granted it. The subscription is made again after each reconnect
    /// for which the server lost it.
    ///
    /// Cancel-safe: once it was polled, dropping the future leaves the subscription, whose messages go to [`Client::messages`].
    pub async fn subscribe(
        &self,
        filter: &str,
        options: impl Into<SubscriptionOptions>,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_many([(filter, options)], SubscribeOptions::default()).await
    }

    /// [`Client::subscribe`] for several filters with one stream, and with Subscription Identifier and User Properties. If the server refuses one of
    /// them, the error names the first, and the others stay subscribed.
    pub async fn subscribe_many<F: AsRef<str>, O: Into<SubscriptionOptions>>(
        &self,
        filters: impl IntoIterator<Item = (F, O)>,
        more: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let filters: Vec<(TopicFilter, SubscriptionOptions)> = filters
            .into_iter()
            .map(|(filter, options)| Ok((TopicFilter::try_from(filter.as_ref())?, options.into())))
            .collect::<Result<_, TextError>>()
            .map_err(SubscribeError::Filter)?;
        let names: Vec<TopicFilter> = filters.iter().map(|(filter, _)| filter.clone()).collect();
        // The stream is there before the request leaves: retained messages may come before SUBACK.
        let (route, messages, outcome) = self.handle.0.call(|inner, now| {
            if inner.ending.is_some() {
                return Err(SubscribeError::Ended);
            }
            let token = inner.machine.subscribe(now, filters, more).map_err(SubscribeError::Rejected)?;
            let (route, messages) = inner.routes.add(names.clone());
            Ok((route, messages, wait_for(inner, token)))
        })?;
        let Ok(Ok(Outcome::Subscribed(reasons))) = outcome.await else { return Err(SubscribeError::Ended) };
        let granted: Vec<_> = names.into_iter().zip(reasons).collect();
        if let Some((filter, reason)) = granted.iter().find(|(_, reason)| reason.is_error()).cloned() {
            self.handle.0.lock().routes.remove(route);
            return Err(SubscribeError::Refused { filter, reason });
        }
        Ok(Subscription { messages, granted })
    }

    /// Unsubscribes, and waits until the server has confirmed it. Streams of these filters stay open; nothing more comes to them.
    ///
    /// Cancel-safe: once it was polled, the filters are unsubscribed in any case.
    pub async fn unsubscribe<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
    ) -> Result<Vec<ReasonCode>, SubscribeError> {
        let filters: Vec<TopicFilter> = filters
            .into_iter()
            .map(|filter| TopicFilter::try_from(filter.as_ref()))
            .collect::<Result<_, TextError>>()
            .map_err(SubscribeError::Filter)?;
        let outcome = self.handle.0.call(|inner, now| {
            if inner.ending.is_some() {
                return Err(SubscribeError::Ended);
            }
            let token = inner.machine.unsubscribe(now, filters).map_err(SubscribeError::Rejected)?;
            Ok(wait_for(inner, token))
        })?;
        match outcome.await {
            Ok(Ok(Outcome::Unsubscribed(reasons))) => Ok(reasons),
            _ => Err(SubscribeError::Ended),
        }
    }

    /// A client-wide stream: the messages that no [`Subscription`] takes. The first one also gets what came before it was asked for, such as
    /// messages that the server kept for a session that is resumed (as many as [`Builder::capacity`], the newest).
    pub fn messages(&self) -> Messages {
        self.handle.0.call(|inner, _| inner.routes.add(Vec::new())).1
    }

    /// What happens to the connection from now on: connecting, connected, disconnected with the reason, authentication; and what became of messages
    /// that the client was restored with.
    pub fn events(&self) -> Events {
        Events { receiver: self.handle.0.events.subscribe() }
    }

    /// Acknowledges a message, with [`Builder::manual_acks`]; `reason` is Success, or in 5.0 an error with which the server drops it.
    /// Acknowledgments leave in the order of the messages.
    pub fn acknowledge(&self, token: AckToken, reason: ReasonCode) {
        self.handle.0.call(|inner, now| inner.machine.acknowledge(now, token, reason));
    }

    /// Whether the client is connected at this moment.
    pub fn is_connected(&self) -> bool {
        self.handle.0.lock().machine.is_connected()
    }

    /// Waits until the client is connected; `false` when it has ended. Cancel-safe.
    pub async fn connected(&self) -> bool {
        let mut state = self.handle.0.state.subscribe();
        let reached = state.wait_for(|state| matches!(state, State::Online | State::Ended(_))).await;
        reached.is_ok_and(|state| matches!(*state, State::Online))
    }

    /// Connects at once if the client is between attempts or was disconnected; else disconnects first.
    pub fn reconnect(&self) {
        self.handle.0.call(|inner, now| inner.machine.reconnect(now));
    }

    /// Disconnects and stays so, until [`Client::reconnect`]. Messages are queued meanwhile.
    pub fn disconnect(&self, packet: &Disconnect) -> Result<(), CallError> {
        self.handle.0.call(|inner, now| inner.machine.disconnect(now, packet)).map_err(CallError::State)
    }

    /// Answers [`Event::Auth`] with the next step's data.
    pub fn authenticate(&self, data: Option<Bytes>) -> Result<(), CallError> {
        self.handle.0.call(|inner, now| inner.machine.authenticate(now, data)).map_err(CallError::State)
    }

    /// Authenticates again on the connection in use (5.0).
    pub fn reauthenticate(&self, data: Option<Bytes>) -> Result<(), CallError> {
        self.handle.0.call(|inner, now| inner.machine.reauthenticate(now, data)).map_err(CallError::State)
    }

    /// Replaces user name and password for the connections to come.
    pub fn set_credentials(&self, username: Option<&str>, password: Option<Bytes>) -> Result<(), TextError> {
        let username = username.map(Utf8String::try_from).transpose()?;
        self.handle.0.lock().machine.set_credentials(username, password);
        Ok(())
    }

    /// Sends what is queued, waits for the acknowledgments, disconnects and stops; all of it within 10 seconds. Also when there is no connection.
    ///
    /// Cancel-safe: once it was polled, the client ends in any case.
    ///
    /// # Errors
    /// When the time was over before everything was acknowledged.
    pub async fn end(&self) -> Result<(), EndError> {
        self.end_within(END_WITHIN).await
    }

    /// [`Client::end`] with a time limit of your own. Zero disconnects at once.
    pub async fn end_within(&self, limit: Duration) -> Result<(), EndError> {
        let now = tokio::time::Instant::now();
        self.handle.0.end_at(now.checked_add(limit).unwrap_or(now + Duration::from_secs(1 << 30)));
        let mut state = self.handle.0.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Ended(_))).await;
        match ended.as_deref() {
            Ok(State::Ended(unfinished)) if *unfinished > 0 => Err(EndError { unfinished: *unfinished }),
            _ => Ok(()),
        }
    }

    /// The Client Identifier in force; empty while the server has still to assign one.
    pub fn client_id(&self) -> String {
        self.handle.0.lock().machine.client_id().as_str().to_owned()
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.handle.0.lock().machine.stats()
    }

    /// Messages that no stream got, because it was full ([`Lagging::Drop`]) or because there was none.
    pub fn lagged(&self) -> u64 {
        self.handle.0.lock().routes.lagged
    }

    /// The session, to go on with later ([`Builder::session`]): best after [`Client::end`].
    pub fn export(&self) -> SessionState {
        let shared = &self.handle.0;
        shared.lock().machine.export(shared.now())
    }

    /// Waits until nothing is left to be sent, acknowledged or kept, also of what a [store](Builder::store) brought along. `false`: the client has
    /// ended before. Cancel-safe.
    pub async fn drained(&self) -> bool {
        loop {
            let turn = self.handle.0.room.notified();
            tokio::pin!(turn);
            turn.as_mut().enable();
            if self.handle.0.lock().machine.is_drained() {
                return true;
            }
            if matches!(*self.handle.0.state.borrow(), State::Ended(_)) {
                return false;
            }
            turn.await;
        }
    }

    /// Messages that are queued or on their way.
    pub fn unfinished(&self) -> usize {
        self.handle.0.lock().machine.unfinished()
    }

    /// Waits for the first CONNACK, or until every server failed once, with the last failure. What [`Builder::connect`] does; here the client goes
    /// on trying. Cancel-safe.
    pub async fn first_connection(&self) -> Result<(), ConnectError> {
        let shared = &self.handle.0;
        let mut state = shared.state.subscribe();
        let reached = state.wait_for(|state| !matches!(state, State::Offline)).await.map(|state| state.clone());
        match reached {
            Ok(State::Failed(reason)) => {
                let io_error = shared.lock().io_error.take();
                Err(match (reason, io_error) {
                    (DisconnectReason::TransportLost, Some((server, source))) => ConnectError::Io { server, source },
                    (reason, _) => ConnectError::Disconnected(reason),
                })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("client_id", &self.client_id()).field("connected", &self.is_connected()).finish()
    }
}

fn message(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Result<Message, PublishError> {
    Ok(Message::new(TopicName::try_from(topic).map_err(PublishError::Topic)?, payload, qos))
}

fn wait_for(inner: &mut Inner, token: machine::Token) -> oneshot::Receiver<Result<Outcome, Failure>> {
    let (sender, receiver) = oneshot::channel();
    inner.waiters.insert(token, sender);
    receiver
}
