//! The control packets (MQTT 5.0 section 3), one file each, decode and encode side by side.
//!
//! Invariants: what is decoded encodes again to an equal packet; an encoder writes a packet whole or nothing. Before 5.0
//! the fields that only 5.0 has (properties, reason codes, subscription options) are not written.
mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

pub use ack::{Ack, AckRef};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
use publish::Layout;
pub use publish::{Publish, PublishRef};
pub(crate) use publish::{first_byte, put_id};
pub use suback::SubAck;
pub use subscribe::Subscribe;
pub use unsuback::UnsubAck;
pub use unsubscribe::Unsubscribe;

use crate::{DecodeError, EncodeError, Frame, FrameRef, Version, wire};
use alloc::boxed::Box;
use bytes::{Buf, BytesMut};

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
pub enum PacketType {
    /// CONNECT.
    Connect = 1,
    /// CONNACK.
    ConnAck = 2,
    /// PUBLISH.
    Publish = 3,
    /// PUBACK.
    PubAck = 4,
    /// PUBREC.
    PubRec = 5,
    /// PUBREL.
    PubRel = 6,
    /// PUBCOMP.
    PubComp = 7,
    /// SUBSCRIBE.
    Subscribe = 8,
    /// SUBACK.
    SubAck = 9,
    /// UNSUBSCRIBE.
    Unsubscribe = 10,
    /// UNSUBACK.
    UnsubAck = 11,
    /// PINGREQ.
    PingReq = 12,
    /// PINGRESP.
    PingResp = 13,
    /// DISCONNECT.
    Disconnect = 14,
    /// AUTH.
    Auth = 15,
}

impl PacketType {
    /// The type that the first byte of a packet names; it must not be the reserved type 0.
    pub(crate) const fn of_header(header: u8) -> Self {
        match header >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => unreachable!(),
        }
    }
}

/// What the encoders of all packets share: the body's length, which checks everything, then the body.
trait Body {
    /// The first byte.
    fn header(&self) -> u8;
    /// The Remaining Length, or why the packet cannot be encoded.
    fn body_len(&self, version: Version) -> Result<usize, EncodeError>;
    /// Appends Variable Header and Payload.
    fn put_body(&self, version: Version, out: &mut BytesMut);
}

#[inline]
fn encode(packet: &impl Body, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    let remaining = packet.body_len(version)?;
    out.reserve(wire::packet_len(remaining)?);
    wire::put_fixed_header(out, packet.header(), remaining);
    packet.put_body(version, out);
    Ok(())
}

/// The public encoder of a packet.
macro_rules! encoder {
    ($packet:ident) => {
        impl $packet {
            /// The length of [`encode`](Self::encode)'s output.
            ///
            /// # Errors
            /// As `encode`.
            pub fn encoded_len(&self, version: $crate::Version) -> Result<usize, $crate::EncodeError> {
                $crate::wire::packet_len(self.body_len(version)?)
            }

            /// Appends the packet.
            ///
            /// # Errors
            /// When the packet breaks a rule that decoding would enforce, or is too large. Nothing is written then.
            pub fn encode(
                &self,
                version: $crate::Version,
                out: &mut bytes::BytesMut,
            ) -> Result<(), $crate::EncodeError> {
                super::encode(self, version, out)
            }
        }
    };
}

/// The same for the packet that carries its version.
macro_rules! encoder_of_one_version {
    ($packet:ident) => {
        impl $packet {
            /// The length of [`encode`](Self::encode)'s output.
            ///
            /// # Errors
            /// As `encode`.
            pub fn encoded_len(&self) -> Result<usize, $crate::EncodeError> {
                $crate::wire::packet_len(self.body_len(self.version)?)
            }

            /// Appends the packet.
            ///
            /// # Errors
            /// When the packet breaks a rule that decoding would enforce, or is too large. Nothing is written then.
            pub fn encode(&self, out: &mut bytes::BytesMut) -> Result<(), $crate::EncodeError> {
                super::encode(self, self.version, out)
            }
        }
    };
}
use {encoder, encoder_of_one_version};

impl Packet {
    /// Decodes a frame. CONNECT brings its own version and ignores `version`.
    ///
    /// # Errors
    /// When the packet is malformed or breaks the protocol by itself; what depends on the connection's state or on who sent
    /// it is for the [`Decoder`](crate::Decoder) or the session to judge.
    #[inline]
    pub fn decode(frame: Frame, version: Version) -> Result<Self, DecodeError> {
        Ok(match frame.packet_type() {
            PacketType::Connect => Self::Connect(Box::new(Connect::decode(frame)?)),
            PacketType::ConnAck => Self::ConnAck(ConnAck::decode(frame, version)?),
            PacketType::Publish => Self::Publish(Publish::decode(frame, version)?),
            PacketType::PubAck => Self::PubAck(Ack::decode(frame, version)?),
            PacketType::PubRec => Self::PubRec(Ack::decode(frame, version)?),
            PacketType::PubRel => Self::PubRel(Ack::decode(frame, version)?),
            PacketType::PubComp => Self::PubComp(Ack::decode(frame, version)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(frame, version)?),
            PacketType::SubAck => Self::SubAck(SubAck::decode(frame, version)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(frame, version)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::decode(frame, version)?),
            PacketType::PingReq => {
                wire::end(frame.body())?;
                Self::PingReq
            }
            PacketType::PingResp => {
                wire::end(frame.body())?;
                Self::PingResp
            }
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(frame, version)?),
            PacketType::Auth => Self::Auth(Auth::decode(frame, version)?),
        })
    }

    /// Takes the first packet out of `buf`, or gives `None` while it is incomplete: framing and decoding in one. Payload
    /// and texts share the memory of `buf`; the small acknowledgments are read in place.
    ///
    /// # Errors
    /// As [`FrameRef::peek`] and [`decode`](Self::decode).
    #[inline]
    pub fn read(buf: &mut BytesMut, version: Version, max_packet_size: u32) -> Result<Option<Self>, DecodeError> {
        let Some(frame) = FrameRef::peek(buf, max_packet_size)? else { return Ok(None) };
        // Splitting the buffer costs more than all the rest of an acknowledgment.
        let small = match frame.packet_type() {
            PacketType::PubAck => Self::PubAck(AckRef::decode(frame, version)?.to_ack()),
            PacketType::PubRec => Self::PubRec(AckRef::decode(frame, version)?.to_ack()),
            PacketType::PubRel => Self::PubRel(AckRef::decode(frame, version)?.to_ack()),
            PacketType::PubComp => Self::PubComp(AckRef::decode(frame, version)?.to_ack()),
            PacketType::Publish => {
                let (place, length) = (frame.place(), frame.len());
                let layout = Layout::parse(frame.header(), place.start, frame.body(), version)?;
                return Ok(Some(Self::Publish(layout.cut(buf.split_to(length).freeze()))));
            }
            _ => {
                let place = frame.place();
                return Self::decode(Frame::cut(buf, place), version).map(Some);
            }
        };
        let length = frame.len();
        buf.advance(length);
        Ok(Some(small))
    }

    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The length of [`encode`](Self::encode)'s output.
    ///
    /// # Errors
    /// As `encode`.
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        match self {
            Self::Connect(packet) => packet.encoded_len(),
            Self::ConnAck(packet) => packet.encoded_len(version),
            Self::Publish(packet) => packet.encoded_len(version),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encoded_len(self.packet_type(), version)
            }
            Self::Subscribe(packet) => packet.encoded_len(version),
            Self::SubAck(packet) => packet.encoded_len(version),
            Self::Unsubscribe(packet) => packet.encoded_len(version),
            Self::UnsubAck(packet) => packet.encoded_len(version),
            Self::PingReq | Self::PingResp => Ok(2),
            Self::Disconnect(packet) => packet.encoded_len(version),
            Self::Auth(packet) => packet.encoded_len(version),
        }
    }

    /// Appends the packet. CONNECT brings its own version and ignores `version`.
    ///
    /// # Errors
    /// When the packet breaks a rule that decoding would enforce, is too large, or is not in this version. Nothing is
    /// written then.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode(self.packet_type(), version, out)
            }
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq | Self::PingResp => {
                out.extend_from_slice(&[(self.packet_type() as u8) << 4, 0]);
                Ok(())
            }
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

impl From<Connect> for Packet {
    fn from(packet: Connect) -> Self {
        Self::Connect(Box::new(packet))
    }
}

macro_rules! from {
    ($($packet:ident)*) => {
        $(impl From<$packet> for Packet {
            fn from(packet: $packet) -> Self {
                Self::$packet(packet)
            }
        })*
    };
}

from!(ConnAck Publish Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth);
