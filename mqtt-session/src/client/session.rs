//! The Session State of a client as a plain value, to keep and to restore (MQTT 5.0 section 4.1).
//!
//! Invariant: restoring what was exported continues the flows where they were: identifiers, order, tokens and remaining lifetimes
//! included [MQTT-4.1.0-1], [MQTT-3.1.2-23].
use super::flights::{Flight, Outgoing};
use super::outgoing::Stored;
use super::subscriptions::Desired;
use super::{Client, ClientConfig, ConfigError, Message, StoreSeq, SubscribeOptions, Token};
use crate::Instant;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mqtt_proto::{ClientId, PacketId, ReasonCode, SubscriptionOptions, TopicFilter};

/// Everything that a client must keep to go on with its session later, and the messages that it has not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The Client Identifier in force [MQTT-3.1.3-2].
    pub client_id: ClientId,
    /// Messages in flight, in the order in which they are to be sent again.
    pub inflight: Vec<InflightState>,
    /// Messages that were not sent, oldest first.
    pub queue: Vec<QueuedMessage>,
    /// QoS 2 identifiers of the Server, from PUBLISH to PUBREL.
    pub incoming: Vec<PacketId>,
    /// Desired subscriptions.
    pub subscriptions: Vec<SubscriptionState>,
    /// Subscriptions that the Server may have and is to end.
    pub unsubscribe: Vec<TopicFilter>,
    /// The last token that was given out.
    pub last_token: u64,
}

/// A QoS 1 or 2 message without its last acknowledgment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InflightState {
    /// Its Packet Identifier.
    pub id: PacketId,
    /// Its token.
    pub token: Token,
    /// Its place in the order of sending, first of PUBLISH and then of PUBREL.
    pub order: u64,
    /// The message; `None` once PUBREC came and only PUBREL and PUBCOMP are left.
    pub message: Option<QueuedMessage>,
}

/// A message with what is left of its lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its token.
    pub token: Token,
    /// The message; its properties hold no Message Expiry Interval, `expires_in` has it.
    pub message: Message,
    /// What is left of the Message Expiry Interval.
    pub expires_in: Option<Duration>,
}

/// A desired subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Topic Filter.
    pub filter: TopicFilter,
    /// Subscription Options.
    pub options: SubscriptionOptions,
    /// What the SUBSCRIBE says beside.
    pub more: SubscribeOptions,
    /// Whether the Server confirmed it: then it is part of the Server's session.
    pub confirmed: bool,
}

impl Client {
    /// The session as it stands. Received messages that were not handed out yet are not part of it: they are not acknowledged, so the Server
    /// sends those of QoS 1 again; take them ([`Client::poll_message`]) before exporting, as those of QoS 2 count as received. O(n).
    pub fn export(&self, now: Instant) -> SessionState {
        let mut inflight = Vec::new();
        for (id, flight) in self.flights.iter() {
            match flight {
                Flight::Publish(out) => {
                    let message = Some(queued(now, out.token, &out.message));
                    inflight.push(InflightState { id, token: out.token, order: out.order, message });
                }
                Flight::Release { token, order, .. } => {
                    inflight.push(InflightState { id, token: *token, order: *order, message: None });
                }
                Flight::Subscribe(_) | Flight::Unsubscribe(_) => {} // the desired state says all
            }
        }
        inflight.sort_unstable_by_key(|state| state.order);
        SessionState {
            client_id: self.id.clone(),
            inflight,
            queue: self.outbox.iter().map(|(token, message)| queued(now, *token, message)).collect(),
            incoming: self.inbox.session().collect(),
            subscriptions: self.subscriptions.desired.iter().map(|(filter, desired)| desired.state(filter)).collect(),
            unsubscribe: self.subscriptions.unwanted(&self.flights),
            last_token: self.next_token,
        }
    }

    /// A client that goes on with an exported session. It is not connected. In 5.0 it resumes whatever `clean_start` says, as after a reconnect;
    /// before, `clean_start` must be false for that. [`SessionLoss`](super::SessionLoss) decides about messages in flight when the Server has no session.
    pub fn restore(
        config: impl Into<Arc<ClientConfig>>,
        state: SessionState,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let mut client = Self::new(config, seed, now)?;
        if !state.client_id.is_empty() {
            client.id = state.client_id;
        }
        client.next_token = state.last_token;
        client.connected_before = true;
        for inflight in state.inflight {
            let InflightState { id, token, order, message } = inflight;
            client.flights.restore_order(order);
            let flight = match message {
                Some(message) => {
                    let (message, gate) = (stored(now, message), StoreSeq(0));
                    Flight::Publish(Outgoing { token, message, order, on_wire: false, sent: true, gate })
                }
                None => Flight::Release { token, reason: ReasonCode::Success, order, on_wire: false },
            };
            client.flights.put(id, flight);
        }
        for message in state.queue {
            client.outbox.push_back(message.token, stored(now, message));
        }
        client.inbox.restore(state.incoming);
        for subscription in state.subscriptions {
            let SubscriptionState { filter, options, more, confirmed } = subscription;
            if !confirmed {
                client.want_again(filter.clone(), options, more.clone());
            }
            client.subscriptions.desired.insert(filter, Desired { options, more, confirmed });
        }
        for filter in state.unsubscribe {
            client.want_gone(filter);
        }
        Ok(client)
    }
}

fn queued(now: Instant, token: Token, stored: &Stored) -> QueuedMessage {
    QueuedMessage {
        token,
        message: stored.to_message(),
        expires_in: stored.expires_at.map(|at| at.saturating_since(now)),
    }
}

fn stored(now: Instant, queued: QueuedMessage) -> Stored {
    let mut stored = Stored::new(now, queued.message);
    stored.expires_at = queued.expires_in.map(|left| now + left);
    stored
}
