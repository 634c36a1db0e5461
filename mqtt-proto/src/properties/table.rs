//! The one table of properties (MQTT 5.0 section 2.2.2.2): identifier, type, packets, repeatability.
//!
//! Invariants: everything that is known about a property stands in its row; decoding, encoding and the
//! documentation follow from it.
use super::value::{self, Kind};
use crate::PacketType;
use crate::error::malformed;
use crate::wire::{Parsed, var_int};
use bytes::BytesMut;

/// A set of places where a property may stand: bit *n* for packet type *n*, bit 0 for the Will Properties.
pub(crate) type Places = u16;

pub(crate) const WILL: Places = 1;
pub(crate) const CONNECT: Places = place(PacketType::Connect);
pub(crate) const CONNACK: Places = place(PacketType::ConnAck);
pub(crate) const PUBLISH: Places = place(PacketType::Publish);
pub(crate) const SUBSCRIBE: Places = place(PacketType::Subscribe);
pub(crate) const SUBACK: Places = place(PacketType::SubAck);
pub(crate) const UNSUBSCRIBE: Places = place(PacketType::Unsubscribe);
pub(crate) const UNSUBACK: Places = place(PacketType::UnsubAck);
pub(crate) const DISCONNECT: Places = place(PacketType::Disconnect);
pub(crate) const AUTH: Places = place(PacketType::Auth);
/// PUBACK, PUBREC, PUBREL and PUBCOMP.
pub(crate) const ACKS: Places =
    place(PacketType::PubAck) | place(PacketType::PubRec) | place(PacketType::PubRel) | place(PacketType::PubComp);
const EVERYWHERE: Places =
    WILL | CONNECT | CONNACK | PUBLISH | ACKS | SUBSCRIBE | SUBACK | UNSUBSCRIBE | UNSUBACK | DISCONNECT | AUTH;
const NOWHERE: Places = 0;

pub(crate) const fn place(packet: PacketType) -> Places {
    1 << packet as u16
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) id: PropertyId,
    pub(super) kind: Kind,
    pub(super) allowed: Places,
    pub(super) repeatable: Places,
}

macro_rules! properties {
    ($(
        $name:ident ( $($field:ident : $type:ty),+ ) = $id:literal : $kind:ident, in $allowed:expr, repeats in $repeatable:expr;
    )*) => {
        /// A property, borrowed from [`Properties`](crate::Properties): one variant per row of the table in section
        /// 2.2.2.2, with its value. A `bool` stands for a byte that may only be 0 or 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $(
                #[doc = concat!(
                    "Identifier ", $id, ", ", stringify!($kind), ", in ", stringify!($allowed),
                    "; more than once in ", stringify!($repeatable), "."
                )]
                $name($($type),+),
            )*
        }

        /// A Property Identifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(
                #[doc = concat!("The identifier of [`Property::", stringify!($name), "`].")]
                $name = $id,
            )*
        }

        impl PropertyId {
            /// Every identifier, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `None` for a number that identifies no property.
            pub const fn new(id: u8) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }
        }

        /// Rows by identifier; `None` where the standard defines none.
        const ROWS: [Option<Row>; 64] = {
            let mut rows = [None; 64];
            $(
                rows[$id] = Some(Row {
                    id: PropertyId::$name,
                    kind: value::$kind::KIND,
                    allowed: $allowed,
                    repeatable: $repeatable,
                });
            )*
            rows
        };

        /// Reads the bytes of a value that was checked.
        pub(super) fn read(id: PropertyId, value: &[u8]) -> Property<'_> {
            match id {
                $(PropertyId::$name => {
                    let ($($field,)+) = value::$kind::read(value);
                    Property::$name($($field),+)
                })*
            }
        }

        impl Property<'_> {
            /// The property's identifier.
            pub const fn id(&self) -> PropertyId {
                match self { $(Self::$name(..) => PropertyId::$name,)* }
            }

            /// Writes identifier and value, unchecked but for lengths.
            pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), crate::EncodeError> {
                out.extend_from_slice(&[self.id() as u8]);
                match *self { $(Self::$name($($field),+) => value::$kind::put(out, $($field),+),)* }
            }
        }
    };
}

properties! {
    PayloadFormatIndicator(on: bool) = 0x01: flag, in PUBLISH | WILL, repeats in NOWHERE;
    MessageExpiryInterval(seconds: u32) = 0x02: four, in PUBLISH | WILL, repeats in NOWHERE;
    ContentType(text: &'a str) = 0x03: utf8, in PUBLISH | WILL, repeats in NOWHERE;
    ResponseTopic(text: &'a str) = 0x08: topic_name, in PUBLISH | WILL, repeats in NOWHERE;
    CorrelationData(data: &'a [u8]) = 0x09: data, in PUBLISH | WILL, repeats in NOWHERE;
    SubscriptionIdentifier(id: u32) = 0x0B: nonzero_var, in PUBLISH | SUBSCRIBE, repeats in PUBLISH;
    SessionExpiryInterval(seconds: u32) = 0x11: four, in CONNECT | CONNACK | DISCONNECT, repeats in NOWHERE;
    AssignedClientIdentifier(text: &'a str) = 0x12: utf8, in CONNACK, repeats in NOWHERE;
    ServerKeepAlive(seconds: u16) = 0x13: two, in CONNACK, repeats in NOWHERE;
    AuthenticationMethod(text: &'a str) = 0x15: utf8, in CONNECT | CONNACK | AUTH, repeats in NOWHERE;
    AuthenticationData(data: &'a [u8]) = 0x16: data, in CONNECT | CONNACK | AUTH, repeats in NOWHERE;
    RequestProblemInformation(on: bool) = 0x17: flag, in CONNECT, repeats in NOWHERE;
    WillDelayInterval(seconds: u32) = 0x18: four, in WILL, repeats in NOWHERE;
    RequestResponseInformation(on: bool) = 0x19: flag, in CONNECT, repeats in NOWHERE;
    ResponseInformation(text: &'a str) = 0x1A: utf8, in CONNACK, repeats in NOWHERE;
    ServerReference(text: &'a str) = 0x1C: utf8, in CONNACK | DISCONNECT, repeats in NOWHERE;
    ReasonString(text: &'a str) = 0x1F: utf8, in CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECT | AUTH, repeats in NOWHERE;
    ReceiveMaximum(count: u16) = 0x21: nonzero_two, in CONNECT | CONNACK, repeats in NOWHERE;
    TopicAliasMaximum(count: u16) = 0x22: two, in CONNECT | CONNACK, repeats in NOWHERE;
    TopicAlias(alias: u16) = 0x23: alias, in PUBLISH, repeats in NOWHERE;
    MaximumQoS(on: bool) = 0x24: flag, in CONNACK, repeats in NOWHERE;
    RetainAvailable(on: bool) = 0x25: flag, in CONNACK, repeats in NOWHERE;
    UserProperty(name: &'a str, value: &'a str) = 0x26: pair, in EVERYWHERE, repeats in EVERYWHERE;
    MaximumPacketSize(bytes: u32) = 0x27: nonzero_four, in CONNECT | CONNACK, repeats in NOWHERE;
    WildcardSubscriptionAvailable(on: bool) = 0x28: flag, in CONNACK, repeats in NOWHERE;
    SubscriptionIdentifierAvailable(on: bool) = 0x29: flag, in CONNACK, repeats in NOWHERE;
    SharedSubscriptionAvailable(on: bool) = 0x2A: flag, in CONNACK, repeats in NOWHERE;
}

impl PropertyId {
    /// Whether the property may stand in packets of this type.
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        self.row().allowed & place(packet) != 0
    }

    /// Whether the property may stand in the Will Properties of a CONNECT.
    pub const fn allowed_in_will(self) -> bool {
        self.row().allowed & WILL != 0
    }

    /// Whether the property may stand more than once in packets of this type.
    pub const fn repeatable_in(self, packet: PacketType) -> bool {
        self.row().repeatable & place(packet) != 0
    }

    pub(super) const fn row(self) -> Row {
        ROWS[self as usize].expect("each identifier has a row")
    }

    /// The property's bit in a set of properties.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// The row of the property that `input` begins with, and the input at its value.
#[inline]
pub(super) fn row(input: &[u8]) -> Parsed<'_, &'static Row> {
    static TABLE: [Option<Row>; 64] = ROWS;
    let (rest, id) = var_int(input)?;
    match TABLE.get(id as usize) {
        Some(Some(row)) => Ok((rest, row)),
        _ => Err(malformed!("an unknown property", "section 2.2.2.2").into()),
    }
}
