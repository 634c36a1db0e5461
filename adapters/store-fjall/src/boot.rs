//! Reads what a broker begins with: everything but the messages of logs, of which it takes the first and the last entry.
//!
//! Invariants: time and memory grow with sessions, filters and retained messages, not with what is queued; a damaged record
//! costs itself and what belongs to it, never the start.
use crate::disk::{Disk, DiskError, Pair};
use crate::key::{Key, LogNumber, Table};
use crate::ledger::{Head, Ledger};
use crate::quarantine::{Suspect, describe};
use crate::value::{self, Entry, Kept, LogRecord, Value};
use crate::{Lost, Opened};
use mqtt_proto::{ClientId, PacketId, TopicFilter};
use mqtt_session::broker::{Contents, LogHead, MessageId, Position, Record, RecordKey};

/// Records that are read at a time.
const CHUNK: usize = 4096;
const ORPHAN: &str = "what it belongs to is lost";

/// Fills an empty ledger from its disk, and gives what the broker takes.
pub(crate) fn boot<D: Disk>(ledger: &mut Ledger<D>, report: &mut Opened) -> Result<Contents, DiskError> {
    let mut boot = Boot { ledger, contents: Contents::new(), report };
    boot.state()?;
    boot.logs()?;
    boot.retained()?;
    let Boot { ledger, mut contents, report } = boot;
    let counters = ledger.counters;
    contents.put(&RecordKey::Counters, Record::Counters { last: counters.last, deliveries: counters.deliveries });
    report.sessions = contents.sessions();
    report.subscriptions = contents.subscriptions();
    report.retained = contents.retained();
    report.logs = ledger.logs.values().filter(|head| head.filter.is_some()).count();
    report.entries = contents.entries();
    Ok(contents)
}

struct Boot<'a, D> {
    ledger: &'a mut Ledger<D>,
    contents: Contents,
    report: &'a mut Opened,
}

impl<D: Disk> Boot<'_, D> {
    /// Calls `each` with all records from `from` on and before `until`; what it refuses, and what is damaged, is lost.
    fn each(
        &mut self,
        table: Table,
        from: &[u8],
        until: &[u8],
        mut each: impl FnMut(&mut Self, Key, Value) -> Result<(), &'static str>,
    ) -> Result<(), DiskError> {
        let mut from = from.to_vec();
        loop {
            let mut pairs = Vec::new();
            self.ledger.records.disk.range(table, &from, until, CHUNK, &mut pairs)?;
            let more = pairs.len() == CHUNK;
            if let Some((last, _)) = pairs.last() {
                from = last.to_vec();
                from.push(0);
            }
            for pair in pairs {
                let put = match value::decode(table, &pair.0, &pair.1) {
                    Ok((key, value)) => each(self, key, value).map_err(str::to_owned),
                    Err(damage) => Err(damage.to_string()),
                };
                if let Err(why) = put {
                    self.lose(table, pair, why);
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn lose(&mut self, table: Table, (key, value): Pair, why: String) {
        let what = describe(&self.ledger.names, table, &key);
        self.report.lose(Lost { what, why });
        self.ledger.records.quarantine(Suspect { table, key, value });
    }

    fn put(&mut self, key: &RecordKey, record: Record) -> Result<(), &'static str> {
        if self.contents.put(key, record) { Ok(()) } else { Err("it makes no sense") }
    }

    /// Sessions and what belongs to them, and the names of logs.
    fn state(&mut self) -> Result<(), DiskError> {
        let until = Key::References(0).encode();
        self.each(Table::State, &[0], &until, |boot, key, value| {
            let counters = &mut boot.ledger.counters;
            match (key, value) {
                (Key::Counters, Value::Counters(found)) => *counters = found,
                (Key::Session(session), Value::Session(record)) => {
                    counters.sessions = counters.sessions.max(session);
                    boot.ledger.names.add_session(record.client_id.clone(), session);
                    let key = RecordKey::Session(record.client_id.clone());
                    return boot.put(&key, Record::Session(record));
                }
                (Key::Log(log), Value::Log(record)) => boot.name_log(log, record),
                (Key::Subscription(session, log), Value::Subscription { options, identifier }) => {
                    let (client_id, filter) = boot.named(session, log)?;
                    if let Some(head) = boot.ledger.logs.get_mut(&log) {
                        head.subscribers += 1;
                    }
                    let key = RecordKey::Subscription(client_id, filter);
                    return boot.put(&key, Record::Subscription { options, identifier });
                }
                (key @ (Key::Cursor(_, log) | Key::Settled(_, log, _)), _) if !boot.ledger.logs.contains_key(&log) => {
                    boot.ledger.records.remove(key); // nobody has needed it since the log was over
                }
                (Key::Cursor(session, log), Value::Cursor(at)) => {
                    let (client_id, filter) = boot.named(session, log)?;
                    return boot.put(&RecordKey::Cursor(client_id, filter), Record::Cursor(Position(at)));
                }
                (Key::Settled(session, log, at), Value::Mark) => {
                    let (client_id, filter) = boot.named(session, log)?;
                    boot.ledger.settled.entry((session, log)).or_default().insert(at);
                    return boot.put(&RecordKey::Settled(client_id, filter, Position(at)), Record::Mark);
                }
                (Key::Incoming(session, id), Value::Mark) => {
                    let (client_id, id) = boot.client(session, id)?;
                    return boot.put(&RecordKey::Incoming(client_id, id), Record::Mark);
                }
                (Key::Outgoing(session, id), Value::Outgoing(delivery)) => {
                    let (client_id, id) = boot.client(session, id)?;
                    let Some(Value::Message(kept)) = boot.ledger.records.get(&Key::Message(delivery.message)) else {
                        return Err("its message is lost");
                    };
                    let message = MessageId(delivery.message);
                    boot.put(&RecordKey::Message(message), kept.into())?;
                    let value::Outgoing { order, places, retain, identifiers, released, .. } = delivery;
                    let record = Record::Outgoing { order, message, places, retain, identifiers, released };
                    return boot.put(&RecordKey::Outgoing(client_id, id), record);
                }
                (Key::GroupSettled(log, at), Value::Mark) => {
                    let head = boot.ledger.logs.get_mut(&log).ok_or(ORPHAN)?;
                    let filter = head.filter.clone().ok_or(ORPHAN)?;
                    head.settled.insert(at);
                    return boot.put(&RecordKey::GroupSettled(filter, Position(at)), Record::Mark);
                }
                _ => return Err("it is of another kind than its key"),
            }
            Ok(())
        })
    }

    fn client(&self, session: u64, id: u16) -> Result<(ClientId, PacketId), &'static str> {
        Ok((self.ledger.names.client(session).ok_or(ORPHAN)?, PacketId::new(id).ok_or(ORPHAN)?))
    }

    fn named(&self, session: u64, log: LogNumber) -> Result<(ClientId, TopicFilter), &'static str> {
        let names = &self.ledger.names;
        Ok((names.client(session).ok_or(ORPHAN)?, names.filter(log).ok_or(ORPHAN)?))
    }

    fn name_log(&mut self, log: LogNumber, LogRecord { filter, start, swept }: LogRecord) {
        self.ledger.counters.logs = self.ledger.counters.logs.max(log);
        if let Some(filter) = &filter {
            self.ledger.names.add_log(filter.clone(), log);
        }
        self.ledger.logs.insert(log, Head { filter, start, swept, ..Head::default() });
    }

    /// Where logs end, and how large they are.
    fn logs(&mut self) -> Result<(), DiskError> {
        let mut numbers: Vec<LogNumber> = self.ledger.logs.keys().copied().collect();
        numbers.sort_unstable();
        for log in numbers {
            let Some(head) = self.ledger.logs.get(&log) else { continue };
            let from = if head.filter.is_some() { head.start } else { head.swept };
            let (first, last) = (self.edge(log, from, false)?, self.edge(log, from, true)?);
            let Some(head) = self.ledger.logs.get_mut(&log) else { continue };
            head.end = last.map_or(head.start, |(at, _)| at + 1);
            head.bytes = last.map_or(0, |(_, entry)| entry.before + entry.bytes);
            head.written = head.end;
            let before = first.map_or(head.bytes, |(_, entry)| entry.before);
            let bytes = head.bytes.saturating_sub(before);
            let (start, end) = (Position(head.start), Position(head.end));
            self.ledger.live += bytes;
            let filter = head.filter.clone();
            if filter.is_none() || head.swept < head.start {
                head.queued = true;
                self.ledger.unswept.push_back(log);
            }
            self.ledger.used(end.0);
            if let Some((_, entry)) = last {
                self.ledger.used(entry.message);
            }
            if let Some(filter) = filter {
                self.contents.put(&RecordKey::Log(filter), Record::Log(LogHead { start, end, bytes }));
            }
        }
        let last = self.ledger.records.disk.last(Table::Queue, &Key::Message(0).encode(), &[3])?;
        if let Some(Key::Message(id)) = last.and_then(|(key, _)| Key::decode(Table::Queue, &key)) {
            self.ledger.used(id);
        }
        Ok(())
    }

    /// The first or last entry from `from` on that can be read.
    fn edge(&mut self, log: LogNumber, from: u64, last: bool) -> Result<Option<(u64, Entry)>, DiskError> {
        let (mut from, mut until) = (Key::Entry(log, from).encode(), Key::Entry(log + 1, 0).encode());
        loop {
            let disk = &self.ledger.records.disk;
            let pair = if last {
                disk.last(Table::Queue, &from, &until)?
            } else {
                let mut pairs = Vec::new();
                disk.range(Table::Queue, &from, &until, 1, &mut pairs)?;
                pairs.pop()
            };
            let Some(pair) = pair else { return Ok(None) };
            match value::decode(Table::Queue, &pair.0, &pair.1) {
                Ok((Key::Entry(_, at), Value::Entry(entry))) => return Ok(Some((at, entry))),
                Ok(_) => return Ok(None),
                Err(damage) => {
                    if last {
                        until = pair.0.to_vec();
                    } else {
                        from = [&*pair.0, &[0]].concat();
                    }
                    self.lose(Table::Queue, pair, damage.to_string());
                }
            }
        }
    }

    fn retained(&mut self) -> Result<(), DiskError> {
        // No topic is empty, and no byte of one is greater.
        self.each(Table::Retained, &[0], &[0xff], |boot, key, value| {
            let (Key::Retained(topic), Value::Message(kept)) = (key, value) else { return Err(ORPHAN) };
            boot.put(&RecordKey::Retained(topic), kept.into())
        })
    }
}

impl From<Kept> for Record {
    fn from(Kept { message, expires_at }: Kept) -> Self {
        Self::Message { message, expires_at }
    }
}
