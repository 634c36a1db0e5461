//! Connections between clients and brokers: bytes travel in order, late, in portions, and not always to the end.
//!
//! Invariants: bytes of one direction never overtake each other; what a socket has taken and the other side has not read
//! is bounded, so that writers feel slow readers.
use bytes::BytesMut;
use mqtt_session::Instant;
use mqtt_session::broker::{ConnId, Greeting};
use std::collections::VecDeque;

/// Bytes that a direction holds between writer and reader.
const CAPACITY: usize = 16 * 1024;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Portions under way with the time of their arrival, oldest first.
    travelling: VecDeque<(Instant, Vec<u8>)>,
    /// Arrived, and not taken by the reader.
    pub(crate) arrived: BytesMut,
    held: usize,
    /// Nothing arrives before what was sent earlier.
    last_arrival: Instant,
    /// Bytes vanish instead of arriving: the other side of a half-open connection.
    pub(crate) dead: bool,
    /// The writer's socket was full; it is told when there is room.
    pub(crate) blocked: bool,
}

impl Pipe {
    /// Room for more bytes.
    pub(crate) fn room(&self) -> usize {
        if self.dead { CAPACITY } else { CAPACITY.saturating_sub(self.held) }
    }

    /// Sends a portion that arrives at `at`, or later if others are before it.
    pub(crate) fn send(&mut self, at: Instant, bytes: &[u8]) {
        if self.dead {
            return;
        }
        self.last_arrival = self.last_arrival.max(at);
        self.held += bytes.len();
        self.travelling.push_back((self.last_arrival, bytes.to_vec()));
    }

    /// When the next portion arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.travelling.front().map(|(at, _)| *at)
    }

    /// Moves the portions that have arrived by `now` to the reader.
    pub(crate) fn arrive(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((_, bytes)) = self.travelling.pop_front_if(|(at, _)| *at <= now) {
            self.arrived.extend_from_slice(&bytes);
            any = true;
        }
        any
    }

    /// The reader took bytes from `arrived`.
    pub(crate) fn taken(&mut self, before: usize) {
        self.held = self.held.saturating_sub(before - self.arrived.len());
    }

    /// Whether nothing travels or waits to be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.travelling.is_empty() && self.arrived.is_empty()
    }

    /// Loses what is under way and what was not read.
    pub(crate) fn lose(&mut self) {
        self.travelling.clear();
        self.arrived.clear();
        self.held = 0;
    }
}

/// Who stands at the client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client machine.
    Client(usize),
    /// A stranger.
    Stranger(usize),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) owner: Owner,
    pub(crate) broker: usize,
    /// Until CONNECT was read.
    pub(crate) greeting: Option<Greeting>,
    pub(crate) conn: Option<ConnId>,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The client's end is gone, or the broker's.
    pub(crate) client_gone: bool,
    pub(crate) broker_gone: bool,
    /// When the other end of a half-open connection finds out in any case, as a kernel would.
    pub(crate) reset_at: Option<Instant>,
}

impl Link {
    pub(crate) fn new(owner: Owner, broker: usize, greeting: Greeting) -> Self {
        Self {
            owner,
            broker,
            greeting: Some(greeting),
            conn: None,
            up: Pipe::default(),
            down: Pipe::default(),
            client_gone: false,
            broker_gone: false,
            reset_at: None,
        }
    }

    /// Moves what has arrived both ways.
    pub(crate) fn arrive(&mut self, now: Instant) {
        self.up.arrive(now);
        self.down.arrive(now);
    }

    /// When something next happens here by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.up.next_arrival(), self.down.next_arrival(), self.reset_at].into_iter().flatten().min()
    }
}
