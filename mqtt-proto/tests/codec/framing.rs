//! Framing: the limit holds before anything is buffered, and errors come with the first byte that shows them.
use bytes::{Bytes, BytesMut};
use mqtt_proto::{ErrorKind, Frame, FrameRef, PacketType, ReasonCode};

const PUBLISH: &[u8] = b"\x30\x05\x00\x01ahi";

/// Section 3.1.2.11.4: the size counts the whole packet [MQTT-3.1.2-24], [MQTT-3.2.2-15].
#[test]
fn the_limit_counts_the_whole_packet() {
    let length = PUBLISH.len() as u32;
    assert!(FrameRef::peek(PUBLISH, length).unwrap().is_some());
    let error = FrameRef::peek(PUBLISH, length - 1).unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::TooLarge, ReasonCode::PacketTooLarge));
}

#[test]
fn the_limit_holds_before_the_body_is_there() {
    // 128 bytes announced, none there: header 1 + length 2 + body 128.
    let announced = [0x30, 0x80, 0x01];
    assert_eq!(FrameRef::peek(&announced, 131), Ok(None));
    assert_eq!(FrameRef::peek(&announced, 130).unwrap_err().kind, ErrorKind::TooLarge);
    let largest = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    assert_eq!(FrameRef::peek(&largest, 268_435_460), Ok(None));
    assert_eq!(FrameRef::peek(&largest, 268_435_459).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn incomplete_lengths_wait() {
    for bytes in [&b""[..], b"\x30", b"\x30\x80", b"\x30\xFF\xFF", b"\x30\xFF\xFF\xFF", b"\x30\x05\x00"] {
        assert_eq!(FrameRef::peek(bytes, 1_000_000_000), Ok(None), "{bytes:02x?}");
    }
}

/// [MQTT-2.1.3-1] The first byte alone may be refused.
#[test]
fn every_first_byte() {
    for header in 0..=u8::MAX {
        let (packet, flags) = (header >> 4, header & 0xF);
        let allowed = match packet {
            0 => false,
            // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
            3 => flags & 6 != 6 && (flags & 6 != 0 || flags & 8 == 0),
            // [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]; DUP is for 3.1.
            6 | 8 | 10 => flags & 7 == 2,
            _ => flags == 0,
        };
        assert_eq!(FrameRef::peek(&[header], u32::MAX).is_ok(), allowed, "{header:#04x}");
    }
}

#[test]
fn split_takes_one_packet_without_copying() {
    let mut buf = BytesMut::from(&[PUBLISH, PUBLISH, b"\xC0"].concat()[..]);
    let start = buf.as_ptr();
    let frame = Frame::split(&mut buf, 100).unwrap().unwrap();
    assert_eq!(frame.body().as_ptr(), start.wrapping_add(2));
    assert_eq!((frame.header(), frame.len(), frame.packet_type()), (0x30, 7, PacketType::Publish));
    assert_eq!(frame.as_ref(), FrameRef::peek(PUBLISH, 100).unwrap().unwrap());
    assert_eq!(frame.as_ref().to_frame(), frame);
    assert_eq!(frame.into_body(), Bytes::from_static(&PUBLISH[2..]));
    assert!(Frame::split(&mut buf, 100).unwrap().is_some());
    assert_eq!(Frame::split(&mut buf, 100), Ok(None));
    assert_eq!(&buf[..], b"\xC0");
}

#[test]
fn an_error_leaves_the_buffer() {
    let mut buf = BytesMut::from(&b"\x36\x00rest"[..]);
    assert!(Frame::split(&mut buf, 100).is_err());
    assert_eq!(&buf[..], b"\x36\x00rest");
}

/// Each length on either side of a step of the encoding [MQTT-1.5.5-1].
#[test]
fn lengths_at_the_steps() {
    for body in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let mut length = Vec::new();
        let mut rest = body;
        while rest > 127 {
            length.push((rest & 0x7F | 0x80) as u8);
            rest >>= 7;
        }
        length.push(rest as u8);
        let bytes = [&[0x30], &length[..], &vec![0; body]].concat();
        let frame = FrameRef::peek(&bytes, u32::MAX).unwrap().unwrap();
        assert_eq!((frame.body().len(), frame.len()), (body, bytes.len()));
        assert_eq!(FrameRef::peek(&bytes[..bytes.len() - 1], u32::MAX), Ok(None));
    }
}
