//! Every deadline of the broker in one ordered set.
//!
//! Invariant: whoever arms a timer remembers its time and disarms exactly that, so the set holds no stale entries.
use super::{ConnId, Position};
use crate::Instant;
use alloc::collections::BTreeSet;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A connection: keep alive, or the time for authentication.
    Connection(ConnId),
    /// Session expiry.
    SessionExpiry(u32),
    /// Will Delay Interval of a session.
    Will(u32),
    /// A retained message expires.
    Retained,
    /// A load of this log and place failed, and is to be tried again.
    Load(u32, Position),
    /// `$SYS` topics are due.
    Sys,
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    /// Arms a timer. O(log n).
    pub(super) fn arm(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Disarms a timer that was armed for `at`. O(log n).
    pub(super) fn disarm(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// The first deadline. O(log n).
    pub(super) fn first(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
