//! What each operation of a batch does to the records: the decisions of the store, free of any disk.
//!
//! A log is `[start, end)`. What a trim leaves behind, and a log that nobody subscribes, are *swept*: removed piece by piece
//! with the commits that follow, so that the end of a session with a million messages is one small commit. The numbers that
//! decide (where logs end, who subscribes them, what is settled) are at hand; records are read only to remove them.
//!
//! Invariants: the same operations, made once or twice, make the same records; a message stays as long as an entry or a
//! delivery refers to it; nothing is left of a session after its end; memory grows with sessions and filters, not with
//! messages.
use crate::disk::Disk;
use crate::key::{Key, LogNumber, SessionNumber};
use crate::names::Names;
use crate::records::Records;
use crate::value::{Counters, Entry, Kept, LogRecord, Outgoing, Value};
use mqtt_proto::{ClientId, PacketId, SubscriptionOptions, TopicFilter};
use mqtt_session::broker::{Message, SessionRecord, StoreBatch, StoreOp};
use mqtt_session::{Instant, UnixTime};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// The records, and the numbers that decide about them.
pub(crate) struct Ledger<D> {
    pub(crate) records: Records<D>,
    pub(crate) names: Names,
    pub(crate) counters: Counters,
    /// The counters as the last commit took them.
    sealed: Counters,
    pub(crate) logs: HashMap<LogNumber, Head>,
    /// Positions that sessions are done with ahead of their cursors.
    pub(crate) settled: HashMap<(SessionNumber, LogNumber), BTreeSet<u64>>,
    /// Logs with something to sweep.
    pub(crate) unswept: VecDeque<LogNumber>,
    /// Logs with entries since the last commit.
    appended: Vec<LogNumber>,
    /// Bytes of all entries.
    pub(crate) live: u64,
    /// Bytes that were removed from disk since somebody asked.
    pub(crate) removed: u64,
}

/// What is at hand of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// `None`: nobody subscribes it any more.
    pub(crate) filter: Option<TopicFilter>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) swept: u64,
    /// No entry from here on is on disk.
    pub(crate) written: u64,
    /// Bytes of all entries that it ever had.
    pub(crate) bytes: u64,
    pub(crate) subscribers: u32,
    /// Positions that a shared group is done with.
    pub(crate) settled: BTreeSet<u64>,
    /// It stands among those to be swept.
    pub(crate) queued: bool,
}

impl Head {
    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    fn record(&self) -> Value {
        Value::Log(LogRecord { filter: self.filter.clone(), start: self.start, swept: self.swept })
    }

    /// Everything before this position is over.
    fn over(&self) -> u64 {
        if self.filter.is_some() { self.start.min(self.end) } else { self.end }
    }
}

impl<D: Disk> Ledger<D> {
    /// Nothing yet.
    pub(crate) fn empty(disk: D) -> Self {
        let names = Names::default();
        Self {
            records: Records::new(disk, names.clone()),
            names,
            counters: Counters::default(),
            sealed: Counters::default(),
            logs: HashMap::new(),
            settled: HashMap::new(),
            unswept: VecDeque::new(),
            appended: Vec::new(),
            live: 0,
            removed: 0,
        }
    }

    /// Makes the changes of a batch, in order.
    pub(crate) fn apply(&mut self, batch: &StoreBatch) {
        for op in &batch.ops {
            self.apply_op(op, batch.now, batch.wall);
        }
    }

    fn apply_op(&mut self, op: &StoreOp, now: Instant, wall: UnixTime) {
        match op {
            StoreOp::Session(record) => self.put_session(record),
            StoreOp::SessionEnd(client_id) => self.end_session(client_id),
            StoreOp::Subscription { client_id, filter, options, identifier } => {
                self.subscribe(client_id, filter, *options, *identifier);
            }
            StoreOp::SubscriptionEnd(client_id, filter) => self.unsubscribe(client_id, filter),
            StoreOp::Message(id, message) => self.add_message(id.0, Kept::new(message, now, wall)),
            StoreOp::Append(filter, at, id) => self.append(filter, at.0, id.0),
            StoreOp::Trim(filter, start) => self.trim(filter, start.0),
            StoreOp::Cursor(client_id, filter, at) => self.move_cursor(client_id, filter, at.0),
            StoreOp::Settled(Some(client_id), filter, at) => self.settle(client_id, filter, at.0),
            StoreOp::Settled(None, filter, at) => self.settle_group(filter, at.0),
            StoreOp::Incoming(client_id, id) => {
                if let Some(session) = self.names.session(client_id) {
                    self.records.put(Key::Incoming(session, id.get()), Value::Mark);
                }
            }
            StoreOp::IncomingEnd(client_id, id) => {
                if let Some(session) = self.names.session(client_id) {
                    self.records.remove(Key::Incoming(session, id.get()));
                }
            }
            StoreOp::Outgoing { client_id, id, message, places, retain, identifiers } => {
                let delivery = Outgoing {
                    order: 0,
                    message: message.0,
                    places: places.clone(),
                    retain: *retain,
                    identifiers: identifiers.clone(),
                    released: false,
                };
                self.begin_delivery(client_id, *id, delivery);
            }
            StoreOp::Released(client_id, id) => self.release(client_id, *id),
            StoreOp::OutgoingEnd(client_id, id) => self.end_delivery(client_id, *id),
            StoreOp::Retained(id, message) => {
                self.used(id.0);
                self.records.put(Key::Retained(message.topic.clone()), Value::Message(Kept::new(message, now, wall)));
            }
            StoreOp::RetainedEnd(topic) => _ = self.records.remove(Key::Retained(topic.clone())),
            op => tracing::error!(?op, "the store does not know this operation: this is a bug, please report it"),
        }
    }

    /// A number was used for a message or a position.
    pub(crate) fn used(&mut self, number: u64) {
        self.counters.last = self.counters.last.max(number);
    }

    // Sessions

    pub(crate) fn put_session(&mut self, record: &SessionRecord) {
        let session = self.names.session(&record.client_id).unwrap_or_else(|| {
            self.counters.sessions += 1;
            self.names.add_session(record.client_id.clone(), self.counters.sessions);
            self.counters.sessions
        });
        self.records.put(Key::Session(session), Value::Session(record.clone()));
    }

    fn end_session(&mut self, client_id: &ClientId) {
        let Some(session) = self.names.remove_session(client_id) else { return };
        self.records.remove(Key::Session(session));
        let next = session + 1;
        let parts = [
            (Key::Subscription(session, 0), Key::Subscription(next, 0)),
            (Key::Cursor(session, 0), Key::Cursor(next, 0)),
            (Key::Settled(session, 0, 0), Key::Settled(next, 0, 0)),
            (Key::Incoming(session, 0), Key::Incoming(next, 0)),
            (Key::Outgoing(session, 0), Key::Outgoing(next, 0)),
        ];
        for (from, until) in parts {
            for (key, value) in self.records.range(&from, &until, true, usize::MAX).records {
                match (&key, value) {
                    (Key::Subscription(_, log), _) => {
                        self.settled.remove(&(session, *log));
                        self.lose_subscriber(*log);
                    }
                    (_, Value::Outgoing(delivery)) => self.forget(delivery.message),
                    _ => {}
                }
                self.records.remove(key);
            }
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        client_id: &ClientId,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        identifier: u32,
    ) {
        let Some(session) = self.names.session(client_id) else { return };
        let log = self.log_for(filter);
        let key = Key::Subscription(session, log);
        if !self.records.has(&key)
            && let Some(head) = self.logs.get_mut(&log)
        {
            head.subscribers += 1;
        }
        self.records.put(key, Value::Subscription { options, identifier });
    }

    fn unsubscribe(&mut self, client_id: &ClientId, filter: &TopicFilter) {
        let (Some(session), Some(log)) = (self.names.session(client_id), self.names.log(filter)) else { return };
        let key = Key::Subscription(session, log);
        if !self.records.has(&key) {
            return;
        }
        self.records.remove(key);
        self.records.remove(Key::Cursor(session, log));
        for at in self.settled.remove(&(session, log)).into_iter().flatten() {
            self.records.remove(Key::Settled(session, log, at));
        }
        self.lose_subscriber(log);
    }

    pub(crate) fn move_cursor(&mut self, client_id: &ClientId, filter: &TopicFilter, at: u64) {
        self.used(at);
        let (Some(session), Some(log)) = (self.names.session(client_id), self.names.log(filter)) else { return };
        self.records.put(Key::Cursor(session, log), Value::Cursor(at));
        if let Some(settled) = self.settled.get_mut(&(session, log)) {
            let kept = settled.split_off(&at);
            let passed = std::mem::replace(settled, kept);
            if settled.is_empty() {
                self.settled.remove(&(session, log));
            }
            for at in passed {
                self.records.remove(Key::Settled(session, log, at));
            }
        }
    }

    pub(crate) fn settle(&mut self, client_id: &ClientId, filter: &TopicFilter, at: u64) {
        let (Some(session), Some(log)) = (self.names.session(client_id), self.names.log(filter)) else { return };
        if self.records.has(&Key::Cursor(session, log)) && self.settled.entry((session, log)).or_default().insert(at) {
            self.records.put(Key::Settled(session, log, at), Value::Mark);
        }
    }

    // Deliveries

    fn begin_delivery(&mut self, client_id: &ClientId, id: PacketId, delivery: Outgoing) {
        self.refer(delivery.message);
        self.end_delivery(client_id, id);
        self.counters.deliveries += 1;
        let order = self.counters.deliveries;
        match self.names.session(client_id) {
            Some(session) => {
                let key = Key::Outgoing(session, id.get());
                self.records.put(key, Value::Outgoing(Outgoing { order, ..delivery }));
            }
            None => self.forget(delivery.message),
        }
    }

    fn release(&mut self, client_id: &ClientId, id: PacketId) {
        let Some(session) = self.names.session(client_id) else { return };
        let key = Key::Outgoing(session, id.get());
        if let Some(Value::Outgoing(delivery)) = self.records.get(&key) {
            self.records.put(key, Value::Outgoing(Outgoing { released: true, ..delivery }));
        }
    }

    fn end_delivery(&mut self, client_id: &ClientId, id: PacketId) {
        let Some(session) = self.names.session(client_id) else { return };
        let key = Key::Outgoing(session, id.get());
        if let Some(Value::Outgoing(delivery)) = self.records.get(&key) {
            self.records.remove(key);
            self.forget(delivery.message);
        }
    }

    // Messages

    /// A message that nobody refers to yet: it is written only if somebody does before the commit.
    pub(crate) fn add_message(&mut self, id: u64, kept: Kept) {
        let known = id <= self.counters.last && self.records.has(&Key::Message(id));
        self.used(id);
        if !known {
            self.records.put_new(Key::References(id), Value::References(0));
            self.records.put_new(Key::Message(id), Value::Message(kept));
        }
    }

    /// How many refer to a message. A message without a record of it has one.
    fn references(&mut self, id: u64) -> Option<u32> {
        match self.records.get(&Key::References(id)) {
            Some(Value::References(count)) => Some(count),
            _ => self.records.has(&Key::Message(id)).then_some(1),
        }
    }

    pub(crate) fn refer(&mut self, id: u64) {
        if let Some(count) = self.references(id) {
            self.records.put(Key::References(id), Value::References(count.saturating_add(1)));
        }
    }

    fn forget(&mut self, id: u64) {
        let key = Key::References(id);
        match self.records.get(&key) {
            Some(Value::References(u32::MAX)) => {} // unknown
            Some(Value::References(count @ 2..)) => self.records.put(key, Value::References(count - 1)),
            recorded => {
                if recorded.is_some() {
                    self.records.remove(key);
                }
                self.records.remove(Key::Message(id));
            }
        }
    }

    // Logs

    fn log_for(&mut self, filter: &TopicFilter) -> LogNumber {
        self.names.log(filter).unwrap_or_else(|| {
            self.counters.logs += 1;
            let log = self.counters.logs;
            self.names.add_log(filter.clone(), log);
            let head = Head { filter: Some(filter.clone()), ..Head::default() };
            self.records.put_new(Key::Log(log), head.record());
            self.logs.insert(log, head);
            log
        })
    }

    /// Makes a log that begins at `start`.
    pub(crate) fn begin_log(&mut self, filter: &TopicFilter, start: u64) {
        self.used(start);
        let log = self.log_for(filter);
        if let Some(head) = self.logs.get_mut(&log).filter(|head| head.end == 0) {
            (head.start, head.swept) = (start, start);
            self.records.put(Key::Log(log), head.record());
        }
    }

    fn append(&mut self, filter: &TopicFilter, at: u64, message: u64) {
        let log = self.log_for(filter);
        if let Some(head) = self.logs.get_mut(&log)
            && head.is_empty()
            && head.start < at
        {
            if head.swept == head.start {
                head.swept = at;
            }
            head.start = at;
            self.records.put(Key::Log(log), head.record());
        }
        self.add_entry(filter, at, message);
    }

    /// Adds an entry, perhaps behind a gap. `false`: the log is further already.
    pub(crate) fn add_entry(&mut self, filter: &TopicFilter, at: u64, message: u64) -> bool {
        self.used(at + 1);
        let log = self.log_for(filter);
        let bytes = match self.records.get(&Key::Message(message)) {
            Some(Value::Message(kept)) => kept.message.cost(),
            _ => 0,
        };
        let Some(head) = self.logs.get_mut(&log) else { return false };
        if at < head.end.max(head.start) {
            return false; // a repetition
        }
        if head.end <= head.written {
            self.appended.push(log);
        }
        let entry = Entry { message, before: head.bytes, bytes };
        (head.end, head.bytes) = (at + 1, head.bytes + bytes);
        self.live += bytes;
        self.records.put_new(Key::Entry(log, at), Value::Entry(entry));
        self.refer(message);
        true
    }

    fn trim(&mut self, filter: &TopicFilter, start: u64) {
        self.used(start);
        let Some(log) = self.names.log(filter) else { return };
        let Some(head) = self.logs.get_mut(&log) else { return };
        if start > head.start {
            head.start = start;
            let kept = head.settled.split_off(&start);
            for at in std::mem::replace(&mut head.settled, kept) {
                self.records.remove(Key::GroupSettled(log, at));
            }
            self.records.put(Key::Log(log), head.record());
            if !std::mem::replace(&mut head.queued, true) {
                self.unswept.push_back(log);
            }
        }
        if head.is_empty() && head.subscribers == 0 {
            self.end_log(log);
        }
    }

    pub(crate) fn settle_group(&mut self, filter: &TopicFilter, at: u64) {
        let Some(log) = self.names.log(filter) else { return };
        let Some(head) = self.logs.get_mut(&log) else { return };
        if at >= head.start && head.settled.insert(at) {
            self.records.put(Key::GroupSettled(log, at), Value::Mark);
        }
    }

    /// One subscriber less; a log without any is over. That of a shared group is not before it is trimmed: the group may have
    /// members whose sessions are not kept.
    fn lose_subscriber(&mut self, log: LogNumber) {
        let Some(head) = self.logs.get_mut(&log) else { return };
        head.subscribers = head.subscribers.saturating_sub(1);
        let lasts = !head.is_empty() && head.filter.as_ref().is_some_and(TopicFilter::is_shared);
        if head.subscribers == 0 && !lasts {
            self.end_log(log);
        }
    }

    fn end_log(&mut self, log: LogNumber) {
        let Some(head) = self.logs.get_mut(&log) else { return };
        self.names.remove_log(log);
        head.filter = None;
        for at in std::mem::take(&mut head.settled) {
            self.records.remove(Key::GroupSettled(log, at));
        }
        self.records.put(Key::Log(log), head.record());
        if !std::mem::replace(&mut head.queued, true) {
            self.unswept.push_back(log);
        }
    }

    /// Removes entries that are over, about `limit` of them, with the messages that nobody else refers to.
    pub(crate) fn sweep(&mut self, mut limit: usize) {
        while let Some(log) = self.unswept.front().copied().filter(|_| limit > 0) {
            let Some(head) = self.logs.get(&log) else {
                self.unswept.pop_front();
                continue;
            };
            let (swept, over, written) = (head.swept, head.over(), head.written);
            let part = self.records.range(&Key::Entry(log, swept), &Key::Entry(log, over), swept < written, limit);
            limit = limit.saturating_sub(part.records.len().max(1));
            let mut last = swept;
            for (key, value) in part.records {
                let (Key::Entry(_, at), Value::Entry(entry)) = (&key, value) else { continue };
                last = *at;
                self.forget(entry.message);
                self.live = self.live.saturating_sub(entry.bytes);
                if self.records.remove(key) {
                    self.removed += entry.bytes;
                }
            }
            let Some(head) = self.logs.get_mut(&log) else { continue };
            if !part.complete {
                head.swept = last + 1;
                self.records.put(Key::Log(log), head.record());
                return;
            }
            self.unswept.pop_front();
            if head.filter.is_some() {
                (head.swept, head.queued) = (head.start, false);
                self.records.put(Key::Log(log), head.record());
            } else {
                self.logs.remove(&log);
                self.records.remove(Key::Log(log));
            }
        }
    }

    /// Has everything swept again that may have come back.
    pub(crate) fn sweep_anew(&mut self) {
        for (log, head) in &mut self.logs {
            head.swept = 0;
            if head.start > 0 && !std::mem::replace(&mut head.queued, true) {
                self.unswept.push_back(*log);
            }
        }
    }

    /// To be called before a commit.
    pub(crate) fn seal(&mut self) {
        for log in self.appended.drain(..) {
            if let Some(head) = self.logs.get_mut(&log) {
                head.written = head.end;
            }
        }
        if std::mem::replace(&mut self.sealed, self.counters) != self.counters {
            self.records.put(Key::Counters, Value::Counters(self.counters));
        }
    }
}

impl Kept {
    /// A message as it is kept: dated on the clock that survives.
    pub(crate) fn new(message: &Arc<Message>, now: Instant, wall: UnixTime) -> Self {
        let expires_at = message.expires_at.map(|at| wall + at.saturating_since(now));
        let message = match message.expires_at {
            Some(_) => Arc::new(Message { expires_at: None, ..Message::clone(message) }),
            None => message.clone(),
        };
        Self { message, expires_at }
    }
}
