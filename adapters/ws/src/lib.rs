//! WebSocket for MQTT as a pipe: bytes in, bytes out (RFC 6455; MQTT 5.0 and 3.1.1 section 6).
//!
//! Invariants: no socket, no clock, no randomness but the seed that a client is given; the same input gives the same output,
//! however it is cut; a pipe holds at most its head limit ([`ServerConfig::max_head`]) while it shakes hands and about
//! [`MAX_PENDING`] bytes of output afterwards, whatever the peer does; input is never kept beyond 125 bytes.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod client;
mod close;
mod error;
mod frames;
mod head;
mod header;
mod keys;
mod mask;
mod server;

pub use client::{Client, ClientConfig};
pub use close::CloseCode;
pub use error::{ConfigError, Error};
pub use frames::{Closed, Limits, MAX_PENDING, Stage};
pub use server::{Request, Server, ServerConfig};

/// The subprotocol of MQTT 3.1.1 and 5.0 \[MQTT-6.0.0-3\].
pub const MQTT: &str = "mqtt";
/// The subprotocol that clients of MQTT 3.1 ask for.
pub const MQTT_3_1: &str = "mqttv3.1";
