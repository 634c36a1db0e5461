//! The control packets (MQTT 5.0 section 3), one file each.
// Target: one file per packet below packet/, decode and encode side by side. This skeleton fixes the public fields.
use crate::{
    ClientId, Delivery, PacketId, Properties, QoS, ReasonCode, SubscriptionOptions, TopicFilter, TopicName, Utf8String,
    Version,
};
use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;

/// A control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Client to Server: connection request.
    Connect(Box<Connect>),
    /// Server to Client: connect acknowledgment.
    ConnAck(ConnAck),
    /// Either way: publish message.
    Publish(Publish),
    /// Either way: publish acknowledgment (QoS 1).
    PubAck(Ack),
    /// Either way: publish received (QoS 2, part 1).
    PubRec(Ack),
    /// Either way: publish release (QoS 2, part 2).
    PubRel(Ack),
    /// Either way: publish complete (QoS 2, part 3).
    PubComp(Ack),
    /// Client to Server: subscribe request.
    Subscribe(Subscribe),
    /// Server to Client: subscribe acknowledgment.
    SubAck(SubAck),
    /// Client to Server: unsubscribe request.
    Unsubscribe(Unsubscribe),
    /// Server to Client: unsubscribe acknowledgment.
    UnsubAck(UnsubAck),
    /// Client to Server: PING request.
    PingReq,
    /// Server to Client: PING response.
    PingResp,
    /// Either way: disconnect notification (Client to Server before 5.0).
    Disconnect(Disconnect),
    /// Either way: authentication exchange (5.0).
    Auth(Auth),
}

/// Packet types, with the values of section 2.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// CONNECT (section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Protocol name and level.
    pub version: Version,
    /// Clean Start (Clean Session before 5.0).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Client Identifier; may be empty.
    pub client_id: ClientId,
    /// Will.
    pub will: Option<Will>,
    /// User Name.
    pub username: Option<Utf8String>,
    /// Password.
    pub password: Option<Bytes>,
    /// CONNECT Properties.
    pub properties: Properties,
}

/// The Will of a CONNECT (section 3.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Topic.
    pub topic: TopicName,
    /// Will Payload.
    pub payload: Bytes,
    /// Will Properties.
    pub properties: Properties,
}

/// CONNACK (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present; travels as 0 in 3.1, which has no such flag.
    pub session_present: bool,
    /// Connect Reason Code; mapped to and from the return codes of 3.x.
    pub reason: ReasonCode,
    /// CONNACK Properties.
    pub properties: Properties,
}

/// PUBLISH (section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// QoS with Packet Identifier and DUP.
    pub delivery: Delivery,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; `None` when it is empty and a Topic Alias stands for it (5.0).
    pub topic: Option<TopicName>,
    /// Application Message.
    pub payload: Bytes,
    /// PUBLISH Properties.
    pub properties: Properties,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which share one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Packet Identifier.
    pub id: PacketId,
    /// Reason Code; `Success` before 5.0.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties,
}

/// SUBSCRIBE (section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet Identifier.
    pub id: PacketId,
    /// Topic Filters with their options; never empty [MQTT-3.8.3-2].
    pub filters: Vec<(TopicFilter, SubscriptionOptions)>,
    /// SUBSCRIBE Properties.
    pub properties: Properties,
}

/// SUBACK (section 3.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// Packet Identifier.
    pub id: PacketId,
    /// One Reason Code per Topic Filter, in order [MQTT-3.8.4-6]; failures travel as 0x80 before 5.0.
    pub reasons: Vec<ReasonCode>,
    /// SUBACK Properties.
    pub properties: Properties,
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet Identifier.
    pub id: PacketId,
    /// Topic Filters; never empty [MQTT-3.10.3-2].
    pub filters: Vec<TopicFilter>,
    /// UNSUBSCRIBE Properties.
    pub properties: Properties,
}

/// UNSUBACK (section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    /// Packet Identifier.
    pub id: PacketId,
    /// One Reason Code per Topic Filter (5.0); not on the wire before, then empty when decoded.
    pub reasons: Vec<ReasonCode>,
    /// UNSUBACK Properties.
    pub properties: Properties,
}

/// DISCONNECT (section 3.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Disconnect Reason Code; `Success` (Normal disconnection) before 5.0.
    pub reason: ReasonCode,
    /// DISCONNECT Properties.
    pub properties: Properties,
}

/// AUTH (section 3.15), 5.0 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Authenticate Reason Code.
    pub reason: ReasonCode,
    /// AUTH Properties.
    pub properties: Properties,
}
