//! UTF-8 Encoded Strings (MQTT 5.0 section 1.5.4).
//!
//! Invariants: the bytes of every text type were checked when it was built; nothing is normalised or stripped,
//! a U+FEFF included [MQTT-1.5.4-3] [3.1.1: MQTT-1.5.3-3].
use alloc::string::String;
use bytes::Bytes;
use core::{borrow::Borrow, fmt, hash, ops::Deref, str};

/// A UTF-8 Encoded String: at most 65,535 bytes, well-formed [MQTT-1.5.4-1], without U+0000 [MQTT-1.5.4-2].
/// A decoded one shares the memory of its frame; [`compact`](Self::compact) copies it out.
///
/// Reading it as `&str` walks the bytes once (there is no unsafe code to skip that); comparing and
/// [`as_bytes`](Self::as_bytes) do not.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utf8String(Bytes);

/// Why bytes are no UTF-8 Encoded String, Topic Name or Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextError {
    /// Longer than 65,535 bytes [MQTT-4.7.3-3].
    TooLong,
    /// Not well-formed UTF-8; surrogates U+D800 to U+DFFF included [MQTT-1.5.4-1] [3.1.1: MQTT-1.5.3-1].
    NotUtf8,
    /// Contains U+0000 [MQTT-1.5.4-2] [3.1.1: MQTT-1.5.3-2], [MQTT-4.7.3-2].
    Null,
    /// Empty where at least one character is needed [MQTT-4.7.3-1].
    Empty,
    /// `+` or `#` in a Topic Name [MQTT-3.3.2-2], [MQTT-4.7.0-1].
    Wildcard,
    /// `#` that is not the whole last level of a Topic Filter [MQTT-4.7.1-1].
    MultiLevel,
    /// `+` that is not a whole level of a Topic Filter [MQTT-4.7.1-2].
    SingleLevel,
    /// `$share/` with an empty ShareName [MQTT-4.8.2-1].
    ShareName,
    /// A `$share/{ShareName}` with a wildcard in the ShareName or without a filter behind it [MQTT-4.8.2-2].
    Share,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "longer than 65,535 bytes",
            Self::NotUtf8 => "not well-formed UTF-8",
            Self::Null => "contains U+0000",
            Self::Empty => "empty, where at least one character is needed",
            Self::Wildcard => "`+` or `#` in a topic name",
            Self::MultiLevel => "`#` may only stand as the whole last level of a topic filter",
            Self::SingleLevel => "`+` may only stand as a whole level of a topic filter",
            Self::ShareName => "the share name of a `$share/name/filter` is empty",
            Self::Share => "not of the form `$share/name/filter` with a name free of wildcards",
        })
    }
}

impl core::error::Error for TextError {}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Eight bytes of which the high bit says that one is 0 or not ASCII; right for a whole text, if not for each byte.
#[inline]
const fn odd(word: u64) -> u64 {
    word.wrapping_sub(ONES) | word
}

/// The same for `#` and `+`, which differ in one bit.
#[inline]
const fn wild(word: u64) -> u64 {
    odd((word | ONES << 3) ^ (ONES * 0x2B))
}

/// What a walk over a text met, in the high bits of each word.
#[derive(Clone, Copy, Default)]
pub(crate) struct Survey {
    odd: u64,
    wild: u64,
}

impl Survey {
    /// Walks over the bytes, eight at a time; the last eight overlap those before.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut survey = Self::default();
        if let Some(last) = bytes.last_chunk() {
            let mut rest = bytes;
            while let Some((word, tail)) = rest.split_first_chunk() {
                survey.word(u64::from_le_bytes(*word));
                rest = tail;
            }
            survey.word(u64::from_le_bytes(*last));
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let halves = [u32::from_le_bytes(*first), u32::from_le_bytes(*last)];
            survey.word(u64::from(halves[0]) | u64::from(halves[1]) << 32);
        } else {
            survey.word(short_word(bytes));
        }
        survey
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.odd |= odd(word);
        self.wild |= wild(word);
    }

    /// ASCII without U+0000.
    #[inline]
    pub(crate) const fn is_clean(self) -> bool {
        self.odd & HIGH == 0
    }

    /// ASCII without U+0000 and without wildcards.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        (self.odd | self.wild) & HIGH == 0
    }
}

/// Less than eight bytes, filled up with a harmless character.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(ONES * 0x78, |word, byte| word << 8 | u64::from(*byte))
}

/// Checks a UTF-8 Encoded String whose length fits.
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<(), TextError> {
    if Survey::of(bytes).is_clean() { Ok(()) } else { check_closely(bytes) }
}

/// Checks a string that must be free of wildcards, such as a Topic Name; it may be empty.
#[inline]
pub(crate) fn check_plain(bytes: &[u8]) -> Result<(), TextError> {
    if Survey::of(bytes).is_plain() {
        return Ok(());
    }
    check_closely(bytes)?;
    if bytes.iter().copied().any(is_wildcard) { Err(TextError::Wildcard) } else { Ok(()) }
}

/// `+` or `#`.
#[inline]
pub(crate) const fn is_wildcard(byte: u8) -> bool {
    byte | 8 == b'+'
}

/// Checks a text that the survey found odd.
#[cold]
pub(crate) fn check_closely(bytes: &[u8]) -> Result<(), TextError> {
    // [MQTT-1.5.4-2] [3.1.1: MQTT-1.5.3-2]
    if bytes.contains(&0) {
        return Err(TextError::Null);
    }
    // [MQTT-1.5.4-1] [3.1.1: MQTT-1.5.3-1] This refuses surrogates, too.
    str::from_utf8(bytes).map(drop).map_err(|_| TextError::NotUtf8)
}

/// Bytes that were checked, as text; without unsafe code that means another walk.
#[inline]
pub(crate) fn checked_str(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("checked when it was decoded or built")
}

/// Refuses what no two-byte length can say [MQTT-4.7.3-3].
pub(crate) fn check_len(bytes: &[u8]) -> Result<(), TextError> {
    if bytes.len() > usize::from(u16::MAX) { Err(TextError::TooLong) } else { Ok(()) }
}

impl Utf8String {
    /// The empty string.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    pub(crate) fn checked(bytes: Bytes) -> Result<Self, TextError> {
        check_len(&bytes)?;
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Bytes that a parser has checked already.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, shared.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy that owns exactly its bytes and no longer pins the frame it was decoded from.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// What all text types share; each has `checked`, `as_bytes` and an `Eq` that is that of its bytes.
macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// A constant text, not copied.
            ///
            /// # Panics
            /// If the text breaks the rules of the type.
            pub fn from_static(text: &'static str) -> Self {
                match Self::checked(Bytes::from_static(text.as_bytes())) {
                    Ok(text) => text,
                    Err(error) => panic!("{text:?}: {error}"),
                }
            }

            /// The text; O(length).
            pub fn as_str(&self) -> &str {
                $crate::text::checked_str(self.as_bytes())
            }
        }

        /// Copies the text.
        impl TryFrom<&str> for $name {
            type Error = TextError;
            fn try_from(text: &str) -> Result<Self, TextError> {
                Self::checked(Bytes::copy_from_slice(text.as_bytes()))
            }
        }

        /// Takes the text over.
        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                Self::checked(Bytes::from(text))
            }
        }

        /// Shares the bytes.
        impl TryFrom<Bytes> for $name {
            type Error = TextError;
            fn try_from(bytes: Bytes) -> Result<Self, TextError> {
                Self::checked(bytes)
            }
        }

        /// Copies the text.
        impl str::FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::try_from(text)
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        // As `str` hashes, for the sake of `Borrow<str>`.
        impl hash::Hash for $name {
            fn hash<H: hash::Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.as_str(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}
pub(crate) use text_type;

text_type!(Utf8String);
