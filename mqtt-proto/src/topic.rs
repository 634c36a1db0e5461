//! Topic Names, Topic Filters and Client Identifiers (MQTT 5.0 sections 4.7, 4.8.2 and 3.1.3.1).
use crate::Utf8String;

/// A Topic Name: at least one character [MQTT-4.7.3-1], no wildcard [MQTT-3.3.2-2].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Utf8String);

/// A Topic Filter, perhaps of a Shared Subscription (`$share/{ShareName}/{filter}`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Utf8String,
    /// Bytes of the share name; 0 without one.
    share_len: u16,
}

/// A Client Identifier; empty asks the Server to assign one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Utf8String);
