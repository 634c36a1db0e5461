//! Writing lines.
use super::FORMAT;
use super::fields::{put_message, will};
use crate::boot::boot;
use crate::disk::Disk;
use crate::key::{Key, LogNumber, Table};
use crate::ledger::Ledger;
use crate::quarantine::describe;
use crate::value::{self, Value};
use crate::{Lost, OpenError, Opened};
use mqtt_session::UnixTime;
use mqtt_session::broker::SessionRecord;
use serde_json::{Map, Value as Json, json};
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

/// Entries that are read at a time.
const CHUNK: usize = 1024;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Lines.
    pub lines: u64,
    /// What could not be read, and is not among them.
    pub lost: Vec<Lost>,
}

/// Writes everything that a ledger with nothing in it finds on its disk.
pub(crate) fn export<D: Disk>(ledger: &mut Ledger<D>, path: &Path, out: &mut dyn Write) -> Result<Exported, OpenError> {
    let mut report = Opened::default();
    boot(ledger, &mut report).map_err(|error| error.into_open(path))?;
    let mut export = Export { ledger, out, done: Exported::default(), written: HashSet::new() };
    export.done.lost = report.lost;
    export.all().map_err(|error| OpenError::io(path, error))?;
    Ok(export.done)
}

struct Export<'a, D> {
    ledger: &'a mut Ledger<D>,
    out: &'a mut dyn Write,
    done: Exported,
    /// Messages that are written, of those that more than one refer to.
    written: HashSet<u64>,
}

impl<D: Disk> Export<'_, D> {
    fn all(&mut self) -> io::Result<()> {
        self.line(&json!({"kind": "zanzara-export", "format": FORMAT}))?;
        let counters = self.ledger.counters;
        self.line(&json!({"kind": "counters", "last": counters.last, "deliveries": counters.deliveries}))?;
        let logs = self.ledger.names.all_logs();
        for (filter, log) in &logs {
            let Some(head) = self.ledger.logs.get(log) else { continue };
            self.line(&json!({"kind": "log", "filter": filter.as_str(), "start": head.start}))?;
        }
        for (_, session) in self.ledger.names.all_sessions() {
            self.session(session)?;
        }
        for (filter, log) in &logs {
            self.entries(filter.as_str(), *log)?;
        }
        self.range(Table::Retained, vec![0], &[0xff], |export, _, value| {
            let Value::Message(kept) = value else { return Ok(()) };
            let mut line = Map::new();
            line.insert("kind".to_owned(), json!("retained"));
            put_message(&mut line, &kept);
            export.line(&Json::Object(line))
        })?;
        self.out.flush()
    }

    fn line(&mut self, line: &Json) -> io::Result<()> {
        self.done.lines += 1;
        writeln!(self.out, "{line}")
    }

    /// Calls `each` with the records from `from` on and before `until` that can be read.
    fn range(
        &mut self,
        table: Table,
        mut from: Vec<u8>,
        until: &[u8],
        mut each: impl FnMut(&mut Self, Key, Value) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let mut pairs = Vec::new();
            let read = self.ledger.records.disk.range(table, &from, until, CHUNK, &mut pairs);
            let more = pairs.len() == CHUNK;
            if let Some((last, _)) = pairs.last() {
                from = [&**last, &[0]].concat();
            }
            for (key, value) in pairs {
                match value::decode(table, &key, &value) {
                    Ok((key, value)) => each(self, key, value)?,
                    Err(damage) => self.lose(describe(&self.ledger.names, table, &key), damage.to_string()),
                }
            }
            if let Err(error) = read {
                self.lose(format!("the rest of a part of {:?}", table.name()), error.to_string());
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn lose(&mut self, what: String, why: String) {
        self.done.lost.push(Lost { what, why });
    }

    fn session(&mut self, session: u64) -> io::Result<()> {
        let Some(Value::Session(record)) = self.ledger.records.get(&Key::Session(session)) else { return Ok(()) };
        let SessionRecord { client_id, identity, expiry, disconnected_at, will: last_will } = record;
        let client = client_id.as_str();
        self.line(&json!({
            "kind": "session", "client": client, "identity": identity, "expiry": expiry,
            "disconnected_at": disconnected_at.map(UnixTime::as_millis), "will": last_will.map(|found| will(&found)),
        }))?;
        let next = session + 1;
        let parts = [
            (Key::Subscription(session, 0), Key::Subscription(next, 0)),
            (Key::Cursor(session, 0), Key::Cursor(next, 0)),
            (Key::Settled(session, 0, 0), Key::Settled(next, 0, 0)),
            (Key::Incoming(session, 0), Key::Incoming(next, 0)),
            (Key::Outgoing(session, 0), Key::Outgoing(next, 0)),
        ];
        for (from, until) in parts {
            self.range(Table::State, from.encode(), &until.encode(), |export, key, value| {
                export.part(client, &key, value)
            })?;
        }
        Ok(())
    }

    /// A part of the session of a client.
    fn part(&mut self, client: &str, key: &Key, value: Value) -> io::Result<()> {
        let filter = |log: &LogNumber| self.ledger.names.filter(*log);
        match (key, value) {
            (Key::Subscription(_, log), Value::Subscription { options, identifier }) => {
                let Some(filter) = filter(log) else { return Ok(()) };
                self.line(&json!({
                    "kind": "subscription", "client": client, "filter": filter.as_str(), "qos": options.qos as u8,
                    "no_local": options.no_local, "retain_as_published": options.retain_as_published,
                    "retain_handling": options.retain_handling as u8, "identifier": identifier,
                }))
            }
            (Key::Cursor(_, log), Value::Cursor(at)) => {
                let Some(filter) = filter(log) else { return Ok(()) };
                self.line(&json!({"kind": "cursor", "client": client, "filter": filter.as_str(), "at": at}))
            }
            (Key::Settled(_, log, at), _) => {
                let Some(filter) = filter(log) else { return Ok(()) };
                self.line(&json!({"kind": "settled", "client": client, "filter": filter.as_str(), "at": at}))
            }
            (Key::Incoming(_, id), _) => self.line(&json!({"kind": "incoming", "client": client, "id": id})),
            (Key::Outgoing(_, id), Value::Outgoing(delivery)) => {
                if !self.message(delivery.message)? {
                    return Ok(());
                }
                let places = delivery.places.iter();
                let places: Vec<Json> =
                    places.map(|(filter, at)| json!({"filter": filter.as_str(), "at": at.0})).collect();
                self.line(&json!({
                    "kind": "outgoing", "client": client, "id": id, "order": delivery.order,
                    "message": delivery.message, "places": places, "retain": delivery.retain,
                    "identifiers": delivery.identifiers, "released": delivery.released,
                }))
            }
            _ => Ok(()),
        }
    }

    fn entries(&mut self, filter: &str, log: LogNumber) -> io::Result<()> {
        let Some(head) = self.ledger.logs.get(&log) else { return Ok(()) };
        let (start, settled) = (head.start, head.settled.clone());
        let (from, until) = (Key::Entry(log, start).encode(), Key::Entry(log + 1, 0).encode());
        self.range(Table::Queue, from, &until, |export, key, value| match (key, value) {
            (Key::Entry(_, at), Value::Entry(entry)) if export.message(entry.message)? => {
                export.line(&json!({"kind": "entry", "filter": filter, "at": at, "message": entry.message}))
            }
            _ => Ok(()),
        })?;
        for at in settled {
            self.line(&json!({"kind": "group_settled", "filter": filter, "at": at}))?;
        }
        Ok(())
    }

    /// Writes a message ahead of the first that refers to it. `false`: it is lost.
    fn message(&mut self, id: u64) -> io::Result<bool> {
        if self.written.contains(&id) {
            return Ok(true);
        }
        let Some(Value::Message(kept)) = self.ledger.records.get(&Key::Message(id)) else {
            self.lose(format!("message {id}"), "it cannot be read".to_owned());
            return Ok(false);
        };
        if self.ledger.records.get(&Key::References(id)).is_some() {
            self.written.insert(id);
        }
        let mut line = Map::new();
        line.insert("kind".to_owned(), json!("message"));
        line.insert("id".to_owned(), json!(id));
        put_message(&mut line, &kept);
        self.line(&Json::Object(line))?;
        Ok(true)
    }
}
