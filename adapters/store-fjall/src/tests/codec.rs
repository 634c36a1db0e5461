//! Records as bytes, and bytes that are none.
use crate::key::{Key, Table};
use crate::value::{Counters, Damage, Entry, Kept, LogRecord, Outgoing, Value, decode, encode};
use mqtt_proto::{ClientId, QoS, TopicFilter, TopicName};
use mqtt_session::UnixTime;
use mqtt_session::broker::{Message, Position, SessionRecord};
use proptest::prelude::*;
use std::sync::Arc;

fn samples() -> Vec<(Key, Value)> {
    let filter = TopicFilter::from_static("$share/g/a/+");
    let message = Arc::new(Message::new(TopicName::from_static("a"), vec![7; 300]));
    let kept = Value::Message(Kept { message, expires_at: Some(UnixTime::from_millis(5)) });
    let outgoing = Outgoing {
        order: 1,
        message: 2,
        places: vec![(filter.clone(), Position(9)), (TopicFilter::from_static("#"), Position(0))],
        retain: true,
        identifiers: vec![3, 4],
        released: true,
    };
    let client_id = ClientId::from_static("c");
    let session =
        SessionRecord { client_id, identity: Some("Ann".to_owned()), expiry: 7, disconnected_at: None, will: None };
    vec![
        (Key::Counters, Value::Counters(Counters { last: u64::MAX, deliveries: 1, sessions: 2, logs: 3 })),
        (Key::Session(1), Value::Session(session)),
        (Key::Log(4), Value::Log(LogRecord { filter: Some(filter), start: 3, swept: 2 })),
        (Key::Log(5), Value::Log(LogRecord { filter: None, start: 3, swept: 2 })),
        (Key::Subscription(1, 4), Value::Subscription { options: QoS::ExactlyOnce.into(), identifier: 300 }),
        (Key::Cursor(1, 4), Value::Cursor(9)),
        (Key::Settled(1, 4, 12), Value::Mark),
        (Key::Incoming(1, 513), Value::Mark),
        (Key::Outgoing(1, 513), Value::Outgoing(outgoing)),
        (Key::GroupSettled(4, 1), Value::Mark),
        (Key::References(77), Value::References(3)),
        (Key::Entry(4, 1), Value::Entry(Entry { message: 77, before: 1 << 40, bytes: 300 })),
        (Key::Message(77), kept.clone()),
        (Key::Retained(TopicName::from_static("a")), kept),
    ]
}

#[test]
fn records_come_back_and_keys_keep_their_order() {
    let mut last = (Table::State, Vec::new());
    for (key, value) in samples() {
        let (table, bytes) = (key.table(), key.encode());
        assert!((table, bytes.clone()) > last, "{key:?} is greater than the one before it");
        assert_eq!(Key::decode(table, &bytes), Some(key.clone()));
        let stored = encode(table, &bytes, &value);
        assert_eq!(decode(table, &bytes, &stored), Ok((key, value)));
        last = (table, bytes);
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    for (key, value) in samples() {
        let (table, bytes) = (key.table(), key.encode());
        let stored = encode(table, &bytes, &value);
        for bit in 0..stored.len() * 8 {
            let mut bad = stored.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(table, &bytes, &bad), Err(Damage::Checksum), "bit {bit}");
        }
        for end in 0..stored.len() {
            assert_eq!(decode(table, &bytes, &stored[..end]), Err(Damage::Checksum));
        }
        assert_eq!(decode(Table::Quarantine, &bytes, &stored), Err(Damage::Checksum), "of another table");
    }
}

fn sealed(table: Table, key: &[u8], body: &[u8]) -> Vec<u8> {
    let sum = crate::checksum::crc32c(&[&[table as u8], key, body]);
    [body, &sum.to_be_bytes()].concat()
}

#[test]
fn the_right_sum_over_nonsense_is_refused() {
    let key = Key::Counters.encode();
    let decoded = |body: &[u8]| decode(Table::State, &key, &sealed(Table::State, &key, body));
    assert_eq!(decoded(&[2]), Err(Damage::Version(2)));
    assert_eq!(decoded(&[]), Err(Damage::Parts));
    assert_eq!(decoded(&[1, 0]), Err(Damage::Parts));
    assert_eq!(decoded(&[1; 34]), Err(Damage::Parts), "one byte too many");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_body_decodes_to_what_encodes_to_it_or_not_at_all(
        sample in 0_usize..14, body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let key = &samples()[sample].0;
        let (table, key) = (key.table(), key.encode());
        let stored = sealed(table, &key, &[&[1], &body[..]].concat());
        if let Ok((_, value)) = decode(table, &key, &stored) {
            prop_assert_eq!(encode(table, &key, &value), stored);
        }
    }

    #[test]
    fn any_key_decodes_to_what_encodes_to_it_or_not_at_all(
        table in 1_u64..5, bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let table = Table::by_number(table).unwrap();
        if let Some(key) = Key::decode(table, &bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }

    #[test]
    fn keys_sort_as_their_bytes_do(first in any::<[u64; 3]>(), second in any::<[u64; 3]>(), near in any::<bool>()) {
        let second = if near { [first[0], first[1], second[2]] } else { second };
        let keys = |[a, b, c]: [u64; 3]| {
            [Key::Settled(a, b, c), Key::Entry(a, b), Key::Cursor(a, b), Key::Outgoing(a, c as u16), Key::Message(c)]
        };
        for (one, other) in keys(first).iter().zip(&keys(second)) {
            prop_assert_eq!(one.cmp(other), one.encode().cmp(&other.encode()));
        }
    }
}
