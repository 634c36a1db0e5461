//! MQTT 3.1, 3.1.1 and 5.0 packets as plain values, and the bytes they travel as.
//!
//! Invariants: no IO, no clock, no randomness, no lock, no unsafe; the same bytes always give the same
//! packets. Nothing is buffered beyond the size limit that the caller sets.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod decoder;
mod error;
mod frame;
mod packet;
mod packet_id;
mod properties;
mod qos;
mod reason;
mod shared;
mod text;
mod topic;
mod version;
mod wire;

pub use decoder::{Decoder, Sender};
pub use error::{DecodeError, EncodeError, ErrorKind};
pub use frame::{Frame, FrameRef};
pub use packet::{
    Ack, AckRef, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, Publish, PublishRef, SubAck, Subscribe,
    UnsubAck, Unsubscribe, Will,
};
pub use packet_id::PacketId;
pub use properties::{Properties, PropertiesBuilder, PropertiesRef, Property, PropertyId};
pub use qos::{Delivery, QoS, RetainHandling, SubscriptionOptions};
pub use reason::ReasonCode;
pub use shared::{PublishHead, PublishImage, SharedPublish};
pub use text::{TextError, Utf8String};
pub use topic::{ClientId, TopicFilter, TopicName};
pub use version::Version;
