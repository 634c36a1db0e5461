//! The behaviour of MQTT 3.1, 3.1.1 and 5.0 as values: a broker machine and a client machine.
//!
//! Both take bytes, times and completions in, and give bytes, deadlines and requests out (the calling contract
//! stands at [`broker::Broker`] and [`client::Client`]).
//!
//! Invariants: no IO, no clock, no randomness, no lock, no log; the same inputs give the same outputs, bit for
//! bit. Every queue has a limit, a policy and a counter.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod broker;
pub mod client;
mod rng;
mod time;
mod transmit;

pub use mqtt_proto as proto;
pub use rng::Rng;
pub use time::{Instant, UnixTime};
pub use transmit::TxQueue;
