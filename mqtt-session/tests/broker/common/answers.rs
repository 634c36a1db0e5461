//! What the outside of a broker answers: authentication, authorization, the store; and the ends of clients.
use super::*;

impl Bench {
    /// The authentication step that is open.
    pub fn authenticate(&mut self) -> Authenticate {
        match self.requests.pop_front() {
            Some(Request::Authenticate(authenticate)) => authenticate,
            other => panic!("expected an authentication, got {other:?}"),
        }
    }

    /// Answers an authentication step.
    pub fn answer(&mut self, id: RequestId, outcome: AuthOutcome) {
        self.broker.handle_completion(self.now, Completion::Authenticated { id, outcome });
        self.run();
    }

    /// Accepts the client whose authentication is open.
    pub fn accept(&mut self, identity: Option<&str>, grant: Grant) {
        let id = self.authenticate().id;
        let identity = identity.map(String::from);
        self.answer(id, AuthOutcome::Accept { identity, grant: Arc::new(grant), data: None });
    }

    /// Connects a client that authentication accepts.
    pub fn connect_as(&mut self, connect: Connect, identity: Option<&str>, grant: Grant) -> (Client, ConnAck) {
        let client = self.open(connect);
        self.accept(identity, grant);
        let mut first = self.recv(client);
        if first.is_none() {
            self.stored();
            first = self.recv(client);
        }
        match first {
            Some(Packet::ConnAck(connack)) => (client, connack),
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// Refuses the client whose authentication is open.
    pub fn refuse(&mut self, reason: ReasonCode, reason_string: Option<&str>) {
        let id = self.authenticate().id;
        self.answer(id, AuthOutcome::Refuse { reason, reason_string: reason_string.map(String::from) });
    }

    /// Answers the authorization that is open, and says what it was about.
    pub fn authorize(&mut self, decision: Decision, cache_for: Duration) -> Action {
        match self.requests.pop_front() {
            Some(Request::Authorize { id, action, .. }) => {
                self.broker.handle_completion(self.now, Completion::Authorized { id, decision, cache_for });
                self.run();
                action
            }
            other => panic!("expected an authorization, got {other:?}"),
        }
    }

    /// The broker stops, whatever it was doing; another begins with what the store has kept, on a clock of its own.
    pub fn crash(&mut self, config: Arc<Config>) {
        let wall = self.wall();
        (self.started, self.now) = (Instant::from_secs(5), Instant::from_secs(5));
        self.started_wall = wall;
        self.links.clear();
        self.requests.clear();
        self.loads.clear();
        self.batches.clear();
        self.promised = 0;
        self.broker = Broker::restore(config, [43; 32], self.now, wall, self.disk.contents());
        self.run();
    }

    /// The wall-clock time.
    pub fn wall(&self) -> UnixTime {
        self.started_wall + (self.now - self.started)
    }

    /// This batch is not kept.
    pub fn store_failed(&mut self, seq: StoreSeq) {
        self.broker.handle_completion(self.now, Completion::StoreFailed { seq });
        self.run();
    }

    /// The refusal of a CONNECT: the only packet, and the connection is closed behind it.
    pub fn refusal(&mut self, client: Client) -> Option<ConnAck> {
        assert!(self.is_closed(client), "[MQTT-3.2.2-7]: the connection is open");
        let packets = self.recv_all(client);
        assert!(packets.len() <= 1, "[MQTT-3.2.0-2]: {packets:?}");
        packets.into_iter().next().map(|packet| match packet {
            Packet::ConnAck(connack) => {
                assert!(connack.reason.is_error() && !connack.session_present, "[MQTT-3.2.2-6]: {connack:?}");
                connack
            }
            other => panic!("expected CONNACK, got {other:?}"),
        })
    }

    /// The client says good-bye.
    pub fn disconnect(&mut self, client: Client, reason: ReasonCode) {
        self.send(client, Disconnect::from(reason));
        assert!(self.is_closed(client));
    }

    /// Acknowledges the PUBLISH that was received, and takes the packets of QoS 2.
    pub fn acknowledge(&mut self, client: Client, publish: &Publish) {
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { id, .. } => self.send(client, Packet::PubAck(ack(id.get()))),
            Delivery::ExactlyOnce { id, .. } => {
                self.send(client, Packet::PubRec(ack(id.get())));
                assert_eq!(self.recv(client), Some(Packet::PubRel(ack(id.get()))));
                self.send(client, Packet::PubComp(ack(id.get())));
            }
        }
    }

    /// The payloads of all PUBLISH packets that were received; nothing else may have been.
    pub fn recv_texts(&mut self, client: Client) -> Vec<String> {
        let publishes = self.recv_all(client).into_iter().map(|packet| match packet {
            Packet::Publish(publish) => text(&publish).to_owned(),
            other => panic!("expected PUBLISH, got {other:?}"),
        });
        publishes.collect()
    }
}

/// A QoS 0 Will without properties.
pub fn will(topic: &str, payload: &str) -> Will {
    Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::try_from(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Properties::new(),
    }
}

/// The same CONNECT with further properties.
pub fn with<'a>(connect: Connect, more: impl IntoIterator<Item = Property<'a>>) -> Connect {
    let all = connect.properties.iter().fold(Properties::builder(), PropertiesBuilder::with);
    let properties = more.into_iter().fold(all, PropertiesBuilder::with).build();
    Connect { properties, ..connect }
}

/// The bytes of a packet.
pub fn encode(packet: impl Into<Packet>, version: Version) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.into().encode(version, &mut bytes).expect("a packet that can be encoded");
    bytes
}

/// All versions.
pub const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
