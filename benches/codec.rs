//! Packets to values and back, beside other codecs.
use crate::{Case, case};
use bytes::{Bytes, BytesMut};
use mqtt_proto::{
    Ack, ClientId, Connect, Delivery, Frame, FrameRef, Packet, PacketId, Properties, PropertiesBuilder, Property,
    Publish, PublishHead, PublishImage, PublishRef, QoS, ReasonCode, SharedPublish, Subscribe, TopicFilter, TopicName,
    Utf8String, Version,
};
use std::hint::black_box;

const TOPIC: &str = "site/12/device/3456/temperature";

fn id() -> PacketId {
    PacketId::new(4711).expect("not zero")
}

fn publish(payload: usize, properties: Properties) -> Packet {
    let delivery = Delivery::AtLeastOnce { id: id(), dup: false };
    let topic = Some(TopicName::from_static(TOPIC));
    Publish { delivery, retain: false, topic, payload: vec![7; payload].into(), properties }.into()
}

fn properties<'a>(all: impl IntoIterator<Item = Property<'a>>) -> Properties {
    all.into_iter().fold(Properties::builder(), PropertiesBuilder::with).build()
}

fn connect() -> Packet {
    Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive: 60,
        client_id: ClientId::from_static("device-3456"),
        will: None,
        username: Some(Utf8String::from_static("user")),
        password: Some(Bytes::from_static(b"secret")),
        properties: Properties::new(),
    }
    .into()
}

fn subscribe() -> Packet {
    let filters = ["site/12/#", "site/+/device/3456/+", TOPIC]
        .map(|filter| (TopicFilter::from_static(filter), QoS::AtLeastOnce.into()))
        .to_vec();
    Subscribe { id: id(), filters, properties: Properties::new() }.into()
}

fn puback() -> Packet {
    Packet::PubAck(Ack { id: id(), reason: ReasonCode::Success, properties: Properties::new() })
}

fn encoded(packet: &Packet, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).expect("a sound packet");
    out.freeze()
}

/// Every case of this file.
pub fn cases() -> Vec<Case> {
    let v5 = [
        ("publish qos 1 64 B", properties([])),
        ("publish qos 1 64 B, alias", properties([Property::TopicAlias(3)])),
        (
            "publish qos 1 64 B, expiry and 2 user properties",
            properties([
                Property::MessageExpiryInterval(60),
                Property::UserProperty("unit", "celsius"),
                Property::UserProperty("sensor", "outside"),
            ]),
        ),
    ];
    let v3 = [
        ("publish qos 1 64 B", publish(64, Properties::new())),
        ("connect", connect()),
        ("subscribe 3", subscribe()),
        ("puback", puback()),
    ];
    let mut cases = Vec::new();
    for (name, packet) in &v3 {
        let bytes = encoded(packet, Version::V3_1_1);
        cases.push(decode(format!("decode v3/{name}"), bytes.clone(), Version::V3_1_1));
        cases.push(decode_mqttbytes(format!("decode v3/mqttbytes {name}"), bytes.clone()));
        cases.push(decode_mqttrs(format!("decode v3/mqttrs {name}"), bytes));
    }
    cases.push(view("decode v3/publish qos 1 64 B, view", &v3[0].1, Version::V3_1_1));
    for (name, properties) in v5 {
        let packet = publish(64, properties);
        cases.push(decode(format!("decode v5/{name}"), encoded(&packet, Version::V5), Version::V5));
        cases.push(view(format!("decode v5/{name}, view"), &packet, Version::V5));
    }
    for (name, packet) in [
        ("publish qos 1 64 B", publish(64, Properties::new())),
        ("publish qos 1 1 KiB", publish(1024, Properties::new())),
        ("puback", puback()),
    ] {
        cases.push(encode(format!("encode v3/{name}"), packet));
    }
    cases.push(encode_head());
    cases.push(encode_image());
    cases
}

fn decode(name: String, bytes: Bytes, version: Version) -> Case {
    case(name, move || {
        let bytes = bytes.clone();
        let mut buffer = BytesMut::with_capacity(bytes.len());
        move || {
            buffer.extend_from_slice(&bytes);
            let frame = Frame::split(&mut buffer, u32::MAX).expect("a sound packet").expect("a whole packet");
            black_box(Packet::decode(frame, version).expect("a sound packet"));
        }
    })
}

fn view(name: impl Into<String>, packet: &Packet, version: Version) -> Case {
    let bytes = encoded(packet, version);
    case(name, move || {
        let bytes = bytes.clone();
        move || {
            let frame = FrameRef::peek(black_box(&bytes), u32::MAX).expect("a sound packet").expect("a whole packet");
            black_box(PublishRef::decode(frame, version).expect("a sound packet"));
        }
    })
}

fn decode_mqttbytes(name: String, bytes: Bytes) -> Case {
    case(name, move || {
        let bytes = bytes.clone();
        let mut buffer = BytesMut::with_capacity(bytes.len());
        move || {
            buffer.extend_from_slice(&bytes);
            black_box(mqttbytes::v4::read(&mut buffer, usize::MAX).expect("a sound packet"));
        }
    })
}

fn decode_mqttrs(name: String, bytes: Bytes) -> Case {
    case(name, move || {
        let bytes = bytes.clone();
        move || {
            black_box(mqttrs::decode_slice(black_box(&bytes)).expect("a sound packet"));
        }
    })
}

fn encode(name: String, packet: Packet) -> Case {
    case(name, move || {
        let (packet, mut out) = (packet.clone(), BytesMut::with_capacity(2048));
        move || {
            out.clear();
            black_box(&packet).encode(Version::V3_1_1, &mut out).expect("a sound packet");
            black_box(&out);
        }
    })
}

fn shared(payload: usize) -> SharedPublish {
    let topic = TopicName::from_static(TOPIC);
    SharedPublish { topic, payload: vec![7; payload].into(), properties: Properties::new() }
}

fn encode_head() -> Case {
    case("encode v3/publish qos 1 64 KiB, vectored", || {
        let (shared, mut out) = (shared(64 * 1024), BytesMut::with_capacity(2048));
        let head = PublishHead::from(Delivery::AtLeastOnce { id: id(), dup: false });
        move || {
            out.clear();
            black_box(&shared).encode_head(Version::V3_1_1, &head, &mut out).expect("a sound packet");
            black_box((&out, shared.payload.clone()));
        }
    })
}

fn encode_image() -> Case {
    case("encode v3/publish qos 1 64 B, one more receiver", || {
        let image = PublishImage::new(&shared(64), Version::V3_1_1, QoS::AtLeastOnce, false).expect("a sound packet");
        let mut out = BytesMut::with_capacity(2048);
        move || {
            out.clear();
            black_box(&image).write(Some(id()), false, &mut out);
            black_box(&out);
        }
    })
}
