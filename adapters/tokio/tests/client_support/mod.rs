//! A server that a test scripts packet by packet, on a free loopback port.
#![allow(dead_code)] // each test file uses a part of it

use bytes::BytesMut;
use mqtt_tokio::client::{Backoff, Builder, Client};
use mqtt_tokio::proto::{
    Ack, ConnAck, Connect, Decoder, Delivery, Packet, PacketId, Properties, Publish, QoS, ReasonCode, SubAck, Version,
};
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for any machine; only a broken test ever waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this should have happened by now")
}

pub struct Server {
    listener: TcpListener,
    pub url: String,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// A builder for this server that reconnects at once.
    pub fn builder(&self) -> Builder {
        let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(1), ..Backoff::default() };
        Client::builder(&self.url).client_id("c").reconnect(backoff)
    }

    pub async fn accept(&self) -> (Conn, Connect) {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut conn =
            Conn { stream, decoder: Decoder::server(u32::MAX), input: BytesMut::new(), version: Version::V5 };
        match conn.read().await {
            Packet::Connect(connect) => {
                conn.version = connect.version;
                (conn, *connect)
            }
            other => panic!("{other:?} instead of CONNECT"),
        }
    }

    /// Accepts a connection all the way.
    pub async fn welcome(&self, session_present: bool) -> Conn {
        let (mut conn, _) = self.accept().await;
        conn.send(ConnAck { session_present, reason: ReasonCode::Success, properties: Properties::new() }).await;
        conn
    }

    /// A connected client of this builder.
    pub async fn client(&self, builder: Builder) -> (Client, Conn) {
        let (client, conn) = tokio::join!(builder.connect(), self.welcome(false));
        (client.unwrap(), conn)
    }
}

pub struct Conn {
    pub stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    version: Version,
}

impl Conn {
    /// The next packet; `None` when the client has closed.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("the client follows the protocol") {
                return Some(packet);
            }
            if soon(self.stream.read_buf(&mut self.input)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub async fn read(&mut self) -> Packet {
        self.next().await.expect("a packet")
    }

    pub async fn read_publish(&mut self) -> Publish {
        match self.read().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    pub async fn send(&mut self, packet: impl Into<Packet>) {
        let mut out = BytesMut::new();
        packet.into().encode(self.version, &mut out).unwrap();
        soon(self.stream.write_all(&out)).await.unwrap();
    }

    /// Reads a SUBSCRIBE and grants it; returns its filters.
    pub async fn grant(&mut self) -> Vec<String> {
        let Packet::Subscribe(subscribe) = self.read().await else { panic!("no SUBSCRIBE") };
        let reasons =
            subscribe.filters.iter().map(|(_, options)| ReasonCode::new(options.qos as u8).unwrap()).collect();
        self.send(SubAck { id: subscribe.id, reasons, properties: Properties::new() }).await;
        subscribe.filters.iter().map(|(filter, _)| filter.to_string()).collect()
    }

    /// Reads a QoS 1 PUBLISH and acknowledges it; returns its payload.
    pub async fn take(&mut self) -> String {
        let publish = self.read_publish().await;
        self.send(Packet::PubAck(ack(publish.delivery.id().unwrap()))).await;
        String::from_utf8(publish.payload.to_vec()).unwrap()
    }

    /// Everything is read until DISCONNECT and the end of the connection.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.read().await, Packet::Disconnect(ReasonCode::Success.into()));
        assert_eq!(self.next().await, None);
    }
}

pub fn ack(id: PacketId) -> Ack {
    Ack { id, reason: ReasonCode::Success, properties: Properties::new() }
}

pub fn publish(topic: &str, payload: &str, delivery: Delivery) -> Publish {
    Publish {
        delivery,
        retain: false,
        topic: Some(topic.parse().unwrap()),
        payload: payload.to_owned().into(),
        properties: Properties::new(),
    }
}

pub fn qos1(id: u16) -> Delivery {
    Delivery::AtLeastOnce { id: PacketId::new(id).unwrap(), dup: false }
}

pub const Q0: QoS = QoS::AtMostOnce;
pub const Q1: QoS = QoS::AtLeastOnce;
