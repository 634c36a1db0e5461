//! Random histories of a broker.
use bytes::Bytes;
use mqtt_proto::{ClientId, PacketId, Properties, Property, QoS, SubscriptionOptions, TopicFilter, TopicName, Will};
use mqtt_session::broker::{Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq};
use mqtt_session::{Instant, UnixTime};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Numbers of filters.
pub(crate) const FILTERS: u8 = 4;

pub(crate) fn client(number: u8) -> ClientId {
    ClientId::try_from(format!("client {number}")).unwrap()
}

pub(crate) fn filter(number: u8) -> TopicFilter {
    let names = ["a/#", "a/+", "$share/g/a", "ü/€"];
    TopicFilter::try_from(names[usize::from(number) % names.len()]).unwrap()
}

pub(crate) fn message() -> impl Strategy<Value = Arc<Message>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    (0_u8..3, payload, 0_u8..3, any::<bool>(), prop::option::of(1_u64..1_000_000), any::<bool>(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain, expires, properties, publisher)| {
            let properties = if properties {
                Properties::builder()
                    .with(Property::ContentType("text/plain"))
                    .with(Property::UserProperty("k", "v"))
                    .with(Property::UserProperty("k", "w"))
                    .build()
            } else {
                Properties::new()
            };
            Arc::new(Message {
                topic: TopicName::try_from(["a", "a/b", "ü/€"][usize::from(topic)]).unwrap(),
                payload: Bytes::from(payload),
                qos: QoS::new(qos).unwrap(),
                retain,
                properties,
                expires_at: expires.map(Instant::from_millis),
                publisher: publisher.then(|| Arc::from("client 1")),
            })
        })
}

pub(crate) fn session() -> impl Strategy<Value = (u8, SessionRecord)> {
    (0_u8..3, any::<u32>(), prop::option::of(any::<u64>()), any::<bool>(), any::<bool>()).prop_map(
        |(number, expiry, at, identity, will)| {
            (
                number,
                SessionRecord {
                    client_id: client(number),
                    identity: identity.then(|| "Ann".to_owned()),
                    expiry,
                    disconnected_at: at.map(UnixTime::from_millis),
                    will: will.then(|| {
                        Arc::new(Will {
                            qos: QoS::ExactlyOnce,
                            retain: true,
                            topic: TopicName::from_static("gone"),
                            payload: Bytes::from_static(b"\0\xff"),
                            properties: Properties::builder().with(Property::WillDelayInterval(7)).build(),
                        })
                    }),
                },
            )
        },
    )
}

/// One step of a broker: the operations that belong together. Message numbers and positions come from the step's place.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Op(StoreOp),
    Session(u8, SessionRecord),
    SessionEnd(u8),
    Subscribe(u8, u8, SubscriptionOptions, u32),
    Unsubscribe(u8, u8),
    /// A message that goes into these logs.
    Publish(Arc<Message>, Vec<u8>),
    /// A message that is on its way to a client.
    Send(Arc<Message>, u8, u16, bool),
    Retain(Arc<Message>),
    /// Positions are taken from the steps so far.
    Trim(u8, u8),
    Cursor(u8, u8, u8),
    Settled(Option<u8>, u8, u8),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let id = (1_u16..5).prop_map(|id| PacketId::new(id).unwrap()).boxed();
    let subscription = (0_u8..3, 0_u8..4, 0_u8..3, any::<[bool; 2]>(), 0_u32..9).prop_map(
        |(who, what, qos, [no_local, retain_as_published], identifier)| {
            let options = SubscriptionOptions {
                qos: QoS::new(qos).unwrap(),
                no_local,
                retain_as_published,
                ..SubscriptionOptions::default()
            };
            Step::Subscribe(who, what, options, identifier)
        },
    );
    prop_oneof![
        4 => session().prop_map(|(who, record)| Step::Session(who, record)),
        1 => (0_u8..3).prop_map(Step::SessionEnd),
        5 => subscription,
        1 => (0_u8..3, 0_u8..4).prop_map(|(who, what)| Step::Unsubscribe(who, what)),
        8 => (message(), prop::collection::vec(0_u8..4, 1..3)).prop_map(|(message, logs)| Step::Publish(message, logs)),
        4 => (message(), 0_u8..3, 1_u16..5, any::<bool>()).prop_map(|(m, who, id, group)| Step::Send(m, who, id, group)),
        2 => message().prop_map(Step::Retain),
        1 => message().prop_map(|message| Step::Op(StoreOp::RetainedEnd(message.topic.clone()))),
        2 => (0_u8..4, any::<u8>()).prop_map(|(what, at)| Step::Trim(what, at)),
        3 => (0_u8..3, 0_u8..4, any::<u8>()).prop_map(|(who, what, at)| Step::Cursor(who, what, at)),
        3 => (prop::option::of(0_u8..3), 0_u8..4, any::<u8>()).prop_map(|(who, what, at)| Step::Settled(who, what, at)),
        2 => (0_u8..3, id.clone()).prop_map(|(who, id)| Step::Op(StoreOp::Incoming(client(who), id))),
        1 => (0_u8..3, id.clone()).prop_map(|(who, id)| Step::Op(StoreOp::IncomingEnd(client(who), id))),
        1 => (0_u8..3, id.clone()).prop_map(|(who, id)| Step::Op(StoreOp::Released(client(who), id))),
        1 => (0_u8..3, id).prop_map(|(who, id)| Step::Op(StoreOp::OutgoingEnd(client(who), id))),
    ]
}

/// Makes batches of steps, as a broker numbers things; leaves out what no broker does.
#[derive(Default)]
pub(crate) struct Numbers {
    last: u64,
    seq: u64,
    sessions: BTreeSet<u8>,
    subscribers: BTreeMap<u8, BTreeSet<u8>>,
    /// By client and filter.
    cursors: BTreeMap<(u8, u8), u64>,
    /// Entries of logs, and where they start.
    logs: BTreeMap<u8, (u64, BTreeSet<u64>)>,
}

impl Numbers {
    /// A batch of these steps.
    pub(crate) fn batch(&mut self, steps: &[Step]) -> StoreBatch {
        let mut ops = Vec::new();
        for step in steps {
            self.step(step.clone(), &mut ops);
        }
        self.sealed(ops)
    }

    /// A batch of these operations.
    pub(crate) fn sealed(&mut self, ops: Vec<StoreOp>) -> StoreBatch {
        self.seq += 1;
        let wall = UnixTime::from_millis(1_700_000_000_000 + self.seq);
        StoreBatch { seq: StoreSeq(self.seq), now: Instant::from_millis(self.seq), wall, ops }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// One of the entries of a log.
    fn entry(&self, what: u8, when: u8) -> Option<u64> {
        let entries = &self.logs.get(&what)?.1;
        entries.iter().nth(entries.len() * usize::from(when) / 256).copied()
    }

    fn unsubscribe(&mut self, who: u8, what: u8) -> bool {
        let Some(subscribers) = self.subscribers.get_mut(&what) else { return false };
        let was = subscribers.remove(&who);
        if subscribers.is_empty() {
            self.logs.remove(&what);
        }
        self.cursors.remove(&(who, what));
        was
    }

    fn step(&mut self, step: Step, ops: &mut Vec<StoreOp>) {
        let at = |at: u8, last: u64| last * u64::from(at) / 255;
        match step {
            Step::Op(op) => ops.push(op),
            Step::Session(who, record) => {
                self.sessions.insert(who);
                ops.push(StoreOp::Session(record));
            }
            Step::SessionEnd(who) => {
                self.sessions.remove(&who);
                for what in 0..FILTERS {
                    self.unsubscribe(who, what);
                }
                ops.push(StoreOp::SessionEnd(client(who)));
            }
            Step::Subscribe(who, what, options, identifier) => {
                if self.sessions.contains(&who) {
                    self.subscribers.entry(what).or_default().insert(who);
                    self.logs.entry(what).or_default();
                }
                ops.push(StoreOp::Subscription { client_id: client(who), filter: filter(what), options, identifier });
            }
            Step::Unsubscribe(who, what) => {
                self.unsubscribe(who, what);
                ops.push(StoreOp::SubscriptionEnd(client(who), filter(what)));
            }
            Step::Publish(message, logs) => {
                let number = self.next();
                ops.push(StoreOp::Message(MessageId(number), message));
                for what in logs {
                    if let Some((_, entries)) = self.logs.get_mut(&what)
                        && entries.insert(number)
                    {
                        ops.push(StoreOp::Append(filter(what), Position(number), MessageId(number)));
                    }
                }
            }
            Step::Send(message, who, id, group) => {
                let number = self.next();
                ops.push(StoreOp::Message(MessageId(number), message));
                ops.push(StoreOp::Outgoing {
                    client_id: client(who),
                    id: PacketId::new(id).unwrap(),
                    message: MessageId(number),
                    places: group.then(|| (filter(2), Position(number))).into_iter().collect(),
                    retain: group,
                    identifiers: vec![1, 200_000],
                });
            }
            Step::Retain(message) => ops.push(StoreOp::Retained(MessageId(self.next()), message)),
            Step::Trim(what, when) => {
                let start = at(when, self.last);
                if let Some((begin, entries)) = self.logs.get_mut(&what) {
                    *begin = start.max(*begin);
                    *entries = entries.split_off(&start);
                }
                ops.push(StoreOp::Trim(filter(what), Position(start)));
            }
            Step::Cursor(who, what, when) => {
                let at = at(when, self.last);
                if self.subscribers.get(&what).is_some_and(|subscribers| subscribers.contains(&who)) {
                    self.cursors.insert((who, what), at);
                    ops.push(StoreOp::Cursor(client(who), filter(what), Position(at)));
                }
            }
            Step::Settled(who, what, when) => {
                let Some(at) = self.entry(what, when) else { return };
                let ahead = who.is_none_or(|who| self.cursors.get(&(who, what)).is_some_and(|cursor| at >= *cursor));
                if ahead {
                    ops.push(StoreOp::Settled(who.map(client), filter(what), Position(at)));
                }
            }
        }
    }
}
