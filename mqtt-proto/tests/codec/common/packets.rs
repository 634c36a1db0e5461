//! Packets of every kind with random contents, for the tests of this crate and for the comparison with other codecs.
#![allow(dead_code)] // each test file uses its part

use bytes::Bytes;
use mqtt_proto::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

/// Texts over an alphabet that holds every character with a meaning, and some of each length in UTF-8.
fn text() -> impl Strategy<Value = String> {
    "[a-c/+#$ üß€\u{feff}\u{10ffff}\u{1}]{0,12}"
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-c/$ ü€]{1,12}".prop_map(|text| text.try_into().unwrap())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof!["[a-cü$]{0,3}", Just("+".to_owned())];
    let filter = (vec(level, 1..4), any::<bool>())
        .prop_map(|(levels, hash)| if hash { levels.join("/") + "/#" } else { levels.join("/") });
    (of("[a-cü$]{1,3}"), filter).prop_filter_map("empty, or $share by accident", |(share, filter)| match share {
        Some(name) => TopicFilter::try_from(format!("$share/{name}/{filter}")).ok(),
        None => TopicFilter::try_from(filter).ok(),
    })
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..3u8).prop_map(|qos| QoS::new(qos).unwrap())
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (qos(), id(), any::<bool>()).prop_map(|(qos, id, dup)| match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
    })
}

/// Random properties for whatever a packet allows: `allowed` says what.
fn properties(version: Version, allowed: impl Fn(PropertyId) -> bool) -> BoxedStrategy<Properties> {
    let allowed: Vec<_> = PropertyId::ALL.iter().copied().filter(|id| allowed(*id)).collect();
    if version != Version::V5 || allowed.is_empty() {
        return Just(Properties::new()).boxed();
    }
    vec((proptest::sample::select(allowed), text(), text(), 1..=268_435_455_u32, data()), 0..6)
        .prop_map(|entries| {
            let mut builder = Properties::builder();
            for (id, text, other, number, data) in &entries {
                // A repetition that the builder refuses is left out.
                let _ = builder.push(property(*id, text, other, *number, data));
            }
            builder.build()
        })
        .boxed()
}

fn property<'a>(id: PropertyId, text: &'a str, other: &'a str, number: u32, data: &'a [u8]) -> Property<'a> {
    let flag = number.is_multiple_of(2);
    let short = number as u16 | 1;
    match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(number),
        PropertyId::ContentType => Property::ContentType(text),
        PropertyId::ResponseTopic => Property::ResponseTopic("re/ply"),
        PropertyId::CorrelationData => Property::CorrelationData(data),
        PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(number),
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(number),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(short),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text),
        PropertyId::AuthenticationData => Property::AuthenticationData(data),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(number),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag),
        PropertyId::ResponseInformation => Property::ResponseInformation(text),
        PropertyId::ServerReference => Property::ServerReference(text),
        PropertyId::ReasonString => Property::ReasonString(text),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(short),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(short),
        PropertyId::TopicAlias => Property::TopicAlias(short),
        PropertyId::MaximumQoS => Property::MaximumQoS(flag),
        PropertyId::RetainAvailable => Property::RetainAvailable(flag),
        PropertyId::UserProperty => Property::UserProperty(text, other),
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(number),
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
        PropertyId::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(flag),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
    }
}

fn of_packet(version: Version, packet: PacketType) -> BoxedStrategy<Properties> {
    properties(version, move |id| id.allowed_in(packet))
}

/// A reason code that the packet has in this version.
fn reason(version: Version, packet: PacketType) -> BoxedStrategy<ReasonCode> {
    let codes: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| code.allowed_in(packet)).collect();
    match packet {
        PacketType::ConnAck if version != Version::V5 => {
            (0..6u8).prop_map(|code| ReasonCode::from_connect_return_code_v3(code).unwrap()).boxed()
        }
        PacketType::SubAck if version != Version::V5 => proptest::sample::select(vec![0, 1, 2, 0x80])
            .prop_map(|code| ReasonCode::from_subscribe_return_code_v3(code).unwrap())
            .boxed(),
        _ if version != Version::V5 => Just(ReasonCode::Success).boxed(),
        _ => proptest::sample::select(codes).boxed(),
    }
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    (qos(), any::<bool>(), topic(), data(), properties(version, PropertyId::allowed_in_will))
        .prop_map(|(qos, retain, topic, payload, properties)| Will { qos, retain, topic, payload, properties })
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let name = text().prop_map(|text| Utf8String::try_from(text).unwrap());
    let id = text().prop_map(|text| ClientId::try_from(text).unwrap());
    (any::<(bool, u16)>(), id, of(will(version)), of(name), of(data()), of_packet(version, PacketType::Connect))
        .prop_map(move |((clean_start, keep_alive), client_id, will, username, password, properties)| Connect {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            password: password.filter(|_| version == Version::V5 || username.is_some()),
            username,
            properties,
        })
        .prop_filter("authentication data without method", |connect| {
            connect.properties.authentication_data().is_none() || connect.properties.authentication_method().is_some()
        })
        .prop_map(Packet::from)
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    (any::<bool>(), reason(version, PacketType::ConnAck), of_packet(version, PacketType::ConnAck)).prop_map(
        move |(present, reason, properties)| {
            let session_present = present && reason == ReasonCode::Success && version != Version::V3_1;
            ConnAck { session_present, reason, properties }.into()
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Packet> {
    (delivery(), any::<(bool, bool)>(), topic(), data(), of_packet(version, PacketType::Publish)).prop_map(
        |(delivery, (retain, omit), topic, payload, properties)| {
            let topic = (!omit || properties.topic_alias().is_none()).then_some(topic);
            Publish { delivery, retain, topic, payload, properties }.into()
        },
    )
}

fn ack(version: Version) -> impl Strategy<Value = Packet> {
    let kinds = [PacketType::PubAck, PacketType::PubRec, PacketType::PubRel, PacketType::PubComp];
    proptest::sample::select(kinds.to_vec()).prop_flat_map(move |kind| {
        (id(), reason(version, kind), of_packet(version, kind)).prop_map(move |(id, reason, properties)| {
            let ack = Ack { id, reason, properties };
            match kind {
                PacketType::PubAck => Packet::PubAck(ack),
                PacketType::PubRec => Packet::PubRec(ack),
                PacketType::PubRel => Packet::PubRel(ack),
                _ => Packet::PubComp(ack),
            }
        })
    })
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    (qos(), any::<(bool, bool)>(), 0..3u8).prop_map(move |(qos, (no_local, retain_as_published), handling)| {
        if version != Version::V5 {
            return qos.into();
        }
        let retain_handling = match handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        };
        SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let entry = (filter(), options(version)).prop_map(|(filter, mut options)| {
        options.no_local &= !filter.is_shared();
        (filter, options)
    });
    // One Subscription Identifier at most: the builder allows more, for PUBLISH.
    let once = of_packet(version, PacketType::Subscribe)
        .prop_filter("subscription identifiers", |properties| properties.subscription_identifiers().count() < 2);
    (id(), vec(entry, 1..5), once).prop_map(|(id, filters, properties)| Subscribe { id, filters, properties }.into())
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    (id(), vec(reason(version, PacketType::SubAck), 1..5), of_packet(version, PacketType::SubAck))
        .prop_map(|(id, reasons, properties)| SubAck { id, reasons, properties }.into())
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (id(), vec(filter(), 1..5), of_packet(version, PacketType::Unsubscribe))
        .prop_map(|(id, filters, properties)| Unsubscribe { id, filters, properties }.into())
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    let count = if version == Version::V5 { 1..5 } else { 0..1 };
    (id(), vec(reason(version, PacketType::UnsubAck), count), of_packet(version, PacketType::UnsubAck))
        .prop_map(|(id, reasons, properties)| UnsubAck { id, reasons, properties }.into())
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    (reason(version, PacketType::Disconnect), of_packet(version, PacketType::Disconnect))
        .prop_map(|(reason, properties)| Disconnect { reason, properties }.into())
}

fn auth() -> impl Strategy<Value = Packet> {
    (reason(Version::V5, PacketType::Auth), of_packet(Version::V5, PacketType::Auth))
        .prop_filter("an AUTH needs a method", |(_, properties)| properties.authentication_method().is_some())
        .prop_map(|(reason, properties)| Auth { reason, properties }.into())
}

/// Any packet that the version has.
pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet> {
    let opening = prop_oneof![connect(version), connack(version), disconnect(version)];
    let messages = prop_oneof![publish(version), ack(version)];
    let subscriptions = prop_oneof![subscribe(version), suback(version), unsubscribe(version), unsuback(version)];
    let pings = prop_oneof![Just(Packet::PingReq), Just(Packet::PingResp)];
    let common = prop_oneof![3 => opening, 4 => messages, 4 => subscriptions, 1 => pings];
    if version == Version::V5 { prop_oneof![10 => common, 1 => auth()].boxed() } else { common.boxed() }
}

/// Any version.
pub(crate) fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1), Just(Version::V5)]
}

/// Some packets of one version.
pub(crate) fn packets() -> impl Strategy<Value = (Version, Vec<Packet>)> {
    version().prop_flat_map(|version| (Just(version), vec(packet(version), 1..6)))
}
