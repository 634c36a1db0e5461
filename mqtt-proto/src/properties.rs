//! Properties (MQTT 5.0 section 2.2.2): one table, validated at decode, read in place.
use bytes::Bytes;

/// The Properties of one packet or Will: validated bytes, read lazily. Empty before MQTT 5.0.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Properties(Bytes);

/// One property, borrowed from [`Properties`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is named as in section 2.2.2.2
pub enum Property<'a> {
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(bool),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// Property identifiers; one table gives type, allowed packets and repeatability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
}

/// Collects properties in encoded form.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuilder(());

// API (every accessor is O(length) over the block, without allocation; `None` when absent):
//   Properties::new() (empty, const), is_empty, len (encoded bytes), iter() -> impl Iterator<Item = Property<'_>>,
//   raw() -> &Bytes, builder(), user_properties() -> impl Iterator<Item=(&str,&str)>,
//   subscription_identifiers() -> impl Iterator<Item=u32>,
//   payload_format_indicator() -> Option<bool>, message_expiry_interval() -> Option<u32>, content_type() -> Option<&str>,
//   response_topic(), correlation_data() -> Option<&[u8]>, session_expiry_interval() -> Option<u32>, assigned_client_identifier(),
//   server_keep_alive() -> Option<u16>, authentication_method(), authentication_data(), request_problem_information() -> Option<bool>,
//   will_delay_interval() -> Option<u32>, request_response_information(), response_information(), server_reference(), reason_string(),
//   receive_maximum() -> Option<u16>, topic_alias_maximum(), topic_alias(), maximum_qos() -> Option<QoS>, retain_available() -> Option<bool>,
//   maximum_packet_size() -> Option<u32>, wildcard_subscription_available(), subscription_identifier_available(),
//   shared_subscription_available()
//   PropertiesBuilder: push(Property<'_>) -> Result<(), EncodeError> and a consuming chain `.with(Property) -> Self` (panics on misuse: too long text),
//   build() -> Properties.
impl Properties {
    /// No properties.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }
}
