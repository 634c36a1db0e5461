//! The header with which a proxy tells whom it speaks for (PROXY protocol, versions 1 and 2).
//!
//! Invariants: exactly the header's bytes are taken, however they come; at most [`MAX_HEADER`] bytes are kept.
use proxy_header::{ParseConfig, Protocol, ProxyHeader as Parsed};
use std::fmt;
use std::net::SocketAddr;

/// The longest header, in bytes: one of version 1 has at most 107, in one of version 2 this leaves room for everything that
/// proxies put there today.
pub const MAX_HEADER: usize = 4096;
/// The longest line of version 1, with its end.
const MAX_V1: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes up to the length field of version 2, inclusive.
const FIXED: usize = 16;

/// A header that is being read.
#[derive(Debug, Default)]
pub struct ProxyHeader {
    bytes: Vec<u8>,
}

/// For whom a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// For the client at this address.
    For(SocketAddr),
    /// For itself (a health check), or it does not tell.
    Itself,
}

/// A header that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyError {
    why: &'static str,
}

impl ProxyHeader {
    /// Takes the header's bytes from `input`, and leaves what follows. `Ok(None)`: more is needed. It must not be called again
    /// once there was something else.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Spoken>, ProxyError> {
        while let Some((byte, rest)) = input.split_first() {
            self.bytes.push(*byte);
            *input = rest;
            if self.is_complete()? {
                return self.source().map(Some);
            }
        }
        Ok(None)
    }

    /// Whether the last byte of the header is there.
    fn is_complete(&self) -> Result<bool, ProxyError> {
        let length = self.bytes.len();
        if b"PROXY ".iter().zip(&self.bytes).all(|(expected, byte)| expected == byte) {
            return match self.bytes.last() {
                Some(b'\n') => Ok(true),
                _ if length == MAX_V1 => Err(ProxyError { why: "its line does not end within 107 bytes" }),
                _ => Ok(false),
            };
        }
        if !SIGNATURE.iter().zip(&self.bytes).all(|(expected, byte)| expected == byte) {
            return Err(ProxyError { why: "it does not begin like one" });
        }
        if length < FIXED {
            return Ok(false);
        }
        let whole = FIXED + usize::from(u16::from_be_bytes([self.bytes[14], self.bytes[15]]));
        if whole > MAX_HEADER {
            return Err(ProxyError { why: "it is longer than 4096 bytes" });
        }
        Ok(length == whole)
    }

    /// Reads a complete header.
    fn source(&self) -> Result<Spoken, ProxyError> {
        let malformed = ProxyError { why: "it is malformed" };
        let is_v1 = self.bytes.starts_with(b"P");
        if is_v1 && (!self.bytes.ends_with(b"\r\n") || self.bytes.contains(&b'+')) {
            return Err(malformed);
        }
        let config = ParseConfig { include_tlvs: false, allow_v1: is_v1, allow_v2: !is_v1 };
        let (header, length) = Parsed::parse(&self.bytes, config).map_err(|_| malformed)?;
        match header.proxied_address() {
            _ if length != self.bytes.len() => Err(malformed),
            None => Ok(Spoken::Itself),
            Some(address) if address.protocol == Protocol::Stream => Ok(Spoken::For(address.source)),
            Some(_) => Err(ProxyError { why: "it tells of datagrams" }),
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no header of the PROXY protocol: {}", self.why)
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads in pieces; gives what was found and how many bytes were left.
    fn read(bytes: &[u8], piece: usize) -> Result<(Option<Spoken>, usize), ProxyError> {
        let mut header = ProxyHeader::default();
        let mut taken = 0;
        for part in bytes.chunks(piece) {
            let mut rest = part;
            if let Some(found) = header.read(&mut rest)? {
                return Ok((Some(found), bytes.len() - taken - (part.len() - rest.len())));
            }
            taken += part.len();
        }
        Ok((None, 0))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x30, 0x39, 0x07, 0x5B];

    #[test]
    fn headers_are_read_and_what_follows_is_left() {
        let v4_with_more = [&V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let mut v6 = vec![0; 36];
        (v6[15], v6[31], v6[33]) = (1, 2, 80);
        for (name, header, source) in [
            ("v1 ipv4", b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 1883\r\n".to_vec(), Some("192.0.2.1:12345")),
            ("v1 ipv6", b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(), Some("[2001:db8::1]:1")),
            ("v1 unknown", b"PROXY UNKNOWN\r\n".to_vec(), None),
            ("v1 unknown with more", b"PROXY UNKNOWN ffff:f::1 ffff::1 65535 65535\r\n".to_vec(), None),
            ("v2 ipv4", v2(0x21, 0x11, &V4), Some("192.0.2.1:12345")),
            ("v2 with more fields", v2(0x21, 0x11, &v4_with_more), Some("192.0.2.1:12345")),
            ("v2 ipv6", v2(0x21, 0x21, &v6), Some("[::1]:80")),
            ("v2 local", v2(0x20, 0x00, &[]), None),
            ("v2 local with an address", v2(0x20, 0x11, &V4), None),
            ("v2 unspecified", v2(0x21, 0x00, &[]), None),
            ("v2 unix", v2(0x21, 0x31, &[b'/'; 216]), None),
        ] {
            let bytes = [&header[..], b"\x10\x0c"].concat();
            for piece in [1, 2, 7, 4096] {
                let spoken = source.map_or(Spoken::Itself, |source| Spoken::For(source.parse().unwrap()));
                let expected = Ok((Some(spoken), 2));
                assert_eq!(read(&bytes, piece), expected, "{name} in pieces of {piece}");
                assert_eq!(read(&header[..header.len() - 1], piece), Ok((None, 0)), "{name} is not complete");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat();
        for (name, bytes) in [
            ("mqtt", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec()),
            ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("line that does not end", long),
            ("bare lf", b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 1883\n".to_vec()),
            ("no address", b"PROXY TCP4\r\n".to_vec()),
            ("other family", b"PROXY UDP4 192.0.2.1 198.51.100.1 12345 1883\r\n".to_vec()),
            ("wrong family", b"PROXY TCP4 ::1 ::1 12345 1883\r\n".to_vec()),
            ("port too large", b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 65536\r\n".to_vec()),
            ("signed port", b"PROXY TCP4 192.0.2.1 198.51.100.1 +1234 1883\r\n".to_vec()),
            ("more behind the ports", b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n".to_vec()),
            ("leading zero", b"PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n".to_vec()),
            ("lower case", b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec()),
            ("v2 of another version", v2(0x11, 0x11, &V4)),
            ("v2 with another command", v2(0x22, 0x11, &V4)),
            ("v2 with another family", v2(0x21, 0x41, &V4)),
            ("v2 too short for its family", v2(0x21, 0x11, &V4[..11])),
            ("v2 of datagrams", v2(0x21, 0x12, &V4)),
            ("v2 above the limit", v2(0x21, 0x11, &[0; 5000])),
        ] {
            let results = [1, 3, 4096].map(|piece| read(&bytes, piece).err());
            assert!(results[0].is_some(), "{name}");
            assert!(results.iter().all(|result| *result == results[0]), "{name}: {results:?}");
        }
    }
}
