//! A few literal MQTT 3.1.1 packets: enough to see that a broker serves and to leave a retained message.
//!
//! Written out here so that preparations depend on neither the project's codec nor another vendor's client.

use super::PATIENCE;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// CONNECT with a clean session, an empty client id and no keep alive.
const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Whether something on the port accepts a CONNECT.
pub(super) fn answers(port: u16) -> bool {
    connect(port).and_then(|mut stream| stream.write_all(&DISCONNECT)).is_ok()
}

/// Leaves a retained message of at most 100 bytes, topic included, and returns when the broker has it.
pub(crate) fn retain(port: u16, topic: &str, payload: &str) {
    try_retain(port, topic, payload).unwrap_or_else(|error| panic!("no retained message on {topic}: {error}"));
}

fn try_retain(port: u16, topic: &str, payload: &str) -> io::Result<()> {
    let mut stream = connect(port)?;
    let length = 2 + topic.len() + 2 + payload.len();
    assert!(length < 128, "one length byte is enough here");
    let mut publish = vec![0x33, length as u8, 0, topic.len() as u8];
    publish.extend_from_slice(topic.as_bytes());
    publish.extend_from_slice(&[0, 1]);
    publish.extend_from_slice(payload.as_bytes());
    stream.write_all(&publish)?;
    expect(&mut stream, [0x40, 2, 0, 1])?;
    stream.write_all(&DISCONNECT)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&CONNECT)?;
    expect(&mut stream, CONNACK)?;
    Ok(stream)
}

fn expect(stream: &mut TcpStream, packet: [u8; 4]) -> io::Result<()> {
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer == packet { Ok(()) } else { Err(io::Error::other(format!("{answer:02x?} instead of {packet:02x?}"))) }
}
