//! What a session reads from its logs: their messages, merged in the order of their arrival (section 4.6).
//!
//! Invariants: nothing is read before everything older, in whichever log it is; a message that several logs have is read from
//! all of them at once; what a log, or the store, has lost is counted when its reader comes by.
use super::loads::{Found, Loads, Reader};
use super::log::{Entry, Log, Place, Unread};
use super::session::{Head, Origin, Session, Subscription};
use super::slab::Slab;
use super::{Broker, DropReason, Message, MessageId};
use alloc::vec::Vec;
use mqtt_proto::QoS;
use topic_trie as trie;

/// Logs that a session asks for at once.
const LOADS_AT_ONCE: usize = 16;

impl Broker {
    /// Sends the next message of the logs that a session reads, merged in the order of their arrival.
    pub(super) fn pull_logs(&mut self, slot: u32, conn_slot: u32) -> bool {
        let mut places = Vec::new();
        let mut head = Head::default();
        let mut wanted = false;
        let mut missed = 0;
        let mut entry: Option<Entry> = None;
        while let Some((id, key)) = self.first_unread(slot)
            && entry.as_ref().is_none_or(|entry| entry.id == id)
        {
            let Some(session) = self.sessions.get_mut(slot) else { return false };
            let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get(key)) else { return false };
            if entry.is_none() {
                entry = match log.read(cursor.next) {
                    Place::Entry(entry) => Some(entry.clone()),
                    Place::Spilled => match self.loads.find(key, log, cursor.next) {
                        Found::Entry(entry) => Some(entry),
                        Found::Lost => {
                            cursor.unread = Unread::After(id); // it was there, and gave way, and is lost now
                            return true;
                        }
                        Found::Unknown => {
                            self.loads.want(key, log, cursor.next, Some(Reader::Session(slot)));
                            return false;
                        }
                    },
                    Place::End => return false,
                };
            }
            let Some(here) = &entry else { return false };
            missed += log.missed_before(cursor.next);
            cursor.unacked.push_back(cursor.next);
            places.push((key, cursor.next));
            cursor.next = cursor.next.forward(1);
            session.lagging.pop_first();
            cursor.unread = match log.read(cursor.next) {
                Place::Entry(next) => Unread::At(next.id),
                Place::End => Unread::Nothing,
                Place::Spilled => match self.loads.find(key, log, cursor.next) {
                    Found::Entry(next) => Unread::At(next.id),
                    Found::Lost | Found::Unknown => Unread::After(id),
                },
            };
            session.lagging.extend(cursor.unread.bound().map(|bound| (bound, key)));
            let Some(subscription) = session.subscriptions.get(&log.filter) else { continue };
            let options = subscription.options;
            if !(options.no_local && here.message.publisher.as_ref() == Some(&session.name)) {
                wanted = true; // [MQTT-3.8.3-3]
                head.qos = head.qos.max(options.qos.min(here.message.qos)); // [MQTT-3.3.4-2]
                head.retain |= here.message.retain && options.retain_as_published;
                head.identifiers.push(subscription.identifier);
            }
        }
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let Some(entry) = entry else { return false };
        wanted |= add_pushed(session, &entry.message, &mut head);
        let name = session.name.clone();
        self.count_dropped(DropReason::QueueFull, &name, missed);
        if !wanted || entry.message.is_expired(self.now) {
            if wanted {
                self.count_dropped(DropReason::Expired, &name, 1); // [MQTT-3.3.2-5]
            }
            self.settle_origin(slot, &Origin::Logs(places));
            return true;
        }
        head.origin = Origin::Logs(places);
        if head.qos == QoS::AtMostOnce {
            self.deliver_now(slot, conn_slot, entry.message, head);
        } else {
            self.start_delivery(slot, conn_slot, entry.message, entry.id, head);
        }
        true
    }

    /// The oldest unread message of a session's logs, and a log that has it. Notes what was lost to limits or by the store;
    /// forgets logs that are read to their end. `None`, too, while a log has to be loaded that may have an older one.
    fn first_unread(&mut self, slot: u32) -> Option<(MessageId, u32)> {
        loop {
            match self.find_unread(slot) {
                Ok(first) => return first,
                Err(key) => self.step_over(slot, key),
            }
        }
    }

    /// As [`Broker::first_unread`]; an error is a log whose next entry the store has lost.
    fn find_unread(&mut self, slot: u32) -> Result<Option<(MessageId, u32)>, u32> {
        let Some(session) = self.sessions.get_mut(slot) else { return Ok(None) };
        let mut lost = 0;
        let mut first = None;
        let mut missing = None;
        while let Some(((noted, _), key)) = session.lagging.first().copied() {
            let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get_mut(key)) else {
                session.lagging.pop_first();
                continue;
            };
            if cursor.next < log.start() {
                lost += log.start().0 - cursor.next.0;
                cursor.next = log.start();
                cursor.unread = Unread::After(noted);
                let settled = cursor.settled();
                log.move_cursor(cursor.acked, settled);
                cursor.acked = settled;
                // Other logs that have the message that was noted come before this one now.
                session.lagging.pop_first();
                session.lagging.insert(((noted, true), key));
                continue;
            }
            let unread = match log.read(cursor.next) {
                Place::Entry(entry) => Unread::At(entry.id),
                Place::End => Unread::Nothing,
                Place::Spilled if cursor.unread == Unread::At(noted) => cursor.unread, // it was seen before
                Place::Spilled => match self.loads.find(key, log, cursor.next) {
                    Found::Entry(entry) => Unread::At(entry.id),
                    Found::Lost => {
                        missing = Some(key);
                        break;
                    }
                    Found::Unknown => {
                        ask_for_all(session, &self.logs, &mut self.loads, slot);
                        break;
                    }
                },
            };
            let exact = cursor.unread == unread && unread == Unread::At(noted);
            cursor.unread = unread;
            if exact {
                first = Some((noted, key));
                break;
            }
            session.lagging.pop_first();
            session.lagging.extend(unread.bound().map(|bound| (bound, key)));
        }
        if lost > 0 {
            let name = session.name.clone();
            self.count_dropped(DropReason::QueueFull, &name, lost);
        }
        missing.map_or(Ok(first), Err)
    }

    /// Passes by entries that the store has lost: they read as messages that have expired.
    fn step_over(&mut self, slot: u32, key: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (Some(cursor), Some(log)) = (session.cursors.get_mut(&key), self.logs.get_mut(key)) else { return };
        let begun = cursor.next;
        while matches!(log.read(cursor.next), Place::Spilled)
            && matches!(self.loads.find(key, log, cursor.next), Found::Lost)
        {
            cursor.next = cursor.next.forward(1);
        }
        let (name, count) = (session.name.clone(), cursor.next.0 - begun.0);
        self.settle_cursor(slot, key);
        self.count_dropped(DropReason::Expired, &name, count);
    }
}

/// A session that has to load a log before it can go on has the others loaded meanwhile that it will have to.
fn ask_for_all(session: &Session, logs: &Slab<Log>, loads: &mut Loads, slot: u32) {
    for (_, key) in session.lagging.iter().take(LOADS_AT_ONCE) {
        let (Some(cursor), Some(log)) = (session.cursors.get(key), logs.get(*key)) else { continue };
        if cursor.next >= log.start()
            && matches!(log.read(cursor.next), Place::Spilled)
            && matches!(cursor.unread, Unread::After(_))
            && matches!(loads.find(*key, log, cursor.next), Found::Unknown)
        {
            loads.want(*key, log, cursor.next, Some(Reader::Session(slot)));
        }
    }
}

/// What the QoS 0 subscriptions that match as well add to a logged message: it comes once, with all identifiers
/// [MQTT-3.3.4-4]. Whether any of them wants it.
fn add_pushed(session: &Session, message: &Message, head: &mut Head) -> bool {
    let own = message.publisher.as_ref() == Some(&session.name);
    let mut wanted = false;
    for filter in session.direct.iter().filter(|filter| trie::matches(filter, &message.topic)) {
        let Some(Subscription { options, identifier, .. }) = session.subscriptions.get(filter) else { continue };
        if !(own && options.no_local) {
            wanted = true;
            head.retain |= message.retain && options.retain_as_published; // [MQTT-3.3.1-13]
            head.identifiers.push(*identifier);
        }
    }
    wanted
}
