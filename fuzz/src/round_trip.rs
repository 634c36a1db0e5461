//! Encoding of any packet: what the encoder accepts the decoder accepts, and it comes back as it was. One encoding for
//! many receivers says what an encoding for each says (MQTT 5.0 section 3).
use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use mqtt_proto::{
    Ack, Auth, ClientId, ConnAck, Connect, Delivery, Disconnect, Frame, Packet, PacketId, Properties, Property,
    PropertyId, Publish, PublishHead, PublishImage, QoS, ReasonCode, RetainHandling, SharedPublish, SubAck, Subscribe,
    SubscriptionOptions, TopicFilter, TopicName, UnsubAck, Unsubscribe, Utf8String, Version, Will,
};

/// Builds a packet from the bytes, encodes and decodes it.
///
/// # Panics
/// Where the packet changes on the way, or the encoder wrote what the decoder refuses.
pub fn round_trip(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // Too few bytes for a packet, or a text that is none: nothing to see.
    let _ = try_round_trip(&mut u);
}

fn try_round_trip(u: &mut Unstructured<'_>) -> Result<()> {
    let version = *u.choose(&[Version::V3_1, Version::V3_1_1, Version::V5])?;
    let packet = packet(u, version)?;
    if let Packet::Publish(publish) = &packet {
        shared_is_single(u, publish, version)?;
    }
    let mut bytes = BytesMut::new();
    if packet.encode(version, &mut bytes).is_err() {
        assert!(bytes.is_empty(), "an error wrote something: {packet:?}");
        assert!(packet.encoded_len(version).is_err(), "{packet:?}");
        return Ok(());
    }
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()), "{packet:?}");
    let again = decode(bytes.clone(), version);
    if version.is_v5() {
        assert_eq!(again, packet);
    } else {
        // What the version has no place for is lost once, and no more.
        let mut shorter = BytesMut::new();
        again.encode(version, &mut shorter).expect("what was decoded can be encoded");
        assert_eq!(shorter, bytes, "{packet:?}");
    }
    Ok(())
}

fn decode(mut bytes: BytesMut, version: Version) -> Packet {
    let frame = Frame::split(&mut bytes, u32::MAX).expect("well-formed").expect("complete");
    assert!(bytes.is_empty());
    Packet::decode(frame, version).unwrap_or_else(|error| panic!("the encoder wrote what the decoder refuses: {error}"))
}

/// The shared encodings against the packet's own.
fn shared_is_single(u: &mut Unstructured<'_>, publish: &Publish, version: Version) -> Result<()> {
    let Some(topic) = publish.topic.clone() else { return Ok(()) };
    let properties = publish.properties.forwardable();
    let shared = SharedPublish { topic, payload: publish.payload.clone(), properties };
    let identifiers: Vec<u32> = u.arbitrary()?;
    let head = PublishHead {
        delivery: publish.delivery,
        retain: publish.retain,
        topic_alias: u.arbitrary()?,
        omit_topic: u.arbitrary()?,
        subscription_identifiers: &identifiers,
        message_expiry_interval: u.arbitrary()?,
    };
    let mut bytes = BytesMut::new();
    if shared.encode_head(version, &head, &mut bytes).is_ok() {
        bytes.extend_from_slice(&shared.payload);
        assert_eq!(shared.encoded_len(version, &head), Ok(bytes.len()));
        let Packet::Publish(received) = decode(bytes, version) else { panic!("no PUBLISH: {head:?}") };
        assert_eq!(received.payload, shared.payload);
        assert_eq!((received.delivery, received.retain), (head.delivery, head.retain));
        assert_eq!(received.topic.is_none(), head.omit_topic);
        if version.is_v5() {
            assert_eq!(received.properties.topic_alias(), head.topic_alias);
            assert_eq!(received.properties.message_expiry_interval(), head.message_expiry_interval);
            assert_eq!(received.properties.subscription_identifiers().collect::<Vec<_>>(), identifiers);
            assert_eq!(received.properties.forwardable(), shared.properties);
        }
    }
    image_is_single(&shared, publish, version);
    Ok(())
}

fn image_is_single(shared: &SharedPublish, publish: &Publish, version: Version) {
    let Ok(image) = PublishImage::new(shared, version, publish.delivery.qos(), publish.retain) else { return };
    let mut copy = BytesMut::new();
    image.write(publish.delivery.id(), publish.delivery.dup(), &mut copy);
    let mut single = BytesMut::new();
    let same = Publish { properties: shared.properties.clone(), ..publish.clone() };
    same.encode(version, &mut single).expect("the image could be encoded");
    // A megabyte of debug output would help nobody.
    let differs = copy.iter().zip(&single).position(|(left, right)| left != right);
    assert!(copy == single, "image of {} bytes, packet of {}: first at {differs:?}", copy.len(), single.len());
}

/// Any packet; not each of them can be encoded.
fn packet(u: &mut Unstructured<'_>, version: Version) -> Result<Packet> {
    Ok(match u.int_in_range(1..=15)? {
        1 => connect(u, version)?.into(),
        2 => ConnAck { session_present: u.arbitrary()?, reason: reason(u)?, properties: properties(u)? }.into(),
        3 => publish(u)?.into(),
        4 => Packet::PubAck(ack(u)?),
        5 => Packet::PubRec(ack(u)?),
        6 => Packet::PubRel(ack(u)?),
        7 => Packet::PubComp(ack(u)?),
        8 => Subscribe { id: id(u)?, filters: list(u, |u| Ok((filter(u)?, options(u)?)))?, properties: properties(u)? }
            .into(),
        9 => SubAck { id: id(u)?, reasons: list(u, reason)?, properties: properties(u)? }.into(),
        10 => Unsubscribe { id: id(u)?, filters: list(u, filter)?, properties: properties(u)? }.into(),
        11 => UnsubAck { id: id(u)?, reasons: list(u, reason)?, properties: properties(u)? }.into(),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Disconnect { reason: reason(u)?, properties: properties(u)? }.into(),
        _ => Auth { reason: reason(u)?, properties: properties(u)? }.into(),
    })
}

fn connect(u: &mut Unstructured<'_>, version: Version) -> Result<Connect> {
    Ok(Connect {
        version,
        clean_start: u.arbitrary()?,
        keep_alive: u.arbitrary()?,
        client_id: parsed(u, |text| ClientId::try_from(text).ok())?,
        will: optional(u, |u| {
            Ok(Will {
                qos: qos(u)?,
                retain: u.arbitrary()?,
                topic: topic(u)?,
                payload: blob(u)?,
                properties: properties(u)?,
            })
        })?,
        username: optional(u, |u| parsed(u, |text| Utf8String::try_from(text).ok()))?,
        password: optional(u, blob)?,
        properties: properties(u)?,
    })
}

fn publish(u: &mut Unstructured<'_>) -> Result<Publish> {
    let delivery = match qos(u)? {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: id(u)?, dup: u.arbitrary()? },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: id(u)?, dup: u.arbitrary()? },
    };
    Ok(Publish {
        delivery,
        retain: u.arbitrary()?,
        topic: optional(u, topic)?,
        payload: blob(u)?,
        properties: properties(u)?,
    })
}

fn ack(u: &mut Unstructured<'_>) -> Result<Ack> {
    Ok(Ack { id: id(u)?, reason: reason(u)?, properties: properties(u)? })
}

fn id(u: &mut Unstructured<'_>) -> Result<PacketId> {
    PacketId::new(u.arbitrary()?).ok_or(arbitrary::Error::IncorrectFormat)
}

fn qos(u: &mut Unstructured<'_>) -> Result<QoS> {
    u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]).copied()
}

fn reason(u: &mut Unstructured<'_>) -> Result<ReasonCode> {
    u.choose(ReasonCode::ALL).copied()
}

fn options(u: &mut Unstructured<'_>) -> Result<SubscriptionOptions> {
    Ok(SubscriptionOptions {
        qos: qos(u)?,
        no_local: u.arbitrary()?,
        retain_as_published: u.arbitrary()?,
        retain_handling: *u.choose(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend])?,
    })
}

fn topic(u: &mut Unstructured<'_>) -> Result<TopicName> {
    parsed(u, |text| TopicName::try_from(text).ok())
}

fn filter(u: &mut Unstructured<'_>) -> Result<TopicFilter> {
    parsed(u, |text| TopicFilter::try_from(text).ok())
}

fn parsed<T>(u: &mut Unstructured<'_>, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    parse(u.arbitrary()?).ok_or(arbitrary::Error::IncorrectFormat)
}

/// Bytes as they are, or very many of them: lengths near the steps of the length field are of interest.
fn blob(u: &mut Unstructured<'_>) -> Result<Bytes> {
    if u.ratio(1, 4)? {
        let near = *u.choose(&[127_usize, 16_383, 65_535])?;
        return Ok(vec![7; near - usize::from(u.arbitrary::<u8>()? % 64)].into());
    }
    Ok(Bytes::copy_from_slice(u.arbitrary()?))
}

fn optional<T>(u: &mut Unstructured<'_>, make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>) -> Result<Option<T>> {
    if u.arbitrary()? { make(u).map(Some) } else { Ok(None) }
}

fn list<T>(u: &mut Unstructured<'_>, make: impl Fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=3)?).map(|_| make(u)).collect()
}

fn properties(u: &mut Unstructured<'_>) -> Result<Properties> {
    let mut builder = Properties::builder();
    for _ in 0..u.int_in_range(0..=3)? {
        // What the builder refuses it has not taken.
        let _ = builder.push(property(u)?);
    }
    Ok(builder.build())
}

fn property<'a>(u: &mut Unstructured<'a>) -> Result<Property<'a>> {
    Ok(match u.choose(PropertyId::ALL)? {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(u.arbitrary()?),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(u.arbitrary()?),
        PropertyId::ContentType => Property::ContentType(u.arbitrary()?),
        PropertyId::ResponseTopic => Property::ResponseTopic(u.arbitrary()?),
        PropertyId::CorrelationData => Property::CorrelationData(u.arbitrary()?),
        PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(u.arbitrary()?),
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(u.arbitrary()?),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(u.arbitrary()?),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(u.arbitrary()?),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(u.arbitrary()?),
        PropertyId::AuthenticationData => Property::AuthenticationData(u.arbitrary()?),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(u.arbitrary()?),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(u.arbitrary()?),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(u.arbitrary()?),
        PropertyId::ResponseInformation => Property::ResponseInformation(u.arbitrary()?),
        PropertyId::ServerReference => Property::ServerReference(u.arbitrary()?),
        PropertyId::ReasonString => Property::ReasonString(u.arbitrary()?),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(u.arbitrary()?),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(u.arbitrary()?),
        PropertyId::TopicAlias => Property::TopicAlias(u.arbitrary()?),
        PropertyId::MaximumQoS => Property::MaximumQoS(u.arbitrary()?),
        PropertyId::RetainAvailable => Property::RetainAvailable(u.arbitrary()?),
        PropertyId::UserProperty => Property::UserProperty(u.arbitrary()?, u.arbitrary()?),
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(u.arbitrary()?),
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(u.arbitrary()?),
        PropertyId::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(u.arbitrary()?),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(u.arbitrary()?),
    })
}
