//! The rules of section 4.7: what is a topic name, what is a topic filter, and which filter matches which name.
//!
//! Invariants: nothing here allocates; nothing normalises, levels are compared byte for byte [MQTT-4.7.3-4].

use crate::text::{find_special, split};
use core::fmt;

/// The greatest length of a topic name or filter in bytes: a UTF-8 string of the protocol has a length of 16 bits.
pub const MAX_BYTES: usize = 65_535;

/// Why a topic filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// The filter has no character.
    Empty,
    /// The filter is longer than [`MAX_BYTES`].
    TooLong,
    /// The filter contains U+0000.
    NullCharacter,
    /// `#` shares its level with something else, or is not the last level.
    MisplacedHash,
    /// `+` shares its level with something else.
    MisplacedPlus,
    /// The structure is full: about four billion nodes, or four gigabytes of text.
    Full,
}

/// Why a topic name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The name has no character.
    Empty,
    /// The name is longer than [`MAX_BYTES`].
    TooLong,
    /// The name contains U+0000.
    NullCharacter,
    /// The name contains `+` or `#`.
    Wildcard,
    /// The structure is full: about one billion nodes, or four gigabytes of text.
    Full,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic filter needs at least one character",
            Self::TooLong => "a topic filter is at most 65,535 bytes long",
            Self::NullCharacter => "a topic filter must not contain U+0000",
            Self::MisplacedHash => "`#` must be the whole last level of a topic filter",
            Self::MisplacedPlus => "`+` must be a whole level of a topic filter",
            Self::Full => "no more topic filters fit; remove some first",
        })
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic name needs at least one character",
            Self::TooLong => "a topic name is at most 65,535 bytes long",
            Self::NullCharacter => "a topic name must not contain U+0000",
            Self::Wildcard => "a topic name must not contain `+` or `#`",
            Self::Full => "no more topic names fit; remove some first",
        })
    }
}

impl core::error::Error for FilterError {}
impl core::error::Error for TopicError {}

/// Whether `filter` is a topic filter that section 4.7 allows. `$share/…` is an ordinary text here.
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    check_filter(filter).is_ok()
}

/// Whether `topic` is a topic name that section 4.7 allows.
#[must_use]
pub fn valid_topic(topic: &str) -> bool {
    check_topic(topic).is_ok()
}

/// Whether `filter` matches the topic name `topic`: the plain rule of section 4.7, for single questions.
///
/// Takes time linear in the shorter of the two. Expects both to be valid ([`valid_filter`], [`valid_topic`]).
///
/// ```
/// assert!(topic_trie::matches("sport/+/player1", "sport/tennis/player1"));
/// assert!(!topic_trie::matches("#", "$SYS/uptime"));
/// ```
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1] a wildcard at the start does not reach topics that begin with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = split(topic);
    for level in split(filter) {
        if level == "#" {
            return true; // The parent level included: the names may have come to their end just now.
        }
        match names.next() {
            // [MQTT-4.7.3-4] character for character, nothing is normalised.
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// Accepts a topic filter; the answer is whether it contains a wildcard.
pub(crate) fn check_filter(filter: &str) -> Result<bool, FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty); // [MQTT-4.7.3-1]
    }
    if filter.len() > MAX_BYTES {
        return Err(FilterError::TooLong); // [MQTT-4.7.3-3]
    }
    let bytes = filter.as_bytes();
    let mut wildcard = false;
    let mut next = 0;
    while let Some(at) = find_special(bytes, next) {
        let begins = at == 0 || bytes[at - 1] == b'/';
        match (bytes[at], bytes.get(at + 1)) {
            (0, _) => return Err(FilterError::NullCharacter), // [MQTT-4.7.3-2]
            (b'#', None) | (b'+', None | Some(b'/')) if begins => wildcard = true,
            (b'#', _) => return Err(FilterError::MisplacedHash), // [MQTT-4.7.1-1] [3.1.1: MQTT-4.7.1-2]
            _ => return Err(FilterError::MisplacedPlus),         // [MQTT-4.7.1-2] [3.1.1: MQTT-4.7.1-3]
        }
        next = at + 1;
    }
    Ok(wildcard)
}

pub(crate) fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty); // [MQTT-4.7.3-1]
    }
    if topic.len() > MAX_BYTES {
        return Err(TopicError::TooLong); // [MQTT-4.7.3-3]
    }
    match find_special(topic.as_bytes(), 0).map(|at| topic.as_bytes()[at]) {
        None => Ok(()),
        Some(0) => Err(TopicError::NullCharacter), // [MQTT-4.7.3-2]
        Some(_) => Err(TopicError::Wildcard),      // [MQTT-4.7.0-1] [3.1.1: MQTT-4.7.1-1]
    }
}
