//! Our codec against others on valid packets: what we encode they decode, and what they make of it we decode to the packet
//! that we had. Each known divergence is listed with the section of the standard that decides it, and is shown to be there.
#[path = "../../mqtt-proto/tests/codec/common/packets.rs"]
mod packets;

use bytes::BytesMut;
use mqtt_proto::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Properties, Property, Publish, SubAck,
    Subscribe, UnsubAck, Unsubscribe, Version,
};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

/// Decodes the packet and encodes what came out.
type Codec = fn(&[u8]) -> Result<Vec<u8>, String>;

fn mqttbytes_v3(bytes: &[u8]) -> Result<Vec<u8>, String> {
    use mqttbytes::v4::{Disconnect, Packet, PingReq, PingResp, read};
    let mut out = BytesMut::new();
    match read(&mut BytesMut::from(bytes), usize::MAX).map_err(|error| format!("{error:?}"))? {
        Packet::Connect(packet) => packet.write(&mut out),
        Packet::ConnAck(packet) => packet.write(&mut out),
        Packet::Publish(packet) => packet.write(&mut out),
        Packet::PubAck(packet) => packet.write(&mut out),
        Packet::PubRec(packet) => packet.write(&mut out),
        Packet::PubRel(packet) => packet.write(&mut out),
        Packet::PubComp(packet) => packet.write(&mut out),
        Packet::Subscribe(packet) => packet.write(&mut out),
        Packet::SubAck(packet) => packet.write(&mut out),
        Packet::Unsubscribe(packet) => packet.write(&mut out),
        Packet::UnsubAck(packet) => packet.write(&mut out),
        Packet::PingReq => PingReq.write(&mut out),
        Packet::PingResp => PingResp.write(&mut out),
        Packet::Disconnect => Disconnect.write(&mut out),
    }
    .map_err(|error| format!("{error:?}"))?;
    Ok(out.to_vec())
}

fn mqttrs_v3(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let packet = mqttrs::decode_slice(bytes).map_err(|error| format!("{error:?}"))?.ok_or("incomplete")?;
    let mut out = vec![0; bytes.len() + 16];
    let length = mqttrs::encode_slice(&packet, &mut out).map_err(|error| format!("{error:?}"))?;
    out.truncate(length);
    Ok(out)
}

fn rmqtt_v3(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut codec = rmqtt_codec::v3::Codec::new(0);
    let packet = codec.decode(&mut BytesMut::from(bytes)).map_err(|error| format!("{error:?}"))?.ok_or("incomplete")?;
    let mut out = BytesMut::new();
    codec.encode(packet.0, &mut out).map_err(|error| format!("{error:?}"))?;
    Ok(out.to_vec())
}

fn rmqtt_v5(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut codec = rmqtt_codec::v5::Codec::new(0, 0);
    let packet = codec.decode(&mut BytesMut::from(bytes)).map_err(|error| format!("{error:?}"))?.ok_or("incomplete")?;
    let mut out = BytesMut::new();
    codec.encode(packet.0, &mut out).map_err(|error| format!("{error:?}"))?;
    Ok(out.to_vec())
}

fn encode(packet: &Packet, version: Version) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).expect("a valid packet");
    out.to_vec()
}

fn agree(name: &str, codec: Codec, packet: &Packet, version: Version) -> Result<(), TestCaseError> {
    let ours = encode(packet, version);
    let theirs = match codec(&ours) {
        Ok(theirs) => theirs,
        Err(error) => return Err(TestCaseError::fail(format!("{name}: {error}: {packet:?} {ours:02x?}"))),
    };
    let mut rest = BytesMut::from(&theirs[..]);
    let again = Packet::read(&mut rest, version, u32::MAX);
    prop_assert!(rest.is_empty(), "{name}: {packet:?} {ours:02x?} {theirs:02x?}");
    let again = again.map(|packet| packet.map(plain));
    prop_assert_eq!(again, Ok(Some(plain(packet.clone()))), "{}: {:02x?} {:02x?}", name, ours, theirs);
    Ok(())
}

/// The packet without what codecs may write as they like: the order of different properties (2.2.2.2 gives it no
/// meaning), and properties whose value is the one that counts where they are absent.
fn plain(mut packet: Packet) -> Packet {
    let properties = match &mut packet {
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                will.properties = plain_properties(&will.properties);
            }
            &mut connect.properties
        }
        Packet::ConnAck(ConnAck { properties, .. })
        | Packet::Publish(Publish { properties, .. })
        | Packet::PubAck(Ack { properties, .. })
        | Packet::PubRec(Ack { properties, .. })
        | Packet::PubRel(Ack { properties, .. })
        | Packet::PubComp(Ack { properties, .. })
        | Packet::Subscribe(Subscribe { properties, .. })
        | Packet::SubAck(SubAck { properties, .. })
        | Packet::Unsubscribe(Unsubscribe { properties, .. })
        | Packet::UnsubAck(UnsubAck { properties, .. })
        | Packet::Disconnect(Disconnect { properties, .. })
        | Packet::Auth(Auth { properties, .. }) => properties,
        Packet::PingReq | Packet::PingResp => return packet,
    };
    *properties = plain_properties(properties);
    packet
}

fn plain_properties(properties: &Properties) -> Properties {
    let mut rest: Vec<Property<'_>> = properties.iter().filter(|property| !is_default(*property)).collect();
    rest.sort_by_key(|property| property.id() as u8);
    rest.into_iter().collect()
}

/// Whether the absence of the property means the same.
fn is_default(property: Property<'_>) -> bool {
    matches!(
        property,
        Property::PayloadFormatIndicator(false) // 3.3.2.3.2
            | Property::SessionExpiryInterval(0) // 3.1.2.11.2
            | Property::ReceiveMaximum(u16::MAX) // 3.1.2.11.3
            | Property::TopicAliasMaximum(0) // 3.1.2.11.5
            | Property::RequestResponseInformation(false) // 3.1.2.11.6
            | Property::RequestProblemInformation(true) // 3.1.2.11.7
            | Property::WillDelayInterval(0) // 3.1.3.2.2
            | Property::RetainAvailable(true) // 3.2.2.3.5
            | Property::WildcardSubscriptionAvailable(true) // 3.2.2.3.11
            | Property::SubscriptionIdentifierAvailable(true) // 3.2.2.3.12
            | Property::SharedSubscriptionAvailable(true) // 3.2.2.3.13
    )
}

/// What we take and mqttbytes does not.
fn mqttbytes_diverges(packet: &Packet) -> bool {
    let Packet::Connect(connect) = packet else { return false };
    // 3.1.3.5 (3.1.1): a Password is any bytes; mqttbytes wants UTF-8.
    connect.password.as_ref().is_some_and(|password| password.is_empty() || str::from_utf8(password).is_err())
        // An empty User Name or Password is one (3.1.3.4, 3.1.3.5); mqttbytes takes it for none.
        || connect.username.as_ref().is_some_and(|name| name.is_empty())
}

/// What we take and rmqtt-codec does not.
fn rmqtt_diverges(packet: &Packet) -> bool {
    let Packet::Connect(connect) = packet else { return false };
    // [MQTT-3.1.3-6] allows an empty Client Identifier, with any Clean Start; before 5.0 the refusal is a CONNACK
    // [3.1.1: MQTT-3.1.3-8], which only a packet that was decoded can get.
    connect.client_id.is_empty() && !connect.clean_start
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn mqttbytes_agrees(packet in packets::packet(Version::V3_1_1)) {
        prop_assume!(!mqttbytes_diverges(&packet));
        agree("mqttbytes", mqttbytes_v3, &packet, Version::V3_1_1)?;
    }

    #[test]
    fn mqttrs_agrees(packet in packets::packet(Version::V3_1_1)) {
        agree("mqttrs", mqttrs_v3, &packet, Version::V3_1_1)?;
    }

    #[test]
    fn rmqtt_agrees_on_v3(packet in packets::packet(Version::V3_1_1)) {
        prop_assume!(!rmqtt_diverges(&packet));
        agree("rmqtt-codec", rmqtt_v3, &packet, Version::V3_1_1)?;
    }

    #[test]
    fn rmqtt_agrees_on_v5(packet in packets::packet(Version::V5)) {
        prop_assume!(!rmqtt_diverges(&packet));
        agree("rmqtt-codec", rmqtt_v5, &packet, Version::V5)?;
    }

    /// Two codecs that both exchange two fields would agree above; here the fields themselves are compared.
    #[test]
    fn fields_of_publish(packet in packets::packet(Version::V3_1_1).prop_filter("PUBLISH", is_publish)) {
        let bytes = encode(&packet, Version::V3_1_1);
        let Packet::Publish(ours) = packet else { unreachable!() };
        let topic = ours.topic.as_ref().map(ToString::to_string).unwrap_or_default();
        let (id, qos) = (ours.delivery.id().map_or(0, PacketId::get), ours.delivery.qos() as u8);
        let fields = (topic.as_str(), &ours.payload[..], qos, id, ours.delivery.dup(), ours.retain);

        let Ok(mqttbytes::v4::Packet::Publish(theirs)) = mqttbytes::v4::read(&mut BytesMut::from(&bytes[..]), usize::MAX)
        else { panic!("no PUBLISH") };
        let theirs_qos = theirs.qos as u8;
        prop_assert_eq!(
            fields,
            (theirs.topic.as_str(), &theirs.payload[..], theirs_qos, theirs.pkid, theirs.dup, theirs.retain)
        );

        let Ok(Some(mqttrs::Packet::Publish(theirs))) = mqttrs::decode_slice(&bytes) else { panic!("no PUBLISH") };
        let (theirs_qos, theirs_id) = match theirs.qospid {
            mqttrs::QosPid::AtMostOnce => (0, 0),
            mqttrs::QosPid::AtLeastOnce(id) => (1, id.get()),
            mqttrs::QosPid::ExactlyOnce(id) => (2, id.get()),
        };
        prop_assert_eq!(
            fields,
            (theirs.topic_name, theirs.payload, theirs_qos, theirs_id, theirs.dup, theirs.retain)
        );
    }
}

fn is_publish(packet: &Packet) -> bool {
    packet.packet_type() == PacketType::Publish
}

/// A divergence that is gone leaves the list.
#[test]
fn known_divergences_are_there() {
    let plain = Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive: 0,
        client_id: "c".try_into().unwrap(),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    };
    let nameless = Connect { client_id: "".try_into().unwrap(), clean_start: false, ..plain.clone() };
    let cases: [(&str, Codec, Connect); 5] = [
        (
            "binary password",
            mqttbytes_v3,
            Connect { username: Some("u".try_into().unwrap()), password: Some(b"\xFF"[..].into()), ..plain.clone() },
        ),
        ("empty user name", mqttbytes_v3, Connect { username: Some("".try_into().unwrap()), ..plain.clone() }),
        (
            "empty password",
            mqttbytes_v3,
            Connect { username: Some("u".try_into().unwrap()), password: Some(b""[..].into()), ..plain.clone() },
        ),
        ("empty client id", rmqtt_v3, nameless.clone()),
        ("empty client id in 5.0", rmqtt_v5, Connect { version: Version::V5, ..nameless }),
    ];
    for (name, codec, connect) in cases {
        let version = connect.version;
        assert!(agree(name, codec, &connect.into(), version).is_err(), "{name}");
    }
}
