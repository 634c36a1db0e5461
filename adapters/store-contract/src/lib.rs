//! The contract of a store.
#![doc = include_str!("../README.md")]
//!
//! Invariant: nothing here knows what a store keeps things in.
#![forbid(unsafe_code)]

mod history;

use history::{FILTERS, Numbers, client, filter, step};
use mqtt_proto::{PacketId, QoS, TopicFilter, TopicName};
use mqtt_session::broker::{
    Completion, Contents, LoadRequest, Loaded, MemoryStore, Message, MessageId, Position, SessionRecord, StoreBatch,
    StoreOp, StoreSeq,
};
use mqtt_session::{Instant, UnixTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;
use std::time::Duration;

/// How long a store may take to give space back.
const PATIENCE: Duration = Duration::from_mins(2);

/// A store under test, with a place of its own.
pub trait Harness: Sized {
    /// An empty store that runs.
    fn create() -> Self;
    /// Hands a batch in.
    fn write(&mut self, batch: StoreBatch);
    /// Asks for a part of a log.
    fn load(&mut self, request: LoadRequest);
    /// The next answer.
    fn answer(&mut self) -> Completion;
    /// Ends it in good order and opens it again: what a broker begins with.
    fn reopen(self) -> (Self, Contents);
    /// What is there if the process is killed at this moment, opened.
    fn crash(self) -> (Self, Contents);
    /// Bytes that it takes at this moment. `None`: nobody can tell.
    fn bytes(&mut self) -> Option<u64> {
        None
    }
    /// Bytes that it may keep, whatever is in it: journals of a fixed size, say.
    const KEPT: u64 = 0;
}

/// Everything that the contract asks for.
pub fn holds<H: Harness>() {
    random_histories::<H>();
    repeated_batches::<H>();
    answers_in_order::<H>();
    acknowledged_survives::<H>();
    parts_of_logs::<H>();
    shared_messages::<H>();
    ends_of_logs::<H>();
    expiry_across_restarts::<H>();
    many_retained::<H>(2_000);
    space_comes_back::<H>(800, 100_000);
}

/// Batches that a broker might hand out, for tests of a store's own.
pub fn histories() -> impl Strategy<Value = Vec<StoreBatch>> {
    prop::collection::vec(prop::collection::vec(step(), 1..8), 1..30).prop_map(|batches| {
        let mut numbers = Numbers::default();
        batches.iter().map(|steps| numbers.batch(steps)).collect()
    })
}

/// Whatever happened, before and after another beginning: it holds and loads what the model does.
pub fn random_histories<H: Harness>() {
    run(&(histories(), any::<prop::sample::Index>()), |(batches, cut)| {
        let cut = cut.index(batches.len());
        let (mut store, mut model) = (H::create(), MemoryStore::new());
        for (index, batch) in batches.into_iter().enumerate() {
            model.apply(&batch);
            write(&mut store, batch);
            if index == cut {
                store = same(store, &model);
            }
        }
        same(store, &model);
    });
}

/// A batch that comes twice leaves what it leaves in the model.
pub fn repeated_batches<H: Harness>() {
    let batches = prop::collection::vec(prop::collection::vec(step(), 1..8), 1..12);
    run(&batches, |batches| {
        let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
        for steps in &batches {
            let batch = numbers.batch(steps);
            let again = numbers.sealed(batch.ops.clone());
            for batch in [batch, again] {
                model.apply(&batch);
                write(&mut store, batch);
            }
        }
        same(store, &model);
    });
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let mut runner =
        TestRunner::new(Config { cases: 16, failure_persistence: None, max_shrink_iters: 300, ..Config::default() });
    let result = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Opens the store again, and compares it with the model.
fn same<H: Harness>(store: H, model: &MemoryStore) -> H {
    let (mut store, contents) = store.reopen();
    assert_eq!(contents, model.contents());
    for number in 0..FILTERS {
        loads_as(&mut store, model, &filter(number));
    }
    store
}

/// Loads of a log give what those of the model do, in small parts and large ones.
fn loads_as<H: Harness>(store: &mut H, model: &MemoryStore, filter: &TopicFilter) {
    for max_bytes in [1, 700, u64::MAX / 2] {
        let (mut from, until) = (Position(0), Position(1000));
        while from < until {
            let request = LoadRequest { filter: filter.clone(), from, until, max_bytes };
            let expected = model.load(&request);
            let mut found = load(store, request);
            // Entries that were trimmed may be given, or not; nobody asks for them.
            let start = expected.entries.first().map_or(until, |entry| entry.at);
            found.entries.retain(|entry| entry.at >= start);
            assert_eq!(found.entries, expected.entries);
            assert!(found.upto > from && found.upto <= until);
            from = expected.upto;
        }
    }
}

/// Hands a batch in, and waits until it is stored.
fn write<H: Harness>(store: &mut H, batch: StoreBatch) {
    let seq = batch.seq;
    store.write(batch);
    until_stored(store, seq);
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

fn load<H: Harness>(store: &mut H, request: LoadRequest) -> Loaded {
    let (filter, from) = (request.filter.clone(), request.from);
    store.load(request);
    loop {
        match store.answer() {
            Completion::Loaded(loaded) => {
                assert_eq!((&loaded.filter, loaded.from), (&filter, from), "it answers something else");
                return loaded;
            }
            Completion::Stored { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn message(topic: &'static str, payload: Vec<u8>) -> Arc<Message> {
    Arc::new(Message::new(TopicName::from_static(topic), payload))
}

/// A session of client 0 that subscribes filters.
fn subscribed(filters: &[u8]) -> Vec<StoreOp> {
    let client_id = client(0);
    let record = SessionRecord {
        client_id: client_id.clone(),
        identity: None,
        expiry: u32::MAX,
        disconnected_at: None,
        will: None,
    };
    let subscription = |number: &u8| StoreOp::Subscription {
        client_id: client_id.clone(),
        filter: filter(*number),
        options: QoS::AtLeastOnce.into(),
        identifier: 0,
    };
    std::iter::once(StoreOp::Session(record)).chain(filters.iter().map(subscription)).collect()
}

fn append(number: u8, at: u64, message: u64) -> StoreOp {
    StoreOp::Append(filter(number), Position(at), MessageId(message))
}

/// Answers ascend, and the last one covers everything.
pub fn answers_in_order<H: Harness>() {
    let (mut store, mut numbers) = (H::create(), Numbers::default());
    for number in 0..300 {
        store.write(numbers.sealed(vec![StoreOp::Retained(MessageId(number), message("t", vec![1]))]));
    }
    let mut last = StoreSeq(0);
    while last < StoreSeq(300) {
        let Completion::Stored { upto } = store.answer() else { panic!("nothing fails") };
        assert!(upto > last, "{upto:?} after {last:?}");
        last = upto;
    }
    assert_eq!(last, StoreSeq(300));
}

/// Whatever was reported as stored is there when the process is killed at that moment, and can be loaded.
pub fn acknowledged_survives<H: Harness>() {
    let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
    let mut ops = subscribed(&[0]);
    for round in 0..6_u8 {
        let id = u64::from(round) + 1;
        ops.extend([StoreOp::Message(MessageId(id), message("a/b", vec![round; 10])), append(0, id - 1, id)]);
        let batch = numbers.sealed(std::mem::take(&mut ops));
        model.apply(&batch);
        write(&mut store, batch);
        let (crashed, contents) = store.crash();
        store = crashed;
        assert_eq!(contents, model.contents(), "round {round}");
        loads_as(&mut store, &model, &filter(0));
    }
}

/// Parts of a log: all of it in order, however it is cut; as much as is wanted, and at least one entry; nothing of what is
/// not there.
pub fn parts_of_logs<H: Harness>() {
    let (mut store, mut numbers) = (H::create(), Numbers::default());
    write(&mut store, numbers.sealed(subscribed(&[0])));
    let payload = |at: u64| vec![at as u8; (at % 50) as usize * 20];
    for at in 0..1000 {
        let ops = vec![StoreOp::Message(MessageId(at + 1), message("a/b", payload(at))), append(0, at, at + 1)];
        store.write(numbers.sealed(ops));
    }
    until_stored(&mut store, StoreSeq(1001));
    let until = Position(1000);
    for max_bytes in [0, 5_000, 100_000, u64::MAX] {
        let mut from = Position(0);
        while from < until {
            let loaded = load(&mut store, LoadRequest { filter: filter(0), from, until, max_bytes });
            let costs = loaded.entries.iter().map(|entry| entry.message.cost());
            assert!(loaded.entries.len() == 1 || costs.sum::<u64>() <= max_bytes, "it gives more than is wanted");
            let mut next = from;
            for entry in &loaded.entries {
                assert_eq!((entry.at, entry.id), (next, MessageId(next.0 + 1)));
                assert_eq!(entry.message.payload, payload(next.0));
                next = Position(next.0 + 1);
            }
            assert!(loaded.upto == next && next > from, "a gap behind {from:?}");
            from = next;
        }
    }
    let nothing = [(filter(0), 1000, 2000), (filter(1), 0, 10), (TopicFilter::from_static("never/seen"), 3, 4)];
    for (filter, from, until) in nothing {
        let (from, until) = (Position(from), Position(until));
        let loaded = load(&mut store, LoadRequest { filter, from, until, max_bytes: 10 });
        assert_eq!((loaded.upto, loaded.entries.len()), (until, 0));
    }
    write(&mut store, numbers.sealed(vec![StoreOp::Trim(filter(0), Position(990))]));
    let request = LoadRequest { filter: filter(0), from: Position(990), until, max_bytes: u64::MAX };
    assert_eq!(load(&mut store, request).entries.len(), 10);
}

/// A message that many refer to stays until the last one lets go, in whichever order.
pub fn shared_messages<H: Harness>() {
    let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
    let mut ops = subscribed(&[0, 1, 3]);
    ops.push(StoreOp::Message(MessageId(1), message("a/b", vec![7; 100])));
    ops.extend([append(0, 0, 1), append(1, 0, 1)]);
    let outgoing = |id| StoreOp::Outgoing {
        client_id: client(0),
        id: PacketId::new(id).unwrap(),
        message: MessageId(1),
        places: vec![(filter(0), Position(0))],
        retain: false,
        identifiers: vec![],
    };
    let steps = [
        ops,
        vec![append(3, 0, 1), outgoing(1)],
        vec![StoreOp::Trim(filter(0), Position(1))],
        vec![outgoing(2), StoreOp::OutgoingEnd(client(0), PacketId::new(1).unwrap())],
        vec![StoreOp::SubscriptionEnd(client(0), filter(1))],
        vec![StoreOp::Released(client(0), PacketId::new(2).unwrap()), StoreOp::Trim(filter(3), Position(1))],
        vec![append(0, 1, 1)],
        vec![StoreOp::OutgoingEnd(client(0), PacketId::new(2).unwrap())],
        vec![StoreOp::Trim(filter(0), Position(2))],
    ];
    for ops in steps {
        let batch = numbers.sealed(ops);
        model.apply(&batch);
        write(&mut store, batch);
        store = same(store, &model);
    }
    assert_eq!(model.messages(), 0);
}

/// A log that nobody subscribes any more is over, however long it was; the next one of the same filter begins anew.
pub fn ends_of_logs<H: Harness>() {
    let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
    for round in 0..3_u64 {
        let mut ops = subscribed(&[0, 2]);
        for at in 0..7000 {
            let id = round * 7000 + at + 1;
            ops.extend([StoreOp::Message(MessageId(id), message("a/b", vec![])), append(0, id, id)]);
        }
        ops.extend([StoreOp::Settled(None, filter(2), Position(1)), StoreOp::Incoming(client(0), PacketId::MAX)]);
        for ops in [ops, vec![StoreOp::SessionEnd(client(0))]] {
            let batch = numbers.sealed(ops);
            model.apply(&batch);
            write(&mut store, batch);
        }
        let (reopened, contents) = store.reopen();
        store = reopened;
        assert_eq!((contents.sessions(), contents.logs(), contents.entries()), (0, 0, 0));
        assert_eq!(contents, model.contents());
        let request = LoadRequest { filter: filter(0), from: Position(0), until: Position(1 << 40), max_bytes: 10 };
        assert_eq!(load(&mut store, request).entries, []);
    }
}

/// Expiry is kept on the clock that survives a restart.
pub fn expiry_across_restarts<H: Harness>() {
    let (mut store, mut numbers) = (H::create(), Numbers::default());
    let expiring =
        Message { expires_at: Some(Instant::from_secs(70)), ..Message::new(TopicName::from_static("a/b"), vec![1]) };
    let mut ops = subscribed(&[0]);
    ops.extend([StoreOp::Message(MessageId(1), Arc::new(expiring)), append(0, 0, 1)]);
    let now = UnixTime::from_millis(1_800_000_000_000);
    write(&mut store, StoreBatch { now: Instant::from_secs(60), wall: now, ..numbers.sealed(ops) });
    let (mut store, _) = store.reopen();
    let request = LoadRequest { filter: filter(0), from: Position(0), until: Position(1), max_bytes: 1 };
    let loaded = load(&mut store, request);
    let times: Vec<_> = loaded.entries.iter().map(|entry| entry.expires_at).collect();
    assert_eq!(times, [Some(UnixTime::from_millis(1_800_000_010_000))], "10 seconds behind the batch");
}

/// Retained messages survive, all of them.
pub fn many_retained<H: Harness>(count: u64) {
    let (mut store, mut model, mut numbers) = (H::create(), MemoryStore::new(), Numbers::default());
    for first in (0..count).step_by(1000) {
        let retained = |number: u64| {
            let topic = TopicName::try_from(format!("building/{}/room/{number}", number % 97)).unwrap();
            StoreOp::Retained(MessageId(number + 1), Arc::new(Message::new(topic, number.to_string())))
        };
        let batch = numbers.sealed((first..count.min(first + 1000)).map(retained).collect());
        model.apply(&batch);
        write(&mut store, batch);
    }
    let (_, contents) = store.reopen();
    assert_eq!(contents.retained() as u64, count);
    assert!(contents == model.contents());
}

/// Puts messages of this size into the log of a session, for measurements.
pub fn fill<H: Harness>(store: &mut H, messages: u64, size: usize) {
    let mut numbers = Numbers::default();
    write(store, numbers.sealed(subscribed(&[0])));
    for at in 0..messages {
        let payload = at.to_be_bytes().into_iter().cycle().take(size).collect();
        let ops = vec![StoreOp::Message(MessageId(at + 1), message("a/b", payload)), append(0, at, at + 1)];
        store.write(numbers.sealed(ops));
    }
    until_stored(store, StoreSeq(messages + 1));
}

/// Loads what [`fill`] has put there, as a session would; gives the number of messages.
pub fn drain<H: Harness>(store: &mut H, messages: u64) -> u64 {
    let (mut from, until, mut found) = (Position(0), Position(messages), 0);
    while from < until {
        let loaded = load(store, LoadRequest { filter: filter(0), from, until, max_bytes: 1 << 20 });
        found += loaded.entries.len() as u64;
        from = loaded.upto;
    }
    found
}

/// A queue that was drained gives its space back, and the next one does not grow on top of it.
pub fn space_comes_back<H: Harness>(messages: u64, size: usize) {
    let (mut store, mut numbers) = (H::create(), Numbers::default());
    write(&mut store, numbers.sealed(subscribed(&[0])));
    let Some(empty) = store.bytes() else { return };
    let full = messages * size as u64;
    for round in 0..2 {
        for at in round * messages..(round + 1) * messages {
            // Noise, so that no compression makes it small.
            let mut noise = at + 1;
            let payload = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            });
            let payload = payload.take(size).collect();
            let ops = vec![StoreOp::Message(MessageId(at + 1), message("a/b", payload)), append(0, at, at + 1)];
            store.write(numbers.sealed(ops));
        }
        let end = (round + 1) * messages;
        let drained = numbers.sealed(vec![StoreOp::Trim(filter(0), Position(end))]);
        write(&mut store, drained);
        let most = empty + H::KEPT + full / 4;
        let begun = std::time::Instant::now();
        loop {
            let drained = store.bytes().unwrap_or(u64::MAX);
            if drained < most {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "round {round}: {drained} bytes are left of {full}: more than {most}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
