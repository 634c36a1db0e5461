//! Every vector of `testdata/` gives what its line says, however its bytes arrive.
use crate::common::{Expected, Vector, decode, encode, vectors};
use bytes::BytesMut;
use mqtt_proto::{AckRef, FrameRef, Packet, PublishRef};

/// Among others, a CONNECT is validated as a whole [MQTT-3.1.4-1], and QoS 0 goes without DUP [MQTT-4.3.1-1].
#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    let vectors = vectors();
    assert!(vectors.len() > 1400, "{} vectors", vectors.len());
    for vector in vectors {
        let at = format!("{}: {}", vector.file, vector.name);
        let mut buf = BytesMut::from(&vector.bytes[..]);
        match (decode(&mut buf, vector.version), vector.expected) {
            (Ok(Some(packet)), Expected::Same | Expected::Rewritten) => {
                assert!(buf.is_empty(), "{at}: bytes are left");
                let again = encode(&packet, vector.version);
                assert_eq!(
                    again == vector.bytes,
                    vector.expected == Expected::Same,
                    "{at}: {packet:?} to {again:02x?}"
                );
                assert_eq!(packet.encoded_len(vector.version), Ok(again.len()), "{at}");
                assert_eq!(decode(&mut again.clone(), vector.version), Ok(Some(packet)), "{at}");
            }
            (Err(error), Expected::Refused(reason)) => {
                assert_eq!(error.reason as u8, reason, "{at}: {error}");
                let named = vector.statements.iter().any(|statement| statement == error.statement);
                assert!(named, "{at}: {error}, which is none of {:?}", vector.statements);
            }
            (result, expected) => panic!("{at}: {result:?} instead of {expected:?}"),
        }
    }
}

/// What arrives in single bytes gives the same packet or the same refusal, and nothing before its time.
#[test]
fn bytewise_as_whole() {
    for vector in vectors() {
        let at = format!("{}: {}", vector.file, vector.name);
        let whole = decode(&mut BytesMut::from(&vector.bytes[..]), vector.version);
        let mut buf = BytesMut::new();
        for (i, byte) in vector.bytes.iter().enumerate() {
            buf.extend_from_slice(&[*byte]);
            match decode(&mut buf, vector.version) {
                Ok(None) => assert!(i + 1 < vector.bytes.len(), "{at}: still incomplete at its end"),
                result => {
                    assert_eq!(result, whole, "{at}");
                    assert!(result.is_err() || i + 1 == vector.bytes.len(), "{at}: a packet before its last byte");
                    break;
                }
            }
        }
    }
}

/// The ways to decode agree: framing and decoding apart, both in one, and in place.
#[test]
fn all_decoders_agree() {
    for vector in vectors() {
        let at = format!("{}: {}", vector.file, vector.name);
        let apart = decode(&mut BytesMut::from(&vector.bytes[..]), vector.version);
        let mut buf = BytesMut::from(&vector.bytes[..]);
        assert_eq!(Packet::read(&mut buf, vector.version, u32::MAX), apart, "{at}");
        assert!(apart.is_err() || buf.is_empty(), "{at}");
        if let Ok(Some(frame)) = FrameRef::peek(&vector.bytes, u32::MAX) {
            match (AckRef::decode(frame, vector.version), &apart) {
                (
                    Ok(view),
                    Ok(Some(Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack))),
                ) => {
                    assert_eq!(view.to_ack(), *ack, "{at}");
                }
                (view, owned) => assert!(view.is_err(), "{at}: {view:?}, {owned:?}"),
            }
            assert_eq!(frame.len(), vector.bytes.len(), "{at}");
            match (PublishRef::decode(frame, vector.version), &apart) {
                (Ok(view), Ok(Some(Packet::Publish(publish)))) => assert_eq!(view.to_publish(), *publish, "{at}"),
                (Err(view), Err(owned)) if vector.bytes[0] >> 4 == 3 => assert_eq!(view, *owned, "{at}"),
                (view, owned) => assert!(view.is_err() && vector.bytes[0] >> 4 != 3, "{at}: {view:?}, {owned:?}"),
            }
        }
    }
}

/// Cutting a body short, with a length that says so, never gives the same packet and never panics.
#[test]
fn cut_bodies() {
    let short = |vector: &Vector| vector.expected == Expected::Same && vector.bytes.len() < 128;
    for vector in vectors().into_iter().filter(short) {
        let whole = decode(&mut BytesMut::from(&vector.bytes[..]), vector.version);
        for length in 2..vector.bytes.len() {
            let mut cut = BytesMut::from(&vector.bytes[..length]);
            cut[1] = (length - 2) as u8;
            assert_ne!(decode(&mut cut, vector.version), whole, "{}: {} cut to {length}", vector.file, vector.name);
        }
    }
}
