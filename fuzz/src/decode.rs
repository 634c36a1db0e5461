//! Decoding of any bytes: the same packets however the bytes arrive, and each decoded packet encodes to bytes that
//! decode to it again (MQTT 5.0 section 2.1).
use bytes::BytesMut;
use mqtt_proto::{DecodeError, Decoder, Frame, FrameRef, Packet, PacketType, PublishRef, Version};

/// Below what a fuzzer sends, so that the limit is met, too.
const MAX_PACKET_SIZE: u32 = 1024;

/// Decodes the bytes as packets of 3.1 and of 3.1.1.
///
/// # Panics
/// Where a promise of the decoder is broken.
pub fn decode_v3(data: &[u8]) {
    frames(data, Version::V3_1);
    frames(data, Version::V3_1_1);
    connection(data, Version::V3_1_1);
}

/// Decodes the bytes as packets of 5.0.
///
/// # Panics
/// Where a promise of the decoder is broken.
pub fn decode_v5(data: &[u8]) {
    frames(data, Version::V5);
    connection(data, Version::V5);
}

/// What came out of some bytes: packets, and the error that ended them.
type Outcome = (Vec<Packet>, Option<DecodeError>);

/// Packets of one version, in any order.
fn frames(data: &[u8], version: Version) {
    let decode = |buf: &mut BytesMut| match Frame::split(buf, MAX_PACKET_SIZE)? {
        None => Ok(None),
        Some(frame) => Packet::decode(frame, version).map(Some),
    };
    let whole = outcome(data, data.len().max(1), decode);
    assert_eq!(whole, outcome(data, 1, decode), "whole against byte by byte");
    for packet in &whole.0 {
        encodes_to_itself(packet, version);
    }
    borrowed_is_owned(data, version);
}

/// Packets of one connection, as a server and as a client hear them.
fn connection(data: &[u8], version: Version) {
    for decoder in [Decoder::server(MAX_PACKET_SIZE), Decoder::client(version, MAX_PACKET_SIZE)] {
        let run = |step| {
            let mut decoder = decoder.clone();
            outcome(data, step, move |buf| decoder.decode(buf))
        };
        assert_eq!(run(data.len().max(1)), run(1), "whole against byte by byte");
    }
}

/// Feeds the bytes in steps and collects what comes out.
fn outcome(
    data: &[u8],
    step: usize,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<Packet>, DecodeError>,
) -> Outcome {
    let (mut buf, mut packets) = (BytesMut::new(), Vec::new());
    for chunk in data.chunks(step) {
        buf.extend_from_slice(chunk);
        loop {
            match decode(&mut buf) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    (packets, None)
}

/// A packet that was decoded can be encoded, and is itself again; only its form may have become shorter.
fn encodes_to_itself(packet: &Packet, version: Version) {
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()), "{packet:?}");
    let frame = Frame::split(&mut bytes, u32::MAX).expect("well-formed").expect("complete");
    assert!(bytes.is_empty(), "{packet:?}");
    assert_eq!(Packet::decode(frame, version).as_ref(), Ok(packet));
}

/// The view of a PUBLISH in its buffer says what the owned packet says.
fn borrowed_is_owned(data: &[u8], version: Version) {
    let Ok(Some(frame)) = FrameRef::peek(data, MAX_PACKET_SIZE) else { return };
    if frame.packet_type() != PacketType::Publish {
        return;
    }
    let borrowed = PublishRef::decode(frame, version).map(|publish| Packet::Publish(publish.to_publish()));
    assert_eq!(borrowed, Packet::decode(frame.to_frame(), version));
}
