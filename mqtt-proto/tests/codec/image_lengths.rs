//! One encoding for many receivers, at the lengths where the remaining length takes a byte more (found by fuzzing).
use bytes::BytesMut;
use mqtt_proto::{Delivery, Frame, Packet, PacketId, Properties, PublishImage, QoS, SharedPublish, TopicName, Version};

#[test]
fn the_identifier_stands_where_it_belongs_at_every_length() {
    let topic = TopicName::from_static("t");
    for version in [Version::V3_1_1, Version::V5] {
        let head = 2 + topic.len() + 2 + usize::from(version.is_v5()); // topic, identifier, empty properties
        for edge in [127, 16_383, 2_097_151] {
            for remaining in edge - 2..=edge + 2 {
                let payload = vec![b'x'; remaining - head].into();
                let shared = SharedPublish { topic: topic.clone(), payload, properties: Properties::new() };
                let image = PublishImage::new(&shared, version, QoS::AtLeastOnce, false).unwrap();
                let mut bytes = BytesMut::new();
                image.write(PacketId::new(0x1234), true, &mut bytes);
                let frame = Frame::split(&mut bytes, u32::MAX).unwrap().unwrap();
                let Ok(Packet::Publish(publish)) = Packet::decode(frame, version) else { panic!("not a PUBLISH") };
                let id = PacketId::new(0x1234).unwrap();
                assert_eq!(publish.delivery, Delivery::AtLeastOnce { id, dup: true });
                assert_eq!((publish.topic.as_ref(), publish.payload), (Some(&topic), shared.payload), "{remaining}");
            }
        }
    }
}
