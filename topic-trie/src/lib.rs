//! Topic filters to subscribers and topic names to retained values, as MQTT section 4.7 has it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod hash;
mod levels;
mod memory;
mod retained;
mod rule;
mod scan;
mod set;
mod slab;
mod subscriptions;
mod table;
mod text;

pub use hash::Seed;
pub use memory::MemoryUse;
pub use retained::RetainedStore;
pub use rule::{FilterError, MAX_BYTES, TopicError, matches, valid_filter, valid_topic};
pub use scan::{Cursor, Scan};
pub use subscriptions::{Scratch, SubscriptionTrie};
