//! Reason Codes (MQTT 5.0 section 2.4) and the return codes of earlier versions.
//!
//! Invariants: one table says which byte may stand in which packet; decoding and encoding follow from it.
use crate::error::{Fault, malformed};
use crate::{EncodeError, PacketType};

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal in [$($packet:ident)+],)*) => {
        /// A Reason Code. One byte means different things in different packets; where that is so the name is
        /// that of the first and constants give the others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum ReasonCode {
            $($(#[$doc])* #[doc = concat!("In", $(" ", stringify!($packet),)+ ".")] $name = $value,)*
        }

        impl ReasonCode {
            /// Every Reason Code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `None` for a byte that is no Reason Code.
            pub const fn new(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$name),)* _ => None }
            }
        }

        /// For each byte the packets it may stand in: bit *n* for packet type *n*.
        static ALLOWED: [u16; 256] = {
            let mut allowed = [0; 256];
            $(allowed[$value] = $(1 << packets::$packet as u16)|+;)*
            allowed
        };
    };
}

/// Packet types as the standard spells them.
mod packets {
    use crate::PacketType;
    pub(super) const CONNACK: PacketType = PacketType::ConnAck;
    pub(super) const PUBACK: PacketType = PacketType::PubAck;
    pub(super) const PUBREC: PacketType = PacketType::PubRec;
    pub(super) const PUBREL: PacketType = PacketType::PubRel;
    pub(super) const PUBCOMP: PacketType = PacketType::PubComp;
    pub(super) const SUBACK: PacketType = PacketType::SubAck;
    pub(super) const UNSUBACK: PacketType = PacketType::UnsubAck;
    pub(super) const DISCONNECT: PacketType = PacketType::Disconnect;
    pub(super) const AUTH: PacketType = PacketType::Auth;
}

reason_codes! {
    /// Success; Normal disconnection; Granted QoS 0.
    Success = 0x00 in [CONNACK PUBACK PUBREC PUBREL PUBCOMP UNSUBACK AUTH DISCONNECT SUBACK],
    /// Granted QoS 1.
    GrantedQoS1 = 0x01 in [SUBACK],
    /// Granted QoS 2.
    GrantedQoS2 = 0x02 in [SUBACK],
    /// Disconnect with Will Message.
    DisconnectWithWill = 0x04 in [DISCONNECT],
    /// No matching subscribers.
    NoMatchingSubscribers = 0x10 in [PUBACK PUBREC],
    /// No subscription existed.
    NoSubscriptionExisted = 0x11 in [UNSUBACK],
    /// Continue authentication.
    ContinueAuthentication = 0x18 in [AUTH],
    /// Re-authenticate.
    ReAuthenticate = 0x19 in [AUTH],
    /// Unspecified error.
    UnspecifiedError = 0x80 in [CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT],
    /// Malformed Packet.
    MalformedPacket = 0x81 in [CONNACK DISCONNECT],
    /// Protocol Error.
    ProtocolError = 0x82 in [CONNACK DISCONNECT],
    /// Implementation specific error.
    ImplementationSpecificError = 0x83 in [CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT],
    /// Unsupported Protocol Version.
    UnsupportedProtocolVersion = 0x84 in [CONNACK],
    /// Client Identifier not valid.
    ClientIdentifierNotValid = 0x85 in [CONNACK],
    /// Bad User Name or Password.
    BadUserNameOrPassword = 0x86 in [CONNACK],
    /// Not authorized.
    NotAuthorized = 0x87 in [CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT],
    /// Server unavailable.
    ServerUnavailable = 0x88 in [CONNACK],
    /// Server busy.
    ServerBusy = 0x89 in [CONNACK DISCONNECT],
    /// Banned.
    Banned = 0x8A in [CONNACK],
    /// Server shutting down.
    ServerShuttingDown = 0x8B in [DISCONNECT],
    /// Bad authentication method.
    BadAuthenticationMethod = 0x8C in [CONNACK DISCONNECT],
    /// Keep Alive timeout.
    KeepAliveTimeout = 0x8D in [DISCONNECT],
    /// Session taken over.
    SessionTakenOver = 0x8E in [DISCONNECT],
    /// Topic Filter invalid.
    TopicFilterInvalid = 0x8F in [SUBACK UNSUBACK DISCONNECT],
    /// Topic Name invalid.
    TopicNameInvalid = 0x90 in [CONNACK PUBACK PUBREC DISCONNECT],
    /// Packet Identifier in use.
    PacketIdentifierInUse = 0x91 in [PUBACK PUBREC SUBACK UNSUBACK],
    /// Packet Identifier not found.
    PacketIdentifierNotFound = 0x92 in [PUBREL PUBCOMP],
    /// Receive Maximum exceeded.
    ReceiveMaximumExceeded = 0x93 in [DISCONNECT],
    /// Topic Alias invalid.
    TopicAliasInvalid = 0x94 in [DISCONNECT],
    /// Packet too large.
    PacketTooLarge = 0x95 in [CONNACK DISCONNECT],
    /// Message rate too high.
    MessageRateTooHigh = 0x96 in [DISCONNECT],
    /// Quota exceeded.
    QuotaExceeded = 0x97 in [CONNACK PUBACK PUBREC SUBACK DISCONNECT],
    /// Administrative action.
    AdministrativeAction = 0x98 in [DISCONNECT],
    /// Payload format invalid.
    PayloadFormatInvalid = 0x99 in [CONNACK PUBACK PUBREC DISCONNECT],
    /// Retain not supported.
    RetainNotSupported = 0x9A in [CONNACK DISCONNECT],
    /// QoS not supported.
    QoSNotSupported = 0x9B in [CONNACK DISCONNECT],
    /// Use another server.
    UseAnotherServer = 0x9C in [CONNACK DISCONNECT],
    /// Server moved.
    ServerMoved = 0x9D in [CONNACK DISCONNECT],
    /// Shared Subscriptions not supported.
    SharedSubscriptionsNotSupported = 0x9E in [SUBACK DISCONNECT],
    /// Connection rate exceeded.
    ConnectionRateExceeded = 0x9F in [CONNACK DISCONNECT],
    /// Maximum connect time.
    MaximumConnectTime = 0xA0 in [DISCONNECT],
    /// Subscription Identifiers not supported.
    SubscriptionIdentifiersNotSupported = 0xA1 in [SUBACK DISCONNECT],
    /// Wildcard Subscriptions not supported.
    WildcardSubscriptionsNotSupported = 0xA2 in [SUBACK DISCONNECT],
}

impl ReasonCode {
    /// 0x00 in DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether the code reports a failure: 0x80 or greater (section 2.4).
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the code may stand in packets of this type (section 2.4, table 2-6).
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        ALLOWED[self as usize] >> packet as u16 & 1 == 1
    }

    /// The return code of a CONNACK before 5.0, or `None` where that has no fitting one: then the connection is
    /// closed without a CONNACK [3.1.1: MQTT-3.2.2-6]. Codes that only 5.0 tells apart share the nearest.
    pub const fn connect_return_code_v3(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::UnspecifiedError
            | Self::ImplementationSpecificError
            | Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The Reason Code for a return code of a CONNACK before 5.0, or `None` for a reserved one.
    pub const fn from_connect_return_code_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The return code of a SUBACK before 5.0: the granted QoS, or 0x80 for every failure [3.1.1: MQTT-3.9.3-2].
    pub const fn subscribe_return_code_v3(self) -> u8 {
        if self.is_error() { 0x80 } else { self as u8 }
    }

    /// The Reason Code for a return code of a SUBACK before 5.0, or `None` for a reserved one [3.1.1: MQTT-3.9.3-2].
    pub const fn from_subscribe_return_code_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::GRANTED_QOS_0),
            1 => Some(Self::GrantedQoS1),
            2 => Some(Self::GrantedQoS2),
            0x80 => Some(Self::UnspecifiedError),
            _ => None,
        }
    }

    /// The Reason Code that `byte` is in packets of this type. A sender may use no other: [MQTT-3.2.2-8],
    /// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.9.3-2], [MQTT-3.11.3-2],
    /// [MQTT-3.14.2-1], [MQTT-3.15.2-1].
    #[inline]
    pub(crate) fn decode(byte: u8, packet: PacketType) -> Result<Self, Fault> {
        match Self::new(byte) {
            Some(code) if code.allowed_in(packet) => Ok(code),
            _ => Err(misplaced(packet)),
        }
    }

    /// Refuses a code that may not stand in packets of this type.
    pub(crate) fn check(self, packet: PacketType) -> Result<(), EncodeError> {
        if self.allowed_in(packet) {
            Ok(())
        } else {
            Err(EncodeError::Invalid("a reason code that may not stand in this packet"))
        }
    }
}

#[cold]
fn misplaced(packet: PacketType) -> Fault {
    macro_rules! refuse {
        ($statement:literal) => {
            malformed!("a byte that is no reason code of this packet", $statement)
        };
    }
    match packet {
        PacketType::ConnAck => refuse!("MQTT-3.2.2-8"),
        PacketType::PubAck => refuse!("MQTT-3.4.2-1"),
        PacketType::PubRec => refuse!("MQTT-3.5.2-1"),
        PacketType::PubRel => refuse!("MQTT-3.6.2-1"),
        PacketType::PubComp => refuse!("MQTT-3.7.2-1"),
        PacketType::SubAck => refuse!("MQTT-3.9.3-2"),
        PacketType::UnsubAck => refuse!("MQTT-3.11.3-2"),
        PacketType::Disconnect => refuse!("MQTT-3.14.2-1"),
        PacketType::Auth => refuse!("MQTT-3.15.2-1"),
        _ => refuse!("section 2.4"),
    }
}
