//! The contract of a store: what any store has to do, whatever it keeps things in. A store passes it by implementing
//! [`Harness`].
use bytes::Bytes;
use mqtt_proto::{ClientId, PacketId, Properties, Property, QoS, SubscriptionOptions, TopicFilter, TopicName, Will};
use mqtt_session::broker::{
    Completion, MemoryStore, Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq,
};
use mqtt_session::{Instant, UnixTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

/// A store under test, with a place of its own.
pub trait Harness: Sized {
    /// An empty store that runs.
    fn create() -> Self;
    /// Hands a batch in.
    fn write(&mut self, batch: StoreBatch);
    /// The next answer.
    fn answer(&mut self) -> Completion;
    /// Ends it in good order and opens it again: what it holds.
    fn reopen(&mut self) -> MemoryStore;
    /// A copy of what would be there if the process had been killed at this moment, opened: what it holds.
    fn crashed(&mut self) -> MemoryStore;
}

/// Everything the contract asks for.
pub fn holds<H: Harness>() {
    random_histories::<H>();
    answers_in_order::<H>();
    acknowledged_survives::<H>();
}

fn client(number: u8) -> ClientId {
    ClientId::try_from(format!("client {number}")).unwrap()
}

fn filter(number: u8) -> TopicFilter {
    let names = ["a/#", "a/+", "$share/g/a", "ü/€"];
    TopicFilter::try_from(names[usize::from(number) % names.len()]).unwrap()
}

fn message() -> impl Strategy<Value = Arc<Message>> {
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

fn session() -> impl Strategy<Value = SessionRecord> {
    (0_u8..3, any::<u32>(), prop::option::of(any::<u64>()), any::<bool>(), any::<bool>()).prop_map(
        |(number, expiry, at, identity, will)| SessionRecord {
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
}

/// One step of a broker: the operations that belong together. Message numbers and positions come from the step's place.
#[derive(Clone, Debug)]
enum Step {
    Op(StoreOp),
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

fn step() -> impl Strategy<Value = Step> {
    let id = (1_u16..5).prop_map(|id| PacketId::new(id).unwrap()).boxed();
    let subscription = (0_u8..3, 0_u8..4, 0_u8..3, any::<[bool; 2]>(), 0_u32..9).prop_map(
        |(who, what, qos, [no_local, retain_as_published], identifier)| {
            let options = SubscriptionOptions {
                qos: QoS::new(qos).unwrap(),
                no_local,
                retain_as_published,
                ..SubscriptionOptions::default()
            };
            StoreOp::Subscription { client_id: client(who), filter: filter(what), options, identifier }
        },
    );
    prop_oneof![
        4 => session().prop_map(|record| Step::Op(StoreOp::Session(record))),
        1 => (0_u8..3).prop_map(|who| Step::Op(StoreOp::SessionEnd(client(who)))),
        5 => subscription.prop_map(Step::Op),
        1 => (0_u8..3, 0_u8..4).prop_map(|(who, what)| Step::Op(StoreOp::SubscriptionEnd(client(who), filter(what)))),
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

/// Makes batches of steps, as a broker numbers things.
#[derive(Default)]
struct Numbers {
    last: u64,
    seq: u64,
}

impl Numbers {
    fn batch(&mut self, steps: &[Step]) -> StoreBatch {
        let mut ops = Vec::new();
        for step in steps {
            let at = |at: u8, last: u64| Position(last * u64::from(at) / 255);
            match step.clone() {
                Step::Op(op) => ops.push(op),
                Step::Publish(message, logs) => {
                    self.last += 1;
                    ops.push(StoreOp::Message(MessageId(self.last), message));
                    ops.extend(
                        logs.iter().map(|log| StoreOp::Append(filter(*log), Position(self.last), MessageId(self.last))),
                    );
                }
                Step::Send(message, who, id, group) => {
                    self.last += 1;
                    let message_id = MessageId(self.last);
                    ops.push(StoreOp::Message(message_id, message));
                    ops.push(StoreOp::Outgoing {
                        client_id: client(who),
                        id: PacketId::new(id).unwrap(),
                        message: message_id,
                        places: group.then(|| (filter(2), Position(self.last))).into_iter().collect(),
                        retain: group,
                        identifiers: vec![1, 200_000],
                    });
                }
                Step::Retain(message) => {
                    self.last += 1;
                    ops.push(StoreOp::Retained(MessageId(self.last), message));
                }
                Step::Trim(what, when) => ops.push(StoreOp::Trim(filter(what), at(when, self.last))),
                Step::Cursor(who, what, when) => {
                    ops.push(StoreOp::Cursor(client(who), filter(what), at(when, self.last)));
                }
                Step::Settled(who, what, when) => {
                    ops.push(StoreOp::Settled(who.map(client), filter(what), at(when, self.last)));
                }
            }
        }
        self.seq += 1;
        let wall = UnixTime::from_millis(1_700_000_000_000 + self.seq);
        StoreBatch { seq: StoreSeq(self.seq), now: Instant::from_millis(self.seq), wall, ops }
    }
}

fn until_stored<H: Harness>(store: &mut H, seq: StoreSeq) {
    loop {
        match store.answer() {
            Completion::Stored { upto } if upto == seq => return,
            Completion::Stored { upto } => assert!(upto < seq, "it reports what was not handed in"),
            other => panic!("{other:?}"),
        }
    }
}

/// After any history, and after an end and another beginning in the middle of it, it holds what the model holds.
fn random_histories<H: Harness>() {
    let batches = prop::collection::vec(prop::collection::vec(step(), 1..6), 1..30);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let result = runner.run(&(batches, any::<prop::sample::Index>()), |(batches, cut)| {
        let cut = cut.index(batches.len());
        let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
        for (index, steps) in batches.iter().enumerate() {
            let batch = numbers.batch(steps);
            model.apply(&batch);
            store.write(batch);
            if index == cut {
                model.collect();
                prop_assert_eq!(&store.reopen(), &model);
            }
        }
        model.collect();
        prop_assert_eq!(&store.reopen(), &model);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Answers ascend, and the last one covers everything.
fn answers_in_order<H: Harness>() {
    let (mut store, mut numbers) = (H::create(), Numbers::default());
    let message = Arc::new(Message::new(TopicName::from_static("t"), "x"));
    for _ in 0..300 {
        store.write(numbers.batch(&[Step::Retain(message.clone())]));
    }
    let mut last = StoreSeq(0);
    while last < StoreSeq(300) {
        let Completion::Stored { upto } = store.answer() else { panic!("nothing fails") };
        assert!(upto > last, "{upto:?} after {last:?}");
        last = upto;
    }
    assert_eq!(last, StoreSeq(300));
}

/// Whatever was reported as stored is there after a crash at that moment.
fn acknowledged_survives<H: Harness>() {
    let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
    let session =
        SessionRecord { client_id: client(0), identity: None, expiry: u32::MAX, disconnected_at: None, will: None };
    let subscription = StoreOp::Subscription {
        client_id: client(0),
        filter: filter(0),
        options: QoS::AtLeastOnce.into(),
        identifier: 0,
    };
    let mut steps = vec![Step::Op(StoreOp::Session(session)), Step::Op(subscription)];
    for round in 0_u8..8 {
        let payload = vec![round; 10];
        steps.push(Step::Publish(Arc::new(Message::new(TopicName::from_static("a/b"), payload)), vec![0]));
        let batch = numbers.batch(&steps);
        steps.clear();
        model.apply(&batch);
        let seq = batch.seq;
        store.write(batch);
        until_stored(&mut store, seq);
        assert_eq!(store.crashed(), model, "round {round}");
    }
}
