//! Any calls in any order, any packets, any bytes: the machine never panics, keeps its bounds, and settles what it promised.

use crate::support::*;
use bytes::BytesMut;
use mqtt_session::Instant;
use mqtt_session::client::{
    AckToken, Client, ClientConfig, Event, Output, QueueConfig, QueuePolicy, SubscribeOptions, Token,
};
use mqtt_session::proto::{
    Auth, ConnAck, Delivery, Disconnect, Packet, Properties, Property, Publish, QoS, ReasonCode, SubAck, UnsubAck,
    Version,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const MAX_TRANSMIT: usize = 500;
const MAX_QUEUE: usize = 5;

#[derive(Clone, Debug)]
enum Call {
    Connect,
    Connected,
    Disconnected,
    Disconnect(ReasonCode),
    Reconnect,
    Publish(QoS, usize),
    Subscribe(u8),
    Unsubscribe(u8),
    Authenticate,
    ReAuthenticate,
    Acknowledge(usize, ReasonCode),
    Packet(Packet),
    Bytes(Vec<u8>),
    Time(u64),
    Take,
    Write(usize),
    Restore,
}

fn reason() -> impl Strategy<Value = ReasonCode> {
    prop_oneof![3 => Just(ReasonCode::Success), 1 => prop::sample::select(ReasonCode::ALL)]
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0..3u8).prop_map(|level| QoS::new(level).unwrap())
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (any_qos(), 1..6u16, any::<bool>()).prop_map(|(qos, id, dup)| match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: pid(id), dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: pid(id), dup },
    })
}

fn server_properties() -> impl Strategy<Value = Properties> {
    let property = prop_oneof![
        (1..3u16).prop_map(Property::ReceiveMaximum),
        (20..200u32).prop_map(Property::MaximumPacketSize),
        (0..3u16).prop_map(Property::TopicAliasMaximum),
        any::<bool>().prop_map(Property::MaximumQoS),
        any::<bool>().prop_map(Property::RetainAvailable),
        any::<bool>().prop_map(Property::WildcardSubscriptionAvailable),
        (0..20u16).prop_map(Property::ServerKeepAlive),
        Just(Property::AssignedClientIdentifier("given")),
        Just(Property::AuthenticationMethod("M")),
    ];
    prop::collection::vec(property, 0..3).prop_map(|list| {
        let mut all = Properties::builder();
        for property in list {
            let _ = all.push(property); // twice the same is refused
        }
        all.build()
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let ack_kind =
        prop::sample::select(vec![Packet::PubAck as fn(_) -> _, Packet::PubRec, Packet::PubRel, Packet::PubComp]);
    let publish = (delivery(), 0..40usize, prop::option::of(0..3u16), any::<bool>()).prop_map(
        |(delivery, length, alias, has_topic)| {
            let properties =
                alias.map(Property::TopicAlias).into_iter().filter(|p| *p != Property::TopicAlias(0)).collect();
            let topic = (has_topic || alias.is_none_or(|alias| alias == 0)).then(|| topic("in"));
            Packet::Publish(Publish { topic, properties, ..incoming("in", &"x".repeat(length), delivery) })
        },
    );
    let reasons =
        || prop::collection::vec(prop::sample::select(vec![ReasonCode::Success, ReasonCode::NotAuthorized]), 1..3);
    prop_oneof![
        4 => (any::<bool>(), reason(), server_properties()).prop_map(|(session_present, reason, properties)| {
            Packet::ConnAck(ConnAck { session_present, reason, properties })
        }),
        8 => publish,
        8 => (ack_kind, 1..8u16, reason()).prop_map(|(kind, id, reason)| kind(ack_with(pid(id), reason))),
        3 => (1..8u16, reasons()).prop_map(|(id, reasons)| {
            Packet::SubAck(SubAck { id: pid(id), reasons, properties: Properties::new() })
        }),
        3 => (1..8u16, reasons()).prop_map(|(id, reasons)| {
            Packet::UnsubAck(UnsubAck { id: pid(id), reasons, properties: Properties::new() })
        }),
        1 => Just(Packet::PingResp),
        1 => Just(Packet::PingReq),
        1 => reason().prop_map(|reason| Packet::Disconnect(Disconnect::from(reason))),
        1 => reason().prop_map(|reason| {
            let properties = Properties::builder().with(Property::AuthenticationMethod("M")).build();
            Packet::Auth(Auth { reason, properties })
        }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => Just(Call::Connect),
        6 => Just(Call::Connected),
        2 => Just(Call::Disconnected),
        1 => reason().prop_map(Call::Disconnect),
        1 => Just(Call::Reconnect),
        8 => (any_qos(), 0..60usize).prop_map(|(qos, length)| Call::Publish(qos, length)),
        3 => (0..4u8).prop_map(Call::Subscribe),
        3 => (0..4u8).prop_map(Call::Unsubscribe),
        1 => Just(Call::Authenticate),
        1 => Just(Call::ReAuthenticate),
        3 => (0..8usize, reason()).prop_map(|(at, reason)| Call::Acknowledge(at, reason)),
        24 => packet().prop_map(Call::Packet),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Call::Bytes),
        3 => (0..40u64).prop_map(Call::Time),
        4 => Just(Call::Take),
        8 => (0..200usize).prop_map(Call::Write),
        1 => Just(Call::Restore),
    ]
}

fn config() -> impl Strategy<Value = ClientConfig> {
    let version = prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1), Just(Version::V5)];
    let policy = prop_oneof![Just(QueuePolicy::Refuse), Just(QueuePolicy::DropOldest), Just(QueuePolicy::DropNewest)];
    (version, policy, any::<[bool; 5]>()).prop_map(
        |(version, policy, [clean_start, auth, manual_acks, named, retry])| ClientConfig {
            version,
            client_id: if named { id("c") } else { id("") },
            clean_start,
            session_expiry: if version.is_v5() && !clean_start { 60 } else { 0 },
            auth_method: (version.is_v5() && auth).then(|| "M".into()),
            manual_acks,
            queue: QueueConfig { max_messages: MAX_QUEUE, policy, ..QueueConfig::default() },
            max_transmit_bytes: MAX_TRANSMIT,
            max_incoming: 3,
            receive_maximum: 4,
            topic_alias_maximum: 2,
            servers: 2,
            retry_refused: retry,
            ..ClientConfig::default()
        },
    )
}

struct World {
    client: Client,
    now: Instant,
    input: BytesMut,
    promised: BTreeSet<Token>,
    tokens: Vec<AckToken>,
}

impl World {
    fn run(&mut self, call: Call) {
        let (client, now) = (&mut self.client, self.now);
        match call {
            Call::Connect => client.connect(now),
            Call::Connected => client.handle_connected(now),
            Call::Disconnected => client.handle_disconnected(now),
            Call::Disconnect(reason) => drop(client.disconnect(now, &reason.into())),
            Call::Reconnect => client.reconnect(now),
            Call::Publish(qos, length) => {
                self.promised.extend(client.publish(now, message("long/topic", &"x".repeat(length), qos)));
            }
            Call::Subscribe(n) => {
                let filters =
                    vec![(filter(&format!("f/{n}/#")), QoS::AtLeastOnce.into()), (filter("g"), QoS::AtMostOnce.into())];
                self.promised.extend(client.subscribe(now, filters, SubscribeOptions::default()));
            }
            Call::Unsubscribe(n) => self.promised.extend(client.unsubscribe(now, vec![filter(&format!("f/{n}/#"))])),
            Call::Authenticate => drop(client.authenticate(now, None)),
            Call::ReAuthenticate => drop(client.reauthenticate(now, None)),
            Call::Acknowledge(at, reason) => {
                if let Some(token) = self.tokens.get(at) {
                    client.acknowledge(now, *token, reason);
                }
            }
            Call::Packet(packet) => {
                // What the version cannot say is not sent.
                let _ = packet.encode(client.config().version, &mut self.input);
                client.handle_input(now, &mut self.input);
            }
            Call::Bytes(bytes) => {
                self.input.extend_from_slice(&bytes);
                client.handle_input(now, &mut self.input);
            }
            Call::Time(seconds) => {
                self.now = now + secs(seconds);
                client.handle_timeout(self.now);
            }
            Call::Take => {
                while let Some(message) = client.poll_message(now) {
                    self.tokens.extend(message.ack);
                }
            }
            Call::Write(bytes) => client.transmitted(now, bytes),
            Call::Restore => self.restore(),
        }
        self.outputs();
        self.check();
    }

    /// A new machine from the old one's session: what was promised for messages is promised still, requests begin anew.
    fn restore(&mut self) {
        self.outputs();
        let state = self.client.export(self.now);
        let kept = |token: &Token| {
            state.inflight.iter().any(|inflight| inflight.token == *token)
                || state.queue.iter().any(|queued| queued.token == *token)
        };
        self.promised.retain(kept);
        let config = self.client.config().clone();
        self.client = Client::restore(config, state, SEED, self.now).unwrap();
        self.input.clear();
    }

    fn outputs(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Event(Event::Settled { token, .. }) => {
                    assert!(self.promised.remove(&token), "settled once: {token:?}");
                }
                Output::Close => self.input.clear(),
                _ => {}
            }
        }
    }

    fn check(&self) {
        let (messages, _) = self.client.queued();
        // A lost session puts what was in flight back into the queue, above its limit; nothing more is accepted then.
        assert!(messages <= MAX_QUEUE + 1000);
        // The last packet may go over the limit; acknowledgments are bounded by what was received.
        let limit = MAX_TRANSMIT + 10_000;
        assert!(self.client.transmit().len() < limit);
        if !self.client.is_idle() {
            let deadline = self.client.poll_timeout();
            assert!(deadline.is_some() || self.client.is_connected(), "an attempt always has a deadline");
        }
    }
}

proptest! {
    #[test]
    fn any_calls_in_any_order_are_safe(config in config(), calls in prop::collection::vec(call(), 1..100)) {
        let client = Client::new(config, SEED, Instant::ZERO).unwrap();
        let mut world = World { client, now: Instant::ZERO, input: BytesMut::new(), promised: BTreeSet::new(), tokens: Vec::new() };
        for call in calls {
            world.run(call);
        }
    }

    /// The split of the bytes over calls makes no difference.
    #[test]
    fn whole_and_bytewise_input_are_the_same(packets in prop::collection::vec(packet(), 1..12)) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            let _ = packet.encode(Version::V5, &mut bytes);
        }
        let run = |step: usize| {
            let mut net = Net::online(Version::V5);
            net.publish("t", "x", QoS::AtLeastOnce);
            net.publish("t", "x", QoS::ExactlyOnce);
            for part in bytes.chunks(step) {
                net.send_bytes(part);
            }
            let sent = net.sent();
            // When the Server has said DISCONNECT, what was not written yet is not written any more.
            let sent = net.client.is_connected().then_some(sent);
            (format!("{:?}", net.events), net.messages(), net.client.stats(), sent)
        };
        prop_assert_eq!(run(1), run(usize::MAX));
    }
}
