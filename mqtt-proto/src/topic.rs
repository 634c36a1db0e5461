//! Topic Names, Topic Filters and Client Identifiers (MQTT 5.0 sections 4.7, 4.8.2 and 3.1.3.1).
//!
//! Invariants: a value of these types obeys the rules of its section; the text is kept as it came, since matching
//! compares character by character without normalising [MQTT-4.7.3-4].
use crate::text::{self, Survey, TextError, Utf8String, text_type};
use alloc::string::String;
use bytes::Bytes;
use core::{borrow::Borrow, fmt, hash, ops::Deref, str};

/// A Topic Name: at least one character [MQTT-4.7.3-1], no wildcard [MQTT-3.3.2-2].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicName(Utf8String);

/// A Topic Filter, perhaps of a Shared Subscription (`$share/{ShareName}/{filter}`). It reads as the whole text.
///
/// `$share/` means a Shared Subscription in every version: 3.1 and 3.1.1 leave the meaning of `$` to the Server.
#[derive(Clone)]
pub struct TopicFilter {
    text: Utf8String,
    /// Bytes of the share name; 0 without one.
    share_len: u16,
}

/// A Client Identifier; empty asks the Server to assign one.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(Utf8String);

const SHARE: &str = "$share/";

impl TopicName {
    fn checked(bytes: Bytes) -> Result<Self, TextError> {
        text::check_len(&bytes)?;
        // [MQTT-4.7.3-1] At least one character.
        if bytes.is_empty() {
            return Err(TextError::Empty);
        }
        // [MQTT-3.3.2-2], [MQTT-4.7.0-1] [3.1.1: MQTT-4.7.1-1] No wildcard. [MQTT-4.7.3-2] No U+0000.
        text::check_plain(&bytes)?;
        Ok(Self::trusted(bytes))
    }

    /// Bytes that a parser has checked already.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        Self(Utf8String::trusted(bytes))
    }

    /// The bytes, shared.
    pub const fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// A copy that owns exactly its bytes and no longer pins the frame it was decoded from.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(self.0.compact())
    }
}

impl ClientId {
    /// The empty Client Identifier.
    pub const fn new() -> Self {
        Self(Utf8String::new())
    }

    fn checked(bytes: Bytes) -> Result<Self, TextError> {
        Utf8String::checked(bytes).map(Self)
    }

    /// Bytes that a parser has checked already.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        Self(Utf8String::trusted(bytes))
    }

    /// The bytes, shared.
    pub const fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// A copy that owns exactly its bytes and no longer pins the frame it was decoded from.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(self.0.compact())
    }
}

impl TopicFilter {
    fn checked(bytes: Bytes) -> Result<Self, TextError> {
        text::check_len(&bytes)?;
        let share_len = check_filter(&bytes)?;
        Ok(Self::trusted(bytes, share_len))
    }

    /// Bytes that a parser has checked already.
    pub(crate) fn trusted(bytes: Bytes, share_len: u16) -> Self {
        Self { text: Utf8String::trusted(bytes), share_len }
    }

    /// The whole text's bytes, shared.
    pub const fn as_bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// A copy that owns exactly its bytes and no longer pins the frame it was decoded from.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self { text: self.text.compact(), share_len: self.share_len }
    }

    /// The ShareName of a Shared Subscription.
    pub fn share_name(&self) -> Option<&str> {
        let name = SHARE.len()..SHARE.len() + usize::from(self.share_len);
        (self.share_len > 0).then(|| &self.as_str()[name])
    }

    /// The filter that topics are matched with: the text without a `$share/{ShareName}/` before it.
    pub fn filter(&self) -> &str {
        match self.share_len {
            0 => self.as_str(),
            name => &self.as_str()[SHARE.len() + usize::from(name) + 1..],
        }
    }

    /// Whether this is a Shared Subscription.
    pub const fn is_shared(&self) -> bool {
        self.share_len > 0
    }

    /// Whether the filter contains a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.as_bytes().iter().copied().any(text::is_wildcard)
    }
}

// The text alone decides: `share_len` follows from it.
impl PartialEq for TopicFilter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TopicFilter {}

impl PartialOrd for TopicFilter {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TopicFilter {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// Checks a Topic Filter and gives the length of its share name, 0 without one.
#[inline]
pub(crate) fn check_filter(bytes: &[u8]) -> Result<u16, TextError> {
    // [MQTT-4.7.3-1] At least one character.
    let Some(first) = bytes.first() else { return Err(TextError::Empty) };
    let survey = Survey::of(bytes);
    if !survey.is_clean() {
        // [MQTT-4.7.3-2] No U+0000.
        text::check_closely(bytes)?;
    }
    if *first == b'$' {
        return check_shared(bytes);
    }
    if !survey.is_plain() {
        check_levels(bytes)?;
    }
    Ok(0)
}

fn check_shared(bytes: &[u8]) -> Result<u16, TextError> {
    let Some(shared) = bytes.strip_prefix(SHARE.as_bytes()) else {
        check_levels(bytes)?;
        return Ok(0);
    };
    // [MQTT-4.8.2-1] The ShareName has at least one character.
    // [MQTT-4.8.2-2] It is free of `/`, `+` and `#`, and a `/` with a Topic Filter follows.
    let end = shared.iter().position(|byte| *byte == b'/').unwrap_or(shared.len());
    let (name, filter) = (&shared[..end], shared.get(end + 1..).unwrap_or_default());
    if name.is_empty() {
        return Err(TextError::ShareName);
    }
    if filter.is_empty() || name.iter().copied().any(text::is_wildcard) {
        return Err(TextError::Share);
    }
    check_levels(filter)?;
    Ok(name.len() as u16)
}

/// Wildcards stand where they may.
fn check_levels(filter: &[u8]) -> Result<(), TextError> {
    let mut from = 0;
    while let Some(next) = filter[from..].iter().position(|byte| text::is_wildcard(*byte)) {
        let at = from + next;
        let starts_level = at == 0 || filter[at - 1] == b'/';
        match (filter[at], filter.get(at + 1)) {
            // [MQTT-4.7.1-1] [3.1.1: MQTT-4.7.1-2] `#` only as the whole last level.
            (b'#', None) | (b'+', None | Some(b'/')) if starts_level => from = at + 1,
            (b'#', _) => return Err(TextError::MultiLevel),
            // [MQTT-4.7.1-2] [3.1.1: MQTT-4.7.1-3] `+` only as a whole level.
            _ => return Err(TextError::SingleLevel),
        }
    }
    Ok(())
}

text_type!(TopicName);
text_type!(TopicFilter);
text_type!(ClientId);
