//! The HTTP head of a handshake: found, and read strictly (RFC 9112; RFC 6455 section 4).
//!
//! Invariant: a head is at most as long as its limit, and bytes behind it are not touched.
use alloc::string::String;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::Header;
use sha1::{Digest, Sha1};

/// Header fields of a head.
pub(crate) const MAX_FIELDS: usize = 64;
/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What cannot become a head.
pub(crate) enum NoHead {
    TooLong,
    NotText,
}

/// Takes bytes of `input` into `head` until its end; `Ok(false)`: more is needed. Who speaks something else, TLS or MQTT, is
/// noticed at once, and not when nothing more comes.
pub(crate) fn gather(head: &mut alloc::vec::Vec<u8>, input: &mut &[u8], limit: usize) -> Result<bool, NoHead> {
    while let Some((byte, rest)) = input.split_first() {
        if head.len() == limit {
            return Err(NoHead::TooLong);
        }
        if *byte < b' ' && !b"\r\n\t".contains(byte) {
            return Err(NoHead::NotText);
        }
        head.push(*byte);
        *input = rest;
        if *byte == b'\n' && head.ends_with(b"\r\n\r\n") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether every line ends with CR and LF and no other control characters are there, which the parser would forgive.
pub(crate) fn is_clean(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|byte| {
        let fits = match *byte {
            b'\n' => before == b'\r',
            _ => before != b'\r' && (*byte >= b' ' && *byte != 0x7F || matches!(*byte, b'\t' | b'\r')),
        };
        before = *byte;
        fits
    })
}

/// The value of a field that must stand there once; `Err(true)`: it is there more than once.
pub(crate) fn single<'a>(fields: &'a [Header<'a>], name: &str) -> Result<&'a [u8], bool> {
    let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let first = found.next().ok_or(false)?;
    if found.next().is_some() { Err(true) } else { Ok(first.value.trim_ascii()) }
}

/// The members of a comma-separated field, over all its lines.
pub(crate) fn list<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .flat_map(|field| field.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether a list has this member, in any case.
pub(crate) fn has(fields: &[Header<'_>], name: &str, member: &str) -> bool {
    list(fields, name).any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
}

/// The answer to a key.
pub(crate) fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// A key of a nonce.
pub(crate) fn key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// Whether this is a key: 16 bytes in base64.
pub(crate) fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_is_that_of_the_standards_example() {
        assert_eq!(super::accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
