//! Events: to the log, within a rate that a flood cannot exceed, and to the embedder.
//!
//! Invariant: each kind of line is written at most [`LINES`] times a second; what was left out is counted in a line of
//! its own.
use crate::stream::Origin;
use mqtt_session::Instant;
use mqtt_session::broker::{DisconnectReason, DropReason, Event};
use mqtt_session::proto::ReasonCode;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Lines of one kind in one second.
const LINES: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Kinds of lines, each with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connected,
    Refused,
    Disconnected,
    Subscribed,
    Messages,
    Listener,
    Store,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Connected, "clients connected"),
    (Kind::Refused, "connections refused"),
    (Kind::Disconnected, "clients disconnected"),
    (Kind::Subscribed, "subscriptions changed"),
    (Kind::Messages, "messages"),
    (Kind::Listener, "accepting failed"),
    (Kind::Store, "the store could not be read"),
];

/// Where events go.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    embedders: Vec<mpsc::Sender<Event>>,
    rate: Rate,
    drops: Drops,
}

/// Messages that did not reach their receivers, summed: one line a second for all of them.
#[derive(Debug, Default)]
struct Drops {
    counts: [u64; 6],
    /// When to write the line.
    due: Option<Instant>,
}

impl Reporter {
    /// Reports events to an embedder as well.
    pub(super) fn subscribe(&mut self, events: mpsc::Sender<Event>) {
        self.embedders.push(events);
    }

    /// When [`Reporter::event`] or another call would write what was left out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.drops.due.into_iter().chain(self.rate.due()).min()
    }

    /// Writes what is due.
    pub(super) fn flush(&mut self, now: Instant) {
        self.rate.turn(now);
        if self.drops.due.is_some_and(|due| due <= now) {
            let [slow_receiver, queue_full, expired, too_large, no_member, log_full] = self.drops.counts;
            tracing::warn!(slow_receiver, queue_full, log_full, expired, too_large, no_member, "messages were dropped");
            self.drops = Drops::default();
        }
    }

    /// One event of the machine.
    pub(super) fn event(&mut self, now: Instant, event: Event) {
        self.log(now, &event);
        let Some((last, others)) = self.embedders.split_last() else { return };
        let mut gone = false;
        for embedder in others {
            gone |= matches!(embedder.try_send(event.clone()), Err(TrySendError::Closed(_)));
        }
        gone |= matches!(last.try_send(event), Err(TrySendError::Closed(_)));
        if gone {
            self.embedders.retain(|embedder| !embedder.is_closed());
        }
    }

    /// A connection that was closed because its CONNECT is none, or what should carry it.
    pub(super) fn refused(&mut self, now: Instant, origin: Origin, error: &dyn fmt::Display) {
        if self.rate.allow(now, Kind::Refused) {
            tracing::warn!(address = %origin, %error, "connection refused");
        }
    }

    /// A connection that was closed because no CONNECT came.
    pub(super) fn silent(&mut self, now: Instant, origin: Origin) {
        if self.rate.allow(now, Kind::Refused) {
            tracing::info!(address = %origin, "connection closed: no CONNECT within the connect timeout");
        }
    }

    /// The system could not give us another connection.
    pub(super) fn exhausted(&mut self, now: Instant, error: &std::io::Error) {
        if self.rate.allow(now, Kind::Listener) {
            tracing::error!(%error, "cannot accept connections: trying again; is the limit of open files too low?");
        }
    }

    /// Writes the line of an event, unless too many of its kind were written in this second.
    fn log(&mut self, now: Instant, event: &Event) {
        if let Event::Dropped { receiver, count, reason } = event {
            self.drops.count(now, *count, *reason);
            tracing::trace!(receiver = &**receiver, count, ?reason, "dropped");
            return;
        }
        if !Kind::of(event).is_some_and(|kind| self.rate.allow(now, kind)) {
            return;
        }
        match event {
            Event::Connected {
                client_id, peer, identity, version, clean_start, session_present, keep_alive, ..
            } => {
                let (client, address, user) = (client_id.as_str(), &peer.address, identity.as_deref());
                tracing::info!(
                    client, %address, user, ?version, clean_start, session_present, keep_alive, "client connected"
                );
            }
            Event::Refused { client_id, peer, reason } => {
                tracing::warn!(client = client_id.as_str(), address = %peer.address, ?reason, "client refused");
            }
            Event::Disconnected { client_id, peer, reason } => {
                log_disconnect(client_id.as_str(), &peer.address, reason);
            }
            Event::Subscribed { client_id, filter, qos } => {
                tracing::debug!(client = client_id.as_str(), filter = filter.as_str(), ?qos, "subscribed");
            }
            Event::Unsubscribed { client_id, filter } => {
                tracing::debug!(client = client_id.as_str(), filter = filter.as_str(), "unsubscribed");
            }
            Event::Published { client_id, message } => {
                let (topic, bytes) = (message.topic.as_str(), message.payload.len());
                tracing::debug!(client = client_id.as_deref(), topic, bytes, "published");
            }
            Event::Delivered { client_id, message } => {
                let (topic, bytes) = (message.topic.as_str(), message.payload.len());
                tracing::debug!(client = client_id.as_str(), topic, bytes, "delivered");
            }
            Event::LoadFailed { filter, failures, pause } => {
                let (filter, pause) = (filter.as_str(), u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                tracing::error!(
                    filter,
                    failures,
                    pause,
                    "the store could not be read: clients wait for their messages"
                );
            }
            _ => {}
        }
    }
}

impl Kind {
    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Connected { .. } => Self::Connected,
            Event::Refused { .. } => Self::Refused,
            Event::Disconnected { .. } => Self::Disconnected,
            Event::Subscribed { .. } | Event::Unsubscribed { .. } => Self::Subscribed,
            Event::Published { .. } | Event::Delivered { .. } => Self::Messages,
            Event::LoadFailed { .. } => Self::Store,
            _ => return None,
        })
    }
}

fn log_disconnect(client: &str, address: &str, reason: &DisconnectReason) {
    match reason {
        DisconnectReason::Client(reason) => tracing::info!(client, %address, ?reason, "client disconnected"),
        DisconnectReason::Lost => tracing::info!(client, %address, "connection lost"),
        DisconnectReason::Server(reason, why)
            if matches!(reason, ReasonCode::ServerShuttingDown | ReasonCode::SessionTakenOver) =>
        {
            tracing::info!(client, %address, ?reason, why, "connection closed by the server");
        }
        DisconnectReason::Server(reason, why) => {
            tracing::warn!(client, %address, ?reason, why, "connection closed by the server");
        }
        other => tracing::info!(client, %address, ?other, "client disconnected"),
    }
}

impl Drops {
    fn count(&mut self, now: Instant, count: u64, reason: DropReason) {
        let index = match reason {
            DropReason::SlowReceiver => 0,
            DropReason::QueueFull => 1,
            DropReason::Expired => 2,
            DropReason::TooLarge => 3,
            DropReason::LogFull => 5,
            _ => 4,
        };
        self.counts[index] += count;
        self.due.get_or_insert(now + SECOND);
    }
}

/// Lines of each kind in the second that began at `since`.
#[derive(Debug, Default)]
struct Rate {
    since: Instant,
    lines: [u32; KINDS.len()],
}

impl Rate {
    /// Whether a line of this kind may be written now.
    fn allow(&mut self, now: Instant, kind: Kind) -> bool {
        self.turn(now);
        let lines = &mut self.lines[kind as usize];
        *lines = lines.saturating_add(1);
        *lines <= LINES
    }

    /// When the lines that were left out are to be counted; `None` if none were.
    fn due(&self) -> Option<Instant> {
        self.lines.iter().any(|lines| *lines > LINES).then(|| self.since + SECOND)
    }

    /// Begins a new second if the old one is over.
    fn turn(&mut self, now: Instant) {
        if now < self.since + SECOND {
            return;
        }
        for (lines, (_, what)) in self.lines.iter().zip(KINDS) {
            if *lines > LINES {
                tracing::info!(more = lines - LINES, "… and more {what} in the same second");
            }
        }
        *self = Self { since: now, lines: [0; KINDS.len()] };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_the_next_second_is_free() {
        let mut rate = Rate::default();
        let allowed = (0..1000).filter(|_| rate.allow(Instant::from_secs(5), Kind::Connected)).count();
        assert_eq!(allowed, LINES as usize);
        assert!(rate.allow(Instant::from_secs(5), Kind::Refused), "each kind has its own rate");
        assert_eq!(rate.due(), Some(Instant::from_secs(6)));
        assert!(rate.allow(Instant::from_secs(6), Kind::Connected));
        assert_eq!(rate.due(), None);
    }

    #[test]
    fn kinds_index_their_lines() {
        for (index, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }
}
