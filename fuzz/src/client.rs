//! The client machine against a server that answers rightly, wrongly or not at all (MQTT 5.0 section 4).
//!
//! What must hold: calls come to an end; whatever the client sends is a packet that a server may get; it keeps within what
//! CONNACK granted; no Packet Identifier is used twice at once; each token is settled once; the same input gives the same
//! output.
use crate::script::{a_qos, an_id, delivery, pick, run_twice};
use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use mqtt_session::Instant;
use mqtt_session::client::{
    AckToken, AliasPolicy, Client, ClientConfig, Event, Message, Output, QueueConfig, SubscribeOptions, Token,
};
use mqtt_session::proto::{
    Ack, Auth, ConnAck, Decoder, Disconnect, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, SubAck,
    UnsubAck, Version,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

const TOPICS: [&str; 3] = ["a", "a/b", "c"];
const FILTERS: [&str; 5] = ["a", "a/+", "#", "$share/g/a", "c"];

#[derive(Arbitrary, Debug)]
enum Step {
    // What the user does.
    Connect,
    Publish { topic: u8, qos: u8, retain: bool, size: u16, expiry: u8 },
    Subscribe { filters: [u8; 2], qos: u8, identifier: u8 },
    Unsubscribe { filter: u8 },
    Acknowledge { refuse: bool },
    Read { on: bool },
    Disconnect,
    Reconnect,
    Authenticate { again: bool },
    // What the network does.
    Up,
    Down,
    Window { bytes: u8 },
    Wait { millis: u32 },
    // What the server does.
    Accept { present: bool, receive_maximum: u8, aliases: u8, qos: u8, retain: bool, size: u8, keep_alive: u8 },
    Refuse { reason: u8 },
    Answer { refuse: bool },
    Deliver { topic: u8, qos: u8, id: u8, dup: bool, alias: u8 },
    Release { id: u8 },
    Stray { kind: u8, id: u8, reason: u8 },
    Bytes { bytes: [u8; 4] },
}

/// Runs the steps that the bytes describe, twice.
///
/// # Panics
/// Where a promise is broken.
pub fn client(data: &[u8]) {
    run_twice(data, run);
}

/// Everything that was sent and said.
fn run(data: &[u8]) -> String {
    let mut steps = Unstructured::new(data);
    let Some(mut world) = World::new(&mut steps) else { return String::new() };
    while !steps.is_empty() {
        let Ok(step) = steps.arbitrary() else { break };
        world.step(step);
        world.settle();
    }
    world.said
}

struct World {
    client: Client,
    version: Version,
    now: Instant,
    network: Network,
    reads: bool,
    window: usize,
    acks: VecDeque<AckToken>,
    settled: BTreeSet<Token>,
    said: String,
}

enum Network {
    Idle,
    Opening,
    Open(Server),
}

/// The server's end of a connection.
struct Server {
    decoder: Decoder,
    received: BytesMut,
    /// What the client has not taken yet.
    unread: BytesMut,
    /// What waits for an answer, oldest first.
    due: VecDeque<Due>,
    /// Identifiers in use by the client, and whether a message has them.
    used: BTreeMap<PacketId, bool>,
    granted: Option<Granted>,
    aliases: BTreeSet<u16>,
    /// Whether it said what no server says; its account of identifiers is then worth nothing.
    mad: bool,
}

enum Due {
    PubAck(PacketId),
    PubRec(PacketId),
    PubComp(PacketId),
    SubAck(PacketId, usize),
    UnsubAck(PacketId, usize),
    Pong,
}

/// What CONNACK said.
struct Granted {
    receive_maximum: usize,
    aliases: u16,
    qos: QoS,
    retain: bool,
    size: usize,
}

impl World {
    fn new(u: &mut Unstructured<'_>) -> Option<Self> {
        let version = *u.choose(&[Version::V3_1, Version::V3_1_1, Version::V5, Version::V5]).ok()?;
        let flags: u8 = u.arbitrary().ok()?;
        let config = ClientConfig {
            version,
            clean_start: flags & 1 != 0,
            session_expiry: if flags & 2 != 0 && version.is_v5() { 60 } else { 0 },
            client_id: "c".try_into().expect("valid"),
            manual_acks: flags & 4 != 0,
            topic_alias: if flags & 8 != 0 { AliasPolicy::Lru } else { AliasPolicy::FirstCome },
            auth_method: (flags & 16 != 0 && version.is_v5()).then(|| "m".into()),
            max_incoming: 4,
            max_transmit_bytes: 2 << 10,
            maximum_packet_size: 4 << 10,
            queue: QueueConfig { max_messages: 8, ..QueueConfig::default() },
            ..ClientConfig::default()
        };
        let now = Instant::from_secs(1);
        Some(Self {
            client: Client::new(config, [7; 32], now).ok()?,
            version,
            now,
            network: Network::Idle,
            reads: true,
            window: usize::MAX,
            acks: VecDeque::new(),
            settled: BTreeSet::new(),
            said: String::new(),
        })
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Connect => self.client.connect(now),
            Step::Publish { topic, qos, retain, size, expiry } => {
                let mut message = Message::new(pick(&TOPICS, topic), vec![b'x'; usize::from(size % 2000)], a_qos(qos));
                message.retain = retain;
                if expiry > 0 && self.version.is_v5() {
                    message.properties =
                        Properties::builder().with(Property::MessageExpiryInterval(expiry.into())).build();
                }
                let _ = self.client.publish(now, message);
            }
            Step::Subscribe { filters, qos, identifier } => {
                let filters = filters.map(|filter| (pick(&FILTERS, filter), a_qos(qos).into())).to_vec();
                let identifier = (identifier > 0 && self.version.is_v5()).then_some(identifier.into());
                let _ = self.client.subscribe(now, filters, SubscribeOptions { identifier, ..Default::default() });
            }
            Step::Unsubscribe { filter } => drop(self.client.unsubscribe(now, vec![pick(&FILTERS, filter)])),
            Step::Acknowledge { refuse } => {
                if let Some(token) = self.acks.pop_front() {
                    let reason = if refuse { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
                    self.client.acknowledge(now, token, reason);
                }
            }
            Step::Read { on } => self.reads = on,
            Step::Disconnect => drop(self.client.disconnect(now, &ReasonCode::Success.into())),
            Step::Reconnect => self.client.reconnect(now),
            Step::Authenticate { again: false } => drop(self.client.authenticate(now, Some("d".into()))),
            Step::Authenticate { again: true } => drop(self.client.reauthenticate(now, Some("d".into()))),
            Step::Up => {
                if let Network::Opening = self.network {
                    self.network = Network::Open(Server::new());
                    self.client.handle_connected(now);
                }
            }
            Step::Down => {
                if !matches!(std::mem::replace(&mut self.network, Network::Idle), Network::Idle) {
                    self.client.handle_disconnected(now);
                }
            }
            Step::Window { bytes } => self.window = usize::from(bytes) * 16,
            Step::Wait { millis } => self.wait(millis % 100_000),
            Step::Accept { .. } | Step::Refuse { .. } | Step::Answer { .. } => self.serve(&step),
            Step::Deliver { topic, qos, id, dup, alias } => {
                let mut properties = Properties::builder();
                if alias % 4 > 0 && self.version.is_v5() {
                    properties = properties.with(Property::TopicAlias(u16::from(alias % 4)));
                }
                let delivery = delivery(qos, id, dup);
                let topic = (topic > 0).then(|| pick(&TOPICS, topic));
                let payload = "x".into();
                self.send(&Publish { delivery, retain: dup, topic, payload, properties: properties.build() }.into());
            }
            Step::Release { id } => self.send(&Packet::PubRel(an_id(id).into())),
            Step::Stray { kind, id, reason } => {
                self.go_mad();
                self.send(&stray(kind, id, reason));
            }
            Step::Bytes { bytes } => {
                self.go_mad();
                self.receive(&bytes);
            }
        }
    }

    /// The server's part of a handshake, or the answer to the oldest packet that waits for one.
    fn serve(&mut self, step: &Step) {
        let Network::Open(server) = &mut self.network else { return };
        let packet = match *step {
            Step::Accept { present, receive_maximum, aliases, qos, retain, size, keep_alive } => {
                if server.granted.is_some() {
                    return;
                }
                let mut properties = Properties::builder();
                let mut granted = Granted {
                    receive_maximum: 65_535,
                    aliases: 0,
                    qos: QoS::ExactlyOnce,
                    retain: true,
                    size: usize::MAX,
                };
                if self.version.is_v5() {
                    granted = Granted {
                        receive_maximum: usize::from(receive_maximum.max(1)),
                        aliases: u16::from(aliases % 4),
                        qos: a_qos(qos),
                        retain,
                        size: 64 + usize::from(size) * 8,
                    };
                    properties = properties
                        .with(Property::ReceiveMaximum(granted.receive_maximum as u16))
                        .with(Property::TopicAliasMaximum(granted.aliases))
                        .with(Property::RetainAvailable(retain))
                        .with(Property::MaximumPacketSize(granted.size as u32))
                        .with(Property::ServerKeepAlive(keep_alive.into()));
                    if granted.qos != QoS::ExactlyOnce {
                        properties = properties.with(Property::MaximumQoS(granted.qos == QoS::AtLeastOnce));
                    }
                    if self.client.config().auth_method.is_some() {
                        properties = properties.with(Property::AuthenticationMethod("m"));
                    }
                }
                server.granted = Some(granted);
                let session_present = present && self.version != Version::V3_1;
                ConnAck { session_present, reason: ReasonCode::Success, properties: properties.build() }.into()
            }
            Step::Refuse { reason } => {
                let reason = ReasonCode::ALL[usize::from(reason) % ReasonCode::ALL.len()];
                if !reason.is_error() {
                    return;
                }
                ConnAck { session_present: false, reason, properties: Properties::new() }.into()
            }
            Step::Answer { refuse } => {
                let Some(due) = server.due.pop_front() else { return };
                server.answer(&due, refuse && self.version.is_v5())
            }
            _ => return,
        };
        self.send(&packet);
    }

    fn go_mad(&mut self) {
        if let Network::Open(server) = &mut self.network {
            server.mad = true;
        }
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        if packet.encode(self.version, &mut bytes).is_ok() {
            self.receive(&bytes);
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Network::Open(server) = &mut self.network {
            server.unread.extend_from_slice(bytes);
            self.client.handle_input(self.now, &mut server.unread);
        }
    }

    fn wait(&mut self, millis: u32) {
        let until = self.now + Duration::from_millis(millis.into());
        let mut calls = 0;
        while let Some(due) = self.client.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            self.settle();
            calls += 1;
            assert!(calls < 10_000, "deadlines do not end");
        }
        self.now = until;
    }

    /// Carries out what the client wants until it wants nothing.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "outputs do not end");
            self.write();
            if self.reads
                && let Some(message) = self.client.poll_message(self.now)
            {
                self.say(&format_args!("{message:?}"));
                self.acks.extend(message.ack);
                continue;
            }
            match self.client.poll_output() {
                None => break,
                Some(Output::Connect { .. }) => self.network = Network::Opening,
                Some(Output::Writable) => self.write(),
                Some(Output::Readable) => self.receive(&[]),
                Some(Output::Close) => {
                    self.write();
                    self.network = Network::Idle;
                }
                Some(Output::Event(event)) => {
                    if let Event::Settled { token, .. } = &event {
                        assert!(self.settled.insert(*token), "settled twice: {event:?}");
                    }
                    self.say(&format_args!("{event:?}"));
                }
                Some(other) => panic!("unknown output {other:?}"),
            }
        }
    }

    fn say(&mut self, what: &std::fmt::Arguments<'_>) {
        writeln!(self.said, "{what}").expect("writing to a string does not fail");
    }

    /// Takes what the socket has room for.
    fn write(&mut self) {
        let Network::Open(server) = &mut self.network else { return };
        let mut taken = 0;
        for chunk in self.client.transmit().chunks() {
            let part = &chunk[..chunk.len().min(self.window - taken)];
            server.received.extend_from_slice(part);
            taken += part.len();
        }
        if taken > 0 {
            self.client.transmitted(self.now, taken);
        }
        while let Some(packet) =
            server.decoder.decode(&mut server.received).expect("the client sends well-formed packets")
        {
            server.judge(&packet, self.version);
            writeln!(self.said, "{packet:?}").expect("writing to a string does not fail");
        }
    }
}

impl Server {
    fn new() -> Self {
        Self {
            decoder: Decoder::server(u32::MAX),
            received: BytesMut::new(),
            unread: BytesMut::new(),
            due: VecDeque::new(),
            used: BTreeMap::new(),
            granted: None,
            aliases: BTreeSet::new(),
            mad: false,
        }
    }

    /// Keeps the server's account of what the client has sent.
    fn judge(&mut self, packet: &Packet, version: Version) {
        if let Some(granted) = &self.granted {
            // [MQTT-3.2.2-15]
            assert!(packet.encoded_len(version).is_ok_and(|length| length <= granted.size), "too large: {packet:?}");
        }
        match packet {
            Packet::Publish(publish) => self.judge_publish(publish),
            Packet::Subscribe(subscribe) => {
                self.take(subscribe.id, false);
                self.due.push_back(Due::SubAck(subscribe.id, subscribe.filters.len()));
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.take(unsubscribe.id, false);
                self.due.push_back(Due::UnsubAck(unsubscribe.id, unsubscribe.filters.len()));
            }
            Packet::PubRel(ack) => {
                self.used.insert(ack.id, true);
                self.due.push_back(Due::PubComp(ack.id));
            }
            Packet::PingReq => self.due.push_back(Due::Pong),
            _ => {}
        }
    }

    fn judge_publish(&mut self, publish: &Publish) {
        let Some(granted) = &self.granted else {
            assert!(self.mad, "a PUBLISH before CONNACK");
            return;
        };
        // [MQTT-3.2.2-11], [MQTT-3.2.2-14]
        assert!(publish.delivery.qos() <= granted.qos && (granted.retain || !publish.retain), "{publish:?}");
        if let Some(alias) = publish.properties.topic_alias() {
            // [MQTT-3.2.2-17], [MQTT-3.2.2-18]
            assert!(alias <= granted.aliases, "alias {alias} of {}", granted.aliases);
            assert!(publish.topic.is_some() || self.aliases.contains(&alias), "an unknown alias");
            self.aliases.insert(alias);
        }
        let receive_maximum = granted.receive_maximum;
        if let Some(id) = publish.delivery.id() {
            self.take(id, true);
            let exactly = publish.delivery.qos() == QoS::ExactlyOnce;
            self.due.push_back(if exactly { Due::PubRec(id) } else { Due::PubAck(id) });
            // [MQTT-3.3.4-7]
            let inflight = self.used.values().filter(|is_message| **is_message).count();
            assert!(self.mad || inflight <= receive_maximum, "{inflight} of {receive_maximum} in flight");
        }
    }

    /// [MQTT-2.2.1-3]
    fn take(&mut self, id: PacketId, is_message: bool) {
        assert!(self.used.insert(id, is_message).is_none() || self.mad, "{id:?} is in use");
    }

    fn answer(&mut self, due: &Due, refuse: bool) -> Packet {
        let reason = if refuse { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
        let properties = Properties::new();
        match *due {
            Due::PubAck(id) => {
                self.used.remove(&id);
                Packet::PubAck(Ack { reason, ..id.into() })
            }
            Due::PubRec(id) => {
                if refuse {
                    self.used.remove(&id);
                }
                Packet::PubRec(Ack { reason, ..id.into() })
            }
            Due::PubComp(id) => {
                self.used.remove(&id);
                Packet::PubComp(id.into())
            }
            Due::SubAck(id, count) => {
                self.used.remove(&id);
                SubAck { id, reasons: vec![reason; count], properties }.into()
            }
            Due::UnsubAck(id, count) => {
                self.used.remove(&id);
                UnsubAck { id, reasons: vec![ReasonCode::Success; count], properties }.into()
            }
            Due::Pong => Packet::PingResp,
        }
    }
}

/// Something that nobody asked for.
fn stray(kind: u8, id: u8, reason: u8) -> Packet {
    let reason = ReasonCode::ALL[usize::from(reason) % ReasonCode::ALL.len()];
    let (id, properties) = (an_id(id), Properties::new());
    let ack = Ack { id, reason, properties: Properties::new() };
    match kind % 9 {
        0 => Packet::PubAck(ack),
        1 => Packet::PubRec(ack),
        2 => Packet::PubRel(ack),
        3 => Packet::PubComp(ack),
        4 => SubAck { id, reasons: vec![reason], properties }.into(),
        5 => UnsubAck { id, reasons: vec![reason], properties }.into(),
        6 => Packet::PingResp,
        7 => Disconnect { reason, properties }.into(),
        _ => {
            Auth { reason, properties: Properties::builder().with(Property::AuthenticationMethod("m")).build() }.into()
        }
    }
}
