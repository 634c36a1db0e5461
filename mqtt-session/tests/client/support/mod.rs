//! A client machine with a fake clock, against a server that a test scripts packet by packet.
#![allow(dead_code)] // each test file uses a part of it

use bytes::BytesMut;
use mqtt_session::client::{
    Client, ClientConfig, Completion, Connected, DisconnectReason, Event, Failure, MemoryStore, Message, Outcome,
    Output, Received, SessionState, StoreBatch, SubscribeOptions, Token,
};
use mqtt_session::proto::{
    Ack, ConnAck, Connect, Decoder, Delivery, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, SubAck,
    TopicFilter, TopicName, Version,
};
use mqtt_session::{Instant, UnixTime};
use std::collections::VecDeque;
use std::time::Duration;

pub const SEED: [u8; 32] = [42; 32];
pub const WALL: u64 = 1_800_000_000_000;

/// A client, the clock, and the server's end of the wire.
pub struct Net {
    pub client: Client,
    pub now: Instant,
    pub version: Version,
    /// What the server has sent and the client has left.
    pub input: BytesMut,
    /// What the client has sent and the test has not looked at.
    wire: BytesMut,
    decoder: Decoder,
    pub events: VecDeque<Event>,
    /// Servers that the client wants to connect to.
    pub connects: VecDeque<usize>,
    pub closed: bool,
    pub readable: bool,
    /// What the client wants to be kept, and what was.
    pub batches: VecDeque<StoreBatch>,
    pub kept: MemoryStore,
}

impl Net {
    pub fn new(config: ClientConfig) -> Self {
        Self::over(Client::new(config, SEED, Instant::ZERO).unwrap())
    }

    pub fn restore(config: ClientConfig, state: SessionState, now: Instant) -> Self {
        Self { now, ..Self::over(Client::restore(config, state, SEED, now).unwrap()) }
    }

    /// A client with a store that holds this.
    pub fn with_store(config: ClientConfig, kept: MemoryStore, now: Instant) -> Self {
        Self::with_store_at(config, kept, now, WALL)
    }

    /// The same; `now` is `wall` milliseconds on the clock that survives a restart.
    pub fn with_store_at(config: ClientConfig, kept: MemoryStore, now: Instant, wall: u64) -> Self {
        let client = Client::with_store(config, &kept, SEED, now, UnixTime::from_millis(wall)).unwrap();
        Self { now, kept, ..Self::over(client) }
    }

    /// The store keeps all that waits, and says so; gives how much that was.
    pub fn keep(&mut self) -> usize {
        self.run();
        let (mut last, mut ops) = (None, 0);
        for batch in self.batches.drain(..) {
            self.kept.apply(&batch);
            ops += batch.ops.len();
            last = Some(batch.seq);
        }
        if let Some(upto) = last {
            self.client.handle_completion(self.now, Completion::Stored { upto });
        }
        self.run();
        ops
    }

    /// Nothing of what waits can be kept.
    pub fn fail_to_keep(&mut self) {
        self.run();
        for batch in self.batches.drain(..) {
            self.kept.apply(&batch); // what is lost is kept ahead of what follows
            self.client.handle_completion(self.now, Completion::StoreFailed { seq: batch.seq });
        }
        self.run();
    }

    fn over(client: Client) -> Self {
        Self {
            version: client.config().version,
            client,
            now: Instant::ZERO,
            input: BytesMut::new(),
            wire: BytesMut::new(),
            decoder: Decoder::server(u32::MAX),
            events: VecDeque::new(),
            connects: VecDeque::new(),
            closed: false,
            readable: false,
            batches: VecDeque::new(),
            kept: MemoryStore::new(),
        }
    }

    /// A client of this version that is connected to a server without limits; the rest of the configuration is the default.
    pub fn online(version: Version) -> Self {
        Self::online_with(ClientConfig { version, client_id: id("c"), ..ClientConfig::default() })
    }

    pub fn online_with(config: ClientConfig) -> Self {
        let mut net = Self::new(config);
        net.go_online(false, &[]);
        net.events.clear();
        net
    }

    /// Takes the outputs, and what there is to write: some bytes at a time, as sockets do.
    pub fn run(&mut self) {
        loop {
            match self.client.poll_output() {
                Some(Output::Connect { server }) => self.connects.push_back(server),
                Some(Output::Close) => {
                    self.take_bytes();
                    self.closed = true;
                }
                Some(Output::Event(event)) => self.events.push_back(event),
                Some(Output::Readable) => self.readable = true,
                Some(Output::Writable) => self.take_bytes(),
                Some(Output::Store(batch)) => self.batches.push_back(batch),
                Some(_) => {}
                None => break,
            }
        }
        self.take_bytes();
    }

    fn take_bytes(&mut self) {
        let mut step = 1;
        while !self.client.transmit().is_empty() {
            let all: Vec<u8> = self.client.transmit().chunks().flatten().copied().collect();
            let part = step.min(all.len());
            self.wire.extend_from_slice(&all[..part]);
            self.client.transmitted(self.now, part);
            step = step * 3 + 1;
        }
    }

    /// The packets that the client has sent since the last call.
    pub fn sent(&mut self) -> Vec<Packet> {
        self.run();
        let mut packets = Vec::new();
        while let Some(packet) = self.decoder.decode(&mut self.wire).expect("the client follows the protocol") {
            packets.push(packet);
        }
        assert!(self.wire.is_empty(), "whole packets only");
        packets
    }

    pub fn sent_one(&mut self) -> Packet {
        let mut packets = self.sent();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    /// The server sends a packet.
    pub fn send(&mut self, packet: impl Into<Packet>) {
        packet.into().encode(self.version, &mut self.input).unwrap();
        self.deliver();
    }

    pub fn deliver(&mut self) {
        self.client.handle_input(self.now, &mut self.input);
        self.run();
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.deliver();
    }

    /// The transport that the client asked for is up; returns the server's index and CONNECT.
    pub fn accept(&mut self) -> (usize, Connect) {
        self.run();
        let server = self.connects.pop_front().expect("the client wants to connect");
        self.input.clear();
        self.wire.clear();
        self.decoder = Decoder::server(u32::MAX);
        self.closed = false;
        self.client.handle_connected(self.now);
        match self.sent_one() {
            Packet::Connect(connect) => (server, *connect),
            other => panic!("{other:?} instead of CONNECT"),
        }
    }

    pub fn connack(&mut self, session_present: bool, properties: &[Property<'_>]) {
        self.send(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: properties.iter().copied().collect(),
        });
    }

    /// Connects all the way.
    pub fn go_online(&mut self, session_present: bool, properties: &[Property<'_>]) -> Connect {
        self.client.connect(self.now);
        let (_, connect) = self.accept();
        self.connack(session_present, properties);
        assert!(self.client.is_connected(), "{:?}", self.events);
        connect
    }

    pub fn lose(&mut self) {
        self.client.handle_disconnected(self.now);
        self.run();
    }

    /// The connection is lost, and made again.
    pub fn reconnect(&mut self, session_present: bool) -> Connect {
        self.lose();
        self.go_online(session_present, &[])
    }

    /// Lets time pass, serving each deadline when it comes.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
    }

    pub fn publish(&mut self, topic: &str, payload: &str, qos: QoS) -> Token {
        self.publish_message(message(topic, payload, qos))
    }

    pub fn publish_message(&mut self, message: Message) -> Token {
        let token = self.client.publish(self.now, message).unwrap();
        self.run();
        token
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Token {
        let filters = vec![(filter.parse().unwrap(), qos.into())];
        let token = self.client.subscribe(self.now, filters, SubscribeOptions::default()).unwrap();
        self.run();
        token
    }

    /// Answers the SUBSCRIBE that was sent last, as granted.
    pub fn grant(&mut self) {
        for packet in self.sent() {
            if let Packet::Subscribe(subscribe) = packet {
                let reasons = subscribe.filters.iter().map(|(_, options)| granted(options.qos)).collect();
                self.send(SubAck { id: subscribe.id, reasons, properties: Properties::new() });
            }
        }
    }

    /// The messages that the client hands out.
    pub fn messages(&mut self) -> Vec<Received> {
        let messages = std::iter::from_fn(|| self.client.poll_message(self.now)).collect();
        self.run();
        messages
    }

    /// How a token was settled, if it was.
    pub fn settled(&mut self, wanted: Token) -> Option<Result<Outcome, Failure>> {
        self.run();
        let mut results = self.events.iter().filter_map(|event| match event {
            Event::Settled { token, result } if *token == wanted => Some(result.clone()),
            _ => None,
        });
        let result = results.next();
        assert!(results.next().is_none(), "settled twice");
        result
    }

    /// The last connection's grant.
    pub fn connected(&self) -> Connected {
        let connected = self.events.iter().rev().find_map(|event| match event {
            Event::Connected(connected) => Some((**connected).clone()),
            _ => None,
        });
        connected.expect("connected")
    }

    /// Why the last connection ended, and the delay until the next attempt.
    pub fn disconnected(&self) -> (DisconnectReason, Option<Duration>) {
        let disconnected = self.events.iter().rev().find_map(|event| match event {
            Event::Disconnected { reason, retry_in, .. } => Some((reason.clone(), *retry_in)),
            _ => None,
        });
        disconnected.expect("disconnected")
    }

    /// The client has refused what the server did: DISCONNECT with this code in 5.0, a bare close before.
    pub fn assert_refused(&mut self, reason: ReasonCode, statement: &str) {
        let mut packets = self.sent();
        packets.retain(|packet| matches!(packet, Packet::Disconnect(_)));
        match self.disconnected().0 {
            DisconnectReason::Protocol(error) => assert_eq!((error.reason, error.statement), (reason, statement)),
            other => panic!("{other:?}"),
        }
        assert!(self.closed);
        if self.version.is_v5() {
            assert_eq!(packets.last(), Some(&Packet::Disconnect(reason.into())));
        } else {
            assert!(packets.is_empty(), "{packets:?}");
        }
    }
}

pub fn id(id: &str) -> mqtt_session::proto::ClientId {
    id.parse().unwrap()
}

pub fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

pub fn filter(name: &str) -> TopicFilter {
    name.parse().unwrap()
}

pub fn pid(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub fn message(name: &str, payload: &str, qos: QoS) -> Message {
    Message::new(topic(name), payload.to_owned(), qos)
}

pub fn granted(qos: QoS) -> ReasonCode {
    ReasonCode::new(qos as u8).unwrap()
}

pub fn ack(id: PacketId) -> Ack {
    ack_with(id, ReasonCode::Success)
}

pub fn ack_with(id: PacketId, reason: ReasonCode) -> Ack {
    Ack { id, reason, properties: Properties::new() }
}

/// A PUBLISH of the server.
pub fn incoming(name: &str, payload: &str, delivery: Delivery) -> Publish {
    Publish {
        delivery,
        retain: false,
        topic: Some(topic(name)),
        payload: payload.to_owned().into(),
        properties: Properties::new(),
    }
}

pub fn qos1(number: u16) -> Delivery {
    Delivery::AtLeastOnce { id: pid(number), dup: false }
}

pub fn qos2(number: u16) -> Delivery {
    Delivery::ExactlyOnce { id: pid(number), dup: false }
}

pub fn as_publish(packet: Packet) -> Publish {
    match packet {
        Packet::Publish(publish) => publish,
        other => panic!("{other:?} instead of PUBLISH"),
    }
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
