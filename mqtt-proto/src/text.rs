//! UTF-8 Encoded Strings (MQTT 5.0 section 1.5.4).
use bytes::Bytes;
use core::{fmt, ops::Deref, str};

/// A UTF-8 Encoded String: at most 65,535 bytes, well-formed [MQTT-1.5.4-1], without U+0000 [MQTT-1.5.4-2].
/// A decoded one shares the memory of its frame.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8String(Bytes);

/// Why bytes are no UTF-8 Encoded String, Topic Name or Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextError {
    /// Longer than 65,535 bytes.
    TooLong,
    /// Not well-formed UTF-8; surrogates U+D800 to U+DFFF included [MQTT-1.5.4-1].
    NotUtf8,
    /// Contains U+0000 [MQTT-1.5.4-2].
    Null,
    /// Empty where at least one character is needed [MQTT-4.7.3-1].
    Empty,
    /// `+` or `#` in a Topic Name [MQTT-3.3.2-2], or misplaced in a Topic Filter [MQTT-4.7.1-1], [MQTT-4.7.1-2].
    Wildcard,
    /// A malformed `$share/{ShareName}/{filter}` [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    Share,
}
