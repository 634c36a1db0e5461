//! Decoding shares the frame's memory: topic, properties and payload point into it.
use bytes::{Bytes, BytesMut};
use mqtt_proto::*;

fn inside(part: &Bytes, frame: core::ops::Range<*const u8>) -> bool {
    frame.contains(&part.as_ptr())
}

#[test]
fn a_publish_is_slices_of_its_frame() {
    let properties = Properties::builder().with(Property::ContentType("text/plain")).build();
    let publish = Publish {
        delivery: Delivery::AtLeastOnce { id: PacketId::MAX, dup: false },
        retain: true,
        topic: Some("sensors/1".parse().unwrap()),
        payload: Bytes::from_static(b"payload"),
        properties,
    };
    let mut buf = BytesMut::new();
    publish.encode(Version::V5, &mut buf).unwrap();
    let memory = buf.as_ptr_range();
    let frame = Frame::split(&mut buf, 1000).unwrap().unwrap();
    let decoded = Publish::decode(frame, Version::V5).unwrap();
    assert_eq!(decoded, publish);
    assert!(inside(decoded.topic.as_ref().unwrap().as_bytes(), memory.clone()));
    assert!(inside(decoded.properties.raw(), memory.clone()));
    assert!(inside(&decoded.payload, memory));
}

#[test]
fn a_view_borrows_and_its_copy_does_not() {
    let bytes = b"\x32\x0D\x00\x03a/b\x00\x07\x00hello";
    let frame = FrameRef::peek(bytes, 1000).unwrap().unwrap();
    let view = PublishRef::decode(frame, Version::V5).unwrap();
    assert_eq!((view.topic, view.payload, view.delivery.id()), ("a/b", &b"hello"[..], PacketId::new(7)));
    assert_eq!(view.payload.as_ptr(), bytes[10..].as_ptr());
    let copy = view.to_publish();
    assert!(!inside(&copy.payload, bytes.as_ptr_range()));
    assert_eq!(copy.payload, "hello");
}

#[test]
fn a_connect_is_slices_of_its_frame() {
    let mut buf =
        BytesMut::from(&b"\x10\x19\x00\x04MQTT\x04\xC6\x00\x3C\x00\x01c\x00\x01w\x00\x01m\x00\x01u\x00\x01p"[..]);
    let memory = buf.as_ptr_range();
    let Ok(Some(Packet::Connect(connect))) = Packet::read(&mut buf, Version::V5, 1000) else { panic!("no CONNECT") };
    let will = connect.will.unwrap();
    for part in [
        connect.client_id.as_bytes(),
        will.topic.as_bytes(),
        &will.payload,
        connect.username.unwrap().as_bytes(),
        &connect.password.unwrap(),
    ] {
        assert!(inside(part, memory.clone()));
    }
}

#[test]
fn a_frame_of_another_type_is_refused() {
    let frame = || Frame::split(&mut BytesMut::from(&b"\xC0\x00"[..]), 10).unwrap().unwrap();
    assert!(Connect::decode(frame()).is_err());
    assert!(Publish::decode(frame(), Version::V5).is_err());
    assert!(Ack::decode(frame(), Version::V5).is_err());
    assert!(Subscribe::decode(frame(), Version::V5).is_err());
    assert!(PublishRef::decode(frame().as_ref(), Version::V5).is_err());
    // One that has the layout of an acknowledgment.
    let unsuback = Frame::split(&mut BytesMut::from(&b"\xB0\x02\x00\x01"[..]), 10).unwrap().unwrap();
    assert!(Ack::decode(unsuback, Version::V3_1_1).is_err());
}
