//! Damaged packets: nothing panics, and what is still accepted is a packet like any other.
use crate::common::{decode, encode, vectors};
use bytes::BytesMut;
use mqtt_proto::{Packet, Properties, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Swap(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        index().prop_map(Damage::Remove),
        (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match damage {
        Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
        Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
        Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        Damage::Remove(at) => drop(bytes.remove(at.index(length))),
        Damage::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
    }
}

/// Makes the Remaining Length right again, so that the damage reaches the body; only for short packets.
fn mend_length(bytes: &mut [u8]) {
    if bytes.len() >= 2 && bytes.len() < 130 {
        bytes[1] = (bytes.len() - 2) as u8;
    }
}

/// Reads everything that is lazily read.
fn read_all(properties: &Properties) -> usize {
    let numbers = [
        properties.message_expiry_interval().is_some(),
        properties.topic_alias().is_some(),
        properties.receive_maximum().is_some(),
        properties.maximum_packet_size().is_some(),
        properties.maximum_qos().is_some(),
        properties.response_topic().is_some(),
        properties.correlation_data().is_some(),
    ];
    let forwardable = properties.forwardable();
    assert!(forwardable.topic_alias().is_none() && forwardable.message_expiry_interval().is_none());
    assert_eq!(forwardable.subscription_identifiers().count(), 0);
    assert!(forwardable.user_properties().eq(properties.user_properties()));
    properties.iter().count() + numbers.iter().filter(|found| **found).count()
}

fn judge(bytes: &[u8], version: Version) {
    let mut buf = BytesMut::from(bytes);
    let Ok(Some(packet)) = decode(&mut buf, version) else { return };
    if let Packet::Publish(publish) = &packet {
        read_all(&publish.properties);
    }
    if let Packet::Connect(connect) = &packet {
        read_all(&connect.properties);
    }
    let again = encode(&packet, version);
    assert!(again.len() <= bytes.len() - buf.len(), "the shortest form is never longer than what came");
    assert_eq!(decode(&mut again.clone(), version), Ok(Some(packet)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn damaged_vectors(which in any::<Index>(), damages in vec(damage(), 1..4), mend in any::<bool>(), v5 in any::<bool>()) {
        // Parsed once per thread: the files are large.
        thread_local!(static VECTORS: Vec<(Vec<u8>, Version)> = vectors()
            .into_iter()
            .filter(|vector| vector.bytes.len() < 300)
            .map(|vector| (vector.bytes, vector.version))
            .collect());
        let (mut bytes, version) = VECTORS.with(|all| all[which.index(all.len())].clone());
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if mend {
            mend_length(&mut bytes);
        }
        judge(&bytes, version);
        judge(&bytes, if v5 { Version::V5 } else { Version::V3_1_1 });
    }

    #[test]
    fn noise(mut bytes in vec(any::<u8>(), 0..60), v5 in any::<bool>()) {
        mend_length(&mut bytes);
        judge(&bytes, if v5 { Version::V5 } else { Version::V3_1_1 });
    }
}
