//! The broker machine alone, without sockets: bytes of a publisher in, bytes of subscribers out.
use crate::{Case, case};
use bytes::BytesMut;
use mqtt_session::broker::{Broker, Completion, Config, ConnId, Output, Peer, Request};
use mqtt_session::proto::{
    ClientId, Connect, Delivery, Packet, PacketId, Properties, Publish, QoS, Subscribe, TopicFilter, TopicName, Version,
};
use mqtt_session::{Instant, UnixTime};
use std::hint::black_box;
use std::sync::Arc;

/// Messages per call.
const BATCH: usize = 100;
const TOPIC: &str = "bench/topic/1";

struct Bench {
    broker: Broker,
    publisher: ConnId,
    now: Instant,
}

impl Bench {
    fn new(subscribers: usize, qos: QoS) -> Self {
        let now = Instant::from_secs(1);
        let mut broker = Broker::new(Arc::new(Config::default()), [1; 32], now, UnixTime::from_millis(0));
        let publisher = broker.handle_open(now, Peer::default(), connect("publisher"));
        let mut bench = Self { broker, publisher, now };
        for n in 0..subscribers {
            let conn = bench.broker.handle_open(now, Peer::default(), connect(&format!("subscriber-{n}")));
            let filters = vec![(TopicFilter::from_static(TOPIC), qos.into())];
            let subscribe = Subscribe { id: PacketId::MIN, filters, properties: Properties::new() };
            let mut bytes = encoded(&subscribe.into());
            bench.broker.handle_input(now, conn, &mut bytes);
        }
        bench.drain();
        bench
    }

    /// Takes all outputs; subscribers acknowledge what they get.
    fn drain(&mut self) {
        let mut acks = BytesMut::new();
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Writable(conn) => {
                    let mut taken = 0;
                    for chunk in self.broker.transmit(conn).chunks() {
                        taken += chunk.len();
                        if conn != self.publisher {
                            acknowledge(chunk, &mut acks);
                        }
                    }
                    self.broker.transmitted(self.now, conn, black_box(taken));
                    self.broker.handle_input(self.now, conn, &mut acks);
                }
                Output::Request(Request::Store(batch)) => {
                    self.broker.handle_completion(self.now, Completion::Stored { upto: batch.seq });
                }
                _ => {}
            }
        }
    }
}

/// PUBACK for each QoS 1 PUBLISH, all of which have one length here.
fn acknowledge(mut bytes: &[u8], acks: &mut BytesMut) {
    while let [header, length, rest @ ..] = bytes {
        let (body, next) = rest.split_at(usize::from(*length));
        if *header == 0x32 {
            let id = 2 + TOPIC.len();
            acks.extend_from_slice(&[0x40, 2, body[id], body[id + 1]]);
        }
        bytes = next;
    }
}

fn connect(id: &str) -> Connect {
    Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::try_from(id).expect("ASCII text"),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

fn encoded(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.encode(Version::V3_1_1, &mut bytes).expect("a sound packet");
    bytes
}

/// Every case of this file.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (qos, level) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1)] {
        for subscribers in [1, 100] {
            let name = format!("broker/{BATCH} messages to {subscribers} at qos {level}");
            cases.push(case(name, move || {
                let mut bench = Bench::new(subscribers, qos);
                let mut batch = BytesMut::new();
                for n in 0..BATCH {
                    let id = PacketId::new(n as u16 + 1).expect("not zero");
                    let delivery = match qos {
                        QoS::AtMostOnce => Delivery::AtMostOnce,
                        _ => Delivery::AtLeastOnce { id, dup: false },
                    };
                    let topic = Some(TopicName::from_static(TOPIC));
                    let payload = vec![7; 64].into();
                    let publish = Publish { delivery, retain: false, topic, payload, properties: Properties::new() };
                    batch.extend_from_slice(&encoded(&publish.into()));
                }
                let mut input = BytesMut::with_capacity(batch.len());
                move || {
                    input.extend_from_slice(&batch);
                    bench.broker.handle_input(bench.now, bench.publisher, &mut input);
                    bench.drain();
                }
            }));
        }
    }
    cases
}
