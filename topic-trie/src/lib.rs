//! MQTT topic filters to subscribers, and retained topics to values (sections 4.7 of MQTT 3.1.1 and 5.0).
//!
//! Invariants: no IO, no clock, no randomness, no lock, no unsafe; nothing recurses; the same calls in the same order give
//! the same results in the same order.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod exact;
mod hash;
mod levels;
mod memory;
#[cfg(test)]
mod model;
mod node;
mod retained;
mod rule;
mod scan;
mod set;
mod slab;
mod subscriptions;
mod table;
mod text;
mod tree;

pub use hash::Seed;
pub use memory::MemoryUse;
pub use retained::RetainedStore;
pub use rule::{FilterError, MAX_BYTES, TopicError, matches, valid_filter, valid_topic};
pub use scan::{Cursor, Scan};
pub use subscriptions::{Scratch, SubscriptionTrie};
