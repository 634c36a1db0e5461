//! A raw client on a blocking socket: it sends and receives exactly the packets that a test says.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use bytes::{Bytes, BytesMut};
use mqtt_proto::{
    Ack, ClientId, ConnAck, Connect, Delivery, Disconnect, Frame, Packet, PacketId, Properties, Publish, QoS,
    ReasonCode, Subscribe, SubscriptionOptions, Version,
};
use mqtt_tokio::broker::{Broker, BrokerHandle, Builder, Config};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a test waits for what must come before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with the runtime that its hooks run on.
pub struct Server {
    pub runtime: Runtime,
    pub broker: BrokerHandle,
}

impl Server {
    /// A broker on a free port of IPv4's loopback.
    pub fn start(config: Config) -> Self {
        Self::build(Broker::builder(config).listen("mqtt://127.0.0.1:0"))
    }

    pub fn build(builder: Builder) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let broker = runtime.block_on(builder.start()).expect("the broker starts");
        Self { runtime, broker }
    }

    pub fn address(&self) -> SocketAddr {
        self.broker.local_addrs()[0]
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the broker answers in time") })
    }

    pub fn connect(&self, client_id: &str) -> Raw {
        let (raw, connack) = Raw::connect(self.address(), &connect(client_id));
        assert_eq!(connack.reason, ReasonCode::Success);
        raw
    }
}

/// A clean CONNECT of MQTT 5.0.
pub fn connect(client_id: &str) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        client_id: ClientId::try_from(client_id).expect("a client identifier"),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

/// A PUBLISH; QoS 1 where it has an identifier.
pub fn publish(topic: &str, payload: impl Into<Bytes>, id: Option<u16>) -> Packet {
    let delivery = match id {
        Some(id) => Delivery::AtLeastOnce { id: packet_id(id), dup: false },
        None => Delivery::AtMostOnce,
    };
    Packet::Publish(Publish {
        delivery,
        retain: false,
        topic: Some(topic.try_into().expect("a topic name")),
        payload: payload.into(),
        properties: Properties::new(),
    })
}

pub fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("not zero")
}

/// A connection without any intelligence.
pub struct Raw {
    pub stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: BytesMut::new() }
    }

    pub fn connect(address: SocketAddr, connect: &Connect) -> (Self, ConnAck) {
        let mut raw = Self::open(address);
        raw.send(&Packet::Connect(Box::new(connect.clone())));
        match raw.receive() {
            Some(Packet::ConnAck(connack)) => (raw, connack),
            other => panic!("CONNACK expected, not {other:?}"),
        }
    }

    pub fn send(&mut self, packet: &Packet) {
        self.stream.write_all(&encode(packet)).expect("the broker takes the bytes");
    }

    /// The next packet; `None`: the broker closed.
    pub fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Some(frame) = Frame::split(&mut self.buffer, u32::MAX).expect("a well-formed packet") {
                return Some(Packet::decode(frame, Version::V5).expect("a well-formed packet"));
            }
            let mut bytes = vec![0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the broker closed in the middle of a packet");
                    return None;
                }
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters = vec![(filter.try_into().expect("a topic filter"), options)];
        self.send(&Packet::Subscribe(Subscribe { id: packet_id(1), filters, properties: Properties::new() }));
        match self.receive() {
            Some(Packet::SubAck(suback)) => assert_eq!(suback.reasons, [granted(qos)]),
            other => panic!("SUBACK expected, not {other:?}"),
        }
    }

    /// The next packet, which must be a PUBLISH.
    pub fn message(&mut self) -> Publish {
        match self.receive() {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("PUBLISH expected, not {other:?}"),
        }
    }

    /// The next packet, which must be a DISCONNECT.
    pub fn disconnected(&mut self) -> Disconnect {
        match self.receive() {
            Some(Packet::Disconnect(disconnect)) => disconnect,
            other => panic!("DISCONNECT expected, not {other:?}"),
        }
    }

    /// A PINGREQ that is answered: everything sent before it has been served.
    pub fn ping(&mut self) {
        self.send(&Packet::PingReq);
        assert_eq!(self.receive(), Some(Packet::PingResp));
    }

    pub fn acknowledge(&mut self, publish: &Publish) {
        let id = publish.delivery.id().expect("QoS 1");
        self.send(&Packet::PubAck(Ack { id, reason: ReasonCode::Success, properties: Properties::new() }));
    }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

pub fn encode(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.encode(Version::V5, &mut bytes).expect("an encodable packet");
    bytes
}
