//! Reading lines.
use super::FORMAT;
use super::fields::{Fields, Wrong};
use crate::disk::{Disk, DiskError};
use crate::key::Key;
use crate::ledger::Ledger;
use crate::value::{Outgoing, Value};
use crate::{Durability, OpenError};
use mqtt_proto::{RetainHandling, SubscriptionOptions};
use mqtt_session::broker::SessionRecord;
use std::io::{self, BufRead};
use std::path::Path;
use std::{error, fmt};

/// Records that one commit writes.
const CHUNK: usize = 10_000;

/// Why an import ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The folder cannot be used.
    Folder(OpenError),
    /// The lines cannot be read.
    Input(io::Error),
    /// A line is not understood. What stood before it may be in the folder.
    Line {
        /// Its number, from 1.
        line: u64,
        /// The field that is wrong; `line` for the line itself.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Input(error) => write!(f, "the lines cannot be read: {error}"),
            Self::Line { line, field, why } => write!(f, "line {line}, field {field:?}: {why}"),
        }
    }
}

impl error::Error for ImportError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Folder(error) => Some(error),
            Self::Input(error) => Some(error),
            Self::Line { .. } => None,
        }
    }
}

/// Puts lines into an empty ledger, and on its disk; gives their number.
pub(crate) fn import<D: Disk>(ledger: &mut Ledger<D>, path: &Path, lines: impl BufRead) -> Result<u64, ImportError> {
    let folder = |error: DiskError| ImportError::Folder(error.into_open(path));
    let mut number = 0;
    for line in lines.lines() {
        let line = line.map_err(ImportError::Input)?;
        number += 1;
        let put = Fields::parse(&line).and_then(|fields| put(ledger, number, fields));
        put.map_err(|(field, why)| ImportError::Line { line: number, field, why })?;
        if ledger.records.len() >= CHUNK {
            commit(ledger).map_err(folder)?;
        }
    }
    if number == 0 {
        let (field, why) = ("line".to_owned(), "the first line says what this is; there is none".to_owned());
        return Err(ImportError::Line { line: 1, field, why });
    }
    commit(ledger).map_err(folder)?;
    Ok(number)
}

fn commit<D: Disk>(ledger: &mut Ledger<D>) -> Result<(), DiskError> {
    ledger.seal();
    let changes = ledger.records.changes();
    ledger.records.disk.commit(&changes, Durability::Disk)?;
    ledger.records.committed();
    Ok(())
}

fn wrong<T>(field: &str, why: &str) -> Result<T, Wrong> {
    Err((field.to_owned(), why.to_owned()))
}

/// Puts one line.
fn put<D: Disk>(ledger: &mut Ledger<D>, number: u64, mut fields: Fields) -> Result<(), Wrong> {
    let kind = fields.text("kind")?;
    match (number, kind.as_str()) {
        (1, "zanzara-export") => {
            if fields.number("format")? != FORMAT {
                return wrong("format", "this version of the format is not known here");
            }
        }
        (1, _) => return wrong("kind", "the first line has to be of the kind zanzara-export"),
        (_, "counters") => {
            let (last, deliveries) = (fields.number("last")?, fields.number("deliveries")?);
            ledger.used(last);
            ledger.counters.deliveries = ledger.counters.deliveries.max(deliveries);
        }
        (_, "log") => {
            let (filter, start) = (fields.filter()?, fields.number("start")?);
            ledger.begin_log(&filter, start);
        }
        (_, "session") => {
            let record = SessionRecord {
                client_id: fields.client()?,
                identity: fields.optional_text("identity")?,
                expiry: fields.small("expiry")?,
                disconnected_at: fields.optional_time("disconnected_at")?,
                will: fields.will()?,
            };
            ledger.put_session(&record);
        }
        (_, "subscription") => subscription(ledger, &mut fields)?,
        (_, "cursor") => {
            let (client_id, filter, at) = (fields.client()?, fields.filter()?, fields.number("at")?);
            session(ledger, &client_id)?;
            ledger.move_cursor(&client_id, &filter, at);
        }
        (_, "settled") => {
            let (client_id, filter, at) = (fields.client()?, fields.filter()?, fields.number("at")?);
            session(ledger, &client_id)?;
            ledger.settle(&client_id, &filter, at);
        }
        (_, "group_settled") => {
            let (filter, at) = (fields.filter()?, fields.number("at")?);
            ledger.settle_group(&filter, at);
        }
        (_, "incoming") => {
            let (client_id, id) = (fields.client()?, fields.packet_id()?);
            let session = session(ledger, &client_id)?;
            ledger.records.put(Key::Incoming(session, id.get()), Value::Mark);
        }
        (_, "outgoing") => outgoing(ledger, &mut fields)?,
        (_, "message") => {
            let (id, kept) = (fields.number("id")?, fields.message()?);
            ledger.add_message(id, kept);
        }
        (_, "entry") => {
            let (filter, at, message) = (fields.filter()?, fields.number("at")?, fields.number("message")?);
            if !ledger.records.has(&Key::Message(message)) {
                return wrong("message", "no line before this one has that message");
            }
            if !ledger.add_entry(&filter, at, message) {
                return wrong("at", "the positions of a log have to ascend");
            }
        }
        (_, "retained") => {
            let kept = fields.message()?;
            ledger.records.put(Key::Retained(kept.message.topic.clone()), Value::Message(kept));
        }
        _ => return wrong("kind", "this kind is not known"),
    }
    fields.done()
}

fn session<D: Disk>(ledger: &Ledger<D>, client_id: &mqtt_proto::ClientId) -> Result<u64, Wrong> {
    let session = ledger.names.session(client_id);
    session.map_or_else(|| wrong("client", "no line before this one has a session of this client"), Ok)
}

fn subscription<D: Disk>(ledger: &mut Ledger<D>, fields: &mut Fields) -> Result<(), Wrong> {
    let (client_id, filter) = (fields.client()?, fields.filter()?);
    session(ledger, &client_id)?;
    let options = SubscriptionOptions {
        qos: fields.qos()?,
        no_local: fields.flag("no_local")?,
        retain_as_published: fields.flag("retain_as_published")?,
        retain_handling: match fields.number("retain_handling")? {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return wrong("retain_handling", "0, 1 or 2 is expected"),
        },
    };
    ledger.subscribe(&client_id, &filter, options, fields.small("identifier")?);
    Ok(())
}

fn outgoing<D: Disk>(ledger: &mut Ledger<D>, fields: &mut Fields) -> Result<(), Wrong> {
    let (client_id, id) = (fields.client()?, fields.packet_id()?);
    let session = session(ledger, &client_id)?;
    let delivery = Outgoing {
        order: fields.number("order")?,
        message: fields.number("message")?,
        places: fields.places()?,
        retain: fields.flag("retain")?,
        identifiers: fields.identifiers()?,
        released: fields.flag("released")?,
    };
    if !ledger.records.has(&Key::Message(delivery.message)) {
        return wrong("message", "no line before this one has that message");
    }
    let key = Key::Outgoing(session, id.get());
    if ledger.records.has(&key) {
        return wrong("id", "a line before this one has it, too");
    }
    ledger.counters.deliveries = ledger.counters.deliveries.max(delivery.order);
    ledger.refer(delivery.message);
    ledger.records.put(key, Value::Outgoing(delivery));
    Ok(())
}
