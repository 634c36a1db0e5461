//! Reading and writing the values of properties: one module per type, with the rules of that type.
use super::table::Width;
use crate::error::{Fault, fault, malformed, violation};
use crate::wire::{self, text_fault};
use crate::{EncodeError, text};
use bytes::BytesMut;

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| malformed!("a property of the wrong length", "section 2.2.2.2"))
}

fn put_prefixed(out: &mut BytesMut, bytes: &[u8]) -> Result<(), EncodeError> {
    wire::binary_len(bytes)?;
    wire::put_binary(out, bytes);
    Ok(())
}

/// A byte that is 0 or 1.
pub(super) mod flag {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::Fixed(1);

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(bool,), Fault> {
        match fixed(bytes)? {
            [0] => Ok((false,)),
            [1] => Ok((true,)),
            _ => Err(violation!("a property that may only be 0 or 1 is neither", "section 2.2.2.2")),
        }
    }

    #[allow(clippy::unnecessary_wraps)] // all kinds have one signature
    pub(in super::super) fn put(out: &mut BytesMut, on: bool) -> Result<(), EncodeError> {
        out.extend_from_slice(&[u8::from(on)]);
        Ok(())
    }
}

/// An integer of fixed width; `$check` may refuse values.
macro_rules! integer {
    ($(#[$doc:meta])* $name:ident, $type:ty, $width:literal, |$value:ident| $check:expr) => {
        $(#[$doc])*
        pub(super) mod $name {
            use super::*;
            pub(in super::super) const WIDTH: Width = Width::Fixed($width);

            pub(in super::super) fn read(bytes: &[u8]) -> Result<($type,), Fault> {
                let $value = <$type>::from_be_bytes(fixed(bytes)?);
                $check?;
                Ok(($value,))
            }

            #[allow(clippy::unnecessary_wraps)] // all kinds have one signature
            pub(in super::super) fn put(out: &mut BytesMut, value: $type) -> Result<(), EncodeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
        }
    };
}

fn nonzero(value: u32) -> Result<(), Fault> {
    if value == 0 { Err(violation!("a property that must not be 0 is 0", "section 2.2.2.2")) } else { Ok(()) }
}

integer!(/** A Two Byte Integer. */ two, u16, 2, |value| Ok::<_, Fault>(()));
integer!(/** A Four Byte Integer. */ four, u32, 4, |value| Ok::<_, Fault>(()));
// Section 3.1.2.11.3: a Receive Maximum of 0 is a Protocol Error.
integer!(/** A Two Byte Integer other than 0. */ nonzero_two, u16, 2, |value| nonzero(u32::from(value)));
// Section 3.1.2.11.4: a Maximum Packet Size of 0 is a Protocol Error.
integer!(/** A Four Byte Integer other than 0. */ nonzero_four, u32, 4, |value| nonzero(value));
integer!(
    /// A Topic Alias, which is never 0 [MQTT-3.3.2-8].
    alias, u16, 2, |value| match value {
        0 => Err(fault!(TopicAliasInvalid, "topic alias 0", "MQTT-3.3.2-8")),
        _ => Ok(()),
    }
);

/// A Variable Byte Integer other than 0 (sections 3.3.2.3.8 and 3.8.2.1.2).
pub(super) mod nonzero_var {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::VarInt;

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(u32,), Fault> {
        let (rest, value) = wire::var_int(bytes)?;
        wire::end(rest)?;
        nonzero(value)?;
        Ok((value,))
    }

    pub(in super::super) fn put(out: &mut BytesMut, value: u32) -> Result<(), EncodeError> {
        if value > wire::MAX_VAR_INT {
            return Err(EncodeError::Invalid("a variable byte integer is larger than 268,435,455"));
        }
        wire::put_var_int(out, value as usize);
        Ok(())
    }
}

/// A UTF-8 Encoded String.
pub(super) mod utf8 {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::Prefixed;

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(&str,), Fault> {
        let (rest, text) = wire::utf8(bytes)?;
        wire::end(rest)?;
        Ok((text,))
    }

    pub(in super::super) fn put(out: &mut BytesMut, text: &str) -> Result<(), EncodeError> {
        put_prefixed(out, text.as_bytes())
    }
}

/// A string that serves as a Topic Name [MQTT-3.3.2-13]: not empty [MQTT-4.7.3-1], no wildcard [MQTT-3.3.2-14].
pub(super) mod topic {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::Prefixed;

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(&str,), Fault> {
        let (rest, bytes) = wire::binary(bytes)?;
        wire::end(rest)?;
        match text::check_plain(bytes) {
            Ok("") => Err(malformed!("an empty response topic", "MQTT-4.7.3-1")),
            Ok(text) => Ok((text,)),
            Err(crate::TextError::Wildcard) => Err(malformed!("a wildcard in a response topic", "MQTT-3.3.2-14")),
            Err(error) => Err(text_fault(error)),
        }
    }

    pub(in super::super) fn put(out: &mut BytesMut, text: &str) -> Result<(), EncodeError> {
        put_prefixed(out, text.as_bytes())
    }
}

/// Binary Data.
pub(super) mod binary {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::Prefixed;

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(&[u8],), Fault> {
        let (rest, data) = wire::binary(bytes)?;
        wire::end(rest)?;
        Ok((data,))
    }

    pub(in super::super) fn put(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
        put_prefixed(out, data)
    }
}

/// A UTF-8 String Pair; both halves obey the rules of strings [MQTT-1.5.7-1].
pub(super) mod pair {
    use super::*;
    pub(in super::super) const WIDTH: Width = Width::TwicePrefixed;

    pub(in super::super) fn read(bytes: &[u8]) -> Result<(&str, &str), Fault> {
        let (rest, name) = wire::utf8(bytes)?;
        let (rest, value) = wire::utf8(rest)?;
        wire::end(rest)?;
        Ok((name, value))
    }

    pub(in super::super) fn put(out: &mut BytesMut, name: &str, value: &str) -> Result<(), EncodeError> {
        put_prefixed(out, name.as_bytes())?;
        put_prefixed(out, value.as_bytes())
    }
}
