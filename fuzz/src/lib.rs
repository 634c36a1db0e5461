//! The fuzz targets as plain functions: each takes any bytes and panics where a promise is broken. The binaries in
//! `fuzz_targets/` hand them to a fuzzer; the corpus test replays what was found without one.
mod trie;

pub use trie::trie;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[("trie", trie)];
