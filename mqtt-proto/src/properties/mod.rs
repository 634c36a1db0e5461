//! Properties (MQTT 5.0 section 2.2.2): validated at decode by one table, read in place.
//!
//! Invariants: the bytes of a [`Properties`] are well-formed properties whose values obey their rules, and none
//! stands twice that may nowhere stand twice; absent properties stay `None`, defaults are the reader's.
mod table;
mod value;

use crate::error::{Fault, malformed, violation};
use crate::wire::{self, Parsed, var_int, var_int_len};
use crate::{EncodeError, ErrorKind, QoS};
use bytes::{Bytes, BytesMut};
use core::fmt;
pub(crate) use table::{
    AUTH, CONNACK, CONNECT, DISCONNECT, PUBLISH, Places, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, WILL, place,
};
pub use table::{Property, PropertyId};

/// Marks in [`PropertiesRef::set`] that a Subscription Identifier stands more than once.
const REPEATED: u64 = 1 << 63;

/// The Properties of one packet or Will: validated bytes, read lazily. Empty before MQTT 5.0.
///
/// A decoded value shares the memory of its frame. Asking for an absent property is O(1), for a present one
/// O(encoded bytes) without allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    bytes: Bytes,
    set: u64,
}

/// [`Properties`] borrowed from a frame.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PropertiesRef<'a> {
    bytes: &'a [u8],
    /// The properties present, a bit each.
    set: u64,
}

/// Collects properties in encoded form.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuilder {
    bytes: BytesMut,
    set: u64,
}

/// What a Server must not forward to others: they belong to one connection, subscription or moment.
const PER_RECEIVER: u64 =
    PropertyId::TopicAlias.bit() | PropertyId::SubscriptionIdentifier.bit() | PropertyId::MessageExpiryInterval.bit();

impl<'a> PropertiesRef<'a> {
    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Encoded bytes, without the Property Length before them.
    pub const fn len(self) -> usize {
        self.bytes.len()
    }

    /// The encoded bytes, without the Property Length before them.
    pub const fn raw(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the property is present; O(1).
    pub const fn contains(self, id: PropertyId) -> bool {
        self.set & id.bit() != 0
    }

    /// The properties present, a bit each.
    pub(crate) const fn set(self) -> u64 {
        self.set
    }

    /// Every property, in the order of the wire.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> + 'a {
        self.spans().map(|(id, _, value)| table::read(id, value))
    }

    /// Name and value of every User Property, in order [MQTT-3.3.2-18], [MQTT-3.1.3-10].
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.of(PropertyId::UserProperty).filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Every Subscription Identifier.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> + 'a {
        self.of(PropertyId::SubscriptionIdentifier).filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// A copy that owns its bytes.
    pub fn to_properties(self) -> Properties {
        if self.is_empty() {
            return Properties::new();
        }
        Properties { bytes: Bytes::copy_from_slice(self.bytes), set: self.set }
    }

    /// Every property as identifier, whole bytes and value bytes.
    fn spans(self) -> impl Iterator<Item = (PropertyId, &'a [u8], &'a [u8])> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let whole = rest;
            // The block was checked: this ends exactly at its end.
            let (after_id, row) = table::row(whole).ok()?;
            let value;
            (value, rest) = row.kind.split(after_id);
            Some((row.id, &whole[..whole.len() - rest.len()], value))
        })
    }

    fn of(self, id: PropertyId) -> impl Iterator<Item = Property<'a>> {
        let this = if self.contains(id) { self } else { Self::default() };
        this.spans().filter(move |span| span.0 == id).map(|(id, _, value)| table::read(id, value))
    }

    fn first(self, id: PropertyId) -> Option<Property<'a>> {
        self.of(id).next()
    }
}

impl Properties {
    /// No properties.
    pub const fn new() -> Self {
        Self { bytes: Bytes::new(), set: 0 }
    }

    /// A builder without properties.
    pub fn builder() -> PropertiesBuilder {
        PropertiesBuilder::default()
    }

    /// The borrowed form.
    #[inline]
    pub fn as_ref(&self) -> PropertiesRef<'_> {
        PropertiesRef { bytes: &self.bytes, set: self.set }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Encoded bytes, without the Property Length before them.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded bytes, without the Property Length before them.
    pub const fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the property is present; O(1).
    pub const fn contains(&self, id: PropertyId) -> bool {
        self.set & id.bit() != 0
    }

    /// Every property, in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = Property<'_>> {
        self.as_ref().iter()
    }

    /// Name and value of every User Property, in order [MQTT-3.3.2-18], [MQTT-3.1.3-10].
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_ref().user_properties()
    }

    /// Every Subscription Identifier.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> {
        self.as_ref().subscription_identifiers()
    }

    /// A copy that owns exactly its bytes and no longer pins the frame it was decoded from.
    #[must_use]
    pub fn compact(&self) -> Self {
        self.as_ref().to_properties()
    }

    /// Of a received PUBLISH's properties, what a Server passes on unaltered: Payload Format Indicator
    /// [MQTT-3.3.2-4], Response Topic [MQTT-3.3.2-15], Correlation Data [MQTT-3.3.2-16], User Properties in order
    /// [MQTT-3.3.2-17], [MQTT-3.3.2-18] and Content Type [MQTT-3.3.2-20]. Topic Alias, Subscription Identifiers and
    /// Message Expiry Interval are left to each receiver's head. Shares the bytes when nothing needs dropping.
    #[must_use]
    pub fn forwardable(&self) -> Self {
        if self.set & PER_RECEIVER == 0 {
            return self.clone();
        }
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        for (id, whole, _) in self.as_ref().spans() {
            if id.bit() & PER_RECEIVER == 0 {
                bytes.extend_from_slice(whole);
            }
        }
        Self { bytes: bytes.freeze(), set: self.set & !PER_RECEIVER & !REPEATED }
    }

    pub(crate) const fn from_parts(bytes: Bytes, set: u64) -> Self {
        Self { bytes, set }
    }

    /// The slice of `frame` that `view` borrows.
    pub(crate) fn slice_of(frame: &Bytes, view: PropertiesRef<'_>) -> Self {
        Self { bytes: frame.slice_ref(view.bytes), set: view.set }
    }

    pub(crate) fn has_per_receiver(&self) -> bool {
        self.set & PER_RECEIVER != 0
    }

    /// The encoded length with the Property Length, if all properties may stand in `place`.
    pub(crate) fn block_len(&self, place: Places) -> Result<usize, EncodeError> {
        if self.set != 0 {
            self.check_place(place)?;
        }
        Ok(var_int_len(self.len()) + self.len())
    }

    fn check_place(&self, place: Places) -> Result<(), EncodeError> {
        let mut rest = self.set & !REPEATED;
        while rest != 0 {
            let id = rest.trailing_zeros() as u8;
            rest &= rest - 1;
            let row = PropertyId::new(id).expect("only known properties are in the set").row();
            if row.allowed & place == 0 {
                return Err(EncodeError::Invalid("a property that may not stand in this packet"));
            }
        }
        if self.set & REPEATED != 0 && PropertyId::SubscriptionIdentifier.row().repeatable & place == 0 {
            return Err(EncodeError::Invalid("a property that may stand only once in this packet"));
        }
        Ok(())
    }

    /// Writes Property Length and properties; even none has a length [MQTT-2.2.2-1].
    pub(crate) fn put(&self, out: &mut BytesMut) {
        wire::put_var_int(out, self.len());
        out.extend_from_slice(&self.bytes);
    }
}

impl fmt::Debug for PropertiesRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_ref(), f)
    }
}

impl<'a> From<&'a Properties> for PropertiesRef<'a> {
    fn from(properties: &'a Properties) -> Self {
        properties.as_ref()
    }
}

impl<'a> FromIterator<Property<'a>> for Properties {
    /// # Panics
    /// As [`PropertiesBuilder::with`].
    fn from_iter<I: IntoIterator<Item = Property<'a>>>(properties: I) -> Self {
        properties.into_iter().fold(Self::builder(), PropertiesBuilder::with).build()
    }
}

impl PropertiesBuilder {
    /// Adds a property. Whether it may stand in a given packet is checked when that is encoded.
    ///
    /// # Errors
    /// When a text or binary value is longer than 65,535 bytes, the value breaks a rule that decoding would enforce, or
    /// the property is present and none but User Property and Subscription Identifier may repeat. Nothing is added.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let added = self.try_push(property);
        if added.is_err() {
            self.bytes.truncate(before);
        }
        added
    }

    fn try_push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        property.put(&mut self.bytes)?;
        // The reader's own rules judge what was written.
        let written = PropertiesRef { bytes: &self.bytes[before..], set: 0 };
        self.set = written.add_to(self.set, Places::MAX).map_err(|fault| match fault.0.kind {
            ErrorKind::Malformed(what) => EncodeError::Invalid(what),
            ErrorKind::TooLarge | ErrorKind::UnsupportedVersion => EncodeError::TooLarge,
        })?;
        Ok(())
    }

    /// Adds a property, for chains.
    ///
    /// # Panics
    /// When [`push`](Self::push) would refuse it.
    #[must_use]
    pub fn with(mut self, property: Property<'_>) -> Self {
        if let Err(error) = self.push(property) {
            panic!("{property:?}: {error}");
        }
        self
    }

    /// The collected properties.
    pub fn build(self) -> Properties {
        Properties { bytes: self.bytes.freeze(), set: self.set }
    }
}

impl PropertiesRef<'_> {
    /// Validates every property of a block for `place` and adds them to a set.
    fn add_to(self, mut set: u64, place: Places) -> Result<u64, Fault> {
        let mut rest = self.bytes;
        while !rest.is_empty() {
            let row;
            (rest, row) = table::row(rest)?;
            if row.allowed & place == 0 {
                return Err(malformed!("a property that may not stand in this packet", "section 2.2.2.2"));
            }
            let bit = row.id.bit();
            if set & bit != 0 {
                if row.repeatable & place == 0 {
                    return Err(violation!("a property stands more than once", "section 2.2.2.2"));
                }
                if matches!(row.id, PropertyId::SubscriptionIdentifier) {
                    set |= REPEATED;
                }
            }
            set |= bit;
            rest = row.kind.check(rest)?;
        }
        Ok(set)
    }
}

/// Property Length and Properties, validated for `place`.
#[inline]
pub(crate) fn block(place: Places, input: &[u8]) -> Parsed<'_, PropertiesRef<'_>> {
    let (rest, length) = var_int(input)?;
    if length == 0 {
        return Ok((rest, PropertiesRef::default()));
    }
    let (rest, bytes) = nom::bytes::complete::take(length)(rest)?;
    let set = PropertiesRef { bytes, set: 0 }.add_to(0, place)?;
    Ok((rest, PropertiesRef { bytes, set }))
}

/// A reader for one property, on both forms.
macro_rules! readers {
    ($($(#[$doc:meta])* $method:ident: $variant:ident -> $type:ty,)*) => {
        impl<'a> PropertiesRef<'a> {
            $(
                $(#[$doc])*
                pub fn $method(self) -> Option<$type> {
                    match self.first(PropertyId::$variant) {
                        Some(Property::$variant(value)) => Some(value),
                        _ => None,
                    }
                }
            )*
        }

        #[allow(clippy::needless_lifetimes)] // one list of types for both forms
        impl Properties {
            $(
                $(#[$doc])*
                pub fn $method<'a>(&'a self) -> Option<$type> {
                    self.as_ref().$method()
                }
            )*
        }
    };
}

readers! {
    /// Whether the payload is UTF-8 text.
    payload_format_indicator: PayloadFormatIndicator -> bool,
    /// Seconds that the message lives.
    message_expiry_interval: MessageExpiryInterval -> u32,
    /// What the payload is, in words that sender and receiver agree on.
    content_type: ContentType -> &'a str,
    /// The Topic Name for a response.
    response_topic: ResponseTopic -> &'a str,
    /// What tells the requester which request a response is for.
    correlation_data: CorrelationData -> &'a [u8],
    /// Seconds that the session lives after the connection; `u32::MAX` for ever.
    session_expiry_interval: SessionExpiryInterval -> u32,
    /// The Client Identifier that the Server gave.
    assigned_client_identifier: AssignedClientIdentifier -> &'a str,
    /// Seconds of Keep Alive that the Server imposes.
    server_keep_alive: ServerKeepAlive -> u16,
    /// The name of the authentication method.
    authentication_method: AuthenticationMethod -> &'a str,
    /// Data of the authentication method.
    authentication_data: AuthenticationData -> &'a [u8],
    /// Whether reason strings and user properties may come with failures.
    request_problem_information: RequestProblemInformation -> bool,
    /// Seconds from the loss of the connection to the Will.
    will_delay_interval: WillDelayInterval -> u32,
    /// Whether CONNACK should bring Response Information.
    request_response_information: RequestResponseInformation -> bool,
    /// The basis for response topics.
    response_information: ResponseInformation -> &'a str,
    /// Another Server to use.
    server_reference: ServerReference -> &'a str,
    /// Words for people, not for programs.
    reason_string: ReasonString -> &'a str,
    /// How many QoS 1 and 2 messages may be unacknowledged.
    receive_maximum: ReceiveMaximum -> u16,
    /// The highest Topic Alias that is accepted.
    topic_alias_maximum: TopicAliasMaximum -> u16,
    /// The alias of the Topic Name.
    topic_alias: TopicAlias -> u16,
    /// Whether the Server keeps retained messages.
    retain_available: RetainAvailable -> bool,
    /// The largest packet that is accepted, in bytes.
    maximum_packet_size: MaximumPacketSize -> u32,
    /// Whether the Server takes wildcards in filters.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool,
    /// Whether the Server takes Subscription Identifiers.
    subscription_identifier_available: SubscriptionIdentifierAvailable -> bool,
    /// Whether the Server takes Shared Subscriptions.
    shared_subscription_available: SharedSubscriptionAvailable -> bool,
}

impl PropertiesRef<'_> {
    /// The highest QoS that the Server takes.
    pub fn maximum_qos(self) -> Option<QoS> {
        match self.first(PropertyId::MaximumQoS) {
            Some(Property::MaximumQoS(one)) => Some(if one { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            _ => None,
        }
    }
}

impl Properties {
    /// The highest QoS that the Server takes.
    pub fn maximum_qos(&self) -> Option<QoS> {
        self.as_ref().maximum_qos()
    }
}
