//! An Application Message inside the broker.
//!
//! Invariant: its bytes are its own allocation (never a slice of a read buffer), so what is queued pins nothing else.
use crate::Instant;
use alloc::sync::Arc;
use bytes::Bytes;
use mqtt_proto::{Properties, QoS, TopicName};

/// An Application Message, shared by all queues that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: TopicName,
    /// Payload.
    pub payload: Bytes,
    /// QoS at which it was published.
    pub qos: QoS,
    /// RETAIN flag with which it was published.
    pub retain: bool,
    /// The properties that a Server forwards unaltered (section 3.3.2.3).
    pub properties: Properties,
    /// When it expires (Message Expiry Interval).
    pub expires_at: Option<Instant>,
    /// Client Identifier of the publisher, for No Local; `None` when it was published from inside.
    pub publisher: Option<Arc<str>>,
}

impl Message {
    /// A QoS 0 message without properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::new(),
            expires_at: None,
            publisher: None,
        }
    }

    /// Bytes that this message is charged with while a queue holds it.
    pub fn cost(&self) -> u64 {
        (size_of::<Self>() + self.topic.as_bytes().len() + self.payload.len() + self.properties.len()) as u64
    }

    /// Whether its time is over at `now`.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The Message Expiry Interval that is left at `now`, in seconds, rounded up [MQTT-3.3.2-6].
    pub fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        super::deliver::expiry_left(self.expires_at, now)
    }
}
