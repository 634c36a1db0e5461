//! Packet Identifiers and what they stand for (MQTT 5.0 sections 2.2.1 and 4.3).
//!
//! Invariant: one table is both the allocator and the record of what is in flight, for PUBLISH, SUBSCRIBE and UNSUBSCRIBE alike, so an
//! identifier cannot be given out while it is in use [MQTT-2.2.1-3], [3.1.1: MQTT-2.3.1-2].
use super::outgoing::Stored;
use super::subscriptions::Request;
use super::{StoreSeq, Token};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mqtt_proto::{PacketId, ReasonCode};

/// What waits for an acknowledgment.
#[derive(Debug)]
pub(super) enum Flight {
    /// A PUBLISH without its PUBACK [MQTT-4.3.2-3] or PUBREC [MQTT-4.3.3-3], [3.1.1: MQTT-4.3.3-1].
    Publish(Outgoing),
    /// A QoS 2 message whose PUBREC came, and whose PUBCOMP is due [MQTT-4.3.3-5]. The message itself is the Server's now.
    Release { token: Token, reason: ReasonCode, order: u64, on_wire: bool },
    /// A SUBSCRIBE without SUBACK; one request per filter.
    Subscribe(Vec<Request>),
    /// An UNSUBSCRIBE without UNSUBACK; one request per filter.
    Unsubscribe(Vec<Request>),
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) token: Token,
    pub(super) message: Stored,
    /// The order of first sending, for re-delivery [MQTT-4.6.0-1].
    pub(super) order: u64,
    /// Whether it was sent on this connection.
    pub(super) on_wire: bool,
    /// Whether it was ever sent, as far as can be known.
    pub(super) sent: bool,
    /// What the store must have kept before it is sent.
    pub(super) gate: StoreSeq,
}

#[derive(Debug)]
pub(super) struct Flights {
    table: BTreeMap<PacketId, Flight>,
    last: PacketId,
    order: u64,
    /// Messages sent on this connection that count against the Server's Receive Maximum.
    window_used: usize,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { table: BTreeMap::new(), last: PacketId::MAX, order: 0, window_used: 0 }
    }

    /// Gives out an unused identifier; `None` when all 65,535 are in flight. O(log n) unless many neighbours are in use.
    pub(super) fn insert(&mut self, flight: Flight) -> Option<PacketId> {
        if self.table.len() == usize::from(u16::MAX) {
            return None;
        }
        let mut id = self.last.next();
        while self.table.contains_key(&id) {
            id = id.next();
        }
        self.last = id;
        self.put(id, flight);
        Some(id)
    }

    /// Takes in a flight under the identifier that it had.
    pub(super) fn put(&mut self, id: PacketId, flight: Flight) {
        self.window_used += usize::from(flight.on_wire());
        let previous = self.table.insert(id, flight);
        self.window_used -= usize::from(previous.as_ref().is_some_and(Flight::on_wire));
    }

    pub(super) fn get(&self, id: PacketId) -> Option<&Flight> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Flight> {
        self.table.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: PacketId) -> Option<Flight> {
        let flight = self.table.remove(&id)?;
        self.window_used -= usize::from(flight.on_wire());
        Some(flight)
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Takes up a session whose last order was this one.
    pub(super) fn restore_order(&mut self, order: u64) {
        self.order = self.order.max(order);
    }

    pub(super) fn window_used(&self) -> usize {
        self.window_used
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.len() == usize::from(u16::MAX)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PacketId, &Flight)> {
        self.table.iter().map(|(id, flight)| (*id, flight))
    }

    /// The connection is gone: nothing is on the wire any more. Returns the requests of SUBSCRIBE and UNSUBSCRIBE, which are no part of a session.
    pub(super) fn connection_lost(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.table.retain(|_, flight| match flight {
            Flight::Publish(Outgoing { on_wire, .. }) | Flight::Release { on_wire, .. } => {
                *on_wire = false;
                true
            }
            Flight::Subscribe(list) | Flight::Unsubscribe(list) => {
                requests.append(list);
                false
            }
        });
        self.window_used = 0;
        requests
    }

    /// Counts a message that is sent late, and a message or PUBREL that is sent again.
    pub(super) fn sent_again(&mut self, id: PacketId) {
        let mut flight = self.table.get_mut(&id);
        if let Some(Flight::Publish(out)) = &mut flight {
            out.sent = true;
        }
        if let Some(Flight::Publish(Outgoing { on_wire, .. }) | Flight::Release { on_wire, .. }) = flight {
            self.window_used += usize::from(!*on_wire);
            *on_wire = true;
        }
    }

    /// Identifiers of messages and of releases that are not on the wire, each in the order of their sending.
    pub(super) fn to_resend(&self) -> (Vec<PacketId>, Vec<PacketId>) {
        let (mut publishes, mut releases) = (Vec::new(), Vec::new());
        for (id, flight) in &self.table {
            match flight {
                Flight::Publish(out) if !out.on_wire => publishes.push((out.order, *id)),
                Flight::Release { order, on_wire: false, .. } => releases.push((*order, *id)),
                _ => {}
            }
        }
        let sorted = |mut list: Vec<(u64, PacketId)>| {
            list.sort_unstable();
            list.into_iter().map(|(_, id)| id).collect()
        };
        (sorted(publishes), sorted(releases))
    }

    /// Takes all messages out, in the order of their sending.
    pub(super) fn take_session(&mut self) -> Vec<(PacketId, Flight)> {
        let mut all: Vec<_> = core::mem::take(&mut self.table).into_iter().collect();
        all.sort_by_key(|(_, flight)| match flight {
            Flight::Publish(Outgoing { order, .. }) | Flight::Release { order, .. } => *order,
            Flight::Subscribe(_) | Flight::Unsubscribe(_) => u64::MAX,
        });
        self.window_used = 0;
        all
    }
}

impl Flight {
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Release { .. })
    }

    fn on_wire(&self) -> bool {
        matches!(self, Self::Publish(Outgoing { on_wire: true, .. }) | Self::Release { on_wire: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [MQTT-2.2.1-3]
    #[test]
    fn identifiers_in_flight_are_skipped_and_run_out() {
        let mut flights = Flights::new();
        let any = || Flight::Subscribe(Vec::new());
        let first = flights.insert(any()).unwrap();
        let second = flights.insert(any()).unwrap();
        assert_eq!((first, second), (PacketId::MIN, PacketId::MIN.next()));
        flights.remove(first);
        for _ in 0..65_534 {
            flights.insert(any()).unwrap();
        }
        assert!(flights.insert(any()).is_none(), "all are in flight");
        flights.remove(PacketId::MAX);
        assert_eq!(flights.insert(any()).unwrap(), PacketId::MAX, "all those before it are in flight");
    }
}
