//! A whole MQTT system in one thread: client machines, broker machines, disks and a network, under one virtual clock.
//!
//! Invariants: one seed decides everything, so the same [`Scenario`] gives the same trace hash on every machine; nothing
//! here reads a clock, a file or a random source.
#![forbid(unsafe_code)]
#![allow(missing_docs)] // a tool of this workspace, not a library for others

mod actor;
mod check;
mod client_disk;
mod disk;
mod history;
mod network;
mod noise;
mod scenario;
mod shrink;
mod trace;
mod world;

pub use check::{CHECKS, Violation};
pub use scenario::{FAULTS, Faults, Scenario};
pub use shrink::shrink;
pub use trace::Trace;
pub use world::{Report, run};
