//! Encoders refuse what decoders would, and write nothing then.
use bytes::{Bytes, BytesMut};
use mqtt_proto::*;

const ID: PacketId = PacketId::MIN;

fn refused(packet: impl Into<Packet>, version: Version) -> EncodeError {
    let packet = packet.into();
    let mut out = BytesMut::from(&b"before"[..]);
    let error = packet.encode(version, &mut out).expect_err("encoded");
    assert_eq!(packet.encoded_len(version), Err(error));
    assert_eq!(&out[..], b"before");
    error
}

fn with(property: Property<'_>) -> Properties {
    Properties::builder().with(property).build()
}

fn publish(topic: Option<TopicName>, properties: Properties, payload: Bytes) -> Publish {
    Publish { delivery: Delivery::AtMostOnce, retain: false, topic, payload, properties }
}

fn connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::new(),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

#[test]
fn connect_is_checked() {
    let password = Some(Bytes::from_static(b"p"));
    // [3.1.1: MQTT-3.1.2-22]
    let alone = |version| Connect { password: password.clone(), ..connect(version) };
    assert_eq!(refused(alone(Version::V3_1_1), Version::V3_1_1), EncodeError::NotInVersion);
    assert!(alone(Version::V5).encode(&mut BytesMut::new()).is_ok());
    let long = Connect { password: Some(vec![0; 65_536].into()), ..connect(Version::V5) };
    assert!(matches!(refused(long, Version::V5), EncodeError::Invalid(_)));
    let data = Connect { properties: with(Property::AuthenticationData(b"")), ..connect(Version::V5) };
    assert!(matches!(refused(data, Version::V5), EncodeError::Invalid(_)));
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::from_static("w"),
        payload: vec![0; 65_536].into(),
        properties: Properties::new(),
    };
    let large = Connect { will: Some(will.clone()), ..connect(Version::V3_1) };
    assert!(matches!(refused(large, Version::V3_1), EncodeError::Invalid(_)));
    let misplaced = Will { payload: Bytes::new(), properties: with(Property::TopicAlias(1)), ..will };
    let misplaced = Connect { will: Some(misplaced), ..connect(Version::V5) };
    assert!(matches!(refused(misplaced, Version::V5), EncodeError::Invalid(_)));
}

#[test]
fn connack_is_checked() {
    let connack = |session_present, reason| ConnAck { session_present, reason, properties: Properties::new() };
    // [MQTT-3.2.2-6] [3.1.1: MQTT-3.2.2-4]
    assert!(matches!(refused(connack(true, ReasonCode::Banned), Version::V5), EncodeError::Invalid(_)));
    assert!(matches!(refused(connack(true, ReasonCode::NotAuthorized), Version::V3_1_1), EncodeError::Invalid(_)));
    // [3.1.1: MQTT-3.2.2-6] Without a fitting return code there is no CONNACK.
    assert_eq!(refused(connack(false, ReasonCode::PacketTooLarge), Version::V3_1_1), EncodeError::NotInVersion);
    // [MQTT-3.2.2-8]
    assert!(matches!(refused(connack(false, ReasonCode::SessionTakenOver), Version::V5), EncodeError::Invalid(_)));
}

#[test]
fn publish_is_checked() {
    assert_eq!(refused(publish(None, Properties::new(), Bytes::new()), Version::V3_1_1), EncodeError::NotInVersion);
    assert!(matches!(refused(publish(None, Properties::new(), Bytes::new()), Version::V5), EncodeError::Invalid(_)));
    let misplaced = publish(Some("t".parse().unwrap()), with(Property::ReasonString("")), Bytes::new());
    assert!(matches!(refused(misplaced, Version::V5), EncodeError::Invalid(_)));
    // Section 1.5.5: the Remaining Length ends at 268,435,455.
    let large = Bytes::from(vec![0; 268_435_455 - 3 + 1]);
    assert_eq!(
        refused(publish(Some("t".parse().unwrap()), Properties::new(), large.clone()), Version::V3_1_1),
        EncodeError::TooLarge
    );
    let largest = publish(Some("t".parse().unwrap()), Properties::new(), large.slice(1..));
    assert_eq!(largest.encoded_len(Version::V3_1_1), Ok(268_435_460));
}

#[test]
fn lists_are_not_empty() {
    let properties = Properties::new;
    // [MQTT-3.8.3-2]
    let subscribe = Subscribe { id: ID, filters: vec![], properties: properties() };
    assert!(matches!(refused(subscribe, Version::V3_1_1), EncodeError::Invalid(_)));
    // [MQTT-3.10.3-2]
    let unsubscribe = Unsubscribe { id: ID, filters: vec![], properties: properties() };
    assert!(matches!(refused(unsubscribe, Version::V5), EncodeError::Invalid(_)));
    let suback = SubAck { id: ID, reasons: vec![], properties: properties() };
    assert!(matches!(refused(suback, Version::V5), EncodeError::Invalid(_)));
    let unsuback = UnsubAck { id: ID, reasons: vec![], properties: properties() };
    assert!(matches!(refused(unsuback.clone(), Version::V5), EncodeError::Invalid(_)));
    assert!(unsuback.encode(Version::V3_1_1, &mut BytesMut::new()).is_ok());
}

#[test]
fn reason_codes_are_checked() {
    let ack = |reason| Ack { id: ID, reason, properties: Properties::new() };
    // [MQTT-3.4.2-1], [MQTT-3.6.2-1]
    assert!(matches!(refused(Packet::PubAck(ack(ReasonCode::ServerBusy)), Version::V5), EncodeError::Invalid(_)));
    assert!(matches!(refused(Packet::PubRel(ack(ReasonCode::NotAuthorized)), Version::V5), EncodeError::Invalid(_)));
    assert!(ack(ReasonCode::Success).encode(PacketType::PingReq, Version::V5, &mut BytesMut::new()).is_err());
    // [MQTT-3.9.3-2], [MQTT-3.11.3-2], [MQTT-3.14.2-1]
    let suback = SubAck { id: ID, reasons: vec![ReasonCode::Banned], properties: Properties::new() };
    assert!(matches!(refused(suback, Version::V5), EncodeError::Invalid(_)));
    let unsuback = UnsubAck { id: ID, reasons: vec![ReasonCode::GrantedQoS1], properties: Properties::new() };
    assert!(matches!(refused(unsuback, Version::V5), EncodeError::Invalid(_)));
    assert!(matches!(refused(Disconnect::from(ReasonCode::Banned), Version::V5), EncodeError::Invalid(_)));
}

#[test]
fn auth_is_checked() {
    let auth = |reason, properties| Auth { reason, properties };
    assert_eq!(refused(auth(ReasonCode::Success, Properties::new()), Version::V3_1_1), EncodeError::NotInVersion);
    assert!(matches!(
        refused(auth(ReasonCode::ContinueAuthentication, Properties::new()), Version::V5),
        EncodeError::Invalid(_)
    ));
    // [MQTT-3.15.2-1]
    let method = with(Property::AuthenticationMethod("m"));
    assert!(matches!(refused(auth(ReasonCode::NotAuthorized, method), Version::V5), EncodeError::Invalid(_)));
}

#[test]
fn subscribe_options_are_checked() {
    let options = SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() };
    let filters = vec![(TopicFilter::from_static("$share/g/a"), options)];
    let subscribe = Subscribe { id: ID, filters, properties: Properties::new() };
    // [MQTT-3.8.3-4]
    assert!(matches!(refused(subscribe.clone(), Version::V5), EncodeError::Invalid(_)));
    let properties = Properties::builder()
        .with(Property::SubscriptionIdentifier(1))
        .with(Property::SubscriptionIdentifier(2))
        .build();
    let twice = Subscribe { filters: vec![("a".parse().unwrap(), QoS::AtMostOnce.into())], properties, ..subscribe };
    assert!(matches!(refused(twice, Version::V5), EncodeError::Invalid(_)));
}

/// Before 5.0 what only 5.0 has is not written.
#[test]
fn old_versions_carry_less() {
    let properties = Properties::builder().with(Property::ReasonString("why")).build();
    let ack = Ack { id: ID, reason: ReasonCode::NotAuthorized, properties: properties.clone() };
    let mut out = BytesMut::new();
    Packet::PubAck(ack).encode(Version::V3_1_1, &mut out).unwrap();
    assert_eq!(&out[..], b"\x40\x02\x00\x01");
    out.clear();
    let reasons = vec![ReasonCode::GrantedQoS2, ReasonCode::NotAuthorized];
    SubAck { id: ID, reasons, properties: properties.clone() }.encode(Version::V3_1_1, &mut out).unwrap();
    // [3.1.1: MQTT-3.9.3-2] Every failure is 0x80.
    assert_eq!(&out[..], b"\x90\x04\x00\x01\x02\x80");
    out.clear();
    let options = SubscriptionOptions { no_local: true, retain_as_published: true, ..QoS::AtLeastOnce.into() };
    let filters = vec![("a".parse().unwrap(), options)];
    Subscribe { id: ID, filters, properties: properties.clone() }.encode(Version::V3_1_1, &mut out).unwrap();
    assert_eq!(&out[..], b"\x82\x06\x00\x01\x00\x01a\x01");
    out.clear();
    ConnAck { session_present: true, reason: ReasonCode::Success, properties }.encode(Version::V3_1, &mut out).unwrap();
    assert_eq!(&out[..], b"\x20\x02\x00\x00");
}

#[test]
fn return_codes_of_old_versions() {
    for code in 0..=5 {
        let reason = ReasonCode::from_connect_return_code_v3(code).unwrap();
        assert_eq!(reason.connect_return_code_v3(), Some(code));
    }
    assert_eq!(ReasonCode::from_connect_return_code_v3(6), None);
    assert_eq!(ReasonCode::ServerBusy.connect_return_code_v3(), Some(3));
    assert_eq!(ReasonCode::MalformedPacket.connect_return_code_v3(), None);
    assert_eq!(ReasonCode::ALL.len(), 43);
    for code in ReasonCode::ALL {
        assert_eq!(ReasonCode::new(*code as u8), Some(*code));
    }
}

/// Binary data is up to 65,535 bytes (section 1.5.6), and those are in.
#[test]
fn the_longest_binary_data() {
    let connect = |length: usize| Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "c".try_into().unwrap(),
        will: None,
        username: None,
        password: Some(vec![7; length].into()),
        properties: Properties::new(),
    };
    assert!(connect(65_535).encoded_len().is_ok());
    assert!(connect(65_536).encoded_len().is_err());
}
