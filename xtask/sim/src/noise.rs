//! Strangers: connections that do not behave. Nothing they do may harm the others.
use bytes::BytesMut;
use mqtt_session::Rng;
use mqtt_session::proto::{
    ClientId, Connect, Delivery, Packet, PacketId, Properties, Publish, QoS, Subscribe, TopicFilter, TopicName, Version,
};

/// What a stranger sends over its whole life, and how it goes.
pub(crate) fn script(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let version = [Version::V3_1_1, Version::V5][rng.below(2) as usize];
    if rng.below(4) > 0 {
        put(&mut bytes, version, &connect(version, rng));
    }
    for _ in 0..rng.below(20) {
        match rng.below(5) {
            0 => garbage(&mut bytes, rng),
            1 => put(&mut bytes, version, &subscribe(rng)),
            2 => {
                put(&mut bytes, version, &publish(rng));
                flip(&mut bytes, rng);
            }
            3 => {
                // A flood, to whoever listens.
                for _ in 0..rng.below(50) {
                    put(&mut bytes, version, &publish(rng));
                }
            }
            _ => {
                let keep = bytes.len() - rng.below(bytes.len().min(8) as u64 + 1) as usize;
                bytes.truncate(keep); // half a packet
            }
        }
    }
    bytes.to_vec()
}

fn put(bytes: &mut BytesMut, version: Version, packet: &Packet) {
    packet.encode(version, bytes).expect("a sound packet");
}

fn connect(version: Version, rng: &mut Rng) -> Packet {
    // Few names, so that strangers take over from each other.
    let id = format!("stranger-{}", rng.below(2));
    Connect {
        version,
        clean_start: rng.below(2) == 0,
        keep_alive: rng.below(3) as u16,
        client_id: ClientId::try_from(id.as_str()).expect("ASCII text"),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
    .into()
}

fn subscribe(rng: &mut Rng) -> Packet {
    let filter = ["#", "t/#", "$SYS/#", "+/+/+"][rng.below(4) as usize];
    let filters = vec![(TopicFilter::from_static(filter), QoS::new(rng.below(3) as u8).expect("below 3").into())];
    Subscribe { id: id(rng), filters, properties: Properties::new() }.into()
}

/// On a topic that no well-behaved client listens to.
fn publish(rng: &mut Rng) -> Packet {
    let id = id(rng);
    let delivery = match rng.below(3) {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce { id, dup: rng.below(2) == 0 },
        _ => Delivery::ExactlyOnce { id, dup: rng.below(2) == 0 },
    };
    let topic = Some(TopicName::from_static("noise"));
    let payload = vec![b'x'; rng.below(300) as usize].into();
    Publish { delivery, retain: rng.below(4) == 0, topic, payload, properties: Properties::new() }.into()
}

fn id(rng: &mut Rng) -> PacketId {
    PacketId::new(1 + rng.below(5) as u16).expect("not zero")
}

fn garbage(bytes: &mut BytesMut, rng: &mut Rng) {
    for _ in 0..rng.below(30) {
        bytes.extend_from_slice(&[rng.next_u64() as u8]);
    }
}

/// Changes one of the last bits.
fn flip(bytes: &mut BytesMut, rng: &mut Rng) {
    let behind = rng.below(bytes.len().min(20) as u64) as usize;
    let at = bytes.len() - 1 - behind;
    bytes[at] ^= 1 << rng.below(8);
}
