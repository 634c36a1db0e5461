//! The vectors of `testdata/`, as values.
#![allow(dead_code)] // each test file uses its part

use bytes::BytesMut;
use mqtt_proto::{DecodeError, Frame, Packet, Version};
use std::path::Path;

/// One line of a file in `testdata/`.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
    pub(crate) statements: Vec<String>,
    pub(crate) expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Decodes, and encodes to the same bytes.
    Same,
    /// Decodes, and encodes otherwise.
    Rewritten,
    /// Is refused with this reason code.
    Refused(u8),
}

/// All vectors.
pub(crate) fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(path: &Path) -> Vec<Vector> {
    let file = path.file_stem().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(|line| parse(file, line)).collect()
}

fn parse(file: &str, line: &str) -> Vector {
    let fields: Vec<&str> = line.split(" | ").collect();
    let [name, version, hex, _meaning, statements, expected] = fields[..] else {
        panic!("{file}: not six fields: {line}")
    };
    Vector {
        file: file.into(),
        name: name.into(),
        version: match version {
            "3.1" => Version::V3_1,
            "3.1.1" => Version::V3_1_1,
            "5.0" => Version::V5,
            other => panic!("{file}: version {other}"),
        },
        bytes: hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect(),
        statements: statements.split(", ").map(|id| id.trim_matches(['[', ']']).into()).collect(),
        expected: match expected {
            "ok" => Expected::Same,
            "ok, rewritten" => Expected::Rewritten,
            code => Expected::Refused(u8::from_str_radix(code.strip_prefix("0x").unwrap(), 16).unwrap()),
        },
    }
}

/// Decodes the first packet of a buffer, framing first.
pub(crate) fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Packet>, DecodeError> {
    Frame::split(buf, u32::MAX)?.map(|frame| Packet::decode(frame, version)).transpose()
}

/// Encodes to a fresh buffer.
pub(crate) fn encode(packet: &Packet, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).unwrap();
    out
}
