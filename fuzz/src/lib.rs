//! The fuzz targets as plain functions: each takes any bytes and panics where a promise is broken. The binaries in
//! `fuzz_targets/` hand them to a fuzzer; the corpus test replays what was found without one.
mod broker;
mod broker_bytes;
mod client;
mod config;
mod decode;
#[allow(dead_code)] // the binary uses it
#[path = "../../adapters/zanzara/src/logging.rs"]
mod logging;
mod proxy;
mod round_trip;
mod script;
mod tls;
mod trie;
mod ws;

pub use broker::broker;
pub use broker_bytes::broker_bytes;
pub use client::client;
pub use config::config;
pub use decode::{decode_v3, decode_v5};
pub use proxy::proxy;
pub use round_trip::round_trip;
pub use tls::tls;
pub use trie::trie;
pub use ws::ws;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("broker", broker),
    ("broker_bytes", broker_bytes),
    ("client", client),
    ("config", config),
    ("decode_v3", decode_v3),
    ("decode_v5", decode_v5),
    ("proxy", proxy),
    ("round_trip", round_trip),
    ("tls", tls),
    ("trie", trie),
    ("ws", ws),
];
