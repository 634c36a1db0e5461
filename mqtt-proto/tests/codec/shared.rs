//! Encode once: each receiver's copy is the packet that encoding it alone would have given.
use crate::common::decode;
use bytes::{Bytes, BytesMut};
use mqtt_proto::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn delivery(qos: QoS, id: PacketId, dup: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
    }
}

fn shared(payload: Vec<u8>) -> SharedPublish {
    let properties =
        Properties::builder().with(Property::ContentType("ct")).with(Property::UserProperty("k", "v")).build();
    SharedPublish { topic: TopicName::from_static("a/b/c"), payload: payload.into(), properties }
}

prop_compose! {
    fn any_delivery()(qos in 0..3u8, id in 1..=u16::MAX, dup in any::<bool>()) -> Delivery {
        delivery(QoS::new(qos).unwrap(), PacketId::new(id).unwrap(), dup)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn heads(
        delivery in any_delivery(),
        (retain, omit) in any::<(bool, bool)>(),
        alias in of(1..=u16::MAX),
        ids in vec(1..=268_435_455_u32, 0..4),
        expiry in of(any::<u32>()),
        payload in vec(any::<u8>(), 0..300),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V3_1_1 };
        let shared = shared(payload);
        let head = PublishHead {
            delivery,
            retain,
            topic_alias: alias,
            omit_topic: omit && v5 && alias.is_some(),
            subscription_identifiers: &ids,
            message_expiry_interval: expiry,
        };
        let mut out = BytesMut::new();
        shared.encode_head(version, &head, &mut out).unwrap();
        out.extend_from_slice(&shared.payload);
        prop_assert_eq!(shared.encoded_len(version, &head), Ok(out.len()));
        let Ok(Some(Packet::Publish(publish))) = decode(&mut out, version) else { panic!("not a PUBLISH") };
        prop_assert!(out.is_empty());
        prop_assert_eq!((publish.delivery, publish.retain), (delivery, retain));
        prop_assert_eq!(publish.topic.is_none(), head.omit_topic);
        prop_assert_eq!(&publish.payload, &shared.payload);
        if v5 {
            prop_assert_eq!(publish.properties.topic_alias(), alias);
            prop_assert_eq!(publish.properties.message_expiry_interval(), expiry);
            prop_assert_eq!(publish.properties.subscription_identifiers().collect::<Vec<_>>(), ids);
            prop_assert_eq!(publish.properties.forwardable(), shared.properties);
        }
    }

    #[test]
    fn images(delivery in any_delivery(), retain in any::<bool>(), payload in vec(any::<u8>(), 0..300), v5 in any::<bool>()) {
        let version = if v5 { Version::V5 } else { Version::V3_1_1 };
        let shared = shared(payload);
        let image = PublishImage::new(&shared, version, delivery.qos(), retain).unwrap();
        let mut out = BytesMut::from(&b"before"[..]);
        image.write(delivery.id(), delivery.dup(), &mut out);
        prop_assert_eq!(out.len(), 6 + image.len());
        let mut expected = BytesMut::from(&b"before"[..]);
        let properties = if v5 { shared.properties.clone() } else { Properties::new() };
        let publish = Publish { delivery, retain, topic: Some(shared.topic.clone()), payload: shared.payload.clone(), properties };
        publish.encode(version, &mut expected).unwrap();
        prop_assert_eq!(&out, &expected);
        // The single packet's head is the same bytes, too.
        let mut head = BytesMut::from(&b"before"[..]);
        publish.encode_head(version, &mut head).unwrap();
        head.extend_from_slice(&publish.payload);
        prop_assert_eq!(head, expected);
    }
}

fn head<'a>() -> PublishHead<'a> {
    Delivery::AtMostOnce.into()
}

#[test]
fn heads_are_checked() {
    let shared = shared(vec![]);
    let mut out = BytesMut::new();
    let mut refused = |shared: &SharedPublish, version, head: &PublishHead<'_>| {
        let error = shared.encode_head(version, head, &mut out).expect_err("encoded");
        assert_eq!(shared.encoded_len(version, head), Err(error));
        assert!(out.is_empty());
        error
    };
    let omit = PublishHead { omit_topic: true, ..head() };
    assert!(matches!(refused(&shared, Version::V5, &omit), EncodeError::Invalid(_)));
    assert_eq!(refused(&shared, Version::V3_1_1, &omit), EncodeError::NotInVersion);
    // [MQTT-3.3.2-8]
    let alias = PublishHead { topic_alias: Some(0), ..head() };
    assert!(matches!(refused(&shared, Version::V5, &alias), EncodeError::Invalid(_)));
    for id in [0, 268_435_456] {
        let ids = [id];
        let head = PublishHead { subscription_identifiers: &ids, ..head() };
        assert!(matches!(refused(&shared, Version::V5, &head), EncodeError::Invalid(_)));
    }
    let greatest = PublishHead { subscription_identifiers: &[1, 268_435_455], ..head() };
    assert!(shared.encoded_len(Version::V5, &greatest).is_ok());
    let own = Properties::builder().with(Property::MessageExpiryInterval(1)).build();
    let own = SharedPublish { properties: own, ..shared.clone() };
    assert!(matches!(refused(&own, Version::V5, &head()), EncodeError::Invalid(_)));
    let misplaced = Properties::builder().with(Property::ReasonString("x")).build();
    let misplaced = SharedPublish { properties: misplaced, ..shared.clone() };
    assert!(matches!(refused(&misplaced, Version::V5, &head()), EncodeError::Invalid(_)));
    let large = SharedPublish { payload: Bytes::from(vec![0; 268_435_456]), ..shared };
    assert_eq!(refused(&large, Version::V5, &head()), EncodeError::TooLarge);
}

#[test]
#[should_panic(expected = "needs an identifier")]
fn an_image_above_qos_0_needs_an_identifier() {
    let image = PublishImage::new(&shared(vec![]), Version::V5, QoS::AtLeastOnce, false).unwrap();
    image.write(None, false, &mut BytesMut::new());
}

#[test]
#[should_panic(expected = "no identifier")]
fn an_image_of_qos_0_has_none() {
    let image = PublishImage::new(&shared(vec![]), Version::V5, QoS::AtMostOnce, false).unwrap();
    image.write(Some(PacketId::MIN), false, &mut BytesMut::new());
}
