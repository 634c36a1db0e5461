//! Values with units, as people write them: `10s`, `256MiB`, `never`.
//!
//! Invariant: what is refused is answered with what is allowed.
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;
use std::time::Duration;

/// A length of time: `250ms`, `10s`, `5m`, `2h`, `7d`; a plain number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A length of time in whole seconds below 2^32, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(pub(crate) u32);

/// A number of bytes between two limits: `512`, `64KiB`, `256MiB`, `1GiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

const SPAN: &str = "a time such as \"250ms\", \"10s\", \"5m\", \"2h\" or \"7d\"";
const SIZE: &str = "a number of bytes such as 512, \"64KiB\", \"256MiB\", \"1GiB\" or \"10MB\"";

/// Reads a time, as the command line takes it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, &UNITS).map(Duration::from_millis).ok_or_else(|| format!("expected {SPAN}"))
}

fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 11] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    scaled(text, &UNITS)
}

/// `number unit`, with or without a space between them, in the smallest unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Gives a text or a whole number to `read`; what that refuses is answered with `expected`.
struct TextOrNumber<F>(F, &'static str);

enum Given<'a> {
    Text(&'a str),
    Number(u64),
}

impl<T, F: FnOnce(Given<'_>) -> Option<T>> Visitor<'_> for TextOrNumber<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let Self(read, expected) = self;
        read(Given::Text(text)).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &expected))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let Self(read, expected) = self;
        u64::try_from(number)
            .ok()
            .and_then(|number| read(Given::Number(number)))
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &expected))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let Self(read, expected) = self;
        read(Given::Number(number)).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &expected))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| match given {
            Given::Text(text) => duration(text).ok().map(Self),
            Given::Number(seconds) => Some(Self(Duration::from_secs(seconds))),
        };
        deserializer.deserialize_any(TextOrNumber(read, SPAN))
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| {
            let seconds = match given {
                Given::Text("never") => return Some(Self(u32::MAX)),
                Given::Text(text) => duration(text).ok()?.as_secs(),
                Given::Number(seconds) => seconds,
            };
            u32::try_from(seconds).ok().map(Self)
        };
        let expected = "\"never\" or a time of less than 136 years such as \"90s\", \"2h\" or \"7d\"";
        deserializer.deserialize_any(TextOrNumber(read, expected))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| match given {
            Given::Text(text) => size(text),
            Given::Number(bytes) => Some(bytes),
        };
        let bytes = deserializer.deserialize_any(TextOrNumber(read, SIZE))?;
        if (MIN..=MAX).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(D::Error::custom(format_args!("{bytes} bytes: expected {MIN} to {MAX} bytes")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [("250ms", 250), ("10s", 10_000), ("5 m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 parsecs", "99999999999999999d"] {
            assert!(duration(text).unwrap_err().contains("\"10s\""), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("512", 512), ("64KiB", 65_536), ("256 MiB", 268_435_456), ("10MB", 10_000_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "1KIB", "-1", "99999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
