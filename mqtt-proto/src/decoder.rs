//! A decoder that knows who it listens to (MQTT 5.0 sections 2.1.2, 3.1 and 3.2).
//!
//! Invariants: the first packet opens the connection, no other does; packets that the peer's role may not send are
//! refused.
use crate::error::{Fault, violation};
use crate::{DecodeError, Packet, PacketType, PropertyId, ReasonCode, Version};
use bytes::BytesMut;

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A Client, to a Server.
    Client,
    /// A Server, to a Client.
    Server,
}

impl Sender {
    /// Whether the sender may send packets of this type (section 2.1.2, table 2-1).
    pub const fn may_send(self, packet: PacketType, version: Version) -> bool {
        use PacketType::*;
        match packet {
            Connect | Subscribe | Unsubscribe | PingReq => matches!(self, Self::Client),
            ConnAck | SubAck | UnsubAck | PingResp => matches!(self, Self::Server),
            Publish | PubAck | PubRec | PubRel | PubComp => true,
            Disconnect => version.is_v5() || matches!(self, Self::Client),
            Auth => version.is_v5(),
        }
    }
}

impl Packet {
    /// Refuses what this sender may not send: packet types, reason codes and properties of the other side.
    pub fn check_sender(&self, sender: Sender, version: Version) -> Result<(), DecodeError> {
        Ok(self.judge(sender, version)?)
    }

    fn judge(&self, sender: Sender, version: Version) -> Result<(), Fault> {
        if !sender.may_send(self.packet_type(), version) {
            return Err(violation!("a packet that only the other side may send", "section 2.1.2"));
        }
        match (self, sender) {
            // [MQTT-3.3.4-6] A Client sends no Subscription Identifier in PUBLISH.
            (Self::Publish(publish), Sender::Client)
                if publish.properties.contains(PropertyId::SubscriptionIdentifier) =>
            {
                Err(violation!("a subscription identifier in a client's PUBLISH", "MQTT-3.3.4-6"))
            }
            // [MQTT-3.14.2-2] A Server sends no Session Expiry Interval in DISCONNECT.
            (Self::Disconnect(disconnect), Sender::Server)
                if disconnect.properties.contains(PropertyId::SessionExpiryInterval) =>
            {
                Err(violation!("a session expiry interval in a server's DISCONNECT", "MQTT-3.14.2-2"))
            }
            (Self::Disconnect(disconnect), Sender::Client)
                if disconnect.properties.contains(PropertyId::ServerReference) =>
            {
                Err(violation!("a server reference in a client's DISCONNECT", "section 3.14.2.2.5"))
            }
            // [MQTT-3.14.2-1], [MQTT-3.15.2-1] The tables there name the sender of each code.
            (Self::Disconnect(disconnect), _) if !disconnect_code(disconnect.reason, sender) => {
                Err(violation!("a disconnect reason code of the other side", "MQTT-3.14.2-1"))
            }
            (Self::Auth(auth), Sender::Client) if auth.reason == ReasonCode::Success => {
                Err(violation!("authentication success from a client", "MQTT-3.15.2-1"))
            }
            (Self::Auth(auth), Sender::Server) if auth.reason == ReasonCode::ReAuthenticate => {
                Err(violation!("re-authenticate from a server", "MQTT-3.15.2-1"))
            }
            _ => Ok(()),
        }
    }
}

/// Section 3.14.2.1, table 3-10: who sends which code.
const fn disconnect_code(reason: ReasonCode, sender: Sender) -> bool {
    use ReasonCode::*;
    match reason {
        DisconnectWithWill => matches!(sender, Sender::Client),
        NotAuthorized
        | ServerBusy
        | ServerShuttingDown
        | KeepAliveTimeout
        | SessionTakenOver
        | TopicFilterInvalid
        | RetainNotSupported
        | QoSNotSupported
        | UseAnotherServer
        | ServerMoved
        | SharedSubscriptionsNotSupported
        | ConnectionRateExceeded
        | MaximumConnectTime
        | SubscriptionIdentifiersNotSupported
        | WildcardSubscriptionsNotSupported => matches!(sender, Sender::Server),
        _ => true,
    }
}

/// Takes the packets of one connection out of its bytes.
#[derive(Clone, Debug)]
pub struct Decoder {
    from: Sender,
    /// `None` until a CONNECT has named it.
    version: Option<Version>,
    /// Whether CONNECT or CONNACK was seen.
    open: bool,
    max_packet_size: u32,
}

impl Decoder {
    /// For a Server: the first packet must be a CONNECT, whose version then holds. `max_packet_size` is in bytes.
    pub const fn server(max_packet_size: u32) -> Self {
        Self { from: Sender::Client, version: None, open: false, max_packet_size }
    }

    /// For a Client, of the version that its CONNECT has named. `max_packet_size` is in bytes.
    pub const fn client(version: Version, max_packet_size: u32) -> Self {
        Self { from: Sender::Server, version: Some(version), open: false, max_packet_size }
    }

    /// The connection's version, once it is known.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The next packet of `buf`, or `None` while it is incomplete. After an error the connection is beyond repair and
    /// is to be closed (section 4.13.1).
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(first) = buf.first() else { return Ok(None) };
        // Before the frame, so that a stranger cannot have us wait for it.
        if first >> 4 != 0 {
            self.check_order(PacketType::of_header(*first))?;
        }
        let version = self.version.unwrap_or(Version::V5);
        let Some(packet) = Packet::read(buf, version, self.max_packet_size)? else { return Ok(None) };
        if let Packet::Connect(connect) = &packet {
            self.version = Some(connect.version);
        }
        self.open |= matches!(packet, Packet::Connect(_) | Packet::ConnAck(_));
        if let Some(version) = self.version {
            packet.check_sender(self.from, version)?;
        }
        Ok(Some(packet))
    }

    fn check_order(&self, packet: PacketType) -> Result<(), Fault> {
        match (self.from, self.open, packet) {
            // [MQTT-3.1.0-1] CONNECT comes first, [MQTT-3.1.0-2] and once.
            (Sender::Client, false, PacketType::Connect) => Ok(()),
            (Sender::Client, false, _) => Err(violation!("the first packet is no CONNECT", "MQTT-3.1.0-1")),
            (Sender::Client, true, PacketType::Connect) => Err(violation!("a second CONNECT", "MQTT-3.1.0-2")),
            // [MQTT-3.2.0-1] CONNACK comes first, but for AUTH, [MQTT-3.2.0-2] and once.
            (Sender::Server, false, PacketType::ConnAck | PacketType::Auth) => Ok(()),
            (Sender::Server, false, _) => Err(violation!("the first packet is no CONNACK", "MQTT-3.2.0-1")),
            (Sender::Server, true, PacketType::ConnAck) => Err(violation!("a second CONNACK", "MQTT-3.2.0-2")),
            _ => Ok(()),
        }
    }
}
