//! Quality of service and subscription options (MQTT 5.0 sections 4.3 and 3.8.3.1).
use crate::PacketId;

/// A Quality of Service level. The value 3 cannot be built [MQTT-3.3.1-4].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: at most once.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: at least once.
    AtLeastOnce = 1,
    /// QoS 2: exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// `None` for anything but 0, 1 and 2.
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// How one PUBLISH travels: its QoS together with what only that QoS has, so that a QoS 0 packet with an
/// identifier or with DUP set cannot be built [MQTT-2.2.1-2] [3.1.1: MQTT-2.3.1-5], [MQTT-3.3.1-2], [MQTT-4.3.1-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// Packet Identifier.
        id: PacketId,
        /// Whether this is a re-delivery (DUP flag).
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// Packet Identifier.
        id: PacketId,
        /// Whether this is a re-delivery (DUP flag).
        dup: bool,
    },
}

impl Delivery {
    /// The QoS level.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// The Packet Identifier, if the QoS has one.
    pub const fn id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { id, .. } | Self::ExactlyOnce { id, .. } => Some(id),
        }
    }

    /// The DUP flag.
    pub const fn dup(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}

/// When retained messages are sent at subscription (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: at every SUBSCRIBE.
    #[default]
    Send = 0,
    /// 1: only if the subscription did not exist before.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

/// Subscription Options of one Topic Filter. Versions before 5.0 carry `qos` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// Maximum QoS at which the Server may send messages.
    pub qos: QoS,
    /// Do not send the Client's own messages back to it.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

impl From<QoS> for SubscriptionOptions {
    fn from(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}
