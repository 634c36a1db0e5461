//! A first walk through the API.
use bytes::{Bytes, BytesMut};
use mqtt_proto::*;

#[test]
fn a_connection_in_each_version() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut wire = BytesMut::new();
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive: 60,
            client_id: "me".parse().unwrap(),
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: "w/t".parse().unwrap(),
                payload: Bytes::from_static(b"gone"),
                properties: Properties::new(),
            }),
            username: Some("u".parse().unwrap()),
            password: Some(Bytes::from_static(b"p")),
            properties: Properties::new(),
        };
        let id = PacketId::MAX;
        let packets: Vec<Packet> = vec![
            connect.into(),
            Publish {
                delivery: Delivery::AtLeastOnce { id, dup: true },
                retain: false,
                topic: Some("a/b".parse().unwrap()),
                payload: Bytes::from_static(b"hello"),
                properties: Properties::new(),
            }
            .into(),
            Subscribe {
                id,
                filters: vec![("$share/g/a/+".parse().unwrap(), QoS::ExactlyOnce.into())],
                properties: Properties::new(),
            }
            .into(),
            Packet::PubRel(id.into()),
            Packet::PingReq,
            Disconnect::from(ReasonCode::NORMAL_DISCONNECTION).into(),
        ];
        for packet in &packets {
            packet.encode(version, &mut wire).unwrap();
        }
        let mut decoder = Decoder::server(1024);
        for packet in &packets {
            assert_eq!(decoder.decode(&mut wire).unwrap().as_ref(), Some(packet));
        }
        assert_eq!(decoder.decode(&mut wire), Ok(None));
        assert_eq!(decoder.version(), Some(version));
    }
}
