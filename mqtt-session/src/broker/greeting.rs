//! Reads a new connection until its CONNECT is complete, so that the adapter can choose the shard (section 3.1).
//!
//! Invariant: nothing is buffered beyond the size limit.
use super::Config;
use crate::Instant;
use bytes::{Bytes, BytesMut};
use mqtt_proto::{Connect, DecodeError};

/// The machine of a connection that has not sent its CONNECT yet.
#[derive(Debug)]
pub struct Greeting {
    deadline: Instant,
    max_packet_size: u32,
}

/// A connection that is to be closed, after `reply` was written.
#[derive(Debug)]
pub struct Refusal {
    /// CONNACK, or nothing where the standard wants silence.
    pub reply: Bytes,
    /// What was wrong.
    pub error: DecodeError,
}

impl Greeting {
    /// Starts to wait; [`Greeting::deadline`] is `now` plus the connect timeout.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self { deadline: now + config.connection.connect_timeout, max_packet_size: config.connection.max_packet_size }
    }

    /// When to close the connection if CONNECT is not complete.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes CONNECT from the front of `input` and leaves what follows there. `None`: read on.
    pub fn handle_input(&mut self, input: &mut BytesMut) -> Result<Option<Connect>, Refusal> {
        let _ = (self.max_packet_size, input);
        todo!()
    }
}
