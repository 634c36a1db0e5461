//! What is built and encoded decodes to itself, for every packet in every version.
use crate::common::{decode, encode};
use crate::packets::packets;
use bytes::BytesMut;
use mqtt_proto::*;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_packet_decodes_to_itself((version, packets) in packets()) {
        for packet in packets {
            let mut bytes = encode(&packet, version);
            prop_assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
            prop_assert_eq!(decode(&mut bytes, version), Ok(Some(packet)));
            prop_assert!(bytes.is_empty());
        }
    }

    /// A stream of packets is the same packets, however it is cut into chunks.
    #[test]
    fn chunks_do_not_matter((version, packets) in packets(), cuts in vec(1..40usize, 1..8)) {
        let mut stream = BytesMut::new();
        for packet in &packets {
            packet.encode(version, &mut stream).unwrap();
        }
        let mut cuts = cuts.iter().cycle();
        let (mut buf, mut got) = (BytesMut::new(), Vec::new());
        while !stream.is_empty() {
            let chunk = stream.split_to(stream.len().min(*cuts.next().unwrap()));
            buf.extend_from_slice(&chunk);
            while let Some(packet) = Packet::read(&mut buf, version, u32::MAX).unwrap() {
                got.push(packet);
            }
        }
        prop_assert_eq!(got, packets);
    }

    /// What is encoded behind other bytes leaves them alone.
    #[test]
    fn encoding_appends((version, packets) in packets()) {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut expected = b"before".to_vec();
        for packet in &packets {
            expected.extend_from_slice(&encode(packet, version));
            packet.encode(version, &mut out).unwrap();
        }
        prop_assert_eq!(&out[..], &expected[..]);
    }
}
