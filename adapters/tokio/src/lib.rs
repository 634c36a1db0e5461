//! MQTT 3.1, 3.1.1 and 5.0 on tokio: a broker and a client (the network's part of the standard, section 4.2).
//!
//! Invariant: no protocol decision is taken here. The machines of `mqtt-session` decide; this crate moves bytes,
//! waits for their timers and runs their requests.
#![forbid(unsafe_code)]

pub mod broker;
pub mod client;
mod stream;

pub use mqtt_session as session;
pub use mqtt_session::proto;
