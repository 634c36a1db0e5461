//! Records as bytes, and bytes that are none.
use crate::codec::{Damage, decode_key, decode_value, encode_key, encode_value};
use mqtt_proto::{ClientId, PacketId, TopicFilter, TopicName};
use mqtt_session::UnixTime;
use mqtt_session::broker::{LogHead, Message, MessageId, Position, Record, RecordKey};
use proptest::prelude::*;
use std::sync::Arc;

fn samples() -> Vec<(RecordKey, Record)> {
    let client = ClientId::from_static("c");
    let filter = TopicFilter::from_static("$share/g/a/+");
    let id = PacketId::new(513).unwrap();
    let message = Arc::new(Message::new(TopicName::from_static("a"), vec![7; 300]));
    let kept = Record::Message { message, expires_at: Some(UnixTime::from_millis(5)) };
    let outgoing = Record::Outgoing {
        order: 1,
        message: MessageId(2),
        places: vec![(filter.clone(), Position(4))],
        retain: true,
        identifiers: vec![3, 4],
        released: true,
    };
    vec![
        (RecordKey::Counters, Record::Counters { last: u64::MAX, deliveries: 1 }),
        (RecordKey::Cursor(client.clone(), filter.clone()), Record::Cursor(Position(9))),
        (RecordKey::Settled(client.clone(), filter.clone(), Position(1)), Record::Mark),
        (RecordKey::Incoming(client.clone(), id), Record::Mark),
        (RecordKey::Message(MessageId(77)), kept.clone()),
        (RecordKey::Log(filter.clone()), Record::Log(LogHead { start: Position(3), end: Position(5), bytes: 9 })),
        (RecordKey::Entry(filter.clone(), Position(4)), Record::Entry(MessageId(77))),
        (RecordKey::GroupSettled(filter, Position(4)), Record::Mark),
        (RecordKey::Outgoing(client, id), outgoing),
        (RecordKey::Retained(TopicName::from_static("a")), kept),
    ]
}

#[test]
fn records_come_back_and_keys_keep_their_order() {
    let mut last = Vec::new();
    for (key, record) in samples() {
        let bytes = encode_key(&key).unwrap();
        assert!(bytes > last, "{key:?} comes behind what it refers to");
        assert_eq!(decode_key(&bytes), Some(key.clone()));
        let value = encode_value(&bytes, &record).unwrap();
        assert_eq!(decode_value(&bytes, &value), Ok((key, record)));
        last = bytes;
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    for (key, record) in samples() {
        let key = encode_key(&key).unwrap();
        let value = encode_value(&key, &record).unwrap();
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_value(&key, &bad), Err(Damage::Checksum), "bit {bit}");
        }
        for end in 0..value.len() {
            assert_eq!(decode_value(&key, &value[..end]), Err(Damage::Checksum));
        }
    }
}

#[test]
fn the_right_sum_over_nonsense_is_refused() {
    let key = encode_key(&RecordKey::Counters).unwrap();
    let sealed = |body: &[u8]| {
        let mut value = body.to_vec();
        value.extend(crate::checksum::crc32c(&[&key, body]).to_be_bytes());
        value
    };
    assert_eq!(decode_value(&key, &sealed(&[2])), Err(Damage::Version(2)));
    assert_eq!(decode_value(&key, &sealed(&[])), Err(Damage::Parts));
    assert_eq!(decode_value(&key, &sealed(&[1, 0])), Err(Damage::Parts));
    assert_eq!(decode_value(&key, &sealed(&[1; 18])), Err(Damage::Parts), "one byte too many");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_body_decodes_to_what_encodes_to_it_or_not_at_all(
        sample in 0_usize..10, body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let key = encode_key(&samples()[sample].0).unwrap();
        let mut value = vec![1];
        value.extend(&body);
        value.extend(crate::checksum::crc32c(&[&key, &value]).to_be_bytes());
        if let Ok((_, record)) = decode_value(&key, &value) {
            prop_assert_eq!(encode_value(&key, &record), Some(value));
        }
    }

    #[test]
    fn any_key_decodes_to_what_encodes_to_it_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(key) = decode_key(&bytes) {
            prop_assert_eq!(encode_key(&key), Some(bytes));
        }
    }
}
